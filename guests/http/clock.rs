//! Time since the start, by the time stamp counter, and sleep until a point in it, by the interval timer.

use rt::{cpu, time};
use smoltcp::time::{Duration, Instant};

/// The longest time that the 8254 counts, and a little less.
const LONGEST: Duration = Duration::from_millis(50);

/// The clock.
pub(crate) struct Clock {
    start: u64,
    khz: u64,
    /// When the interval timer interrupts, if it was told to.
    alarm: Option<Instant>,
}

impl Clock {
    /// Starts it. Interrupts must be off.
    pub(crate) fn start() -> Self {
        time::stop();
        Self { khz: time::tsc_khz().max(1), start: cpu::rdtsc(), alarm: None }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Instant {
        let cycles = cpu::rdtsc().wrapping_sub(self.start);
        // In two parts: the product of a whole would overflow after some weeks.
        let micros = cycles / self.khz * 1000 + cycles % self.khz * 1000 / self.khz;
        Instant::from_micros(micros as i64)
    }

    /// Sleeps until an interrupt, which comes after `delay` or [`LONGEST`] at the latest; without a delay, when it comes.
    /// Interrupts must be off, and are afterwards.
    pub(crate) fn sleep(&mut self, delay: Option<Duration>) {
        if let Some(delay) = delay {
            self.set_alarm(delay.min(LONGEST));
        }
        cpu::wait();
    }

    /// Setting the timer costs three accesses to ports, which is more than waking up once for nothing: an alarm that comes
    /// early stays.
    fn set_alarm(&mut self, delay: Duration) {
        let now = self.now();
        let at = now + delay;
        if self.alarm.is_some_and(|alarm| alarm > now && alarm <= at) {
            return;
        }
        // Rounded up, so that it is time when it comes.
        let count = delay.total_micros() * time::PIT_HZ / 1_000_000 + 1;
        time::start_one_shot(count as u16);
        self.alarm = Some(at);
    }
}
