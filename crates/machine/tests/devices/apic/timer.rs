//! Its timer (§11.5.4). Where nothing is divided a count is a nanosecond.

use runu_machine::Nanos;

use super::{BY_1, Bench, MASKED, register};

const VECTOR: u32 = 0x40;
const TAKEN: Option<u8> = Some(0x40);
const PERIODIC: u32 = 1 << 17;

/// A PC with this timer, and no other: the controllers are masked.
fn with_timer(bits: u32, divide: u32, count: u32) -> Bench {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x21, 0xff);
    bench.set_apic(register::DIVIDE, divide);
    bench.set_apic(register::TIMER, VECTOR | bits);
    bench.set_apic(register::INITIAL, count);
    bench
}

fn taken_at(bench: &mut Bench, ns: u64) -> Option<u8> {
    bench.at_ns(ns);
    let taken = bench.interrupt();
    bench.set_apic(register::END, 0);
    taken
}

#[test]
fn one_shot_interrupts_once_when_its_count_is_over() {
    let mut bench = with_timer(0, BY_1, 1000);
    assert_eq!(bench.pc.next_deadline(), Some(Nanos(1000)));
    assert_eq!(taken_at(&mut bench, 999), None);
    assert_eq!(bench.apic(register::CURRENT), 1);
    assert_eq!(taken_at(&mut bench, 1000), TAKEN);
    assert_eq!((bench.apic(register::CURRENT), bench.apic(register::INITIAL)), (0, 1000));
    assert_eq!((taken_at(&mut bench, 100_000), bench.pc.next_deadline()), (None, None));
}

#[test]
fn periodic_interrupts_at_each_period_and_once_for_those_that_were_missed() {
    let mut bench = with_timer(PERIODIC, BY_1, 1000);
    assert_eq!([1000, 1999, 2000].map(|ns| taken_at(&mut bench, ns)), [TAKEN, None, TAKEN]);
    assert_eq!(taken_at(&mut bench, 7300), TAKEN);
    assert_eq!((bench.interrupt(), bench.apic(register::CURRENT)), (None, 700));
    assert_eq!(bench.pc.next_deadline(), Some(Nanos(8000)), "its phase stays");
}

#[test]
fn divider_makes_a_count_last_up_to_128_nanoseconds() {
    let lasts = |divide| with_timer(0, divide, 10).pc.next_deadline().map(|at| at.0 / 10);
    let dividers = [0b1011, 0b0000, 0b0001, 0b0010, 0b0011, 0b1000, 0b1001, 0b1010];
    assert_eq!(dividers.map(lasts), [1, 2, 4, 8, 16, 32, 64, 128].map(Some));
}

#[test]
fn divider_changed_under_way_keeps_the_count() {
    let mut bench = with_timer(0, BY_1, 1000);
    bench.at_ns(400);
    bench.set_apic(register::DIVIDE, 0b0000);
    assert_eq!((bench.apic(register::CURRENT), bench.pc.next_deadline()), (600, Some(Nanos(1600))));
}

#[test]
fn masked_timer_counts_and_asks_for_nothing() {
    let mut bench = with_timer(MASKED, BY_1, 1000);
    assert_eq!(bench.pc.next_deadline(), None);
    bench.at_ns(600);
    assert_eq!(bench.apic(register::CURRENT), 400);
    assert_eq!(taken_at(&mut bench, 5000), None);
    assert_eq!(bench.apic(register::REQUESTED + 2), 0);
}

#[test]
fn count_of_zero_stops_the_timer() {
    let mut bench = with_timer(PERIODIC, BY_1, 1000);
    bench.at_ns(10);
    bench.set_apic(register::INITIAL, 0);
    assert_eq!((bench.apic(register::CURRENT), bench.pc.next_deadline()), (0, None));
    assert_eq!(taken_at(&mut bench, 5000), None);
}

#[test]
fn count_written_again_starts_anew() {
    let mut bench = with_timer(0, BY_1, 1000);
    bench.at_ns(900);
    bench.set_apic(register::INITIAL, 500);
    assert_eq!([1000, 1400].map(|ns| taken_at(&mut bench, ns)), [None, TAKEN]);
}

#[test]
fn timer_made_periodic_under_way_goes_on_after_its_end() {
    let mut bench = with_timer(0, BY_1, 1000);
    bench.at_ns(500);
    bench.set_apic(register::TIMER, VECTOR | PERIODIC);
    assert_eq!([1000, 2000].map(|ns| taken_at(&mut bench, ns)), [TAKEN, TAKEN]);
}

#[test]
fn interrupt_that_waits_already_needs_no_deadline() {
    let mut bench = with_timer(PERIODIC, BY_1, 1000);
    bench.at_ns(1000);
    assert_eq!(bench.pc.next_deadline(), None, "nobody sees another one");
    assert_eq!(bench.interrupt(), TAKEN);
    assert_eq!(bench.pc.next_deadline(), Some(Nanos(2000)));
}

#[test]
fn deadline_is_that_of_the_timer_that_comes_first() {
    let mut bench = with_timer(0, BY_1, 5_000_000);
    bench.outb(0x21, 0xfe);
    bench.outb(0x43, 0x30);
    bench.outb(0x40, 0xff);
    bench.outb(0x40, 0);
    let pit = bench.pc.next_deadline().expect("counter 0 runs");
    assert!(pit < Nanos(1_000_000));
    bench.outb(0x21, 0xff);
    assert_eq!(bench.pc.next_deadline(), Some(Nanos(5_000_000)));
}

#[test]
fn software_disabled_timer_wakes_nobody() {
    let mut bench = with_timer(PERIODIC, BY_1, 1000);
    bench.set_apic(register::SPURIOUS, 0xff);
    assert_eq!((bench.pc.next_deadline(), taken_at(&mut bench, 5000)), (None, None));
}

#[test]
fn time_that_goes_back_or_ends_does_no_harm() {
    let mut bench = with_timer(PERIODIC, 0b1010, u32::MAX);
    bench.at_ns(1_000_000);
    let count = bench.apic(register::CURRENT);
    bench.at_ns(0);
    assert_eq!(bench.apic(register::CURRENT), count);
    assert_eq!(taken_at(&mut bench, u64::MAX), TAKEN);
    bench.set_apic(register::INITIAL, 7);
    assert_eq!((taken_at(&mut bench, u64::MAX), bench.pc.next_deadline()), (None, None));
}
