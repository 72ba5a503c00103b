//! A file that is handed to the guest arrives whole.

use crate::bytes::{bytes, fnv1a};
use crate::support::{BOTH_KINDS, Room};

#[track_caller]
fn assert_arrives(count: usize, flags: &[&str]) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let bytes = bytes(count);
        let initrd = room.file("initrd", &bytes);
        let mut command = room.runu(&["run", "--initrd"]);
        let ended = room.finish(command.arg(initrd).args(flags).arg(kernel));
        ended.assert_quiet(0);
        let expected = format!("initrd {count} bytes, fnv1a {:016x}", fnv1a(&bytes));
        assert_eq!(ended.lines().last(), Some(&&*expected));
    }
}

#[test]
fn initrd_of_one_byte_arrives() {
    assert_arrives(1, &[]);
}

#[test]
fn initrd_of_a_whole_page_arrives() {
    assert_arrives(4096, &[]);
}

#[test]
fn initrd_that_ends_within_a_page_arrives() {
    assert_arrives(300_001, &[]);
}

#[test]
fn initrd_that_nearly_fills_the_memory_arrives() {
    assert_arrives(14 << 20, &["-m", "16M"]);
}
