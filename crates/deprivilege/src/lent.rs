//! Operands that are lent: how a data instruction runs on memory that it cannot touch natively, a device's or a page that
//! the host cannot map.
//!
//! Translated code leaves; [`Operand::lend`] checks the operand as the CPU would and copies it to where translated code can
//! reach it; the very same instruction runs natively on the copy; and if it writes, translated code leaves once more for
//! [`Loan::give_back`]. So its flags, its vector and x87 registers, and its exceptions are the real CPU's. The copy is as
//! far from a 64-byte boundary as the operand, so that what must be aligned faults where it would fault.
//!
//! Not here: instructions that reach memory in another way than through one plain operand, or whose operand is touched in
//! parts as a mask says (gathers, masked moves); and those of [`crate::access`].

use iced_x86::{
    EncodingKind, Instruction, InstructionInfoFactory, MemorySize, Mnemonic as M, OpAccess, OpKind, Register,
};
use runu_core::VirtAddr;

use crate::{
    access,
    bus::Bus,
    cpu::{Cpu, Registers},
    cpuid,
    emulate::{Step, Trap},
    exception::Exception,
    paging::{Intent, Span},
};

/// What no instruction wants more of than that its operand is aligned to it: XSAVE (Intel SDM vol. 1 §13.4).
const LINE: u64 = 64;

/// Bytes that a copy may take, its distance from a boundary included: XSAVE's operand is the longest.
pub const AREA_LEN: usize = 64 + cpuid::SAVE_AREA_MAX;

/// Where copies lie: aligned to 64 bytes, below 2 GiB.
pub type Area = [u8; AREA_LEN];

/// An instruction whose memory operand can be lent.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    instruction: Instruction,
    /// Which of its operands.
    number: u32,
    reads: bool,
    writes: bool,
}

/// An operand that has been lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loan {
    /// Where the operand is.
    span: Span,
    /// Where its copy starts in the area, and how long it is.
    start: usize,
    len: usize,
    /// How far the operand is from what the instruction's registers name: see [`distance`].
    distance: u64,
}

impl Operand {
    /// The instruction's operand if it can be lent.
    pub(crate) fn of(insn: &Instruction) -> Option<Self> {
        let number = (0..insn.op_count()).find(|&n| insn.op_kind(n) == OpKind::Memory)?;
        if access::interprets(insn) || is_masked(insn) || len(insn, 0) == 0 {
            return None;
        }
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(insn);
        let (reads, writes) = match info.op_access(number) {
            OpAccess::Read => (true, false),
            OpAccess::Write => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            _ => return None,
        };
        let only = info.used_memory().len() == 1;
        only.then_some(Operand { instruction: *insn, number, reads, writes })
    }

    /// The instruction.
    #[must_use]
    pub fn instruction(&self) -> &Instruction {
        &self.instruction
    }

    /// Whether the operand is to be given back.
    pub(crate) fn writes(&self) -> bool {
        self.writes
    }

    /// Copies the operand to the area. Nothing but devices that are read has changed; what is only written is not read from
    /// them.
    ///
    /// # Errors
    /// [`Trap`]: the exception that the operand's address raises, for writing if the instruction writes.
    pub fn lend(
        &self,
        cpu: &mut Cpu,
        regs: &mut Registers,
        bus: &mut dyn Bus,
        area: &mut Area,
    ) -> Result<Loan, Trap> {
        let step = Step { insn: &self.instruction, cpu, regs, bus };
        let [low, _, high, ..] = step.regs.gpr;
        let requested = high << 32 | low & 0xffff_ffff;
        let len = len(&self.instruction, step.cpu.xcr0 & requested);
        let distance = distance(&step)?;
        let at = step.wrap(step.linear(self.number)?.wrapping_add(distance));
        let at = if has_narrow_address(&self.instruction) { at & 0xffff_ffff } else { at };
        let at = step.canonical(self.number, at, len)?;
        // It comes before a page fault, and before a device is read.
        if at.0 % alignment(&self.instruction) != 0 {
            return Err(Exception::general_protection(0).into());
        }
        let intent = if self.writes { Intent::Write } else { Intent::Read };
        let span = Span::check(step.cpu, step.bus, at, len, intent)?;
        let start = usize::try_from(at.0 % LINE).unwrap_or(0);
        let loan = Loan { span, start, len, distance };
        let copy = area.get_mut(loan.range()).ok_or_else(|| step.unsupported("its operand is too long"))?;
        if self.reads {
            span.read(step.bus, copy);
        } else {
            // Not every instruction writes all of its operand: FXSAVE leaves its end.
            span.read_ram(step.bus, copy);
        }
        Ok(loan)
    }
}

impl Loan {
    fn range(&self) -> std::ops::Range<usize> {
        self.start..self.start + self.len
    }

    /// What the instruction's operand is to name instead, if the area is at `area`.
    #[must_use]
    pub fn address(&self, area: VirtAddr) -> u64 {
        area.0.wrapping_add(self.start as u64).wrapping_sub(self.distance)
    }

    /// Writes the copy to where the operand is.
    pub fn give_back(&self, bus: &mut dyn Bus, area: &Area) {
        self.span.write(bus, area.get(self.range()).unwrap_or_default());
    }
}

/// Whether the operand's address is one of 32 bits in 64-bit code, in a segment without a base.
fn has_narrow_address(insn: &Instruction) -> bool {
    let based = matches!(insn.memory_segment(), Register::FS | Register::GS);
    !based && (insn.memory_base().size() == 4 || insn.memory_index().size() == 4)
}

/// To how many bytes the operand must be aligned: what is not raises #GP (Intel SDM vol. 1 §10.4, §13.4; vol. 2, CMPXCHG16B, FXSAVE).
fn alignment(insn: &Instruction) -> u64 {
    let size = insn.memory_size().size() as u64;
    let has_vector = (0..insn.op_count()).any(|n| insn.op_register(n).is_vector_register());
    match insn.mnemonic() {
        M::Cmpxchg16b | M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 => 16,
        M::Movups
        | M::Movupd
        | M::Movdqu
        | M::Lddqu
        | M::Pcmpestri
        | M::Pcmpestrm
        | M::Pcmpistri
        | M::Pcmpistrm => 1,
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa => size,
        _ if matches!(insn.memory_size(), MemorySize::Xsave | MemorySize::Xsave64) => LINE,
        _ if has_vector && insn.encoding() == EncodingKind::Legacy && size == 16 => 16,
        _ => 1,
    }
}

/// Bytes of the instruction's operand; an XSAVE's area holds the `states`.
fn len(insn: &Instruction, states: u64) -> usize {
    match insn.memory_size() {
        MemorySize::Xsave | MemorySize::Xsave64 => cpuid::save_area(states) as usize,
        other => other.size(),
    }
}

/// Whether the instruction touches no more of its operand than a mask says, or several places.
fn is_masked(insn: &Instruction) -> bool {
    let moves = matches!(insn.mnemonic(), M::Vmaskmovps | M::Vmaskmovpd | M::Vpmaskmovd | M::Vpmaskmovq);
    moves || insn.is_vsib()
}

/// How far the operand is from what base, index and displacement name, in bytes, wrapping. A register of bit tests counts
/// operand-sized words, signed (Intel SDM vol. 2A, BT): it will be added to the copy's address as well.
fn distance(step: &Step<'_>) -> Result<u64, Trap> {
    let tests = matches!(step.insn.mnemonic(), M::Bt | M::Bts | M::Btr | M::Btc);
    if !tests || step.insn.op1_kind() != OpKind::Register {
        return Ok(0);
    }
    let index = step.register(step.insn.op1_register())?;
    let bytes = match step.width(1) {
        2 => i64::from((index & 0xffff) as u16 as i16) >> 4 << 1,
        4 => i64::from((index & 0xffff_ffff) as u32 as i32) >> 5 << 2,
        _ => index.cast_signed() >> 6 << 3,
    };
    Ok(bytes.cast_unsigned())
}

#[cfg(test)]
mod tests;
