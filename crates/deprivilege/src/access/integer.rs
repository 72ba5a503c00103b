//! Integer moves and arithmetic between registers and memory.

use iced_x86::{Code, Register};

use super::arithmetic::{self, Outcome, Shift};
use crate::{
    cpu::flag,
    emulate::{Effect, Step, Trap, truncate},
    exception::Exception,
    paging,
};

/// Hardware numbers of the registers that CMPXCHG8B and CMPXCHG16B use.
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;

impl Step<'_> {
    pub(super) fn set_status(&mut self, flags: u64) {
        self.regs.rflags = (self.regs.rflags & !flag::STATUS) | (flags & flag::STATUS);
    }

    pub(super) fn carry(&self) -> bool {
        self.regs.rflags & flag::CARRY != 0
    }

    /// Bytes by which the instruction moves the stack pointer.
    fn stack_width(&self) -> Result<u8, Trap> {
        let moved = self.insn.stack_pointer_increment().unsigned_abs();
        u8::try_from(moved).map_err(|_| self.unsupported("the width of its stack access"))
    }

    pub(super) fn push_operand(&mut self) -> Result<Effect, Trap> {
        let (value, width) = (self.operand(0)?, self.stack_width()?);
        self.push(value, width)?;
        Ok(Effect::Next)
    }

    /// LEAVE: the stack pointer goes back to the frame pointer, which is popped.
    pub(super) fn leave_frame(&mut self) -> Result<Effect, Trap> {
        // It pops as much as its prefixes say, on a stack as wide as the code.
        let width = if self.cpu.long_mode_code() { 8 } else { 4 };
        if !matches!(self.insn.code(), Code::Leaveq | Code::Leaved) {
            return Err(self.unsupported("a 16-bit frame"));
        }
        let (frame, before) = (self.register(Register::RBP)?, self.rsp());
        self.set_rsp(frame);
        match self.peek(0, width) {
            Ok(value) => {
                self.drop_stack(width.into());
                self.set_register(Register::RBP, value)?;
                Ok(Effect::Next)
            }
            Err(trap) => {
                self.set_rsp(before);
                Err(trap)
            }
        }
    }

    pub(super) fn pop_operand(&mut self) -> Result<Effect, Trap> {
        let width = self.stack_width()?;
        let (value, before) = (self.peek(0, width)?, self.rsp());
        // An operand relative to the stack pointer is where it is after the pop (Intel SDM vol. 2, POP).
        self.drop_stack(width.into());
        if let Err(trap) = self.set_operand(0, value) {
            self.set_rsp(before);
            return Err(trap);
        }
        Ok(Effect::Next)
    }

    /// Reads operand 0 that is to be written as well: a fault must say so, whatever the page allows for reading.
    fn operand_to_change(&mut self) -> Result<u64, Trap> {
        if self.in_memory(0) {
            let size = self.width(0);
            let at = self.address(0, size)?;
            // Both pages, if it straddles two.
            self.check_writable(at)?;
            let last = at.0.wrapping_add(u64::try_from(size).unwrap_or(1)).wrapping_sub(1);
            self.check_writable(runu_core::VirtAddr(self.wrap(last)))?;
        }
        self.operand(0)
    }

    pub(super) fn load_or_store(&mut self) -> Result<Effect, Trap> {
        let value = self.operand(1)?;
        self.set_operand(0, value)?;
        Ok(Effect::Next)
    }

    /// XLAT: AL becomes the byte at its memory operand, which is RBX + AL.
    pub(super) fn look_up(&mut self) -> Result<Effect, Trap> {
        let value = self.load(0, 1)?;
        self.set_register(Register::AL, value)?;
        Ok(Effect::Next)
    }

    pub(super) fn sign_extend(&mut self) -> Result<Effect, Trap> {
        let value = self.operand(1)?;
        let extended = match self.width(1) {
            1 => i64::from((value & 0xff) as u8 as i8),
            2 => i64::from((value & 0xffff) as u16 as i16),
            _ => i64::from((value & 0xffff_ffff) as u32 as i32),
        };
        self.set_operand(0, extended.cast_unsigned())?;
        Ok(Effect::Next)
    }

    pub(super) fn swap_bytes(&mut self) -> Result<Effect, Trap> {
        let value = self.operand(1)?;
        let unused = 64 - 8 * self.width(0).min(8);
        self.set_operand(0, value.swap_bytes() >> unused)?;
        Ok(Effect::Next)
    }

    /// Two operands into the first.
    pub(super) fn combine(&mut self, operation: impl Fn(u64, u64, usize) -> Outcome) -> Result<Effect, Trap> {
        let a = self.operand_to_change()?;
        let b = self.operand(1)?;
        let outcome = operation(a, b, self.width(0));
        self.set_operand(0, outcome.value)?;
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    pub(super) fn combine_with_carry(
        &mut self,
        operation: impl Fn(u64, u64, bool, usize) -> Outcome,
    ) -> Result<Effect, Trap> {
        let carry = self.carry();
        self.combine(|a, b, size| operation(a, b, carry, size))
    }

    /// Two operands into flags alone.
    pub(super) fn compare(&mut self, operation: impl Fn(u64, u64, usize) -> Outcome) -> Result<Effect, Trap> {
        let a = self.operand(0)?;
        let b = self.operand(1)?;
        let outcome = operation(a, b, self.width(0));
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    /// INC and DEC keep CF.
    pub(super) fn step_by_one(
        &mut self,
        operation: impl Fn(u64, u64, usize) -> Outcome,
    ) -> Result<Effect, Trap> {
        let a = self.operand_to_change()?;
        let outcome = operation(a, 1, self.width(0));
        self.set_operand(0, outcome.value)?;
        let carry = self.regs.rflags & flag::CARRY;
        self.set_status(outcome.flags & !flag::CARRY | carry);
        Ok(Effect::Next)
    }

    pub(super) fn negate(&mut self) -> Result<Effect, Trap> {
        let a = self.operand_to_change()?;
        let outcome = arithmetic::subtract(0, a, self.width(0));
        self.set_operand(0, outcome.value)?;
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    pub(super) fn complement(&mut self) -> Result<Effect, Trap> {
        let a = self.operand_to_change()?;
        self.set_operand(0, !a)?;
        Ok(Effect::Next)
    }

    pub(super) fn shift(&mut self, operation: Shift) -> Result<Effect, Trap> {
        let a = self.operand_to_change()?;
        let size = self.width(0);
        let mask = if size == 8 { 0x3f } else { 0x1f };
        let count = u32::try_from(self.operand(1)? & mask).unwrap_or(0);
        let outcome = arithmetic::shift(operation, a, count, size, self.regs.rflags);
        self.set_operand(0, outcome.value)?;
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    /// Either operand may be the one in memory.
    pub(super) fn exchange(&mut self) -> Result<Effect, Trap> {
        let (memory, register) = if self.in_memory(1) { (1, 0) } else { (0, 1) };
        let old = if memory == 0 { self.operand_to_change()? } else { self.operand(1)? };
        let new = self.operand(register)?;
        self.set_operand(memory, new)?;
        self.set_operand(register, old)?;
        Ok(Effect::Next)
    }

    pub(super) fn exchange_and_add(&mut self) -> Result<Effect, Trap> {
        let old = self.operand_to_change()?;
        let outcome = arithmetic::add(old, self.operand(1)?, self.width(0));
        if self.in_memory(0) {
            self.set_operand(0, outcome.value)?;
            self.set_operand(1, old)?;
        } else {
            // XADD of a register with itself keeps the sum.
            self.set_operand(1, old)?;
            self.set_operand(0, outcome.value)?;
        }
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    /// The destination is written in either case (Intel SDM vol. 2A, CMPXCHG).
    pub(super) fn compare_and_exchange(&mut self) -> Result<Effect, Trap> {
        let size = self.width(0);
        let accumulator = accumulator(size);
        let old = self.operand_to_change()?;
        let outcome = arithmetic::subtract(self.register(accumulator)?, old, size);
        let equal = outcome.flags & flag::ZERO != 0;
        let new = if equal { self.operand(1)? } else { old };
        if self.in_memory(0) || equal {
            self.set_operand(0, new)?;
        }
        if !equal {
            self.set_register(accumulator, old)?;
        }
        self.set_status(outcome.flags);
        Ok(Effect::Next)
    }

    /// CMPXCHG8B and CMPXCHG16B: EDX:EAX or RDX:RAX against memory; only ZF changes.
    pub(super) fn compare_and_exchange_pair(&mut self) -> Result<Effect, Trap> {
        let half = self.width(0) / 2;
        let at = self.address(0, 2 * half)?;
        if half == 8 && at.0 & 15 != 0 {
            return Err(Exception::general_protection(0).into());
        }
        self.check_writable(at)?;
        let mut bytes = [0; 16];
        let memory = bytes.get_mut(..2 * half).unwrap_or_default();
        paging::read(self.cpu, self.bus, at, memory)?;
        let bits = 8 * half;
        let old = u128::from_le_bytes(bytes);
        let pair = |step: &Self, high: usize, low: usize| {
            let value = |n: usize| truncate(step.regs.gpr.get(n).copied().unwrap_or(0), half);
            u128::from(value(high)) << bits | u128::from(value(low))
        };
        let equal = pair(self, RDX, RAX) == old;
        let new = if equal { pair(self, RCX, RBX) } else { old };
        paging::write(self.cpu, self.bus, at, new.to_le_bytes().get(..2 * half).unwrap_or_default())?;
        if !equal {
            for (register, value) in [(RAX, old), (RDX, old >> bits)] {
                if let Some(register) = self.regs.gpr.get_mut(register) {
                    *register = arithmetic::low(value, half);
                }
            }
        }
        self.set_zero_flag(equal);
        Ok(Effect::Next)
    }
}

/// AL, AX, EAX or RAX.
pub(super) fn accumulator(size: usize) -> Register {
    match size {
        1 => Register::AL,
        2 => Register::AX,
        4 => Register::EAX,
        _ => Register::RAX,
    }
}
