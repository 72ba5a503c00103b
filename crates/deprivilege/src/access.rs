//! Data instructions whose memory cannot be touched natively, where they are interpreted: moves between it and a general
//! register, for speed, and what reaches memory that it does not name: strings, the stack. All others run on an operand
//! that they are lent ([`crate::lent`]).
//!
//! [`access`] carries out one instruction on the guest's registers and the [`Bus`], as the CPU would, flags included. A
//! fault leaves the instruction to be run again: only whole elements of a repeated string instruction are done.
//!
//! Not here: instructions that transfer control ([`crate::translate::branch`]). What neither is here nor can be lent its
//! operand is refused by name.

mod moves;
mod strings;

#[cfg(test)]
mod tests;

use iced_x86::{Instruction, Mnemonic as M};

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    emulate::{Effect, Step, Trap},
};

/// Whether the instruction is interpreted though its operand could be lent: for one exit instead of two, or because its
/// operand's address cannot be changed.
pub(crate) fn interprets(insn: &Instruction) -> bool {
    matches!(
        insn.mnemonic(),
        M::Mov | M::Movzx | M::Movsx | M::Movsxd | M::Xlatb | M::Clflush | M::Clflushopt | M::Clwb
    )
}

/// Carries out one data instruction, decoded at RIP with the current code size.
///
/// # Errors
/// [`Trap`] says which exception the guest is to handle or what cannot be represented; RIP still points to the
/// instruction then.
pub fn access(
    insn: &Instruction,
    cpu: &mut Cpu,
    regs: &mut Registers,
    bus: &mut dyn Bus,
) -> Result<Effect, Trap> {
    let mut step = Step { insn, cpu, regs, bus };
    let effect = step.access()?;
    if effect != Effect::Again {
        step.regs.rip = step.next_rip();
    }
    Ok(effect)
}

impl Step<'_> {
    fn access(&mut self) -> Result<Effect, Trap> {
        match self.insn.mnemonic() {
            M::Mov | M::Movzx => self.load_or_store(),
            M::Movsx | M::Movsxd => self.sign_extend(),
            M::Xlatb => self.look_up(),
            M::Push => self.push_operand(),
            M::Pop => self.pop_operand(),
            M::Leave => self.leave_frame(),
            // A line is flushed without being read, and nothing is cached that this could show.
            M::Clflush | M::Clflushopt | M::Clwb => self.look_at(),
            _ if self.insn.is_string_instruction() => self.string(),
            _ => Err(self.unsupported("cannot be done on memory that the host cannot map")),
        }
    }
}
