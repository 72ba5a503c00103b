//! `inspect`, `demo` and `--debug`: what is told of a guest.

use crate::support::{BOTH_KINDS, GuestKind, Room};
use runu_guests::ALL;
use serde_json::Value;

#[test]
fn inspect_of_every_own_guest_tells_that_it_can_run() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        for guest in ALL {
            let kernel = room.guest(guest.name, kind);
            let ended = room.finish(room.runu(&["inspect", "--json"]).arg(kernel));
            ended.assert_quiet(0);
            let told: Value = serde_json::from_slice(&ended.stdout).unwrap();
            assert_eq!(told["boot"], kind.name(), "{told}");
            assert_eq!(told["arch"], "x86_64", "{told}");
            assert_eq!(told["monitors"][0]["runs"], true, "{told}");
        }
    }
}

#[test]
fn inspect_for_people_names_kind_and_boot_protocol() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Linux64);
    let ended = room.finish(room.runu(&["inspect"]).arg(kernel));
    ended.assert_quiet(0);
    let lines = ended.lines();
    let told =
        |name: &str, value: &str| lines.iter().any(|line| line.starts_with(name) && line.contains(value));
    assert!(told("kind", "runu's own guest `hello`"), "{lines:#?}");
    assert!(told("boot protocol", "Linux, 64-bit entry"), "{lines:#?}");
    assert!(told("monitor", "process"), "{lines:#?}");
}

#[test]
fn demo_of_either_kind_tells_guest_monitor_and_end() {
    for (kind, banner) in [("multiboot", "booted by multiboot"), ("linux64", "booted as Linux is")] {
        let room = Room::new();
        let ended = room.finish(&mut room.runu(&["demo", "--kind", kind]));
        ended.assert_quiet(0);
        let lines = ended.lines();
        let told =
            |name: &str, value: &str| lines.iter().any(|line| line.starts_with(name) && line.contains(value));
        assert_eq!(lines[0], format!("Hello from a unikernel, {banner}"));
        assert!(told("guest", "runu's own guest `hello`"), "{lines:#?}");
        assert!(told("monitor", "process"), "{lines:#?}");
        assert!(told("end", "powered off, exit status 0"), "{lines:#?}");
    }
}

#[test]
fn debug_tells_on_stderr_and_leaves_the_console_alone() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let plain = room.finish(room.runu(&["run"]).arg(&kernel).arg("exit=5"));
    let debug = room.finish(room.runu(&["run", "--debug"]).arg(&kernel).arg("exit=5"));
    assert_eq!((debug.status(), &debug.stdout), (5, &plain.stdout));
    assert!(debug.stderr.lines().all(|line| line.starts_with("debug: ")), "{debug:?}");
    assert!(debug.stderr.ends_with("debug: end: exit code 5\n"), "{debug:?}");
}
