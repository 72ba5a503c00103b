//! What of the virtual CPU decides what code becomes.

use runu_core::VirtAddr;

use crate::cpu::{Cpu, cr0, efer};

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

/// What `syscall` does (Intel SDM vol. 2B, SYSCALL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// IA32_LSTAR: where it leads.
    pub target: VirtAddr,
    /// IA32_FMASK: the flags that it clears.
    pub mask: u64,
    /// Of IA32_STAR: what it loads CS with.
    pub code: u16,
    /// Of IA32_STAR: what it loads SS with.
    pub stack: u16,
}

impl SystemCall {
    /// What it does on this CPU.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the selector is bits 47 to 32 of the register")]
        let code = (cpu.star >> 32) as u16 & !3;
        SystemCall { target: VirtAddr(cpu.lstar), mask: cpu.sfmask, code, stack: code.wrapping_add(8) }
    }
}
