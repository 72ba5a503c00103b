//! How fast the time-stamp counter runs: guests are told, so that they need not find out with a slow timer.

use core::arch::x86_64::{__cpuid, __cpuid_count, _rdtsc};

use std::ffi::CString;

use crate::host;

/// Shortest time to measure over, in nanoseconds: one reading of the clock is off by less than 100 ns, so the frequency
/// is right to within 0.02 %, which is what a PC's crystals promise.
const MEASURE_NS: u64 = 1_000_000;

/// The time-stamp counter and the clock at one moment. The longer ago the first of two readings, the better they tell how
/// fast the counter runs, so a guest's process is given one that its parent took at its own start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    ticks: u64,
    nanos: u64,
}

impl Reading {
    /// Reads both, close to each other: a process may be interrupted between the two for milliseconds, which would put the
    /// frequency off by any factor. Of a few tries the tightest counts.
    #[must_use]
    pub fn now() -> Self {
        let tries = (0..Self::TRIES).map(|_| {
            let before = ticks();
            let nanos = host::now();
            let after = ticks();
            (
                after.wrapping_sub(before),
                Reading { ticks: before.wrapping_add(after.wrapping_sub(before) / 2), nanos },
            )
        });
        tries.min_by_key(|(apart, _)| *apart).map_or(Reading { ticks: 0, nanos: 0 }, |(_, reading)| reading)
    }

    /// How often to try. One try takes some 50 ns.
    const TRIES: u32 = 8;

    /// The reading as an argument of the guest's process.
    #[must_use]
    pub fn to_argument(self) -> CString {
        CString::new(format!("{}:{}", self.ticks, self.nanos)).unwrap_or_default()
    }

    /// The reading in an argument.
    pub(crate) fn from_argument(argument: &str) -> Option<Self> {
        let (ticks, nanos) = argument.split_once(':')?;
        Some(Reading { ticks: ticks.parse().ok()?, nanos: nanos.parse().ok()? })
    }
}

fn ticks() -> u64 {
    // SAFETY: reading the counter has no effect; Linux lets programs do it unless told otherwise by prctl(2).
    unsafe { _rdtsc() }
}

/// The frequency in kHz: as the processor or a hypervisor tells it, else measured since `start`.
pub(crate) fn frequency_khz(start: Reading) -> u32 {
    told_by_hypervisor().or_else(told_by_processor).unwrap_or_else(|| measured(start))
}

/// Leaf 0x40000010: VMware's timing leaf, which KVM and others offer as well (Linux arch/x86/kernel/cpu/vmware.c).
fn told_by_hypervisor() -> Option<u32> {
    let present = __cpuid(1).ecx & 1 << 31 != 0;
    let last = if present { __cpuid(0x4000_0000).eax } else { 0 };
    if !(0x4000_0010..0x4000_1000).contains(&last) {
        return None;
    }
    Some(__cpuid(0x4000_0010).eax).filter(|khz| *khz != 0)
}

/// Leaf 0x15: crystal clock and its ratio to the counter (Intel SDM vol. 2, CPUID).
fn told_by_processor() -> Option<u32> {
    if __cpuid(0).eax < 0x15 {
        return None;
    }
    let leaf = __cpuid_count(0x15, 0);
    let (denominator, numerator, crystal_hz) =
        (u64::from(leaf.eax), u64::from(leaf.ebx), u64::from(leaf.ecx));
    let khz = (crystal_hz * numerator).checked_div(denominator)? / 1000;
    u32::try_from(khz).ok().filter(|khz| *khz != 0)
}

fn measured(start: Reading) -> u32 {
    loop {
        let end = Reading::now();
        let nanos = end.nanos.saturating_sub(start.nanos);
        if nanos >= MEASURE_NS {
            let ticks = u128::from(end.ticks.wrapping_sub(start.ticks));
            return u32::try_from(ticks * 1_000_000 / u128::from(nanos)).unwrap_or(u32::MAX);
        }
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_handed_over_as_an_argument_is_the_same() {
        let reading = Reading::now();
        let argument = reading.to_argument();
        assert_eq!(Reading::from_argument(argument.to_str().expect("digits")), Some(reading));
        assert_eq!(Reading::from_argument("17"), None);
    }

    #[test]
    fn frequency_measured_twice_agrees() {
        let (first, second) = (measured(Reading::now()), measured(Reading::now()));
        let ratio = f64::from(first) / f64::from(second);
        assert!((0.9..1.1).contains(&ratio), "{first} kHz, then {second} kHz");
    }
}
