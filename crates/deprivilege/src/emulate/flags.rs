//! RFLAGS: the interrupt flag and its neighbours.

use super::{Effect, Step, Trap, operand::truncate};
use crate::cpu::flag;

impl Step<'_> {
    pub(super) fn cli(&mut self) -> Result<Effect, Trap> {
        self.cpu.interrupts = 0;
        Ok(Effect::Next)
    }

    pub(super) fn sti(&mut self) -> Result<Effect, Trap> {
        let enabled_before = self.cpu.interrupts != 0;
        self.cpu.interrupts = flag::INTERRUPT;
        Ok(if enabled_before { Effect::Next } else { Effect::NextShadowed })
    }

    pub(super) fn pushf(&mut self, size: u8) -> Result<Effect, Trap> {
        self.push(self.cpu.rflags(self.regs), size)?;
        Ok(Effect::Next)
    }

    pub(super) fn popf(&mut self, size: u8) -> Result<Effect, Trap> {
        let value = self.peek(0, size)?;
        self.refuse_single_step(value)?;
        self.load_flags(value, size.into());
        self.drop_stack(size.into());
        Ok(Effect::Next)
    }

    /// Loads RFLAGS from the low `size` bytes of a value and keeps the rest.
    pub(super) fn load_flags(&mut self, value: u64, size: usize) {
        let kept = self.cpu.rflags(self.regs);
        let value = (kept ^ truncate(kept, size)) | truncate(value, size);
        self.cpu.set_rflags(self.regs, value);
    }

    /// Refuses flags with TF set: nothing here would trap after the next instruction.
    pub(super) fn refuse_single_step(&self, flags: u64) -> Result<(), Trap> {
        if flags & flag::TRAP == 0 { Ok(()) } else { Err(self.unsupported("single-stepping (RFLAGS.TF)")) }
    }
}
