//! Standard descriptors that are closed or take nothing.

use std::fs::File;
use std::process::Command;

use crate::refusal::{USER, assert_refused};
use crate::support::{GuestKind, Room};

/// A shell that becomes `runu` with these words and redirections, where `$1` is a kernel.
fn redirected(room: &Room, words: &str) -> Command {
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec \"$0\" {words}")).arg(env!("CARGO_BIN_EXE_runu")).arg(kernel);
    room.settle(&mut command);
    command
}

#[test]
fn closed_standard_output_is_refused() {
    for words in ["inspect \"$1\" >&-", "run \"$1\" >&-", "demo >&-", "demo <&- >&-"] {
        let room = Room::new();
        let lines = [
            "error: standard output is closed",
            "hint: send it somewhere, to /dev/null if it does not matter",
        ];
        assert_refused(&room.finish(&mut redirected(&room, words)), USER, &lines);
    }
}

#[test]
fn closed_standard_output_and_error_are_refused_without_a_word() {
    let room = Room::new();
    let ended = room.finish(&mut redirected(&room, "run \"$1\" <&- >&- 2>&-"));
    assert_refused(&ended, USER, &[]);
}

#[test]
fn closed_standard_input_and_error_do_not_disturb_a_guest() {
    for redirection in ["<&-", "2>&-", "<&- 2>&-"] {
        let room = Room::new();
        let ended = room.finish(&mut redirected(&room, &format!("run \"$1\" exit=6 {redirection}")));
        ended.assert_quiet(6);
        assert_eq!(ended.lines().last(), Some(&"argv[1] = exit=6"));
    }
}

#[test]
fn closed_standard_input_and_error_do_not_disturb_an_inspection() {
    let room = Room::new();
    let ended = room.finish(&mut redirected(&room, "inspect \"$1\" <&- 2>&-"));
    ended.assert_quiet(0);
    assert!(ended.lines()[0].starts_with("kind"), "{ended:?}");
}

#[test]
fn full_disk_is_an_error_where_output_is_ours() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    for words in [&["inspect"][..], &["inspect", "--json"]] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = room.finish(room.runu(words).arg(&kernel).stdout(full));
        ended.assert_error(USER, "error: cannot write to standard output\n  cause: No space left on device");
    }
    for words in ["--help", "--version", "demo"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = room.finish(room.runu(&[words]).stdout(full));
        ended.assert_error(USER, "error: cannot write to standard output\n  cause: No space left on device");
    }
}

#[test]
fn reader_that_has_gone_has_seen_enough() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    room.finish(room.runu(&["inspect"]).arg(kernel).stdout(writer)).assert_quiet(0);
}
