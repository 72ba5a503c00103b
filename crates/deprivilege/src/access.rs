//! Data instructions whose memory cannot be touched natively: devices, and pages that the host cannot map.
//!
//! [`access`] carries out one instruction on the guest's registers, its vector registers and the [`Bus`], as the CPU
//! would, flags included. A fault leaves the instruction to be run again: only whole elements of a repeated string
//! instruction are done. Flags that the manuals leave undefined are set as current CPUs set them where these agree.
//!
//! Not here: instructions that transfer control ([`crate::translate::branch`]), vector arithmetic, and anything encoded
//! with VEX or EVEX, which would need registers that are not handed over. They are refused by name.

mod arithmetic;
mod bits;
mod condition;
mod integer;
mod strings;
mod vector;

#[cfg(test)]
mod native;
#[cfg(test)]
mod tests;

use iced_x86::{Instruction, Mnemonic as M};

use crate::{
    bus::Bus,
    cpu::{Cpu, Registers},
    emulate::{Effect, Step, Trap},
};

use arithmetic::{Logic, Shift};
use bits::BitChange;

/// XMM0 to XMM15, bytes in memory order.
pub type VectorRegisters = [[u8; 16]; 16];

/// Carries out one data instruction, decoded at RIP with the current code size.
///
/// # Errors
/// [`Trap`] says which exception the guest is to handle or what cannot be represented; RIP still points to the
/// instruction then.
pub fn access(
    insn: &Instruction,
    cpu: &mut Cpu,
    regs: &mut Registers,
    xmm: &mut VectorRegisters,
    bus: &mut dyn Bus,
) -> Result<Effect, Trap> {
    let mut step = Step { insn, cpu, regs, bus };
    let effect = step.access(xmm)?;
    if effect != Effect::Again {
        step.regs.rip = step.next_rip();
    }
    Ok(effect)
}

impl Step<'_> {
    fn access(&mut self, xmm: &mut VectorRegisters) -> Result<Effect, Trap> {
        match self.insn.mnemonic() {
            M::Mov | M::Movnti | M::Movzx => self.load_or_store(),
            M::Movsx | M::Movsxd => self.sign_extend(),
            M::Movbe => self.swap_bytes(),
            M::Add => self.combine(arithmetic::add),
            M::Adc => self.combine_with_carry(arithmetic::add_with_carry),
            M::Sub => self.combine(arithmetic::subtract),
            M::Sbb => self.combine_with_carry(arithmetic::subtract_with_borrow),
            M::And => self.combine(|a, b, size| arithmetic::logic(Logic::And, a, b, size)),
            M::Or => self.combine(|a, b, size| arithmetic::logic(Logic::Or, a, b, size)),
            M::Xor => self.combine(|a, b, size| arithmetic::logic(Logic::Xor, a, b, size)),
            M::Cmp => self.compare(arithmetic::subtract),
            M::Test => self.compare(|a, b, size| arithmetic::logic(Logic::And, a, b, size)),
            M::Inc => self.step_by_one(arithmetic::add),
            M::Dec => self.step_by_one(arithmetic::subtract),
            M::Neg => self.negate(),
            M::Not => self.complement(),
            M::Xchg => self.exchange(),
            M::Xlatb => self.look_up(),
            M::Push => self.push_operand(),
            M::Pop => self.pop_operand(),
            M::Leave => self.leave_frame(),
            M::Xadd => self.exchange_and_add(),
            M::Cmpxchg => self.compare_and_exchange(),
            M::Cmpxchg8b | M::Cmpxchg16b => self.compare_and_exchange_pair(),
            M::Shl | M::Sal => self.shift(Shift::Left),
            M::Shr => self.shift(Shift::Right),
            M::Sar => self.shift(Shift::RightSigned),
            M::Rol => self.shift(Shift::RotateLeft),
            M::Ror => self.shift(Shift::RotateRight),
            M::Bt => self.bit(BitChange::None),
            M::Bts => self.bit(BitChange::Set),
            M::Btr => self.bit(BitChange::Reset),
            M::Btc => self.bit(BitChange::Flip),
            // Hints have no effect that could be seen.
            M::Nop | M::Clflush | M::Clflushopt | M::Clwb => Ok(Effect::Next),
            M::Prefetchnta | M::Prefetcht0 | M::Prefetcht1 | M::Prefetcht2 | M::Prefetchw | M::Prefetch => {
                Ok(Effect::Next)
            }
            _ if self.insn.is_string_instruction() => self.string(),
            _ if condition::is_set(self.insn.mnemonic()) => self.set_on_condition(),
            _ if condition::is_move(self.insn.mnemonic()) => self.move_on_condition(),
            _ => self.vector_move(xmm),
        }
    }
}
