//! Kernels that are no files one could read.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};

use crate::refusal::{IMAGE, USER, assert_kernel_refused, assert_refused};
use crate::support::room::set_mode;
use crate::support::user::{User, is_root};
use crate::support::{GuestKind, Room};

const CHECK_THE_PATH: &str = "hint: check the path";
const OPEN_TO_YOU: &str = "hint: the file and every folder on the way to it must be open to you";

#[test]
fn kernel_that_does_not_exist_is_refused() {
    let lines = [
        "error: cannot open kernel `/nonexistent/kernel`",
        "  cause: No such file or directory (os error 2)",
        CHECK_THE_PATH,
    ];
    assert_kernel_refused(&Room::new(), "/nonexistent/kernel".as_ref(), USER, &lines);
}

#[test]
fn kernel_below_a_file_is_refused() {
    let room = Room::new();
    room.file("file", b"x");
    let lines = ["error: cannot open kernel `file/kernel`", "  cause: Not a directory (os error 20)"];
    assert_kernel_refused(&room, "file/kernel".as_ref(), USER, &lines);
}

#[test]
fn kernel_that_is_a_folder_is_refused() {
    let lines = [
        "error: kernel `/` is a directory, not a regular file",
        "hint: name the kernel inside it, in a kraft image unikraft/bin/kernel",
    ];
    assert_kernel_refused(&Room::new(), "/".as_ref(), USER, &lines);
}

#[test]
fn kernel_that_is_a_device_is_refused() {
    let lines = ["error: kernel `/dev/zero` is a device", "hint: copy it to a regular file"];
    assert_kernel_refused(&Room::new(), "/dev/zero".as_ref(), USER, &lines);
}

#[test]
fn kernel_that_is_a_pipe_without_writer_is_refused_at_once() {
    let room = Room::new();
    rustix::fs::mknodat(CWD, room.path("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let lines = ["error: kernel `pipe` is a device, pipe or socket", "hint: copy it to a regular file"];
    assert_kernel_refused(&room, "pipe".as_ref(), USER, &lines);
}

#[test]
fn kernel_that_is_a_socket_is_refused() {
    let room = Room::new();
    let _listener = UnixListener::bind(room.path("socket")).unwrap();
    let ended = room.finish(&mut room.runu(&["inspect", "socket"]));
    assert_eq!(ended.status(), USER, "{ended:?}");
    assert!(ended.stderr.starts_with("error: cannot open kernel `socket`\n  cause: "), "{ended:?}");
}

#[test]
fn kernel_that_is_a_link_to_itself_is_refused() {
    let room = Room::new();
    symlink("loop", room.path("loop")).unwrap();
    let ended = room.finish(&mut room.runu(&["inspect", "loop"]));
    assert_eq!(ended.status(), USER, "{ended:?}");
    assert!(ended.stderr.starts_with("error: cannot open kernel `loop`\n  cause: Too many"), "{ended:?}");
}

#[test]
fn kernel_in_a_folder_closed_to_us_is_refused() {
    let room = Room::new();
    fs::create_dir(room.path("closed")).unwrap();
    room.file("closed/kernel", GuestKind::Multiboot.image("hello"));
    set_mode(&room.path("closed"), 0);
    let lines = ["error: cannot open kernel `closed/kernel`", "  cause: Permission denied", OPEN_TO_YOU];
    for verb in ["run", "inspect"] {
        let mut command = room.runu_as(ordinary(), &[verb, "closed/kernel"]);
        assert_refused(&room.finish(&mut command), USER, &lines);
    }
    set_mode(&room.path("closed"), 0o700);
}

#[test]
fn kernel_closed_to_us_is_refused() {
    let room = Room::new();
    set_mode(&room.guest("hello", GuestKind::Multiboot), 0);
    let lines = ["error: cannot open kernel `hello-multiboot`", "  cause: Permission denied", OPEN_TO_YOU];
    let mut command = room.runu_as(ordinary(), &["run", "hello-multiboot"]);
    assert_refused(&room.finish(&mut command), USER, &lines);
}

/// Someone to whom a file can be closed: nothing is to root.
fn ordinary() -> User {
    if is_root() { User::Nobody } else { User::Tester }
}

#[test]
fn kernel_without_bytes_is_refused() {
    let room = Room::new();
    room.file("kernel", b"");
    let lines = ["error: kernel `kernel` is empty", "hint: build or copy it again"];
    assert_kernel_refused(&room, "kernel".as_ref(), IMAGE, &lines);
}

#[test]
fn kernel_as_large_as_a_disk_is_refused_without_being_read() {
    let room = Room::new();
    // Without a single block on the disk.
    File::create(room.path("disk")).unwrap().set_len(1 << 40).unwrap();
    let lines = ["error: kernel `disk` has 1 TiB, more than 1 GiB"];
    let ended = room.finish(&mut room.runu(&["run", "disk"]));
    assert_eq!(ended.status(), IMAGE, "{ended:?}");
    assert!(ended.stderr.starts_with(lines[0]), "{ended:?}");
}

#[test]
fn kernel_in_a_working_folder_that_is_gone_is_refused() {
    let room = Room::new();
    let mut command = std::process::Command::new("sh");
    let script = "mkdir gone && cd gone && rmdir ../gone && exec \"$1\" run kernel";
    command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_runu")]);
    room.settle(&mut command);
    let lines = ["error: cannot open kernel `kernel`", "  cause: No such file or directory", CHECK_THE_PATH];
    assert_refused(&room.finish(&mut command), USER, &lines);
}

#[test]
fn kernel_whose_name_holds_control_characters_is_told_escaped() {
    let ended = {
        let room = Room::new();
        room.finish(&mut room.runu(&["inspect", "a\x1b[31m\nb"]))
    };
    let lines = ["error: cannot open kernel `a\\u{1b}[31m\\nb`", "  cause: No such file", CHECK_THE_PATH];
    assert_refused(&ended, USER, &lines);
}

#[test]
fn kernel_whose_name_is_not_text_is_told_escaped() {
    let lines = ["error: cannot open kernel `\\xff\\xfe`", "  cause: No such file", CHECK_THE_PATH];
    assert_kernel_refused(&Room::new(), OsStr::from_bytes(b"\xff\xfe").as_ref(), USER, &lines);
}
