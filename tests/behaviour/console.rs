//! What a guest is told, as it tells itself on its console.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::support::{BOTH_KINDS, GuestKind, Room};

const MULTIBOOT_BANNER: &str = "Hello from a unikernel, booted by multiboot";
const LINUX64_BANNER: &str = "Hello from a unikernel, booted as Linux is";

#[test]
fn multiboot_kernel_without_arguments_greets_and_powers_off() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let ended = room.finish(&mut room.run(&kernel, &[]));
    ended.assert_quiet(0);
    assert_eq!(ended.lines(), [MULTIBOOT_BANNER, "argv[0] = hello-multiboot"]);
}

#[test]
fn linux64_kernel_without_arguments_greets_and_powers_off() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Linux64);
    let ended = room.finish(&mut room.run(&kernel, &[]));
    ended.assert_quiet(0);
    assert_eq!(ended.lines(), [LINUX64_BANNER, "argv[0] = hello-linux64"]);
}

#[test]
fn console_lines_end_as_on_a_serial_line() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let ended = room.finish(&mut room.run(&kernel, &[]));
    assert_eq!(ended.stdout, format!("{MULTIBOOT_BANNER}\r\nargv[0] = hello-multiboot\r\n").as_bytes());
}

#[test]
fn arguments_that_look_like_syntax_arrive_exactly() {
    let arguments = [
        "two words",
        "\"quoted\"",
        "'single'",
        "back\\slash",
        "\\",
        "\"",
        "\\\"",
        "tab\there",
        "a  b",
        "--",
        "-m",
        "--help",
        "x=y",
        "$HOME",
        "*",
        "#",
        "[",
        "]",
        "[ a ]",
        "env.vars=A=b",
        "grüße",
        ";ls",
        "`ls`",
    ];
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let ended = room.finish(&mut room.run(&kernel, &arguments));
        ended.assert_quiet(0);
        let expected: Vec<String> =
            arguments.iter().enumerate().map(|(at, text)| format!("argv[{}] = {text}", at + 1)).collect();
        assert_eq!(ended.lines()[2..], expected);
    }
}

#[test]
fn argument_with_every_byte_that_may_be_in_one_arrives_exactly() {
    let bytes: Vec<u8> = (1..=u8::MAX).filter(|byte| *byte != b'\n').collect();
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let ended = room.finish(room.run(&kernel, &[]).arg(OsStr::from_bytes(&bytes)));
    ended.assert_quiet(0);
    let expected = [b"argv[1] = ", bytes.as_slice(), b"\r\n"].concat();
    assert!(ended.stdout.ends_with(&expected), "{ended:?}");
}

#[test]
fn first_separator_behind_the_kernel_is_not_handed_on() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let ended = room.finish(&mut room.run(&kernel, &["--", "--", "a"]));
    assert_eq!(ended.lines()[2..], ["argv[1] = --", "argv[2] = a"]);
}

#[test]
fn variables_arrive_exactly_and_in_order() {
    let variables = ["A=b", "B=", "SPACE=d e", "QUOTE=\"\\'", "EQUAL=a=b", "LIST=[ x ]"];
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let flags = variables.iter().flat_map(|variable| ["-e", variable]);
        let mut command = room.runu(&["run"]);
        command.args(flags).arg(kernel).arg("x");
        let ended = room.finish(&mut command);
        ended.assert_quiet(0);
        let expected = variables.map(|variable| format!("env {variable}"));
        assert_eq!(ended.lines()[3..], expected);
    }
}

#[test]
fn variable_without_value_is_ours_or_absent() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let mut command = room.runu(&["run", "-e", "OURS", "-e", "NOT_OURS"]);
    let ended = room.finish(command.arg(kernel).env("OURS", "a value").env_remove("NOT_OURS"));
    assert_eq!(ended.lines()[2..], ["env OURS=a value"]);
}

#[test]
fn variables_of_ours_that_are_not_named_stay_ours() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Linux64);
    let ended = room.finish(room.run(&kernel, &[]).env("SECRET", "ours"));
    assert_eq!(ended.lines(), [LINUX64_BANNER, "argv[0] = hello-linux64"]);
}

#[test]
fn command_line_of_the_greatest_length_arrives_whole() {
    // `hello-multiboot runu -- ` and the argument are 4095 bytes together.
    let argument = "x".repeat(4095 - "hello-multiboot runu -- ".len());
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let ended = room.finish(&mut room.run(&kernel, &[&argument]));
    ended.assert_quiet(0);
    assert_eq!(ended.lines()[2], format!("argv[1] = {argument}"));
}

#[test]
fn processor_of_either_kind_passes_the_guest_s_own_checks() {
    // `sysret` goes to privilege level 3, which LIMITATIONS.md excludes.
    assert_checks_pass("cpu", &["-sysret"]);
}

#[test]
fn page_tables_of_either_kind_pass_the_guest_s_own_checks() {
    assert_checks_pass("paging", &[]);
}

/// Runs a guest that prints a line for each of its checks and ends with the number of failures.
fn assert_checks_pass(name: &str, arguments: &[&str]) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest(name, kind);
        let ended = room.finish(&mut room.run(&kernel, arguments));
        let lines = ended.lines();
        let (last, checks) = lines.split_last().expect("it prints");
        assert!(checks.iter().all(|line| line.starts_with("ok ")), "{ended:#?}");
        assert_eq!(*last, format!("{} checks, 0 failed", checks.len()));
        assert!(checks.len() > 20, "{checks:?}");
        ended.assert_quiet(0);
    }
}
