//! Standard input is what a guest reads from its serial port.

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use crate::support::{BOTH_KINDS, GuestKind, Room};

#[test]
fn line_that_waits_before_the_guest_starts_reaches_it() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"two words\n").unwrap();
        let ended = room.finish(room.run(&kernel, &["echo"]).stdin(reader));
        ended.assert_quiet(0);
        assert_eq!(ended.lines().last(), Some(&"echo: two words"));
    }
}

#[test]
fn line_that_comes_while_the_guest_waits_wakes_it() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut running = room.start(room.run(&kernel, &["echo", "exit=4"]).stdin(reader));
        running.wait_for("echo: ");
        writer.write_all(b"late\n").unwrap();
        let ended = running.wait();
        ended.assert_quiet(4);
        assert_eq!(ended.lines().last(), Some(&"echo: late"));
    }
}

#[test]
fn line_longer_than_the_port_s_buffer_reaches_the_guest_whole() {
    let line = "0123456789".repeat(20);
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writeln!(writer, "{line}").unwrap();
    let ended = room.finish(room.run(&kernel, &["echo"]).stdin(reader));
    assert_eq!(ended.lines().last(), Some(&&*format!("echo: {line}")));
}

#[test]
fn line_from_a_file_reaches_the_guest() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Linux64);
    let input = room.file("input", b"from a file\nand more\n");
    let ended = room.finish(room.run(&kernel, &["echo"]).stdin(File::open(input).unwrap()));
    assert_eq!(ended.lines().last(), Some(&"echo: from a file"));
}

#[test]
fn input_that_ends_without_a_line_leaves_the_guest_waiting() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let mut running = room.start(&mut room.run(&kernel, &["echo"]));
    running.wait_for("echo: ");
    assert!(running.goes_on_for(Duration::from_millis(300)));
    assert_eq!(running.stop().how.code(), Some(143));
}
