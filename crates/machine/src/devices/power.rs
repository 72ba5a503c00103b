//! The ways to end a machine that are a single port write.
//!
//! | port | who uses it |
//! |---|---|
//! | 0x604, 0xb004 | PM1a control register of QEMU's ACPI and of Bochs and old QEMU (ACPI 6.5 §4.8.3.2.1) |
//! | 0x501 | Unikraft's use of QEMU's isa-debug-exit: 41 at its end, 42 at its crash |
//! | 0x505 | pvpanic (QEMU docs/specs/pvpanic.rst) |
//! | 0xf4 | our own guests' use of isa-debug-exit: the exit code |
//! | 0xcf9 | reset control register of Intel chip sets |
//! | 0x92 | system control port A: fast reset |

/// What a guest asked of the machine's power switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// It powered off or reset: a machine that runs one guest has no use for the difference.
    Off,
    /// It ended with this exit code.
    Exit(u8),
    /// It says that it crashed. The text names the way it said so.
    Crash(&'static str),
}

/// SLP_EN of the PM1a control register.
const SLEEP_ENABLE: u32 = 1 << 13;
/// What Unikraft writes to 0x501 at its end.
const UNIKRAFT_END: u32 = 41;
/// What Unikraft writes to 0x501 after a crash.
const UNIKRAFT_CRASH: u32 = 42;
/// The pvpanic event "the guest has panicked".
pub(super) const PANICKED: u8 = 1;

/// A write to the PM1a control register.
pub(super) fn acpi(value: u32) -> Option<Power> {
    // Which sleep state, SLP_TYP says; nothing but "off" is offered, so any counts as that.
    (value & SLEEP_ENABLE != 0).then_some(Power::Off)
}

/// A write to Unikraft's debug exit. Other values mean nothing there.
pub(super) fn unikraft_exit(value: u32) -> Option<Power> {
    match value {
        UNIKRAFT_END => Some(Power::Off),
        UNIKRAFT_CRASH => Some(Power::Crash("the kernel reported a crash at port 0x501")),
        _ => None,
    }
}

/// A write to pvpanic. Other events ("crash kernel loaded") don't end the machine.
pub(super) fn pvpanic(value: u8) -> Option<Power> {
    (value & PANICKED != 0).then_some(Power::Crash("the kernel reported a panic (pvpanic)"))
}

/// A write to the reset control register: bit 2 starts a reset.
pub(super) fn reset_control(value: u8) -> Option<Power> {
    (value & 1 << 2 != 0).then_some(Power::Off)
}

/// A write to system control port A: bit 0 resets. Bit 1 is the A20 gate, which is always open.
pub(super) fn system_control_a(value: u8) -> Option<Power> {
    (value & 1 != 0).then_some(Power::Off)
}
