//! The interval timer, after the Intel 8254 data sheet. A count written at one tick is loaded at the next.

use runu_machine::{Nanos, PortSize};

use super::{Bench, PIT_HZ};

const IRQ0: Option<u8> = Some(32);

/// Low byte, then high byte; the mode is to be added.
const TIMER_LOHI: u8 = 0x30;

/// Programs counter 0.
fn program(bench: &mut Bench, mode: u8, count: u16) {
    bench.outb(0x43, TIMER_LOHI | mode << 1);
    write_count(bench, 0x40, count);
}

fn write_count(bench: &mut Bench, port: u16, count: u16) {
    let [low, high] = count.to_le_bytes();
    bench.outb(port, low);
    bench.outb(port, high);
}

/// Reads a count of two bytes, latched or not.
fn read_count(bench: &mut Bench, port: u16) -> u16 {
    u16::from_le_bytes([bench.inb(port), bench.inb(port)])
}

/// The status of a counter, by the read-back command.
fn status(bench: &mut Bench, counter: u8) -> u8 {
    bench.outb(0x43, 0xe0 | 2 << counter);
    bench.inb(0x40 + u16::from(counter))
}

/// The ticks from `from` to `to` at which IRQ 0 comes, each acknowledged and ended at once.
fn interrupts(bench: &mut Bench, from: u64, to: u64) -> Vec<u64> {
    (from..=to)
        .filter(|&tick| {
            bench.at_tick(tick);
            let interrupt = bench.interrupt();
            bench.outb(0x20, 0x20);
            interrupt == IRQ0
        })
        .collect()
}

#[test]
fn timer_that_nobody_programmed_rests() {
    let mut bench = Bench::with_interrupts();

    assert_eq!(bench.pc.next_deadline(), None);
    bench.at_tick(1 << 20);
    assert_eq!(bench.interrupt(), None);
}

#[test]
fn mode_0_interrupts_once_n_plus_1_ticks_after_the_count() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 0, 5);

    assert_eq!(interrupts(&mut bench, 0, 100), [6]);
    assert_eq!(bench.pc.next_deadline(), None);
}

#[test]
fn mode_0_with_a_new_count_starts_again() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 0, 5);
    bench.at_tick(4);

    write_count(&mut bench, 0x40, 7);

    assert_eq!(interrupts(&mut bench, 4, 30), [12]);
    write_count(&mut bench, 0x40, 1);
    assert_eq!(interrupts(&mut bench, 30, 40), [32], "its output went low, so it can rise again");
}

#[test]
fn mode_0_stops_at_the_first_byte_of_a_new_count() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 0, 5);
    bench.at_tick(3);
    bench.outb(0x40, 9);

    assert_eq!((interrupts(&mut bench, 3, 20), bench.pc.next_deadline()), (vec![], None));
}

#[test]
fn mode_2_interrupts_every_n_ticks() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 2, 10);

    assert_eq!(interrupts(&mut bench, 0, 45), [11, 21, 31, 41]);
}

#[test]
fn mode_2_with_a_new_count_ends_its_period_first() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 2, 10);
    assert_eq!(interrupts(&mut bench, 0, 14), [11]);

    write_count(&mut bench, 0x40, 4);

    assert_eq!(interrupts(&mut bench, 14, 32), [21, 25, 29]);
}

#[test]
fn mode_2_reads_n_down_to_1() {
    let mut bench = Bench::new();
    program(&mut bench, 2, 3);

    let values: Vec<u16> = (1..8)
        .map(|tick| {
            bench.at_tick(tick);
            read_count(&mut bench, 0x40)
        })
        .collect();

    assert_eq!(values, [3, 2, 1, 3, 2, 1, 3]);
}

#[test]
fn mode_3_is_high_for_the_longer_half_and_counts_by_two() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 3, 5);

    let states: Vec<(bool, u16)> = (1..7)
        .map(|tick| {
            bench.at_tick(tick);
            (status(&mut bench, 0) & 0x80 != 0, read_count(&mut bench, 0x40))
        })
        .collect();

    assert_eq!(states, [(true, 4), (true, 2), (true, 0), (false, 4), (false, 2), (true, 4)]);
    assert_eq!(bench.interrupt(), IRQ0);
}

#[test]
fn mode_4_strobes_once_and_interrupts_as_the_strobe_ends() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 4, 5);
    bench.at_tick(5);
    assert_eq!(status(&mut bench, 0), 0xb8);
    bench.at_tick(6);
    assert_eq!((status(&mut bench, 0), bench.interrupt()), (0x38, None), "low for one tick");

    assert_eq!(interrupts(&mut bench, 7, 100_000), [7]);
}

#[test]
fn mode_4_goes_on_below_zero_and_starts_again_with_each_count() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 4, 5);
    bench.at_tick(8);
    assert_eq!(read_count(&mut bench, 0x40), 0xfffe);
    assert_eq!(bench.interrupt(), IRQ0);
    bench.outb(0x20, 0x20);

    write_count(&mut bench, 0x40, 20);

    assert_eq!(interrupts(&mut bench, 8, 100), [30]);
}

#[test]
fn modes_started_by_a_gate_rest_where_the_gate_is_wired_high() {
    for mode in [1, 5] {
        let mut bench = Bench::with_interrupts();
        program(&mut bench, mode, 5);

        assert!(interrupts(&mut bench, 0, 100).is_empty());
        assert_eq!(status(&mut bench, 0) & 0x80, 0x80);
    }
}

#[test]
fn count_of_zero_is_65536() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 2, 0);
    bench.at_tick(1);
    assert_eq!(read_count(&mut bench, 0x40), 0);
    bench.at_tick(2);
    assert_eq!(read_count(&mut bench, 0x40), 0xffff);

    assert_eq!(interrupts(&mut bench, 65_530, 65_540), [65_537]);
}

#[test]
fn count_in_bcd_counts_in_decimals() {
    let mut bench = Bench::with_interrupts();
    bench.outb(0x43, 0x35);
    write_count(&mut bench, 0x40, 0x1000);
    bench.at_tick(2);
    assert_eq!(read_count(&mut bench, 0x40), 0x0999);
    assert_eq!(interrupts(&mut bench, 990, 1010), [1001]);

    bench.outb(0x43, 0x35);
    write_count(&mut bench, 0x40, 0);
    bench.at_tick(1011);
    assert_eq!(read_count(&mut bench, 0x40), 0, "ten thousand");
    bench.at_tick(1012);
    assert_eq!(read_count(&mut bench, 0x40), 0x9999);
}

#[test]
fn count_of_one_byte_sets_the_other_to_zero() {
    let mut bench = Bench::new();
    bench.outb(0x43, 0x14);
    bench.outb(0x40, 200);
    bench.at_tick(1);
    assert_eq!((bench.inb(0x40), bench.inb(0x40)), (200, 200));

    bench.outb(0x43, 0x24);
    bench.outb(0x40, 2);
    bench.at_tick(2);
    assert_eq!((bench.inb(0x40), bench.inb(0x40)), (2, 2));
    bench.at_tick(3);
    assert_eq!(bench.inb(0x40), 1, "0x1ff");
}

#[test]
fn latched_count_stays_until_it_is_read() {
    let mut bench = Bench::new();
    program(&mut bench, 2, 0x1234);
    bench.at_tick(1);
    bench.outb(0x43, 0x00);
    bench.at_tick(100);
    bench.outb(0x43, 0x00);

    assert_eq!(read_count(&mut bench, 0x40), 0x1234, "the second latch does not count");
    assert_eq!(read_count(&mut bench, 0x40), 0x1234 - 99);
}

#[test]
fn read_back_latches_status_before_count_of_the_named_counters() {
    let mut bench = Bench::new();
    program(&mut bench, 2, 100);
    bench.at_tick(1);

    bench.outb(0x43, 0xc2 | 0x08);
    bench.at_tick(50);

    assert_eq!((bench.inb(0x40), read_count(&mut bench, 0x40)), (0xb4, 100));
    assert_eq!(bench.inb(0x42) & 0x40, 0x40, "counter 2 has no count");
    assert_eq!(read_count(&mut bench, 0x40), 100 - 49);
}

#[test]
fn status_tells_of_a_count_that_waits() {
    let mut bench = Bench::new();
    bench.outb(0x43, 0x34);
    assert_eq!(status(&mut bench, 0), 0xf4);
    write_count(&mut bench, 0x40, 10);
    bench.at_tick(1);
    assert_eq!(status(&mut bench, 0), 0xb4);

    write_count(&mut bench, 0x40, 5);
    assert_eq!(status(&mut bench, 0), 0xf4);
    bench.at_tick(11);
    assert_eq!(status(&mut bench, 0), 0xb4);
}

#[test]
fn counter_2_counts_while_port_61_opens_its_gate() {
    let mut bench = Bench::new();
    bench.outb(0x43, 0xb0);
    write_count(&mut bench, 0x42, 10);
    bench.at_tick(100);
    assert_eq!((bench.inb(0x61) & 0x23, read_count(&mut bench, 0x42)), (0, 10), "gate closed");

    bench.outb(0x61, 1);
    bench.at_tick(105);
    bench.outb(0x61, 0);
    bench.at_tick(200);
    assert_eq!((bench.inb(0x61) & 0x23, read_count(&mut bench, 0x42)), (0, 5));

    bench.outb(0x61, 0xff);
    bench.at_tick(204);
    assert_eq!(bench.inb(0x61) & 0x23, 0x03);
    bench.at_tick(205);
    assert_eq!(bench.inb(0x61) & 0x23, 0x23, "its output is bit 5");
}

#[test]
fn counter_2_in_mode_1_is_started_by_each_opening_of_its_gate() {
    let mut bench = Bench::new();
    bench.outb(0x43, 0xb2);
    write_count(&mut bench, 0x42, 10);
    assert_eq!(bench.inb(0x61) & 0x20, 0x20);

    bench.outb(0x61, 1);
    bench.at_tick(5);
    assert_eq!(bench.inb(0x61) & 0x20, 0);
    write_count(&mut bench, 0x42, 3);
    bench.at_tick(10);
    assert_eq!(bench.inb(0x61) & 0x20, 0, "a new count waits for the gate");
    bench.at_tick(11);
    assert_eq!(bench.inb(0x61) & 0x20, 0x20);

    bench.outb(0x61, 0);
    bench.outb(0x61, 1);
    bench.at_tick(14);
    assert_eq!(bench.inb(0x61) & 0x20, 0);
    bench.at_tick(15);
    assert_eq!(bench.inb(0x61) & 0x20, 0x20);
}

#[test]
fn counter_2_in_a_periodic_mode_starts_again_when_its_gate_opens() {
    let mut bench = Bench::new();
    bench.outb(0x61, 1);
    bench.outb(0x43, 0xb6);
    write_count(&mut bench, 0x42, 10);
    bench.at_tick(6);
    assert_eq!(bench.inb(0x61) & 0x20, 0);

    bench.outb(0x61, 0);
    assert_eq!(bench.inb(0x61) & 0x20, 0x20, "a closed gate raises the output");
    write_count(&mut bench, 0x42, 4);
    bench.at_tick(50);
    bench.outb(0x61, 1);
    bench.at_tick(52);
    assert_eq!(bench.inb(0x61) & 0x20, 0x20);
    bench.at_tick(53);
    assert_eq!(bench.inb(0x61) & 0x20, 0);
}

#[test]
fn refresh_bit_of_port_61_toggles() {
    let mut bench = Bench::new();
    let levels: Vec<u8> = [0, 18, 36]
        .map(|tick| {
            bench.at_tick(tick);
            bench.inb(0x61) & 0x10
        })
        .to_vec();

    assert_eq!(levels, [0, 0x10, 0]);
}

#[test]
fn deadline_is_the_first_nanosecond_of_the_interrupt() {
    let mut bench = Bench::with_interrupts();
    bench.at_tick(PIT_HZ * 1000 + 17);
    program(&mut bench, 0, 1000);
    let deadline = bench.pc.next_deadline().expect("a timer runs");

    bench.pc.tick(Nanos(deadline.0 - 1));
    assert_eq!(bench.interrupt(), None);

    bench.pc.tick(deadline);
    assert_eq!(bench.interrupt(), IRQ0);
}

#[test]
fn deadline_of_a_masked_or_waiting_timer_is_none() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 2, 10);
    bench.outb(0x21, 1);
    assert_eq!(bench.pc.next_deadline(), None);
    bench.at_tick(100);
    assert_eq!(bench.interrupt(), None);

    bench.outb(0x21, 0);
    assert_eq!((bench.pc.interrupt_pending(), bench.pc.next_deadline()), (true, None));

    bench.interrupt();
    assert!(bench.pc.next_deadline().is_some());
}

#[test]
fn periods_that_pass_unnoticed_are_one_interrupt() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 2, 10);

    assert_eq!(interrupts(&mut bench, 1000, 1000), [1000]);
    assert_eq!(interrupts(&mut bench, 1000, 1005), [1001]);
}

#[test]
fn rate_beyond_the_counters_clock_is_bounded() {
    let mut bench = Bench::with_interrupts();
    for mode in [2, 3] {
        program(&mut bench, mode, 1);
        bench.pc.tick(bench.now);
        bench.interrupt();
        let deadline = bench.pc.next_deadline().expect("a timer runs");
        assert!(deadline.0 - bench.now.0 > 1600, "two ticks");
    }
}

#[test]
fn unikrafts_calibration_sees_100_ms_pass() {
    let mut bench = Bench::new();
    // CONFIG_HZ is 100.
    let reload = u16::try_from(PIT_HZ / 100).expect("below 65536");
    program(&mut bench, 2, reload);
    let tick = |bench: &mut Bench| {
        bench.now.0 += 3000;
        bench.outb(0x43, 0);
        i64::from(read_count(bench, 0x40))
    };

    let mut last = tick(&mut bench);
    let start = bench.now;
    let mut remaining = i64::try_from(PIT_HZ / 10).expect("small");
    while remaining > 1 {
        let count = tick(&mut bench);
        remaining -= if count > last { i64::from(reload) - (count - last) } else { last - count };
        last = count;
    }

    let passed = bench.now.0 - start.0;
    assert!((99_990_000..100_010_000).contains(&passed), "{passed} ns");
}

#[test]
fn unikrafts_one_shot_sleep_wakes_on_time() {
    let mut bench = Bench::with_interrupts();
    program(&mut bench, 4, 0);
    bench.now.0 = 7_000_000;
    write_count(&mut bench, 0x40, u16::try_from(PIT_HZ / 100).expect("below 65536") - 1);

    let deadline = bench.pc.next_deadline().expect("a timer runs");

    let slept = deadline.0 - bench.now.0;
    assert!((9_998_000..10_002_000).contains(&slept), "{slept} ns");
    bench.pc.tick(deadline);
    assert_eq!(bench.interrupt(), IRQ0);
}

#[test]
fn wide_access_reaches_neighbouring_counters() {
    let mut bench = Bench::new();
    bench.outb(0x43, 0x10);
    bench.outb(0x43, 0x50);

    assert_eq!(bench.out(0x40, PortSize::Word, 0x2211), None);
    bench.at_tick(1);

    assert_eq!(bench.pc.read(0x40, PortSize::Word, bench.now), 0x2211);
}
