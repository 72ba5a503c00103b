//! Where a guest's console can go, and that a bad reader changes nothing for the guest.

use std::fs::File;
use std::io::Read;

use rustix::fs::OFlags;

use crate::support::{GuestKind, Room};

/// Attacks on itself that make `hostile` print ten lines each.
const LONG: [&str; 50] = ["syscall"; 50];

/// The least that a pipe can hold.
const PIPE: usize = 4096;

/// What `hostile` prints for [`LONG`], through a file, which takes everything.
fn long_output(room: &Room) -> Vec<u8> {
    let kernel = room.guest("hostile", GuestKind::Multiboot);
    let file = room.path("console");
    let writer = File::create(&file).expect("the room is ours");
    let ended = room.finish(room.run(&kernel, &LONG).stdout(writer));
    ended.assert_quiet(0);
    let output = std::fs::read(file).expect("the room is ours");
    assert!(output.len() > 4 * PIPE, "no pipe will be full: {}", output.len());
    output
}

#[test]
fn output_larger_than_its_pipe_arrives_whole() {
    let room = Room::new();
    let expected = long_output(&room);
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE).unwrap();
    let kernel = room.path("hostile-multiboot");
    let running = room.start(room.run(&kernel, &LONG).stdout(writer));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    running.wait().assert_quiet(0);
    assert_eq!((read.len(), read == expected), (expected.len(), true));
}

#[test]
fn output_larger_than_a_pipe_that_does_not_block_arrives_whole() {
    let room = Room::new();
    let expected = long_output(&room);
    let (mut reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE).unwrap();
    rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let kernel = room.path("hostile-multiboot");
    let running = room.start(room.run(&kernel, &LONG).stdout(writer));
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    running.wait().assert_quiet(0);
    assert_eq!((read.len(), read == expected), (expected.len(), true));
}

#[test]
fn output_without_reader_does_not_end_the_guest() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    room.finish(room.run(&kernel, &["exit=3"]).stdout(writer)).assert_quiet(3);
}

#[test]
fn output_to_a_full_disk_does_not_end_the_guest() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Linux64);
    let full = File::options().write(true).open("/dev/full").unwrap();
    room.finish(room.run(&kernel, &["exit=3"]).stdout(full)).assert_quiet(3);
}

#[test]
fn output_of_a_guest_comes_while_it_runs() {
    let room = Room::new();
    let kernel = room.guest("idle", GuestKind::Multiboot);
    let mut running = room.start(&mut room.run(&kernel, &[]));
    running.wait_for("ready\r\n");
    running.stop();
}

/// Console ports are used without asking the monitor: what a guest writes must come all the same, however it goes on.
#[test]
fn output_of_a_guest_that_computes_comes_piece_by_piece() {
    for kind in [GuestKind::Multiboot, GuestKind::Linux64] {
        let room = Room::new();
        let kernel = room.guest("spin", kind);
        let mut running = room.start(&mut room.run(&kernel, &["pieces"]));
        running.wait_for("a piece, ");
        for _ in 0..3 {
            running.wait_for("and the rest\r\n");
        }
        running.wait_for("about to loop with interrupts off\r\n");
        running.stop();
    }
}

#[test]
fn standard_error_of_a_guest_that_ends_well_stays_empty() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    room.finish(room.run(&kernel, &[]).stdout(std::process::Stdio::null())).assert_quiet(0);
}
