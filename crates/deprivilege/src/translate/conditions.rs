//! What of the virtual CPU decides what code becomes.

use crate::cpu::{Cpu, SystemCall, cr0, efer};

/// How the virtual CPU stands where that decides what code becomes: blocks hold as long as it stands like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// Whether instructions that read or write the flags may do so by themselves: not while the virtual CPU holds AC or NT.
    pub inline_flags: bool,
    /// Whether x87, SSE and AVX instructions may run: not while CR0.TS is set.
    pub floating_point: bool,
    /// What `syscall` does, if it is an instruction.
    pub system_call: Option<SystemCall>,
}

impl Conditions {
    /// Those of this CPU now.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        Conditions {
            inline_flags: cpu.kept_flags == 0,
            floating_point: cpu.cr0 & cr0::TS == 0,
            system_call: (cpu.efer & efer::SCE != 0).then(|| SystemCall::of(cpu)),
        }
    }
}
