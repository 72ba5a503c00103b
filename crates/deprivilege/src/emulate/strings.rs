//! Repeated string instructions: counting, stepping, and stopping often enough for interrupts.
//!
//! A repetition is bounded per call, so that no guest can hold the monitor: registers tell how far it came, RIP stays,
//! and [`Effect::Again`] asks to be called again, as the CPU would resume after an interrupt (Intel SDM vol. 2B, REP).

use iced_x86::{OpKind, Register};

use super::{Effect, Step, operand::truncate};
use crate::cpu::flag;

/// Bytes that one call moves at most.
const BYTES_PER_CALL: u64 = 4096;

/// Hardware numbers of the registers that string instructions use.
const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;

/// A string instruction under way.
pub(crate) struct Repeat {
    /// Width of an element in bytes.
    size: u8,
    /// Width of the address registers in bytes.
    address_width: usize,
    /// Whether RCX counts.
    repeated: bool,
    /// Elements still allowed in this call.
    allowed: u64,
    /// A comparison ended the repetition.
    ended: bool,
}

impl Repeat {
    /// Starts or resumes the instruction with elements of `size` bytes.
    pub(crate) fn new(step: &Step<'_>, size: u8) -> Self {
        let repeated = step.insn.has_rep_prefix() || step.insn.has_repne_prefix();
        let allowed = if repeated { BYTES_PER_CALL / u64::from(size.max(1)) } else { 1 };
        Self { size, address_width: address_width(step), repeated, allowed, ended: false }
    }

    /// Whether there is an element to do now.
    pub(crate) fn goes_on(&self, step: &Step<'_>) -> bool {
        self.allowed > 0 && !self.ended && self.remaining(step) > 0
    }

    /// Elements left by RCX; one without a repeat prefix.
    pub(crate) fn remaining(&self, step: &Step<'_>) -> u64 {
        if !self.repeated {
            return 1;
        }
        truncate(step.regs.gpr.get(RCX).copied().unwrap_or(0), self.address_width)
    }

    /// Elements that can be done at once before this call must return.
    pub(crate) fn batch(&self, step: &Step<'_>) -> u64 {
        self.allowed.min(self.remaining(step))
    }

    /// `n` elements are done; no more than [`batch`](Self::batch).
    pub(crate) fn count(&mut self, step: &mut Step<'_>, n: u64) {
        self.allowed = self.allowed.saturating_sub(n);
        if self.repeated {
            self.add(step, RCX, 0_u64.wrapping_sub(n));
        }
    }

    /// A comparison ended the repetition.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Moves RSI by `n` elements in the direction of DF.
    pub(crate) fn advance_source(&self, step: &mut Step<'_>, n: u64) {
        self.advance(step, RSI, n);
    }

    /// Moves RDI by `n` elements in the direction of DF.
    pub(crate) fn advance_destination(&self, step: &mut Step<'_>, n: u64) {
        self.advance(step, RDI, n);
    }

    fn advance(&self, step: &mut Step<'_>, register: usize, n: u64) {
        let bytes = n.wrapping_mul(self.size.into());
        let backwards = step.regs.rflags & flag::DIRECTION != 0;
        self.add(step, register, if backwards { 0_u64.wrapping_sub(bytes) } else { bytes });
    }

    /// Adds to a register at the address width: 32-bit results clear the upper half, 16-bit ones keep the rest.
    fn add(&self, step: &mut Step<'_>, register: usize, delta: u64) {
        if let Some(value) = step.regs.gpr.get_mut(register) {
            let sum = truncate(value.wrapping_add(delta), self.address_width);
            *value = if self.address_width == 2 { (*value & !0xffff) | sum } else { sum };
        }
    }

    /// What the call comes to: all done, or to be called again.
    pub(crate) fn effect(&self, step: &Step<'_>) -> Effect {
        let done = !self.repeated || self.ended || self.remaining(step) == 0;
        if done { Effect::Next } else { Effect::Again }
    }
}

/// Width in bytes of the address registers of a string instruction.
fn address_width(step: &Step<'_>) -> usize {
    let operands = (0..step.insn.op_count()).map(|op| step.insn.op_kind(op));
    operands
        .filter_map(|kind| match kind {
            OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(8),
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(4),
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(2),
            _ => None,
        })
        .next()
        .unwrap_or_else(|| Register::RCX.size())
}
