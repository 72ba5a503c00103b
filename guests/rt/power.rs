//! Every way in which a guest can end.

use crate::boot::Kind;
use crate::port::{outb, outw};
use crate::tables;
use core::arch::asm;

/// QEMU's isa-debug-exit, by our convention: the byte is the guest's exit code.
const EXIT_CODE: u16 = 0xf4;
/// PM1a control of QEMU's ACPI, and its SLP_EN with sleep type 0 (S5).
const ACPI_PM1A: (u16, u16) = (0x604, 0x2000);
/// i8042 command port, and the command that pulses the reset line.
const I8042_RESET: (u16, u8) = (0x64, 0xfe);
/// isa-debug-exit where Unikraft expects it (plat/common/x86/cpu_native.c), with its codes for an end and a
/// crash.
const UNIKRAFT_EXIT: u16 = 0x501;
const UNIKRAFT_HALTED: u16 = 41;
const UNIKRAFT_CRASHED: u16 = 42;
/// pvpanic, and its bit for "the guest has panicked".
const PVPANIC: (u16, u8) = (0x505, 1);

/// Stops for good: no interrupt will be taken.
pub fn halt() -> ! {
    loop {
        // SAFETY: nothing is left to do.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Powers off by ACPI.
pub fn off() -> ! {
    outw(ACPI_PM1A.0, ACPI_PM1A.1);
    halt()
}

/// Ends with an exit code; powers off where nothing takes the code.
pub fn exit(code: u8) -> ! {
    outb(EXIT_CODE, code);
    off()
}

/// Resets by the keyboard controller.
pub fn reset() -> ! {
    outb(I8042_RESET.0, I8042_RESET.1);
    halt()
}

/// Resets by an exception that cannot be delivered, nor the one that follows, nor the third.
pub fn triple_fault() -> ! {
    tables::load_empty_idt();
    // SAFETY: never returns.
    unsafe { asm!("int3", options(noreturn)) }
}

/// Ends as a Unikraft kernel of this kind does: all ways in its order.
pub fn unikraft(kind: Kind) -> ! {
    if kind == Kind::Linux64 {
        outb(I8042_RESET.0, I8042_RESET.1);
    }
    outw(ACPI_PM1A.0, ACPI_PM1A.1);
    outw(UNIKRAFT_EXIT, UNIKRAFT_HALTED);
    halt()
}

/// Reports a crash as a Unikraft kernel does, then powers off.
pub fn crash() -> ! {
    outw(UNIKRAFT_EXIT, UNIKRAFT_CRASHED);
    outb(PVPANIC.0, PVPANIC.1);
    off()
}
