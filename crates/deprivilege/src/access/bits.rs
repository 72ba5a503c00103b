//! Single bits of memory: BT, BTS, BTR, BTC.

use iced_x86::OpKind;
use runu_core::VirtAddr;

use crate::{
    cpu::{Cpu, flag},
    emulate::{Effect, Step, Trap},
    exception::Exception,
    paging,
};

/// What becomes of the bit after CF has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitChange {
    None,
    Set,
    Reset,
    Flip,
}

impl Step<'_> {
    /// A register may name a bit far from the operand: it counts operand-sized words, signed (Intel SDM vol. 2A, BT).
    pub(super) fn bit(&mut self, change: BitChange) -> Result<Effect, Trap> {
        if !self.in_memory(0) {
            return Err(self.unsupported("a bit test without memory"));
        }
        let size = self.width(0);
        let bits = u64::try_from(size).unwrap_or(8) * 8;
        let index = self.operand(1)?;
        let far = if self.insn.op1_kind() == OpKind::Register { words_away(index, size) } else { 0 };
        let at = self.wrap(self.linear(0)?.wrapping_add(far.wrapping_mul(bits / 8)));
        if self.cpu.long_mode_code() && !(Cpu::canonical(at) && Cpu::canonical(at.wrapping_add(bits / 8 - 1)))
        {
            return Err(Exception::general_protection(0).into());
        }
        let at = VirtAddr(at);
        if change != BitChange::None {
            self.check_writable(at)?;
        }
        let value = paging::read_value(self.cpu, self.bus, at, size)?;
        let bit = 1_u64 << (index % bits);
        let changed = match change {
            BitChange::None => value,
            BitChange::Set => value | bit,
            BitChange::Reset => value & !bit,
            BitChange::Flip => value ^ bit,
        };
        if change != BitChange::None {
            paging::write_value(self.cpu, self.bus, at, size, changed)?;
        }
        // The other status flags are undefined; they stay.
        let carry = if value & bit != 0 { flag::CARRY } else { 0 };
        self.regs.rflags = (self.regs.rflags & !flag::CARRY) | carry;
        Ok(Effect::Next)
    }
}

/// How many operand-sized words a signed bit index reaches, as a wrapping number.
fn words_away(index: u64, size: usize) -> u64 {
    let words = match size {
        2 => i64::from((index & 0xffff) as u16 as i16) >> 4,
        4 => i64::from((index & 0xffff_ffff) as u32 as i32) >> 5,
        _ => index.cast_signed() >> 6,
    };
    words.cast_unsigned()
}
