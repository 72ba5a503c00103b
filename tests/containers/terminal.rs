//! The terminal of a container: handed over, controlling, resized.

use std::{
    fs::File,
    io::{IoSliceMut, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::{UnixListener, UnixStream},
    },
    process::Command,
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags},
    termios::Winsize,
};
use serde_json::json;

use crate::container::Container;

/// Creates a container with a terminal; the terminal's other end, and what came with it.
fn create(container: &Container) -> (OwnedFd, Vec<u8>) {
    let socket = container.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut command: Command = container.creation_with(&["--console-socket", socket.to_str().unwrap()]);
    assert!(command.status().unwrap().success(), "{}", container.console());
    let (peer, _) = listener.accept().unwrap();
    receive(&peer)
}

fn receive(peer: &UnixStream) -> (OwnedFd, Vec<u8>) {
    // Room for more than the one that must come: go-runc refuses any other number.
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 4096];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(peer, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors: Vec<OwnedFd> = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    assert_eq!(descriptors.len(), 1);
    let text = bytes.get(..received.bytes).unwrap().to_vec();
    (descriptors.remove(0), text)
}

fn with_terminal(guest: &str) -> Option<Container> {
    Container::new(guest, |config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({ "width": 132, "height": 43 });
    })
}

fn size(terminal: impl AsFd) -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(terminal).unwrap();
    (size.ws_col, size.ws_row)
}

#[test]
fn terminal_is_the_console_and_controls_the_containers_session() {
    let Some(container) = with_terminal("idle") else { return };
    let (master, text) = create(&container);
    assert!((1..4096).contains(&text.len()), "{text:?}");
    container.done(&["start"]);
    for process in [container.supervisor(), container.guest()] {
        let stat = process.read("stat");
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        // Session and controlling terminal are fields 6 and 7, counted from 1 with the state as 3 (proc_pid_stat(5)).
        assert_eq!(fields[3], container.supervisor().0.to_string(), "{stat}");
        assert_ne!(fields[4], "0", "{stat}");
    }
    for number in 0..2 {
        assert!(rustix::termios::isatty(
            File::open(container.guest().path(&format!("fd/{number}"))).unwrap()
        ));
    }
    drop(master);
}

#[test]
fn terminal_has_the_size_of_the_configuration_and_is_resized() {
    let Some(container) = with_terminal("idle") else { return };
    let (master, _) = create(&container);
    assert_eq!(size(&master), (132, 43));
    container.done(&["start"]);
    let console = File::options().read(true).open(container.guest().path("fd/0")).unwrap();
    rustix::termios::tcsetwinsize(&master, Winsize { ws_col: 80, ws_row: 25, ws_xpixel: 0, ws_ypixel: 0 })
        .unwrap();
    assert_eq!(size(&console), (80, 25));
    // The signal that comes with it ends nobody.
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn guest_reads_and_writes_its_terminal_and_its_end_closes_it() {
    let Some(container) = with_terminal("hello") else { return };
    let (master, _) = create(&container);
    container.done(&["start"]);
    let mut text = Vec::new();
    // Ends with EIO when nobody has the other end any more (pty(7) on Linux).
    let _ = File::from(master).read_to_end(&mut text);
    assert!(String::from_utf8_lossy(&text).contains("Hello from a unikernel"), "{text:?}");
    // Nothing of `create` itself on it, nor of the guest where `create` speaks.
    assert_eq!(container.console(), "");
}

#[test]
fn keys_of_the_terminal_end_the_guest_and_do_not_stop_it() {
    let Some(container) = with_terminal("idle") else { return };
    let (master, _) = create(&container);
    container.done(&["start"]);
    let mut master = File::from(master);
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"ready") {
        assert_eq!(master.read(&mut byte).unwrap(), 1);
        seen.push(byte[0]);
    }
    // Control and Z, which would stop a program of a shell, then control and C.
    master.write_all(b"\x1a\x03").unwrap();
    container.wait();
    assert_eq!(container.state()["annotations"]["dev.runu.end"], "ended by signal 2");
}

#[test]
fn terminal_whose_socket_is_not_there_leaves_nothing() {
    let Some(container) = with_terminal("idle") else { return };
    let mut command = container.creation_with(&["--console-socket", "/nonexistent/console.sock"]);
    assert_eq!(command.status().unwrap().code(), Some(1));
    assert!(container.logged().contains("/nonexistent/console.sock"), "{}", container.logged());
    container.nothing_left();
}
