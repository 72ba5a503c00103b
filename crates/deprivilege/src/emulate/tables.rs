//! Descriptor tables, the task register, and instructions that ask about descriptors.

use iced_x86::{Code, Mnemonic};
use runu_core::VirtAddr;

use super::{
    Effect, Step, Trap,
    segments::{Descriptor, Segment, descriptor, is_null, requested_privilege, selector_fault},
};
use crate::{
    cpu::{Cpu, SystemSegment, Table, flag},
    exception::{Exception, vector},
    paging,
};

/// Types of system descriptors (Intel SDM vol. 3, table 3-2).
mod kind {
    pub(super) const LDT: u8 = 2;
    pub(super) const TSS_AVAILABLE: u8 = 9;
    pub(super) const TSS_BUSY: u8 = 11;
    pub(super) const CALL_GATE: u8 = 12;
    /// 16-bit TSSs, available and busy, and the 16-bit call gate: LAR knows them outside long mode.
    pub(super) const TSS16_AVAILABLE: u8 = 1;
    pub(super) const TSS16_BUSY: u8 = 3;
    pub(super) const CALL_GATE16: u8 = 4;
    pub(super) const TASK_GATE: u8 = 5;
}

impl Step<'_> {
    /// Width of the base in the memory operand of LGDT and its relatives, and how many of its bytes count.
    fn table_base(&self) -> (usize, u64) {
        match self.insn.code() {
            Code::Lgdt_m1664 | Code::Lidt_m1664 | Code::Sgdt_m1664 | Code::Sidt_m1664 => (8, u64::MAX),
            // A 16-bit operand size loads 24 bits (Intel SDM vol. 2A, LGDT/LIDT).
            Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 => (4, 0x00ff_ffff),
            _ => (4, 0xffff_ffff),
        }
    }

    pub(super) fn load_table(&mut self) -> Result<Effect, Trap> {
        let (width, mask) = self.table_base();
        let at = self.address(0, width + 2)?;
        let limit = (paging::read_value(self.cpu, self.bus, at, 2)? & 0xffff) as u16;
        let behind = VirtAddr(self.wrap(at.0.wrapping_add(2)));
        let base = paging::read_value(self.cpu, self.bus, behind, width)? & mask;
        if self.cpu.long_mode_code() && !Cpu::canonical(base) {
            return Err(Exception::general_protection(0).into());
        }
        let table = Table { base, limit };
        if self.insn.mnemonic() == Mnemonic::Lgdt {
            self.cpu.gdt = table
        } else {
            self.cpu.idt = table
        }
        Ok(Effect::Next)
    }

    pub(super) fn store_table(&mut self) -> Result<Effect, Trap> {
        let (width, mask) = self.table_base();
        let table = if self.insn.mnemonic() == Mnemonic::Sgdt { self.cpu.gdt } else { self.cpu.idt };
        let at = self.address(0, width + 2)?;
        let mut bytes = [0; 10];
        let image = u128::from(table.base & mask) << 16 | u128::from(table.limit);
        for (to, from) in bytes.iter_mut().zip(image.to_le_bytes()) {
            *to = from;
        }
        let stored = bytes.get(..width + 2).unwrap_or(&[]);
        paging::write(self.cpu, self.bus, at, stored)?;
        Ok(Effect::Next)
    }

    pub(super) fn lldt(&mut self) -> Result<Effect, Trap> {
        let selector = self.word_operand(0)?;
        if is_null(selector) {
            self.cpu.ldt = SystemSegment::default();
            return Ok(Effect::Next);
        }
        let (segment, loaded) = self.system_segment(selector)?;
        if segment.descriptor.kind() != kind::LDT {
            return Err(selector_fault(vector::GENERAL_PROTECTION, selector));
        }
        if !segment.descriptor.is_present() {
            return Err(selector_fault(vector::NOT_PRESENT, selector));
        }
        self.cpu.ldt = loaded;
        Ok(Effect::Next)
    }

    /// Loads TR and marks the TSS busy (Intel SDM vol. 2A, LTR).
    pub(super) fn ltr(&mut self) -> Result<Effect, Trap> {
        let selector = self.word_operand(0)?;
        if is_null(selector) {
            return Err(Exception::general_protection(0).into());
        }
        let (segment, loaded) = self.system_segment(selector)?;
        if segment.descriptor.kind() != kind::TSS_AVAILABLE {
            return Err(selector_fault(vector::GENERAL_PROTECTION, selector));
        }
        if !segment.descriptor.is_present() {
            return Err(selector_fault(vector::NOT_PRESENT, selector));
        }
        // The busy bit lies in the type byte, the sixth of eight.
        let type_byte = segment.descriptor.0 >> 40 & 0xff | 2;
        paging::write_value(self.cpu, self.bus, VirtAddr(segment.at.0.wrapping_add(5)), 1, type_byte)?;
        self.cpu.task = loaded;
        Ok(Effect::Next)
    }

    /// A system segment of the GDT. In long mode its descriptor has a second half with the rest of the base.
    fn system_segment(&mut self, selector: u16) -> Result<(Segment, SystemSegment), Trap> {
        let gp = || selector_fault(vector::GENERAL_PROTECTION, selector);
        let in_local_table = selector & 4 != 0;
        let segment = descriptor(self.cpu, self.bus, selector)?.filter(|_| !in_local_table).ok_or_else(gp)?;
        if segment.descriptor.is_code_or_data() {
            return Err(gp());
        }
        let mut base = segment.descriptor.base();
        if self.cpu.long_mode() {
            if u32::from(selector & !7) + 15 > u32::from(self.cpu.gdt.limit) {
                return Err(gp());
            }
            let half = VirtAddr(segment.at.0.wrapping_add(8));
            base |= paging::read_value(self.cpu, self.bus, half, 4)? << 32;
            if !Cpu::canonical(base) {
                return Err(gp());
            }
        }
        Ok((segment, SystemSegment { base, limit: segment.descriptor.limit(), selector }))
    }

    /// SLDT and STR: to memory 16 bits, to a register zero-extended to its width.
    pub(super) fn store_system_selector(&mut self) -> Result<Effect, Trap> {
        let task = self.insn.mnemonic() == Mnemonic::Str;
        let selector = u64::from(if task { self.cpu.task.selector } else { self.cpu.ldt.selector });
        if self.in_memory(0) {
            self.store(0, 2, selector)?
        } else {
            self.set_operand(0, selector)?
        }
        Ok(Effect::Next)
    }

    /// The descriptor that an asking instruction sees: a selector that asks for too much privilege sees none.
    fn visible(&mut self, selector: u16) -> Result<Option<Descriptor>, Trap> {
        let found = descriptor(self.cpu, self.bus, selector)?.map(|segment| segment.descriptor);
        Ok(found.filter(|found| {
            let exempt = found.is_code() && found.is_conforming();
            exempt || requested_privilege(selector) <= found.privilege()
        }))
    }

    /// Access rights (Intel SDM vol. 2A, LAR).
    pub(super) fn lar(&mut self) -> Result<Effect, Trap> {
        const RIGHTS: u64 = 0x00f0_ff00;
        let selector = self.word_operand(1)?;
        let long = self.cpu.long_mode();
        let found = self.visible(selector)?.filter(|found| {
            found.is_code_or_data()
                || match found.kind() {
                    kind::LDT | kind::TSS_AVAILABLE | kind::TSS_BUSY | kind::CALL_GATE => true,
                    kind::TSS16_AVAILABLE | kind::TSS16_BUSY | kind::CALL_GATE16 | kind::TASK_GATE => !long,
                    _ => false,
                }
        });
        self.answer(self.insn.op0_register(), found.map(|found| found.0 >> 32 & RIGHTS))
    }

    /// Segment limit (Intel SDM vol. 2A, LSL).
    pub(super) fn lsl(&mut self) -> Result<Effect, Trap> {
        let selector = self.word_operand(1)?;
        let long = self.cpu.long_mode();
        let found = self.visible(selector)?.filter(|found| {
            found.is_code_or_data()
                || match found.kind() {
                    kind::LDT | kind::TSS_AVAILABLE | kind::TSS_BUSY => true,
                    kind::TSS16_AVAILABLE | kind::TSS16_BUSY => !long,
                    _ => false,
                }
        });
        self.answer(self.insn.op0_register(), found.map(|found| found.limit().into()))
    }

    /// VERR and VERW: whether a segment may be read or written (Intel SDM vol. 2B).
    pub(super) fn verify(&mut self) -> Result<Effect, Trap> {
        let selector = self.word_operand(0)?;
        let writing = self.insn.mnemonic() == Mnemonic::Verw;
        let found = self.visible(selector)?;
        let allowed = found.is_some_and(|found| {
            if writing {
                found.is_data() && found.allows_second_use()
            } else {
                found.is_data() || found.is_code() && found.allows_second_use()
            }
        });
        self.set_zero_flag(allowed);
        Ok(Effect::Next)
    }

    pub(crate) fn set_zero_flag(&mut self, set: bool) {
        if set { self.regs.rflags |= flag::ZERO } else { self.regs.rflags &= !flag::ZERO }
    }
}
