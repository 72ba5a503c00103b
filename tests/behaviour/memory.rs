//! Sizes of memory and how they are written.

use crate::support::{BOTH_KINDS, GuestKind, Room};

#[test]
fn memory_from_the_least_to_the_most_suits_a_small_guest() {
    for size in ["2M", "3M", "16M", "65M", "512M", "2047M", "3G", "5G"] {
        for kind in BOTH_KINDS {
            let room = Room::new();
            let kernel = room.guest("hello", kind);
            let ended = room.finish(room.runu(&["run", "-m", size]).arg(kernel).arg("exit=9"));
            ended.assert_quiet(9);
        }
    }
}

#[test]
fn memory_written_in_any_unit_is_the_same_memory() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    for size in ["16777216", "16777216b", "16384k", "16384KiB", "16m", "16MB", "16MiB"] {
        // 14 MiB of initrd fit into 16 MiB beside the kernel, and not into less.
        let initrd = room.file("initrd", &vec![0xaa; 14 << 20]);
        let mut command = room.runu(&["run", "--memory", size, "--initrd"]);
        room.finish(command.arg(initrd).arg(&kernel).arg("exit=9")).assert_quiet(9);
    }
}

#[test]
fn page_tables_with_much_memory_pass_the_guest_s_own_checks() {
    let room = Room::new();
    let kernel = room.guest("paging", GuestKind::Linux64);
    let ended = room.finish(room.runu(&["run", "-m", "1G"]).arg(kernel));
    ended.assert_quiet(0);
    assert!(ended.lines().last().is_some_and(|line| line.ends_with(" checks, 0 failed")), "{ended:?}");
}
