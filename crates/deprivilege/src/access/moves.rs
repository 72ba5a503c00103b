//! Moves between memory and general registers, through an address or the stack.

use iced_x86::{Code, Register};

use crate::{
    emulate::{Effect, Step, Trap},
    paging::{self, Intent},
};

impl Step<'_> {
    pub(super) fn load_or_store(&mut self) -> Result<Effect, Trap> {
        let value = self.operand(1)?;
        self.set_operand(0, value)?;
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

    /// XLAT: AL becomes the byte at its memory operand, which is RBX + AL.
    pub(super) fn look_up(&mut self) -> Result<Effect, Trap> {
        let value = self.load(0, 1)?;
        self.set_register(Register::AL, value)?;
        Ok(Effect::Next)
    }

    /// A fault or nothing.
    pub(super) fn look_at(&mut self) -> Result<Effect, Trap> {
        let at = self.address(0, 1)?;
        paging::check(self.cpu, self.bus, at, Intent::Read)?;
        Ok(Effect::Next)
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
}
