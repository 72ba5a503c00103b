//! Arguments and variables that no guest would get as they are. A NUL cannot even reach `runu`: it ends an argument.

use crate::refusal::{USER, assert_refused};
use crate::support::{BOTH_KINDS, Room};

const LEAVE_OUT: &str = "hint: leave it out, or hand it over in a file of the initrd";

#[track_caller]
fn assert_words_refused(flags: &[&str], arguments: &[&str], lines: &[&str]) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let mut command = room.runu(&["run"]);
        assert_refused(&room.finish(command.args(flags).arg(kernel).args(arguments)), USER, lines);
    }
}

#[test]
fn argument_with_a_line_end_is_refused() {
    assert_words_refused(&[], &["a", "b\nc"], &["error: argument 2 holds a line end", LEAVE_OUT]);
}

#[test]
fn argument_that_is_empty_is_refused() {
    assert_words_refused(&[], &[""], &["error: argument 1 is empty", LEAVE_OUT]);
}

#[test]
fn arguments_that_are_too_many_are_refused() {
    let lines =
        ["error: the command line has 103 words: the kernel reads 60 and drops the rest", "hint: give fewer"];
    assert_words_refused(&[], &["x"; 100], &lines);
}

#[test]
fn arguments_that_are_too_long_are_refused() {
    let lines = ["error: the command line has ", "hint: give fewer or shorter arguments and variables"];
    assert_words_refused(&[], &[&"a".repeat(5000)], &lines);
}

#[test]
fn variable_with_a_line_end_is_refused() {
    let lines = ["error: the environment variable `A` holds a line end", LEAVE_OUT];
    assert_words_refused(&["-e", "A=b\nc"], &[], &lines);
}

#[test]
fn variable_without_name_is_refused() {
    let lines = ["error: the environment variable `` has a name that the kernel cannot read", LEAVE_OUT];
    assert_words_refused(&["-e", "=b"], &[], &lines);
}

#[test]
fn variables_that_are_too_many_are_refused() {
    let lines = ["error: 9 environment variables are too many: the kernel takes 8", "hint: give fewer"];
    assert_words_refused(&["-e", "A=1"].repeat(9), &[], &lines);
}

#[test]
fn name_of_a_kernel_with_a_line_end_is_refused() {
    let room = Room::new();
    room.file("a\nb", BOTH_KINDS[0].image("hello"));
    assert_refused(
        &room.finish(&mut room.runu(&["run", "a\nb"])),
        USER,
        &["error: the program name holds a line end", "hint: "],
    );
}
