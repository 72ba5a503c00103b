//! The host's time stamp counter, which is the guest's as well.

/// Reads the time stamp counter, in ticks of its own constant rate.
pub(super) fn read() -> u64 {
    // SAFETY: RDTSC exists on every x86_64 CPU and has no other effect than its result. Where the host forbids it in
    // ring 3 (PR_SET_TSC), the process gets a signal and no memory is touched.
    unsafe { core::arch::x86_64::_rdtsc() }
}
