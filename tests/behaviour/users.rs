//! What works for root works for an ordinary user.

use rustix::process::Signal;

use crate::support::user::users;
use crate::support::{BOTH_KINDS, GuestKind, Room};

#[test]
fn guests_of_either_kind_run_for_every_user() {
    for user in users() {
        for kind in BOTH_KINDS {
            let room = Room::new();
            for (name, status) in
                [("hello", 0), ("timer", 0), ("paging", 0), ("hang", 134), ("triple-fault", 134)]
            {
                let kernel = room.guest(name, kind);
                let ended = room.finish(room.runu_as(user, &["run"]).arg(kernel));
                assert_eq!(ended.status(), status, "{user:?} {ended:?}");
                assert!(!ended.stdout.is_empty(), "{user:?} {ended:?}");
            }
        }
    }
}

#[test]
fn exit_code_arrives_for_every_user() {
    for user in users() {
        let room = Room::new();
        let kernel = room.guest("hello", GuestKind::Multiboot);
        room.finish(room.runu_as(user, &["run"]).arg(kernel).arg("exit=77")).assert_quiet(77);
    }
}

#[test]
fn signal_ends_the_guest_of_every_user() {
    for user in users() {
        let room = Room::new();
        let kernel = room.guest("idle", GuestKind::Linux64);
        let mut running = room.start(room.runu_as(user, &["run"]).arg(kernel));
        running.wait_for("ready\r\n");
        running.signal(Signal::TERM);
        assert_eq!(running.wait().how.code(), Some(143), "{user:?}");
    }
}

#[test]
fn guest_of_every_user_ends_when_runu_is_killed() {
    for user in users() {
        let room = Room::new();
        let kernel = room.guest("spin", GuestKind::Linux64);
        let mut running = room.start(room.runu_as(user, &["run"]).arg(kernel));
        running.wait_for("interrupts off\r\n");
        running.signal(Signal::KILL);
        assert_eq!(running.wait().status(), 137, "{user:?}");
        room.remove_control_groups();
    }
}

#[test]
fn demo_runs_for_every_user() {
    for user in users() {
        let room = Room::new();
        let ended = room.finish(&mut room.runu_as(user, &["demo"]));
        ended.assert_quiet(0);
        assert_eq!(ended.lines()[0], "Hello from a unikernel, booted by multiboot", "{user:?}");
    }
}
