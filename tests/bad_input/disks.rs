//! Files that cannot be a guest's disks.

use rustix::fs::{CWD, FileType, Mode};

use crate::refusal::{USER, assert_refused};
use crate::support::user::{User, users};
use crate::support::{GuestKind, Room, skip};

#[track_caller]
fn assert_disks_refused(room: &Room, disks: &[&str], lines: &[&str]) {
    let kernel = room.guest("hello", GuestKind::Linux64);
    let flags = disks.iter().flat_map(|disk| ["--disk", disk]);
    assert_refused(&room.finish(room.runu(&["run"]).args(flags).arg(kernel)), USER, lines);
}

#[test]
fn disk_that_does_not_exist_is_refused() {
    let lines = [
        "error: cannot open disk `/nonexistent`",
        "  cause: No such file or directory",
        "hint: check the path",
    ];
    assert_disks_refused(&Room::new(), &["/nonexistent"], &lines);
    assert_disks_refused(&Room::new(), &["/nonexistent:ro"], &lines);
}

#[test]
fn disk_that_is_a_folder_is_refused() {
    let lines = ["error: disk `/` is a directory, not a regular file", "hint: make an image of it"];
    assert_disks_refused(&Room::new(), &["/"], &lines);
    assert_disks_refused(&Room::new(), &["/:ro"], &lines);
}

#[test]
fn disk_that_is_a_pipe_is_refused() {
    let room = Room::new();
    rustix::fs::mknodat(CWD, room.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let lines = ["error: disk `pipe` is a device, pipe or socket, not a regular file", "hint: copy it"];
    assert_disks_refused(&room, &["pipe"], &lines);
    assert_disks_refused(&room, &["pipe:ro"], &lines);
}

#[test]
fn disk_that_may_not_be_written_is_refused() {
    if !users().contains(&User::Nobody) {
        return skip("whoever runs the tests may write to every file of theirs");
    }
    let room = Room::new();
    room.file("disk", &[0; 512]);
    let kernel = room.guest("hello", GuestKind::Linux64);
    let ended = room.finish(room.runu_as(User::Nobody, &["run", "--disk", "disk"]).arg(kernel));
    let lines = [
        "error: cannot open disk `disk`",
        "  cause: Permission denied",
        "hint: the file must be writable to you; write FILE:ro",
    ];
    assert_refused(&ended, USER, &lines);
}

#[test]
fn disk_without_bytes_is_refused() {
    let room = Room::new();
    room.file("disk", b"");
    assert_disks_refused(&room, &["disk"], &["error: disk `disk` is empty", "hint: give it a size"]);
}

#[test]
fn disk_that_ends_within_a_sector_is_refused() {
    let room = Room::new();
    room.file("disk", &[0; 513]);
    let lines = ["error: disk `disk` has 513 bytes, not a multiple of 512 bytes", "hint: make it longer"];
    assert_disks_refused(&room, &["disk"], &lines);
}

#[test]
fn disk_given_twice_is_refused() {
    let room = Room::new();
    room.file("disk", &[0; 512]);
    let lines = ["error: disk `disk` is in use", "hint: only guests that all have it as FILE:ro"];
    for disks in [["disk", "disk"], ["disk:ro", "disk"], ["disk", "disk:ro"]] {
        assert_disks_refused(&room, &disks, &lines);
    }
}

#[test]
fn disks_more_than_a_guest_has_room_for_are_refused() {
    let room = Room::new();
    room.file("disk", &[0; 512]);
    let lines = ["error: 9 disks are too many: a guest has 8 at most", "hint: give fewer"];
    assert_disks_refused(&room, &["disk:ro"; 9], &lines);
}
