//! `runu run --publish` where it cannot be done, and by an ordinary user.

use std::{net::TcpListener, process::Command};

use crate::client::Client;
use crate::server::{Host, free};
use crate::support::user::users;
use crate::support::{GuestKind, Room};

#[test]
fn anyone_publishes_a_port() {
    if !Host::Runu.is_here() {
        return;
    }
    for user in users() {
        let room = Room::new();
        let web = free();
        let mut command = room.runu_as(user, &["run", "--publish", &format!("{web}:80")]);
        let mut running = room.start(command.arg(room.guest("http", GuestKind::Multiboot)));
        running.wait_for("listening on 10.0.2.15:80\r\n");
        assert_eq!(Client::connect(web).get("/quit").status, 200);
        running.wait().assert_quiet(0);
    }
}

#[test]
fn port_that_somebody_has_is_told() {
    if !Host::Runu.is_here() {
        return;
    }
    let room = Room::new();
    let taken = TcpListener::bind(free()).expect("the port is free");
    let port = taken.local_addr().expect("it is bound");
    let mut command = room.runu(&["run", "--publish", &format!("{port}:80")]);
    let ended = room.finish(command.arg(room.guest("http", GuestKind::Multiboot)));
    assert_eq!(ended.status(), 125);
    assert!(ended.stderr.starts_with("error: `passt` refuses: "), "{}", ended.stderr);
}

#[test]
fn port_of_a_guest_without_network_is_refused() {
    let room = Room::new();
    let mut command: Command = room.runu(&["run", "--publish", "8080:80"]);
    let ended = room.finish(command.arg(room.guest("hello", GuestKind::Multiboot)));
    assert_eq!(ended.status(), 125);
    assert!(ended.stderr.contains("no port can be published"), "{}", ended.stderr);
}

#[test]
fn text_that_names_no_two_ports_is_refused() {
    let room = Room::new();
    for text in ["80", "0:80", "80:80/sctp", "here:80:80"] {
        let ended = room.finish(&mut room.runu(&["run", "--publish", text, "kernel"]));
        assert_eq!(ended.status(), 125);
        assert!(ended.stderr.contains("ports are given as"), "{}", ended.stderr);
    }
}
