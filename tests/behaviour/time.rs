//! Guests sleep, wake in time, and cost nothing meanwhile.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::process::Process;
use crate::support::{BOTH_KINDS, GuestKind, Room};

#[test]
fn guest_that_sleeps_wakes_no_earlier_than_it_wanted() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hello", kind);
        let began = Instant::now();
        let ended = room.finish(&mut room.run(&kernel, &["sleep=300"]));
        ended.assert_quiet(0);
        assert_eq!(ended.lines().last(), Some(&"slept"));
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    }
}

#[test]
fn timer_of_either_mode_ticks_as_often_as_it_should() {
    let slept = (1..=5).map(|sleep| format!("slept {sleep}, ticks {sleep}"));
    let expected: Vec<String> = slept.chain((1..=10).map(|tick| format!("tick {tick}"))).collect();
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("timer", kind);
        let began = Instant::now();
        let ended = room.finish(&mut room.run(&kernel, &[]));
        ended.assert_quiet(0);
        assert_eq!(ended.lines(), expected);
        // Five times 20 ms; the first of ten periods of 10 ms may have begun before it was waited for.
        assert!(began.elapsed() >= Duration::from_millis(5 * 20 + 9 * 10), "{:?}", began.elapsed());
    }
}

#[test]
fn local_apic_does_what_kernels_want_of_it() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("apic", kind);
        let ended = room.finish(&mut room.run(&kernel, &[]));
        ended.assert_quiet(0);
        assert_eq!(ended.lines().last(), Some(&"36 checks, 0 failed"), "{:?}", ended.lines());
    }
}

/// Processor time of the process of an idle guest with this input, during the life of another guest that sleeps for a
/// second.
fn ticks_in_a_second_of(arguments: &[&str], kind: GuestKind, input: Stdio) -> u64 {
    let room = Room::new();
    let (idle, clock) = (room.guest("idle", kind), room.guest("hello", kind));
    let mut running = room.start(room.run(&idle, arguments).stdin(input));
    running.wait_for("ready\r\n");
    let [_, guest] = running.sandbox();
    let ticks = || Process::find(guest.pid).expect("it runs").ticks;
    let before = ticks();
    room.finish(&mut room.run(&clock, &["sleep=1000"])).assert_quiet(0);
    let used = ticks() - before;
    running.stop();
    used
}

#[test]
fn guest_that_waits_for_ever_uses_no_processor_time() {
    for kind in BOTH_KINDS {
        assert_eq!(ticks_in_a_second_of(&[], kind, Stdio::null()), 0);
    }
}

#[test]
fn guest_that_waits_for_ever_for_input_that_has_ended_uses_no_processor_time() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    assert_eq!(ticks_in_a_second_of(&[], GuestKind::Multiboot, reader.into()), 0);
}

#[test]
fn guest_that_waits_for_ever_with_input_that_it_does_not_read_uses_no_processor_time() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&[b'x'; 4096]).unwrap();
    assert_eq!(ticks_in_a_second_of(&[], GuestKind::Linux64, reader.into()), 0);
}

#[test]
fn guest_that_wakes_twenty_times_a_second_uses_hardly_any_processor_time() {
    for kind in BOTH_KINDS {
        let ticks = ticks_in_a_second_of(&["tick=50"], kind, Stdio::null());
        assert!(ticks <= 2, "{ticks} ticks of 10 ms");
    }
}
