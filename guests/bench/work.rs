//! Work that any program may do, and how it is timed. The same lines run in the guest and, as a measure for it, in the
//! host program that compares the two (`benches/`).

use core::arch::asm;

/// Something to be timed.
pub(crate) struct Work {
    /// What it is, as the report says it.
    pub(crate) name: &'static str,
    /// How often it is done for one reading: enough to take tens of microseconds on the real processor.
    pub(crate) times: u32,
    /// Does it that often.
    pub(crate) run: fn(u32),
}

/// Work that needs no privilege.
pub(crate) const UNPRIVILEGED: &[Work] = &[
    Work { name: "multiply and add", times: 100_000, run: multiply_and_add },
    Work { name: "call and ret", times: 50_000, run: call_and_return },
    Work { name: "call through a register", times: 50_000, run: call_through_register },
    Work { name: "pushf and popf", times: 20_000, run: push_and_pop_flags },
    Work { name: "copy of 4 KiB", times: 500, run: copy },
    Work { name: "rdtsc", times: 5_000, run: read_time },
    Work { name: "cpuid", times: 100, run: identify },
];

/// Readings of each work. The least is taken: whatever disturbs makes a reading longer.
const READINGS: u32 = 9;

/// How long the work takes once, in hundredths of a tick of the time stamp counter.
pub(crate) fn time(work: &Work) -> u64 {
    // Once for code to be translated, caches to fill and pages to be mapped.
    (work.run)(work.times);
    let mut least = u64::MAX;
    for _ in 0..READINGS {
        let start = ticks();
        (work.run)(work.times);
        least = least.min(ticks() - start);
    }
    least * 100 / u64::from(work.times)
}

/// The time stamp counter, read when all before it is done.
pub(crate) fn ticks() -> u64 {
    // SAFETY: every x86-64 processor has both instructions, and they touch no memory.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

fn multiply_and_add(times: u32) {
    // SAFETY: registers only.
    unsafe {
        asm!(
            "2: imul {value}, {value}, 25",
            "add {value}, 7",
            "dec {times:e}",
            "jnz 2b",
            value = inout(reg) 1_u64 => _,
            times = inout(reg) times => _,
            options(nomem, nostack)
        );
    }
}

fn call_and_return(times: u32) {
    // SAFETY: the stack is as it was; what is called is the last line.
    unsafe {
        asm!(
            "2: call 3f",
            "dec {times:e}",
            "jnz 2b",
            "jmp 4f",
            "3: ret",
            "4:",
            times = inout(reg) times => _
        );
    }
}

fn call_through_register(times: u32) {
    // SAFETY: the stack is as it was; what is called is the last line.
    unsafe {
        asm!(
            "lea {to}, [rip + 3f]",
            "2: call {to}",
            "dec {times:e}",
            "jnz 2b",
            "jmp 4f",
            "3: ret",
            "4:",
            to = out(reg) _,
            times = inout(reg) times => _
        );
    }
}

fn push_and_pop_flags(times: u32) {
    // SAFETY: the stack is as it was, and so are the flags that matter.
    unsafe {
        asm!(
            "2: pushfq",
            "popfq",
            "dec {times:e}",
            "jnz 2b",
            times = inout(reg) times => _
        );
    }
}

fn copy(times: u32) {
    let from = [1_u8; 4096];
    let mut to = [0_u8; 4096];
    for _ in 0..times {
        // SAFETY: both arrays have that many bytes; the direction flag is clear, as it always is between functions
        // (System V ABI for x86-64, section 3.2.1).
        unsafe {
            asm!(
                "rep movsb",
                inout("rsi") from.as_ptr() => _,
                inout("rdi") to.as_mut_ptr() => _,
                inout("rcx") to.len() => _,
                options(nostack, preserves_flags)
            );
        }
    }
}

fn read_time(times: u32) {
    for _ in 0..times {
        ticks();
    }
}

fn identify(times: u32) {
    for _ in 0..times {
        core::hint::black_box(core::arch::x86_64::__cpuid_count(1, 0));
    }
}
