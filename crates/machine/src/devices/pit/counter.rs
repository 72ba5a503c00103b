//! One counter of an 8254.
//!
//! It does not count. It remembers when it was loaded with what; its value, its output and the next rise of that
//! follow from the time. In mode 3 a new count takes effect at the end of the whole period, not of its half.

/// A point in time in periods of the counters' clock.
pub(super) type Ticks = u64;

/// One counter. It is to be [settled](Self::settle) before anything else is asked of it.
#[derive(Debug)]
pub(super) struct Counter {
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
    pub(super) fn new(gate: bool) -> Self {
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
    pub(super) fn settle(&mut self, now: Ticks) {
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

    pub(super) fn output(&self, now: Ticks) -> bool {
        let Some(elapsed) = self.elapsed(now) else { return self.mode != Mode::TerminalCount };
        match self.mode {
            Mode::TerminalCount | Mode::OneShot => elapsed >= self.count,
            Mode::RateGenerator => elapsed % self.count != self.count - 1,
            Mode::SquareWave => elapsed % self.count < self.count.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != self.count,
        }
    }

    /// The first tick after `after` at which the output rises, if things go on as they are.
    pub(super) fn next_rise(&self, after: Ticks) -> Option<Ticks> {
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

    pub(super) fn set_mode(&mut self, control: u8) {
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

    pub(super) fn write(&mut self, byte: u8, now: Ticks) {
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

    pub(super) fn set_gate(&mut self, gate: bool, now: Ticks) {
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

    pub(super) fn latch_count(&mut self, now: Ticks) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(now));
        }
    }

    pub(super) fn latch_status(&mut self, now: Ticks) {
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

    pub(super) fn read(&mut self, now: Ticks) -> u8 {
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
