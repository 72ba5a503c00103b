//! A program for Linux inside a guest, which serves its system calls: it prints and ends as on this host.

use std::process::Command;

use crate::support::{BOTH_KINDS, Room};

const WORDS: [&str; 2] = ["one", "two words"];

#[test]
fn program_in_a_guest_prints_and_ends_as_on_the_host() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        // Written by a process of its own: no file can be run that is open for writing, and what another test starts meanwhile
        // has all files of this process open for a moment.
        let (written, initrd) = (room.file("written", runu_guests::PROGRAM), room.path("program"));
        let mut install = Command::new("install");
        room.settle(&mut install);
        assert_eq!(room.finish(install.args(["-m", "755"]).args([&written, &initrd])).status(), 0);
        let mut program = Command::new(&initrd);
        room.settle(&mut program);
        let host = room.finish(program.args(WORDS).env("GREETING", "good day"));
        assert_eq!(host.stderr, "end\n");
        let printed = [host.lines().join("\n").as_str(), "end"].join("\n");
        let mut command = room.runu(&["run", "--memory", "64M", "--env", "GREETING=good day", "--initrd"]);
        let ended = room.finish(command.arg(initrd).arg(room.guest("loader", kind)).args(WORDS));
        ended.assert_quiet(host.status());
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
