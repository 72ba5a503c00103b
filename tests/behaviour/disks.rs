//! Files are disks of a guest: what it reads is what they hold, what it writes is what they hold afterwards.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::bytes::{bytes, fnv1a};
use crate::support::user::{User, users};
use crate::support::{BOTH_KINDS, Ended, GuestKind, Room};

/// Bytes of a sector.
const SECTOR: usize = 512;

/// Runs our guest `disk` with these disks and arguments.
fn run(room: &Room, kind: GuestKind, disks: &[&str], arguments: &[&str]) -> Ended {
    let kernel = room.guest("disk", kind);
    let flags = disks.iter().flat_map(|disk| ["--disk", disk]);
    room.finish(room.runu(&["run"]).args(flags).arg(kernel).args(arguments))
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the test wrote it")
}

#[test]
fn disk_holds_what_its_guest_wrote_and_is_otherwise_as_it_was() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let before = bytes(100 * SECTOR);
        let (disk, second) = (room.file("disk", &before), room.file("second", &[7; 16 * SECTOR]));
        let ended = run(&room, kind, &["disk", "second"], &[]);
        ended.assert_quiet(0);
        assert_eq!(ended.lines().last(), Some(&"13 checks, 0 failed"), "{ended:?}");
        let after = read(&disk);
        // What the checks `write-many` and `write-through` leave, and what no check writes.
        let written = |index: usize, seed: u8| u8::try_from(index % 251).expect("it is small") ^ seed;
        let expected: Vec<u8> = (0..63 * SECTOR)
            .map(|index| written(index, 4))
            .chain((0..SECTOR).map(|index| written(index, 5)))
            .chain(before[64 * SECTOR..].iter().copied())
            .collect();
        assert!(after == expected, "{kind:?}");
        let second = read(&second);
        let changed = second.chunks(SECTOR).position(|sector| sector != [7; SECTOR]);
        assert_eq!((second.len(), changed), (16 * SECTOR, Some(7)));
    }
}

#[test]
fn disk_that_is_read_only_is_refused_writes_and_stays_as_it_was() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let before = bytes(64 * SECTOR);
        let disk = room.file("disk", &before);
        let ended = run(&room, kind, &["disk:ro"], &[]);
        ended.assert_quiet(0);
        assert_eq!(ended.lines()[7..], ["ok refused", "8 checks, 0 failed"], "{ended:?}");
        assert!(read(&disk) == before);
    }
}

#[test]
fn disk_arrives_whole_whatever_its_size() {
    for kind in BOTH_KINDS {
        for sectors in [1, 64, 65, 4097] {
            let room = Room::new();
            let content = bytes(sectors * SECTOR);
            room.file("disk", &content);
            let ended = run(&room, kind, &["disk:ro"], &["sum"]);
            ended.assert_quiet(0);
            assert_eq!(ended.lines(), [format!("{sectors} sectors, fnv1a {:016x}", fnv1a(&content))]);
        }
    }
}

#[test]
fn disk_of_more_than_a_program_may_hold_in_memory_works_at_its_end() {
    let room = Room::new();
    let disk = room.file("disk", &[]);
    let file = fs::File::options().write(true).open(disk).expect("the test wrote it");
    file.set_len(1 << 40).expect("a hole takes no room");
    run(&room, GuestKind::Linux64, &["disk"], &["last", "beyond"]).assert_quiet(0);
}

#[test]
fn disks_as_many_as_there_may_be_are_found_and_read_only_ones_are_shared() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        room.file("disk", &bytes(64 * SECTOR));
        run(&room, kind, &["disk:ro"; 8], &["size", "last"]).assert_quiet(0);
    }
}

#[test]
fn disk_of_a_file_that_became_shorter_fails_and_the_guest_goes_on() {
    let room = Room::new();
    let disk = room.file("disk", &bytes(64 * SECTOR));
    let kernel = room.guest("disk", GuestKind::Multiboot);
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut running = room.start(room.runu(&["run", "--disk", "disk"]).arg(kernel).arg("wait").stdin(reader));
    running.wait_for("waiting\r\n");
    fs::File::options().write(true).open(disk).expect("it is ours").set_len(1024).expect("it is ours");
    writer.write_all(b"\n").unwrap();
    running.wait_for("sector 0 cannot be read\r\n");
    assert_eq!(running.wait().status(), 1);
}

#[test]
fn disk_works_for_every_user_who_may_use_its_file() {
    for user in users() {
        let room = Room::new();
        let disk = room.file("disk", &bytes(64 * SECTOR));
        let kernel = room.guest("disk", GuestKind::Linux64);
        let run = |name: &str| room.finish(room.runu_as(user, &["run", "--disk", name]).arg(&kernel));
        run("disk:ro").assert_quiet(0);
        if user == User::Nobody {
            std::os::unix::fs::chown(&disk, Some(65534), None).expect("root may");
        }
        run("disk").assert_quiet(0);
    }
}

#[test]
fn guest_without_a_disk_finds_none() {
    for kind in BOTH_KINDS {
        let ended = run(&Room::new(), kind, &[], &[]);
        ended.assert_quiet(101);
        assert_eq!(ended.lines(), ["no disk"]);
    }
}
