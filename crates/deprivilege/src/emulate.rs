//! Privileged and sensitive instructions, carried out on the virtual CPU.
//!
//! [`emulate`] takes an instruction decoded at RIP in the current code size and does to [`Cpu`], [`Registers`] and the
//! [`Bus`] what the CPU would do at CPL 0. It is given only what must not run natively; an instruction it does not
//! know is refused by name. What the guest is told it lacks (CPUID, see [`crate::cpuid`]) raises #UD or #GP as on a
//! CPU that lacks it. What exists but cannot be represented (real mode, CPL 3, tasks, call gates, single-stepping,
//! hardware breakpoints, segments with a base) is [`Trap::Unsupported`], never silence.

mod control;
mod flags;
pub(crate) mod msr;
mod operand;
mod ports;
mod segments;
mod step;
mod strings;
mod tables;
mod transfer;

#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;

use iced_x86::{Instruction, Mnemonic as M};
use runu_core::VirtAddr;

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    cpuid::Host,
    exception::Exception,
};

pub(crate) use operand::truncate;
pub(crate) use segments::{Segment, descriptor, mark_accessed};
pub(crate) use step::Step;
pub(crate) use strings::Repeat;

/// What the monitor has to do after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing special: RIP is past the instruction.
    Next,
    /// As [`Next`](Self::Next), and interrupts stay blocked for one more instruction (STI, loads of SS: Intel SDM
    /// vol. 3 §7.8.3).
    NextShadowed,
    /// RIP was set; the code size may have changed, see [`Cpu::code_size`].
    Jump,
    /// The CPU waits for an interrupt: RIP is past the HLT.
    Halt,
    /// RIP is past the instruction, and every translation of addresses may have changed.
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
    /// The guest's own exception handler is to run; see [`exception::raise`](crate::exception::raise).
    #[error("exception {}", .0.vector)]
    Exception(Exception),
    /// The instruction did something that is not represented; what, in one line without a trailing period.
    #[error("{0}")]
    Unsupported(String),
}

impl From<Exception> for Trap {
    fn from(exception: Exception) -> Self {
        Trap::Exception(exception)
    }
}

/// Carries out one instruction, decoded at RIP with the current code size.
///
/// # Errors
/// [`Trap`] says which exception the guest is to handle or what cannot be represented; RIP still points to the
/// instruction then.
pub fn emulate(
    insn: &Instruction,
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
    host: &Host,
) -> Result<Effect, Trap> {
    let mut step = Step { insn, cpu, regs, bus };
    let effect = step.dispatch(host)?;
    if !matches!(effect, Effect::Jump | Effect::Again) {
        step.regs.rip = step.next_rip();
    }
    Ok(effect)
}

impl Step<'_> {
    fn dispatch(&mut self, host: &Host) -> Result<Effect, Trap> {
        match self.insn.mnemonic() {
            M::Cli => self.cli(),
            M::Sti => self.sti(),
            M::Pushf => self.pushf(2),
            M::Pushfd => self.pushf(4),
            M::Pushfq => self.pushf(8),
            M::Popf => self.popf(2),
            M::Popfd => self.popf(4),
            M::Popfq => self.popf(8),
            M::Hlt => Ok(Effect::Halt),
            M::In => self.port_in(),
            M::Out => self.port_out(),
            M::Insb => self.ins(1),
            M::Insw => self.ins(2),
            M::Insd => self.ins(4),
            M::Outsb => self.outs(1),
            M::Outsw => self.outs(2),
            M::Outsd => self.outs(4),

            M::Rdmsr => self.rdmsr(host),
            M::Wrmsr => self.wrmsr(host),
            M::Rdfsbase | M::Rdgsbase => self.read_segment_base(),
            M::Wrfsbase | M::Wrgsbase => self.write_segment_base(),
            M::Swapgs => self.swapgs(),
            M::Cpuid => self.cpuid(host),
            M::Rdtsc => self.rdtsc(host),
            M::Rdtscp => self.rdtscp(host),
            M::Rdpid => self.rdpid(host),
            M::Xgetbv => self.xgetbv(),
            M::Xsetbv => self.xsetbv(host),

            M::Mov => self.mov(host),
            M::Clts => self.clts(),
            M::Lmsw => self.lmsw(),
            M::Smsw => self.smsw(),
            M::Invlpg => self.invlpg(),
            // Nothing is cached that a flush of caches could show.
            M::Invd | M::Wbinvd | M::Wbnoinvd => Ok(Effect::Next),

            M::Lgdt | M::Lidt => self.load_table(),
            M::Sgdt | M::Sidt => self.store_table(),
            M::Lldt => self.lldt(),
            M::Ltr => self.ltr(),
            M::Sldt | M::Str => self.store_system_selector(),
            M::Lar => self.lar(),
            M::Lsl => self.lsl(),
            M::Verr | M::Verw => self.verify(),
            M::Push => self.push_segment(),
            M::Pop => self.pop_segment(),
            M::Lds | M::Les | M::Lfs | M::Lgs | M::Lss => self.load_far_pointer(),

            M::Jmp => self.far_jump(),
            M::Call => self.far_call(),
            M::Retf => self.far_return(),
            M::Iret | M::Iretd | M::Iretq => self.iret(),
            M::Int | M::Int1 | M::Int3 | M::Into => self.software_interrupt(),
            M::Syscall => self.syscall(),
            M::Sysret | M::Sysretq => self.sysret(),

            // A performance counter that does not exist: Intel SDM vol. 2B, RDPMC.
            M::Rdpmc => Err(Exception::general_protection(0).into()),
            mnemonic if is_absent(mnemonic) => Err(Exception::invalid_opcode().into()),
            _ => Err(self.unsupported("not an instruction that is emulated")),
        }
    }
}

/// Whether an instruction belongs to a feature that CPUID does not tell, or is undefined by design.
fn is_absent(mnemonic: M) -> bool {
    matches!(
        mnemonic,
        M::INVALID
            | M::Ud0 | M::Ud1 | M::Ud2
            // No SEP: Intel SDM vol. 2B, SYSENTER.
            | M::Sysenter | M::Sysexit | M::Sysexitq
            // No SMAP, PCID, protection keys, shadow stacks, user interrupts, FRED.
            | M::Clac | M::Stac | M::Invpcid | M::Rdpkru | M::Wrpkru
            | M::Rdsspd | M::Rdsspq | M::Wrssd | M::Wrssq | M::Wrussd | M::Wrussq | M::Clrssbsy | M::Setssbsy
            | M::Incsspd | M::Incsspq | M::Saveprevssp | M::Rstorssp
            | M::Clui | M::Stui | M::Testui | M::Uiret | M::Senduipi
            | M::Lkgs | M::Erets | M::Eretu
            // No MONITOR, WAITPKG.
            | M::Monitor | M::Mwait | M::Monitorx | M::Mwaitx | M::Umonitor | M::Umwait | M::Tpause
            // No VMX, SVM, SMX, SGX, SMM, TDX.
            | M::Vmcall | M::Vmmcall | M::Vmlaunch | M::Vmresume | M::Vmxon | M::Vmxoff | M::Vmptrld | M::Vmptrst
            | M::Vmclear | M::Vmread | M::Vmwrite | M::Vmfunc | M::Invept | M::Invvpid
            | M::Vmrun | M::Vmload | M::Vmsave | M::Vmgexit | M::Stgi | M::Clgi | M::Skinit | M::Invlpga | M::Invlpgb
            | M::Tlbsync | M::Getsec | M::Getsecq | M::Encls | M::Enclu | M::Enclv | M::Rsm | M::Pconfig
            | M::Seamcall | M::Seamops | M::Seamret | M::Tdcall
            // No supervisor states, PTWRITE, RDPRU, list forms of the MSR instructions.
            | M::Xsaves | M::Xsaves64 | M::Xrstors | M::Xrstors64 | M::Ptwrite | M::Rdpru
            | M::Rdmsrlist | M::Wrmsrlist | M::Wrmsrns
            // No transactions.
            | M::Xbegin | M::Xend | M::Xabort | M::Xtest
            // Known to the 286 and 386 only.
            | M::Loadall
    )
}
