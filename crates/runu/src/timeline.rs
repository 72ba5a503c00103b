//! How long each phase of a life took.
//!
//! Points between the start of the guest's process and its end come from that process. They are believed only where they
//! lie between two points that we know ourselves and in order; a point that does not is left out.

use runu_core::Phases;
use rustix::time::{ClockId, clock_gettime};

use crate::start::Life;

/// Now, in nanoseconds of `CLOCK_MONOTONIC`, as in [`Phases`].
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let nanoseconds = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanoseconds).unwrap_or(0)
}

/// Each phase in order: its length in nanoseconds and what was done in it; the last is all together.
pub(crate) fn phases(began: u64, life: &Life) -> Vec<(u64, &'static str)> {
    let times = &life.ended.times;
    let told = life.report.as_ref().map(|report| report.phases).unwrap_or_default();
    let Phases { process_start, loaded, entered, first_output, ended } = told;
    durations(
        began,
        &[
            (times.called, "read the kernel and make the plan"),
            (times.ready, "make the sandbox"),
            (process_start, "start the guest's process"),
            (loaded, "load the kernel"),
            (entered, "lock the process in"),
            (first_output, "boot to the first output"),
            (ended, "run to the end"),
            (times.removed, "clean up"),
        ],
    )
}

/// From points in time to the time between each and the one before, without those that are out of order.
fn durations(began: u64, points: &[(u64, &'static str)]) -> Vec<(u64, &'static str)> {
    let last = points.last().map_or(began, |(point, _)| *point);
    let mut before = began;
    let mut durations = Vec::new();
    for (point, what) in points {
        if (before..=last).contains(point) {
            durations.push((point - before, *what));
            before = *point;
        }
    }
    durations.push((last.saturating_sub(began), "in all"));
    durations
}

/// Nanoseconds as people read them: `12.34 ms`.
pub(crate) fn milliseconds(nanoseconds: u64) -> String {
    // Rounded to 10 µs: what is left fits a float exactly.
    let hundredths = (nanoseconds + 5_000) / 10_000;
    format!("{}.{:02} ms", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn point_out_of_order_or_after_the_end_is_left_out() {
        let points = [(20, "a"), (0, "missing"), (19, "back"), (u64::MAX, "never"), (30, "b")];
        assert_eq!(durations(10, &points), [(10, "a"), (10, "b"), (20, "in all")]);
    }

    #[test]
    fn time_is_printed_in_milliseconds_with_two_places() {
        assert_eq!(milliseconds(12_345_000), "12.35 ms");
        assert_eq!(milliseconds(4_999), "0.00 ms");
    }
}
