//! The interval timer: an Intel 8254 with the three counters of the IBM PC AT (Intel 8254 data sheet, order number
//! 231164, *the data sheet* below).
//!
//! Nothing counts here. A counter remembers when it was loaded with what; its value, its output and its next rising
//! edge follow from the time.
//!
//! Counter 0 raises IRQ 0, counter 1 refreshed memory once, counter 2 drives the speaker through port 0x61 and is what
//! guests calibrate clocks with. In mode 3 a new count takes effect at the end of the whole period, not of its half.

use super::Nanos;

/// The counters' clock: a twelfth of four times the NTSC colour carrier (IBM PC AT technical reference).
pub(super) const HZ: u64 = 1_193_182;
const NS_PER_SECOND: u64 = 1_000_000_000;

/// A point in time in periods of the counters' clock.
type Ticks = u64;

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

/// How a counter counts (the data sheet, "Mode definitions").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// 0: the output rises when the count is used up, and stays.
    TerminalCount,
    /// 1: the output is low for the count after each rising gate.
    OneShot,
    /// 2: the output is low for one clock at the end of each count.
    RateGenerator,
    /// 3: the output is high for one half of the count and low for the other.
    SquareWave,
    /// 4: the output is low for one clock when the count is used up.
    SoftwareStrobe,
    /// 5: as 4, started by the gate.
    HardwareStrobe,
}

impl Mode {
    fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Mode::TerminalCount,
            1 => Mode::OneShot,
            2 | 6 => Mode::RateGenerator,
            3 | 7 => Mode::SquareWave,
            4 => Mode::SoftwareStrobe,
            _ => Mode::HardwareStrobe,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Mode::TerminalCount => 0,
            Mode::OneShot => 1,
            Mode::RateGenerator => 2,
            Mode::SquareWave => 3,
            Mode::SoftwareStrobe => 4,
            Mode::HardwareStrobe => 5,
        }
    }

    /// What makes it take a new count.
    fn starts(self) -> Starts {
        match self {
            Mode::TerminalCount | Mode::SoftwareStrobe => Starts::Count,
            Mode::OneShot | Mode::HardwareStrobe => Starts::Trigger,
            Mode::RateGenerator | Mode::SquareWave => Starts::Periods,
        }
    }
}

/// What makes a counter take a new count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starts {
    /// That it was written.
    Count,
    /// A rising gate.
    Trigger,
    /// The end of a period, or a rising gate; the first count is taken at once.
    Periods,
}

/// Which bytes of a count go through the data port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Low,
    High,
    LowThenHigh,
}

/// What a counter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// It has no count, or waits for its gate.
    Waiting,
    /// It counts; the count was loaded at this tick.
    Since(Ticks),
    /// The gate stops it, so many ticks after loading; it goes on not before the tick `from`.
    Stopped { elapsed: u64, from: Ticks },
}

/// One counter.
#[derive(Debug)]
struct Counter {
    mode: Mode,
    access: Access,
    bcd: bool,
    gate: bool,
    /// Ticks to count: 1 to 65536.
    count: u64,
    run: Run,
    /// A count has been written since the mode.
    loaded: bool,
    /// What to count from this tick on: in periodic modes a new count waits for the end of the period.
    next: Option<(Ticks, u64)>,
    /// The first byte of a count of two.
    written_low: Option<u8>,
    /// The high byte is the next to read.
    reads_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    /// A counter before its first mode. The data sheet leaves its state undefined; here it rests with its output high.
    fn new(gate: bool) -> Self {
        Self {
            mode: Mode::SquareWave,
            access: Access::LowThenHigh,
            bcd: false,
            gate,
            count: 0x1_0000,
            run: Run::Waiting,
            loaded: false,
            next: None,
            written_low: None,
            reads_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    /// Lets a count that waited for the end of a period take effect.
    fn settle(&mut self, now: Ticks) {
        if let Some((at, count)) = self.next
            && at <= now
        {
            self.run = Run::Since(at);
            self.count = count;
            self.next = None;
        }
    }

    /// Ticks since the count was loaded, while there is a meaning to that.
    fn elapsed(&self, now: Ticks) -> Option<u64> {
        match self.run {
            Run::Waiting => None,
            Run::Since(start) => Some(now.saturating_sub(start)),
            Run::Stopped { elapsed, .. } => Some(elapsed),
        }
    }

    fn output(&self, now: Ticks) -> bool {
        let Some(elapsed) = self.elapsed(now) else { return self.mode != Mode::TerminalCount };
        match self.mode {
            Mode::TerminalCount => elapsed >= self.count,
            Mode::OneShot => elapsed >= self.count,
            Mode::RateGenerator => elapsed % self.count != self.count - 1,
            Mode::SquareWave => elapsed % self.count < self.count.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != self.count,
        }
    }

    /// The first tick after `after` at which the output rises, if things go on as they are.
    fn next_rise(&self, after: Ticks) -> Option<Ticks> {
        let Run::Since(start) = self.run else { return None };
        let rise = match self.mode {
            Mode::TerminalCount | Mode::OneShot => start + self.count,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => start + self.count + 1,
            Mode::RateGenerator | Mode::SquareWave => {
                // A new count that waits takes effect at just this point.
                start + (after.saturating_sub(start) / self.count + 1) * self.count
            }
        };
        (rise > after).then_some(rise)
    }

    /// The counting element, as a driver reads it.
    fn value(&self, now: Ticks) -> u16 {
        let Some(elapsed) = self.elapsed(now) else { return 0 };
        let modulus = if self.bcd { 10_000 } else { 0x1_0000 };
        let value = match self.mode {
            Mode::RateGenerator => self.count - elapsed % self.count,
            Mode::SquareWave => {
                // It counts down by two from an even number in each half.
                let (half, within) = (self.count.div_ceil(2), elapsed % self.count);
                (self.count & !1) - 2 * (if within < half { within } else { within - half })
            }
            // It goes on below zero.
            _ => (self.count % modulus + modulus - elapsed % modulus) % modulus,
        };
        // Below 65536 now.
        let value = u16::try_from(value % modulus).unwrap_or(0);
        if self.bcd { to_bcd(value) } else { value }
    }

    fn set_mode(&mut self, control: u8) {
        let gate = self.gate;
        *self = Self::new(gate);
        self.mode = Mode::from_bits(control >> 1);
        self.bcd = control & 1 != 0;
        self.access = match control >> 4 & 3 {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::LowThenHigh,
        };
    }

    fn write(&mut self, byte: u8, now: Ticks) {
        let count = match (self.access, self.written_low) {
            (Access::Low, _) => u16::from(byte),
            (Access::High, _) => u16::from(byte) << 8,
            (Access::LowThenHigh, Some(low)) => u16::from_le_bytes([low, byte]),
            (Access::LowThenHigh, None) => {
                self.written_low = Some(byte);
                if self.mode == Mode::TerminalCount {
                    // The first byte stops counting and lowers the output.
                    self.run = Run::Waiting;
                }
                return;
            }
        };
        self.written_low = None;
        self.load(count, now);
    }

    fn load(&mut self, written: u16, now: Ticks) {
        let count = match (if self.bcd { from_bcd(written) } else { u64::from(written) }, self.bcd) {
            (0, true) => 10_000,
            (0, false) => 0x1_0000,
            // The data sheet forbids 1 in periodic modes.
            (1, _) if self.mode.starts() == Starts::Periods => 2,
            (count, _) => count,
        };
        self.loaded = true;
        // A count written now is in the counting element one clock later.
        let start = now + 1;
        let counting = matches!(self.run, Run::Since(start) if start <= now);
        match (self.mode.starts(), counting) {
            (Starts::Trigger, true) => self.next = Some((Ticks::MAX, count)),
            (Starts::Trigger, false) => self.count = count,
            (Starts::Periods, true) => self.next = Some((self.next_rise(now).unwrap_or(start), count)),
            (Starts::Periods | Starts::Count, _) => {
                self.count = count;
                self.run = match self.mode.starts() {
                    _ if self.gate => Run::Since(start),
                    Starts::Count => Run::Stopped { elapsed: 0, from: start },
                    _ => Run::Waiting,
                };
            }
        }
    }

    fn set_gate(&mut self, gate: bool, now: Ticks) {
        if gate == self.gate {
            return;
        }
        self.gate = gate;
        match (self.mode.starts(), self.run) {
            (Starts::Count, Run::Since(start)) if !gate => {
                self.run = Run::Stopped { elapsed: now.saturating_sub(start), from: now.max(start) };
            }
            (Starts::Count, Run::Stopped { elapsed, from }) if gate => {
                self.run = Run::Since(now.max(from).saturating_sub(elapsed));
            }
            (Starts::Trigger | Starts::Periods, _) if gate && self.loaded => {
                self.take_next();
                self.run = Run::Since(now + 1);
            }
            (Starts::Periods, Run::Since(_)) => {
                self.take_next();
                self.run = Run::Waiting;
            }
            _ => {}
        }
    }

    /// A count that waited is the count from now on.
    fn take_next(&mut self) {
        if let Some((_, count)) = self.next.take() {
            self.count = count;
        }
    }

    fn latch_count(&mut self, now: Ticks) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(now));
        }
    }

    fn latch_status(&mut self, now: Ticks) {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::LowThenHigh => 3,
        };
        // Bit 6: a count was written and is not being counted yet.
        let null_count = !self.loaded || self.next.is_some();
        let status = u8::from(self.output(now)) << 7
            | u8::from(null_count) << 6
            | access << 4
            | self.mode.bits() << 1
            | u8::from(self.bcd);
        self.latched_status.get_or_insert(status);
    }

    fn read(&mut self, now: Ticks) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.value(now)).to_le_bytes();
        let (byte, last) = match self.access {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::LowThenHigh => {
                self.reads_high = !self.reads_high;
                if self.reads_high { (low, false) } else { (high, true) }
            }
        };
        if last {
            self.latched_count = None;
        }
        byte
    }
}

fn from_bcd(value: u16) -> u64 {
    [0, 4, 8, 12]
        .iter()
        .zip([1, 10, 100, 1000])
        .map(|(shift, weight)| u64::from(value >> shift & 0xf) * weight)
        .sum()
}

fn to_bcd(value: u16) -> u16 {
    [(1, 0), (10, 4), (100, 8), (1000, 12)].iter().map(|(weight, shift)| (value / weight % 10) << shift).sum()
}

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
