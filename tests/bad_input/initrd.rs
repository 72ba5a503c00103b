//! Initrds that cannot be handed over.

use crate::refusal::{IMAGE, USER, assert_refused};
use crate::support::{GuestKind, Room};

#[track_caller]
fn assert_initrd_refused(room: &Room, flags: &[&str], status: i32, lines: &[&str]) {
    let kernel = room.guest("hello", GuestKind::Linux64);
    assert_refused(&room.finish(room.runu(&["run"]).args(flags).arg(kernel)), status, lines);
}

#[test]
fn initrd_larger_than_memory_is_refused() {
    let room = Room::new();
    room.file("initrd", &vec![0; 3 << 20]);
    let lines = [
        "error: the initrd of 3 MiB does not fit into 2 MiB of memory: the kernel leaves ",
        "hint: give more memory with -m",
    ];
    assert_initrd_refused(&room, &["-m", "2M", "--initrd", "initrd"], USER, &lines);
}

#[test]
fn initrd_that_does_not_exist_is_refused() {
    let lines = [
        "error: cannot open initrd `/nonexistent`",
        "  cause: No such file or directory",
        "hint: check the path",
    ];
    assert_initrd_refused(&Room::new(), &["--initrd", "/nonexistent"], USER, &lines);
}

#[test]
fn initrd_that_is_a_folder_is_refused() {
    let lines = ["error: initrd `/` is a directory, not a regular file", "hint: "];
    assert_initrd_refused(&Room::new(), &["--initrd", "/"], USER, &lines);
}

#[test]
fn initrd_without_bytes_is_refused() {
    let room = Room::new();
    room.file("initrd", b"");
    let lines = ["error: initrd `initrd` is empty", "hint: build or copy it again"];
    assert_initrd_refused(&room, &["--initrd", "initrd"], IMAGE, &lines);
}
