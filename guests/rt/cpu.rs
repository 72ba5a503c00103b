//! Instructions of the processor that Rust has no name for.

use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, CpuidResult};

/// CR4 bits (Intel SDM vol. 3, section 2.5).
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// XSAVE and its registers are on.
pub const CR4_OSXSAVE: u64 = 1 << 18;

/// Reads a control register.
macro_rules! control_register {
    ($(#[$read_doc:meta] $read:ident, #[$write_doc:meta] $write:ident: $name:literal;)*) => {$(
        #[$read_doc]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reading a control register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags)) };
            value
        }

        #[$write_doc]
        ///
        /// # Safety
        /// The code that runs must stay mapped and legal under the new value.
        pub unsafe fn $write(value: u64) {
            // SAFETY: as promised by the caller; memory may look different afterwards, so it is not `nomem`.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    )*};
}

control_register! {
    /// Reads CR0.
    read_cr0, /// Writes CR0.
    write_cr0: "cr0";
    /// Reads CR2, the address of the last page fault.
    read_cr2, /// Writes CR2.
    write_cr2: "cr2";
    /// Reads CR3, the address of the page tables.
    read_cr3, /// Writes CR3.
    write_cr3: "cr3";
    /// Reads CR4.
    read_cr4, /// Writes CR4.
    write_cr4: "cr4";
}

/// Identifies the processor.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    __cpuid_count(leaf, subleaf)
}

/// Reads a model-specific register.
///
/// # Safety
/// It must exist.
pub unsafe fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as promised by the caller.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// It must exist, and the code that runs must bear the new value.
pub unsafe fn wrmsr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: as promised by the caller.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags))
    };
}

/// The time stamp counter.
pub fn rdtsc() -> u64 {
    // SAFETY: every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Switches on what the processor has of XSAVE, AVX and FSGSBASE, as Unikraft does (plat/kvm/x86/lcpu_start.S).
pub(crate) fn enable_extended_state() {
    const XSAVE: u32 = 1 << 26;
    const AVX: u32 = 1 << 28;
    const FSGSBASE: u32 = 1 << 0;

    let features = cpuid(1, 0).ecx;
    let structured = cpuid(7, 0).ebx;
    let mut cr4 = read_cr4();
    if features & XSAVE != 0 {
        cr4 |= CR4_OSXSAVE;
    }
    if structured & FSGSBASE != 0 {
        cr4 |= CR4_FSGSBASE;
    }
    // SAFETY: bits that CPUID says exist, which take nothing from the code that runs.
    unsafe { write_cr4(cr4) };
    if features & XSAVE != 0 {
        let state = if features & AVX != 0 { 7 } else { 3 };
        // SAFETY: CR4.OSXSAVE is set and the processor has these states.
        unsafe { write_xcr0(state) };
    }
}

/// Reads XCR0, the states that XSAVE saves.
///
/// # Safety
/// CR4.OSXSAVE must be set.
pub unsafe fn read_xcr0() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: as promised by the caller.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes XCR0.
///
/// # Safety
/// CR4.OSXSAVE must be set and the processor have the states.
pub unsafe fn write_xcr0(value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: as promised by the caller.
    unsafe { asm!("xsetbv", in("ecx") 0, in("eax") low, in("edx") high, options(nostack, preserves_flags)) };
}

/// Interrupts off.
pub fn cli() {
    // SAFETY: to take no interrupt breaks nothing.
    unsafe { asm!("cli", options(nostack)) };
}

/// Interrupts on.
pub fn sti() {
    // SAFETY: every vector has a gate and its own stack.
    unsafe { asm!("sti", options(nostack)) };
}

/// Interrupts on and wait for one; off again.
pub fn wait() {
    // SAFETY: every vector has a gate and its own stack. No interrupt is taken between `sti` and `hlt`.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// RFLAGS.
pub fn flags() -> u64 {
    let value;
    // SAFETY: pushes and pops one word.
    unsafe { asm!("pushfq", "pop {}", out(reg) value, options(preserves_flags)) };
    value
}

/// RFLAGS.IF.
pub const INTERRUPT_FLAG: u64 = 1 << 9;

/// Runs `inside` with interrupts off and leaves them as they were: the critical section of real kernels,
/// which read the flag with `pushf` and set it again with `sti` (plat/common/include/x86/irq.h).
pub fn without_interrupts<T>(inside: impl FnOnce() -> T) -> T {
    let were_on = flags() & INTERRUPT_FLAG != 0;
    cli();
    let result = inside();
    if were_on {
        sti();
    }
    result
}
