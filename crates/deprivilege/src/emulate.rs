//! Privileged and sensitive instructions, carried out on the virtual CPU.

use runu_core::VirtAddr;

use crate::exception::Exception;

/// What the monitor has to do after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing special: RIP is past the instruction.
    Next,
    /// As [`Next`](Self::Next), and interrupts stay blocked for one more instruction (STI, loads of SS: Intel SDM
    /// vol. 3 §7.8.3).
    NextShadowed,
    /// RIP was set; the code size may have changed, see [`Cpu::code_size`](crate::cpu::Cpu::code_size).
    Jump,
    /// The CPU waits for an interrupt: RIP is past the HLT.
    Halt,
    /// RIP is past the instruction or was set, and every translation of addresses may have changed.
    FlushAll,
    /// RIP is past the instruction, and the translation of the page at this address may have changed.
    FlushPage(VirtAddr),
    /// Part of a repeated instruction is done, registers tell how far; RIP still points to it. Deliver what is
    /// pending, then run it again.
    Again,
}

/// Why an instruction was not carried out. Registers and CPU are as before it, but for what a repeated instruction
/// completed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trap {
    /// The guest's own exception handler is to run.
    #[error("exception {}", .0.vector)]
    Exception(Exception),
    /// The instruction did something that is not represented; what, in one line.
    #[error("{0}")]
    Unsupported(String),
}

impl From<Exception> for Trap {
    fn from(exception: Exception) -> Self {
        Trap::Exception(exception)
    }
}
