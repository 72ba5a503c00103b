//! `runu demo http`.

use std::net::SocketAddr;

use crate::client::Client;
use crate::server::Host;
use crate::support::Room;

#[test]
fn demo_of_a_web_server_tells_where_it_is_and_serves_there() {
    if !Host::Runu.is_here() {
        return;
    }
    for kind in ["multiboot", "linux64"] {
        let room = Room::new();
        let mut running = room.start(&mut room.runu(&["demo", "http", "--kind", kind]));
        let told = running.wait_for("listening on 10.0.2.15:80\r\n");
        let address = told.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        let address: SocketAddr = address.and_then(|text| text.parse().ok()).expect("it tells an address");
        assert!(Client::connect(address).get("/").text().contains("<h1>http</h1>"));
        assert_eq!(Client::connect(address).get("/quit").status, 200);
        let ended = running.wait();
        ended.assert_quiet(0);
        assert!(String::from_utf8_lossy(&ended.stdout).contains("monitor"), "{ended:?}");
    }
}
