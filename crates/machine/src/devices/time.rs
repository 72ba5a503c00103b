//! Time as devices are told it.

/// A point in time: nanoseconds of a monotonic clock, `CLOCK_MONOTONIC` for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

/// What the wall clock shows at a point of the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WallClock {
    /// Nanoseconds since 1970-01-01 00:00:00 UTC when the monotonic clock showed zero:
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`.
    pub unix_ns_at_zero: i64,
}

impl WallClock {
    /// Whole seconds since 1970-01-01 00:00:00 UTC; not before.
    pub(super) fn unix_seconds(self, now: Nanos) -> u64 {
        let ns = i128::from(self.unix_ns_at_zero) + i128::from(now.0);
        u64::try_from(ns / 1_000_000_000).unwrap_or(0)
    }
}
