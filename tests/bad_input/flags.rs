//! Command lines that mean nothing.

use crate::refusal::{USER, assert_refused};
use crate::support::Room;

#[track_caller]
fn assert_flags_refused(words: &[&str], error: &str, hint: &str) {
    let room = Room::new();
    assert_refused(&room.finish(&mut room.runu(words)), USER, &[error, hint]);
}

#[test]
fn verb_that_does_not_exist_is_refused() {
    assert_flags_refused(&["fly"], "error: unrecognized subcommand 'fly'", "hint: `runu --help` lists verbs");
}

#[test]
fn flag_that_does_not_exist_is_refused() {
    assert_flags_refused(&["run", "--fly", "kernel"], "error: unexpected argument '--fly' found", "hint: ");
    assert_flags_refused(&["inspect", "-x", "kernel"], "error: unexpected argument '-x' found", "hint: ");
}

#[test]
fn monitor_that_does_not_exist_is_refused() {
    let error = "error: invalid value 'xen' for '--monitor <MONITOR>' [possible values: auto, process]";
    assert_flags_refused(&["run", "--monitor", "xen", "kernel"], error, "hint: ");
}

#[test]
fn kernel_that_is_not_named_is_refused() {
    let error = "error: the following required arguments were not provided: <KERNEL>";
    assert_flags_refused(&["run"], error, "hint: ");
    assert_flags_refused(
        &["inspect"],
        "error: the following required arguments were not provided: <FILE>",
        "hint: ",
    );
}

#[test]
fn kernel_with_an_empty_name_is_refused() {
    let room = Room::new();
    let lines = ["error: cannot open kernel ``", "  cause: No such file or directory", "hint: "];
    assert_refused(&room.finish(&mut room.runu(&["run", ""])), USER, &lines);
}

#[test]
fn nothing_at_all_is_answered_with_the_verbs() {
    let room = Room::new();
    let ended = room.finish(&mut room.runu(&[]));
    assert_eq!((ended.status(), ended.stdout.len()), (USER, 0));
    assert!(ended.stderr.contains("Usage: runu [OPTIONS] <COMMAND>"), "{ended:?}");
}
