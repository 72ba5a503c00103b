//! What clients see of the server.

use std::net::UdpSocket;

use crate::LIMIT;
use crate::client::Client;
use crate::server::{Host, Server};
use crate::support::{BOTH_KINDS, Room};

/// Runs a story with a server of each kind wherever it can run; it must end well afterwards.
fn with_each_kind(story: impl Fn(&Server)) {
    for host in [Host::Runu, Host::Qemu] {
        if !host.is_here() {
            continue;
        }
        for kind in BOTH_KINDS {
            let room = Room::new();
            let server = Server::start(&room, host, kind);
            story(&server);
            assert_eq!(Client::connect(server.web).get("/quit").status, 200);
            server.wait().assert_quiet(0);
        }
    }
}

#[test]
fn page_tells_the_guests_name_and_counts_requests_on_one_connection() {
    with_each_kind(|server| {
        let mut client = Client::connect(server.web);
        for count in 1..=3 {
            let answer = client.get("/");
            assert!(answer.status == 200 && answer.keeps);
            assert!(answer.text().contains(&format!("<h1>{}</h1>", server.name)), "{}", answer.text());
            assert!(answer.text().contains(&format!("request {count}<")), "{}", answer.text());
        }
    });
}

#[test]
fn big_answer_arrives_whole_and_in_order() {
    with_each_kind(|server| {
        let content = Client::connect(server.web).get("/big").content;
        let expected: Vec<u8> = (0..=250).cycle().take(256 << 10).collect();
        assert!(content == expected, "{} bytes", content.len());
    });
}

#[test]
fn upload_comes_back_as_it_went() {
    with_each_kind(|server| {
        // No power of two is a period of it, so that no piece can be taken for another.
        let content: Vec<u8> = (0..=252).cycle().take(server.upload).collect();
        let mut client = Client::connect(server.web);
        let answer = client.post("/echo", &content);
        assert!(answer.content == content, "{} bytes", answer.content.len());
        assert_eq!(client.post("/echo", b"").content, b"");
    });
}

#[test]
fn connections_at_once_are_served_in_any_order() {
    with_each_kind(|server| {
        let mut clients: Vec<Client> = (0..16).map(|_| Client::connect(server.web)).collect();
        for client in &mut clients {
            client.send(b"GET / HTTP/1.1\r\n");
        }
        for client in clients.iter_mut().rev() {
            client.send(b"Host: guest\r\n\r\n");
            assert_eq!(client.answer().status, 200);
        }
    });
}

#[test]
fn connections_one_after_the_other_are_never_used_up() {
    with_each_kind(|server| {
        for _ in 0..100 {
            let mut client = Client::connect(server.web);
            client.send(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
            assert!(!client.answer().keeps);
            assert!(client.ends_quietly());
        }
    });
}

#[test]
fn requests_in_one_packet_are_answered_one_after_the_other() {
    with_each_kind(|server| {
        let mut client = Client::connect(server.web);
        client.send(b"GET / HTTP/1.1\r\n\r\nGET /nothing HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n");
        assert_eq!([client.answer(), client.answer(), client.answer()].map(|it| it.status), [200, 404, 200]);
    });
}

#[test]
fn request_that_is_none_is_refused_and_its_connection_closed() {
    with_each_kind(|server| {
        let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'x'; 4096]].concat();
        let wrong: [(&[u8], u16); 4] = [
            (b"nonsense\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            (&endless, 431),
        ];
        for (bytes, status) in wrong {
            let mut client = Client::connect(server.web);
            client.send(bytes);
            assert_eq!(client.answer().status, status);
        }
        assert_eq!(Client::connect(server.web).get("/").status, 200);
    });
}

#[test]
fn datagram_comes_back_to_its_sender() {
    with_each_kind(|server| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.set_read_timeout(Some(LIMIT)).expect("the limit is not zero");
        for (byte, len) in [(1, 1), (2, 100), (3, 1400)] {
            let content = vec![byte; len];
            socket.send_to(&content, server.echo).expect("it is this host");
            let mut bytes = [0; 2048];
            let (got, from) = socket.recv_from(&mut bytes).expect("the guest answers");
            assert_eq!((&bytes[..got], from), (&content[..], server.echo));
        }
    });
}
