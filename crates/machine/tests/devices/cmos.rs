//! The CMOS clock.

use runu_machine::{Nanos, WallClock};

use super::Bench;

const SECOND: u64 = 1_000_000_000;

/// A clock that shows so many seconds since 1970 now, one day after the monotonic clock began.
fn clock(unix: i64) -> Bench {
    let mut bench = Bench::with_clock(WallClock { unix_ns_at_zero: (unix - 86_400) * 1_000_000_000 });
    bench.now = Nanos(86_400 * SECOND);
    bench
}

fn read(bench: &mut Bench, register: u8) -> u8 {
    // Unikraft masks the NMI with each read.
    bench.outb(0x70, register | 0x80);
    bench.inb(0x71)
}

/// Century, year, month, day, weekday, hour, minute, second.
fn time(bench: &mut Bench) -> [u8; 8] {
    [0x32, 9, 8, 7, 6, 4, 2, 0].map(|register| read(bench, register))
}

#[test]
fn time_is_shown_in_bcd_and_24_hours() {
    let cases = [
        (0, [0x19, 0x70, 0x01, 0x01, 5, 0x00, 0x00, 0x00]),
        (951_782_399, [0x20, 0x00, 0x02, 0x28, 2, 0x23, 0x59, 0x59]),
        (951_782_400, [0x20, 0x00, 0x02, 0x29, 3, 0x00, 0x00, 0x00]),
        (1_709_251_199, [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x59]),
        (1_795_448_096, [0x20, 0x26, 0x11, 0x23, 2, 0x15, 0x34, 0x56]),
        (4_107_542_400, [0x21, 0x00, 0x03, 0x01, 2, 0x00, 0x00, 0x00]),
    ];
    for (unix, shown) in cases {
        assert_eq!(time(&mut clock(unix)), shown, "{unix}");
    }
}

#[test]
fn time_goes_on_with_the_monotonic_clock() {
    let mut bench = clock(59);
    bench.now.0 += SECOND - 1;
    assert_eq!(read(&mut bench, 0), 0x59);

    bench.now.0 += 1;
    assert_eq!((read(&mut bench, 2), read(&mut bench, 0)), (0x01, 0x00));
}

#[test]
fn time_before_1970_or_beyond_all_bounds_is_shown_as_some_date() {
    let mut before = Bench::with_clock(WallClock { unix_ns_at_zero: i64::MIN });
    assert_eq!(time(&mut before), [0x19, 0x70, 0x01, 0x01, 5, 0, 0, 0]);

    let mut beyond = Bench::with_clock(WallClock { unix_ns_at_zero: i64::MAX });
    beyond.now = Nanos(u64::MAX);
    assert_eq!(read(&mut beyond, 0x32), 0x28);
}

#[test]
fn update_is_never_in_progress() {
    let mut bench = clock(0);
    for ms in 0..2000 {
        bench.now.0 += ms * 1_000_000;
        assert_eq!(read(&mut bench, 0x0a), 0x26);
    }
}

#[test]
fn status_says_24_hours_bcd_and_a_good_battery() {
    let mut bench = clock(0);

    assert_eq!([0x0b, 0x0c, 0x0d].map(|register| read(&mut bench, register)), [0x02, 0x10, 0x80]);
}

#[test]
fn time_in_binary_and_12_hours_is_shown_on_demand() {
    for (hour, shown) in [(0, 12), (1, 1), (11, 11), (12, 0x8c), (13, 0x81), (23, 0x8b)] {
        let mut bench = clock(hour * 3600 + 59);
        bench.outb(0x70, 0x0b);
        bench.outb(0x71, 0x04);

        assert_eq!((read(&mut bench, 4), read(&mut bench, 0)), (shown, 59), "{hour}");
    }
}

#[test]
fn time_cannot_be_set() {
    let mut bench = clock(0);
    bench.outb(0x70, 9);
    bench.outb(0x71, 0x99);

    assert_eq!(read(&mut bench, 9), 0x70);
}

#[test]
fn other_bytes_are_kept() {
    let mut bench = clock(0);
    bench.outb(0x70, 0x7f);
    bench.outb(0x71, 0xa5);

    assert_eq!((read(&mut bench, 0x7f), read(&mut bench, 0x0f)), (0xa5, 0));
}
