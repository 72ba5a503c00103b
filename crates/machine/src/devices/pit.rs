//! The interval timer: an Intel 8254 with the three counters of the IBM PC AT (Intel 8254 data sheet, order number
//! 231164, *the data sheet* below).
//!
//! Counter 0 raises IRQ 0, counter 1 refreshed memory once, counter 2 drives the speaker through port 0x61 and is what
//! guests calibrate clocks with.

mod counter;

use super::Nanos;

use self::counter::{Counter, Ticks};

/// The counters' clock: a twelfth of four times the NTSC colour carrier (IBM PC AT technical reference).
const HZ: u64 = 1_193_182;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// The interval timer, with port 0x61 in front of its third counter.
#[derive(Debug)]
pub(super) struct Pit {
    counters: [Counter; 3],
    /// Port 0x61, bits 0 (gate of counter 2) and 1 (speaker).
    system_control_b: u8,
    /// Until when counter 0's rising edges have been reported.
    reported: Ticks,
    /// Counter 0's output as of the last report.
    was_high: bool,
}

impl Pit {
    pub(super) fn new() -> Self {
        // Only counter 2 has a gate that something drives.
        let counters = [Counter::new(true), Counter::new(true), Counter::new(false)];
        Self { counters, system_control_b: 0, reported: 0, was_high: true }
    }

    /// Lets time pass and says whether the output of counter 0 has risen since the last call.
    pub(super) fn advance(&mut self, now: Nanos) -> bool {
        let now = ticks(now).max(self.reported);
        let [timer, ..] = &mut self.counters;
        let mut rose = timer.next_rise(self.reported).is_some_and(|rise| rise <= now);
        timer.settle(now);
        let high = timer.output(now);
        rose |= high && !self.was_high;
        self.was_high = high;
        self.reported = now;
        rose
    }

    /// Whether the output of counter 0 was high at the last [`Self::advance`].
    pub(super) fn output(&self) -> bool {
        self.was_high
    }

    /// When the output of counter 0 rises next.
    pub(super) fn next_rise(&self) -> Option<Nanos> {
        let [timer, ..] = &self.counters;
        timer.next_rise(self.reported).map(nanos)
    }

    /// Ports 0x40 to 0x42, read.
    pub(super) fn read(&mut self, counter: u16, now: Nanos) -> u8 {
        let now = ticks(now).max(self.reported);
        match self.counter(counter, now) {
            Some(counter) => counter.read(now),
            None => 0xff,
        }
    }

    /// Ports 0x40 to 0x42, write.
    pub(super) fn write(&mut self, counter: u16, value: u8, now: Nanos) {
        let now = ticks(now).max(self.reported);
        if let Some(counter) = self.counter(counter, now) {
            counter.write(value, now);
        }
    }

    /// Port 0x43, write.
    pub(super) fn control(&mut self, value: u8, now: Nanos) {
        let now = ticks(now).max(self.reported);
        let selected = u16::from(value >> 6);
        if selected == 3 {
            self.read_back(value, now);
        } else if let Some(counter) = self.counter(selected, now) {
            if value & 0x30 == 0 {
                counter.latch_count(now);
            } else {
                counter.set_mode(value);
            }
        }
    }

    /// The read-back command: bits 1 to 3 name counters, bits 5 and 4, when clear, ask for count and status.
    fn read_back(&mut self, value: u8, now: Ticks) {
        for number in 0..3 {
            if value & 2 << number == 0 {
                continue;
            }
            if let Some(counter) = self.counter(number, now) {
                if value & 0x20 == 0 {
                    counter.latch_count(now);
                }
                if value & 0x10 == 0 {
                    counter.latch_status(now);
                }
            }
        }
    }

    /// Port 0x61, read: bit 5 is counter 2's output, bit 4 toggles with each refresh of memory.
    pub(super) fn system_control_b(&mut self, now: Nanos) -> u8 {
        /// Ticks between two refreshes: 15 µs (IBM PC AT technical reference).
        const REFRESH: u64 = 18;
        let now = ticks(now).max(self.reported);
        let output = self.counter(2, now).is_some_and(|counter| counter.output(now));
        self.system_control_b | u8::from(output) << 5 | u8::from(now / REFRESH % 2 == 1) << 4
    }

    /// Port 0x61, write.
    pub(super) fn set_system_control_b(&mut self, value: u8, now: Nanos) {
        let now = ticks(now).max(self.reported);
        self.system_control_b = value & 0b11;
        if let Some(counter) = self.counter(2, now) {
            counter.set_gate(value & 1 != 0, now);
        }
    }

    /// A counter as it is at `now`.
    fn counter(&mut self, number: u16, now: Ticks) -> Option<&mut Counter> {
        let counter = self.counters.get_mut(usize::from(number))?;
        counter.settle(now);
        Some(counter)
    }
}

/// The tick that goes on at a point in time.
fn ticks(now: Nanos) -> Ticks {
    // In two parts, so that nothing overflows 64 bits.
    let (seconds, rest) = (now.0 / NS_PER_SECOND, now.0 % NS_PER_SECOND);
    seconds * HZ + rest * HZ / NS_PER_SECOND
}

/// The first nanosecond of a tick.
fn nanos(ticks: Ticks) -> Nanos {
    let (seconds, rest) = (ticks / HZ, ticks % HZ);
    Nanos(seconds.saturating_mul(NS_PER_SECOND).saturating_add((rest * NS_PER_SECOND).div_ceil(HZ)))
}
