//! A program for Linux inside a guest, which serves its system calls: it prints and ends as on this host.

use std::{fs, process::Command};

use crate::support::{BOTH_KINDS, Room};

const WORDS: [&str; 2] = ["one", "two words"];

#[test]
fn program_in_a_guest_prints_and_ends_as_on_the_host() {
    let program = fs::read(runu_guests::program_path()).expect("the guests were built here");
    let host = Command::new(runu_guests::program_path()).args(WORDS).env("GREETING", "good day").output();
    let host = host.expect("it is a program for this host");
    let printed = String::from_utf8([host.stdout, host.stderr].concat()).expect("it prints text");
    assert!(printed.ends_with("end\n"), "{printed}");
    for kind in BOTH_KINDS {
        let room = Room::new();
        let initrd = room.file("program", &program);
        let mut command = room.runu(&["run", "--memory", "64M", "--env", "GREETING=good day", "--initrd"]);
        let ended = room.finish(command.arg(initrd).arg(room.guest("loader", kind)).args(WORDS));
        ended.assert_quiet(host.status.code().expect("nothing ended it"));
        assert_eq!(ended.lines(), printed.lines().collect::<Vec<_>>());
    }
}

#[test]
fn file_that_is_no_program_is_told_and_nothing_else_happens() {
    for kind in BOTH_KINDS {
        for bytes in [&b"#!/bin/sh\n"[..], b"\x7fELF\x02\x01", &[0xff; 4096]] {
            let room = Room::new();
            let initrd = room.file("program", bytes);
            let mut command = room.runu(&["run", "--initrd"]);
            let ended = room.finish(command.arg(initrd).arg(room.guest("loader", kind)));
            ended.assert_quiet(1);
            assert_eq!(ended.lines(), ["the initrd is no static ELF64 program"]);
        }
    }
}
