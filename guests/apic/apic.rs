//! The local APIC by either of its faces (Intel SDM vol. 3, chapter 11), and what it made the processor take.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use rt::cpu;
use rt::trap::{self, Frame};

/// Numbers of registers: a sixteenth of their offset in memory, and what is added to 0x800 for their MSR.
pub(crate) mod register {
    pub(crate) const ID: u32 = 0x02;
    pub(crate) const VERSION: u32 = 0x03;
    pub(crate) const TASK_PRIORITY: u32 = 0x08;
    pub(crate) const PROCESSOR_PRIORITY: u32 = 0x0a;
    pub(crate) const END_OF_INTERRUPT: u32 = 0x0b;
    pub(crate) const LOGICAL_DESTINATION: u32 = 0x0d;
    pub(crate) const DESTINATION_FORMAT: u32 = 0x0e;
    pub(crate) const SPURIOUS: u32 = 0x0f;
    pub(crate) const IN_SERVICE: u32 = 0x10;
    pub(crate) const REQUESTED: u32 = 0x20;
    pub(crate) const COMMAND: u32 = 0x30;
    pub(crate) const COMMAND_HIGH: u32 = 0x31;
    pub(crate) const TIMER: u32 = 0x32;
    pub(crate) const LINT0: u32 = 0x35;
    pub(crate) const INITIAL_COUNT: u32 = 0x38;
    pub(crate) const CURRENT_COUNT: u32 = 0x39;
    pub(crate) const DIVIDE: u32 = 0x3e;
    pub(crate) const SELF_INTERRUPT: u32 = 0x3f;
}

/// In a local vector: no interrupts.
pub(crate) const MASKED: u32 = 1 << 16;
/// In the timer's: again and again.
pub(crate) const PERIODIC: u32 = 1 << 17;
/// In LINT0's: the vector comes from the 8259s.
pub(crate) const EXTINT: u32 = 0b111 << 8;

/// Divide by nothing.
pub(crate) const BY_1: u32 = 0b1011;

/// IA32_APIC_BASE: the address, and its other bits.
pub(crate) const MSR_BASE: u32 = 0x1b;
pub(crate) const ADDRESS: u64 = 0xfee0_0000;
pub(crate) const BOOTSTRAP: u64 = 1 << 8;
pub(crate) const X2APIC: u64 = 1 << 10;
pub(crate) const ENABLED: u64 = 1 << 11;
/// MSR of register 0.
pub(crate) const MSR_FIRST: u32 = 0x800;

/// The registers are MSRs.
static MSRS: AtomicBool = AtomicBool::new(false);

/// Whether the registers are MSRs.
pub(crate) fn by_msrs() -> bool {
    MSRS.load(Relaxed)
}

/// Whether they can be.
pub(crate) fn has_x2apic() -> bool {
    cpu::cpuid(1, 0).ecx & 1 << 21 != 0
}

/// Reads IA32_APIC_BASE.
pub(crate) fn base() -> u64 {
    // SAFETY: every processor with an APIC has it.
    unsafe { cpu::rdmsr(MSR_BASE) }
}

/// Makes the registers MSRs, which they stay.
pub(crate) fn enter_x2apic() {
    if !MSRS.swap(true, Relaxed) {
        // SAFETY: the processor has it.
        unsafe { cpu::wrmsr(MSR_BASE, base() | X2APIC) };
    }
}

/// Makes the registers memory again, all as after a reset.
pub(crate) fn leave_x2apic() {
    // SAFETY: the way that there is from one to the other.
    unsafe {
        cpu::wrmsr(MSR_BASE, base() & !(ENABLED | X2APIC));
        cpu::wrmsr(MSR_BASE, base() | ENABLED);
    }
    MSRS.store(false, Relaxed);
}

fn place(register: u32) -> *mut u32 {
    (ADDRESS as usize + register as usize * 16) as *mut u32
}

/// Reads a register.
pub(crate) fn read(register: u32) -> u32 {
    // SAFETY: device memory that the first page tables map, or an MSR that exists in this mode.
    unsafe {
        if by_msrs() { cpu::rdmsr(MSR_FIRST + register) as u32 } else { place(register).read_volatile() }
    }
}

/// Writes a register.
pub(crate) fn write(register: u32, value: u32) {
    // SAFETY: as above; a handler is set for every vector that is used.
    unsafe {
        if by_msrs() {
            cpu::wrmsr(MSR_FIRST + register, value.into());
        } else {
            place(register).write_volatile(value);
        }
    }
}

/// Sends what `command` says to a destination, which has eight bits in memory.
pub(crate) fn send(destination: u32, command: u32) {
    if by_msrs() {
        // SAFETY: as above.
        unsafe {
            cpu::wrmsr(MSR_FIRST + register::COMMAND, u64::from(destination) << 32 | u64::from(command))
        };
    } else {
        write(register::COMMAND_HIGH, destination << 24);
        write(register::COMMAND, command);
    }
}

/// Sends a vector to this processor.
pub(crate) fn send_to_self(vector: u8) {
    const SHORTHAND_SELF: u32 = 1 << 18;
    send(0, SHORTHAND_SELF | u32::from(vector));
}

/// The bit of a vector in one of the three sets.
pub(crate) fn is_set(set: u32, vector: u8) -> bool {
    read(set + u32::from(vector / 32)) & 1 << (vector % 32) != 0
}

/// Tells the end of the interrupt.
pub(crate) fn end() {
    write(register::END_OF_INTERRUPT, 0);
}

/// Vectors taken, the last in the lowest byte.
static TAKEN: AtomicU64 = AtomicU64::new(0);
/// Handlers tell the end themselves.
static ENDS: AtomicBool = AtomicBool::new(true);

fn take(frame: &mut Frame) {
    TAKEN.store(taken() << 8 | frame.vector, Relaxed);
    if ENDS.load(Relaxed) {
        end();
    }
}

/// Vectors taken since [`expect`], one after the other, each a byte.
pub(crate) fn taken() -> u64 {
    TAKEN.load(Relaxed)
}

/// Forgets what was taken and takes these vectors from now on. Handlers tell the end of an interrupt if they are to.
pub(crate) fn expect(vectors: &[u8], ends: bool) {
    TAKEN.store(0, Relaxed);
    ENDS.store(ends, Relaxed);
    vectors.iter().for_each(|vector| trap::on(*vector, Some(take)));
}
