//! Signals from outside end a guest, whatever it does, and leave nothing of it.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{BOTH_KINDS, GuestKind, Room, Running};

/// A guest that runs for ever, at its last line.
fn endless(room: &Room, name: &str, kind: GuestKind) -> Running {
    let kernel = room.guest(name, kind);
    let mut running = room.start(&mut room.run(&kernel, &[]));
    running.wait_for(if name == "idle" { "ready\r\n" } else { "interrupts off\r\n" });
    running
}

/// The status of `runu` when it gets the signal while the guest `name` runs.
#[track_caller]
fn assert_ended_by(signal: Signal, name: &str, status: i32) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let running = endless(&room, name, kind);
        running.signal(signal);
        let ended = running.wait();
        assert_eq!(ended.how.code(), Some(status), "{ended:?}");
    }
}

#[test]
fn idle_guest_on_term_ends_with_143() {
    assert_ended_by(Signal::TERM, "idle", 143);
}

#[test]
fn spinning_guest_on_term_ends_with_143() {
    assert_ended_by(Signal::TERM, "spin", 143);
}

#[test]
fn idle_guest_on_interrupt_ends_with_130() {
    assert_ended_by(Signal::INT, "idle", 130);
}

#[test]
fn spinning_guest_on_interrupt_ends_with_130() {
    assert_ended_by(Signal::INT, "spin", 130);
}

#[test]
fn idle_guest_on_hangup_ends_with_129() {
    assert_ended_by(Signal::HUP, "idle", 129);
}

#[test]
fn idle_guest_on_user_signal_goes_on() {
    let room = Room::new();
    let mut running = endless(&room, "idle", GuestKind::Multiboot);
    running.signal(Signal::USR1);
    assert!(running.goes_on_for(Duration::from_millis(200)));
    assert_eq!(running.stop().how.code(), Some(143));
}

#[test]
fn idle_guest_on_two_signals_ends_by_the_first() {
    let room = Room::new();
    let running = endless(&room, "idle", GuestKind::Multiboot);
    running.signal(Signal::INT);
    running.signal(Signal::TERM);
    let ended = running.wait();
    // Both may be there before either is read, and then the lower number is read first (signal(7)): SIGINT, too.
    assert_eq!(ended.how.code(), Some(130), "{ended:?}");
}

#[test]
fn guest_whose_runu_is_killed_ends_with_it() {
    for name in ["idle", "spin"] {
        let room = Room::new();
        let running = endless(&room, name, GuestKind::Multiboot);
        running.signal(Signal::KILL);
        assert_eq!(running.wait().status(), 137);
        room.remove_control_groups();
    }
}

#[test]
fn guest_whose_supervisor_is_killed_ends_with_137() {
    let room = Room::new();
    let running = endless(&room, "idle", GuestKind::Linux64);
    let [supervisor, _] = running.sandbox();
    rustix::process::kill_process(supervisor.pid, Signal::KILL).unwrap();
    running.wait().assert_error(137, "error: the guest's process was ended by signal 9\n");
}

#[test]
fn guest_whose_process_is_killed_ends_with_137() {
    let room = Room::new();
    let running = endless(&room, "spin", GuestKind::Linux64);
    let [_, guest] = running.sandbox();
    rustix::process::kill_process(guest.pid, Signal::KILL).unwrap();
    running.wait().assert_error(137, "error: the guest's process was ended by signal 9\n");
}

#[test]
fn guests_side_by_side_end_each_with_its_own_code() {
    let room = Room::new();
    let kernel = room.guest("hello", GuestKind::Multiboot);
    let code = |index: i32| format!("exit={}", 100 + index);
    let all: Vec<Running> =
        (0..8).map(|index| room.start(&mut room.run(&kernel, &["sleep=100", &code(index)]))).collect();
    let statuses: Vec<i32> = all.into_iter().map(|running| running.wait().status()).collect();
    assert_eq!(statuses, (100..108).collect::<Vec<_>>());
}
