//! The APIC's timer (the manual, §11.5.4): counts down once or again and again.
//!
//! It is never ticked: it knows when it will be at zero, and works out its count from that.

use crate::devices::Nanos;

/// Nanoseconds of one count when nothing is divided.
const COUNT_NS: u64 = 1_000_000 / super::APIC_TIMER_KHZ as u64;

/// Bits of the divide configuration register that exist.
pub(super) const DIVIDE: u32 = 0b1011;

/// The timer.
#[derive(Debug)]
pub(super) struct Timer {
    initial: u32,
    /// The divide configuration register.
    divide: u32,
    /// When it reaches zero next, in nanoseconds; `None` while it rests.
    end: Option<u64>,
    /// The latest time it was told of.
    now: u64,
}

impl Timer {
    /// One that rests, as after power-up.
    pub(super) fn new(now: u64) -> Self {
        Self { initial: 0, divide: 0, end: None, now }
    }

    /// The latest time it was told of, in nanoseconds.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass. Says whether it reached zero meanwhile, be it once or many times; then it starts again if it is
    /// `periodic`.
    #[inline]
    pub(super) fn advance(&mut self, now: Nanos, periodic: bool) -> bool {
        self.now = self.now.max(now.0);
        match self.end.filter(|end| *end <= self.now) {
            None => false,
            Some(end) => {
                self.end = if periodic { self.end_after(end) } else { None };
                true
            }
        }
    }

    /// When it reaches zero next if it did so at `end` and has gone on counting; never beyond the end of time.
    fn end_after(&self, end: u64) -> Option<u64> {
        let period = self.period()?;
        let passed = (self.now - end) / period + 1;
        end.checked_add(period.checked_mul(passed)?)
    }

    /// Nanoseconds from the initial count to zero; none if that is zero.
    fn period(&self) -> Option<u64> {
        Some(u64::from(self.initial) * self.count_ns()).filter(|period| *period != 0)
    }

    /// Nanoseconds of one count. Bits 0, 1 and 3 tell the power of two to divide by, less one; 0b111 is none.
    fn count_ns(&self) -> u64 {
        let power = ((self.divide & 0b11) | (self.divide & 0b1000) >> 1) + 1;
        COUNT_NS << (power & 0b111)
    }

    /// The initial count.
    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    /// Starts it now, or stops it with an initial count of zero.
    pub(super) fn start(&mut self, initial: u32) {
        self.initial = initial;
        self.end = self.period().and_then(|period| self.now.checked_add(period));
    }

    /// The current count.
    pub(super) fn current(&self) -> u32 {
        let left = self.end.map_or(0, |end| end.saturating_sub(self.now).div_ceil(self.count_ns()));
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// The divide configuration register.
    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    /// Divides otherwise from now on: the count stays.
    pub(super) fn set_divide(&mut self, value: u32) {
        let count = self.current();
        self.divide = value & DIVIDE;
        if self.end.is_some() {
            self.end = self.now.checked_add(u64::from(count) * self.count_ns());
        }
    }

    /// When it reaches zero next.
    pub(super) fn next(&self) -> Option<Nanos> {
        self.end.map(Nanos)
    }
}
