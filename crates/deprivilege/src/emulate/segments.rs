//! Segment descriptors and segment registers (Intel SDM vol. 3 §3.4 and §3.5).
//!
//! Kernels that matter here are flat. A data segment with a base or a limit is accepted where the CPU ignores both (in
//! 64-bit code) and refused in 32-bit code; FS and GS may have a base anywhere, their limits are not enforced. A null
//! DS or ES in 32-bit code is accepted too, though using it would fault on hardware.

use iced_x86::{Code, Mnemonic, Register};
use runu_core::VirtAddr;

use super::{Effect, Step, Trap, operand::segment_number};
use crate::{
    bus::Bus,
    cpu::{Cpu, segment},
    exception::{Exception, vector},
    paging,
};

/// A selector's index into its table, times eight, and nothing else.
const INDEX: u16 = !7;
/// Table indicator: the LDT.
const LOCAL: u16 = 1 << 2;
/// Requested privilege level.
const PRIVILEGE: u16 = 3;

/// An 8-byte segment descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Descriptor(pub(crate) u64);

impl Descriptor {
    fn bit(self, n: u32) -> bool {
        self.0 >> n & 1 != 0
    }

    /// Bits 43 to 40: the type.
    pub(crate) fn kind(self) -> u8 {
        (self.0 >> 40 & 0xf) as u8
    }

    /// A code or data segment rather than a system segment.
    pub(crate) fn is_code_or_data(self) -> bool {
        self.bit(44)
    }

    pub(crate) fn is_code(self) -> bool {
        self.is_code_or_data() && self.bit(43)
    }

    pub(crate) fn is_data(self) -> bool {
        self.is_code_or_data() && !self.bit(43)
    }

    /// Of a code segment: readable. Of a data segment: writable.
    pub(crate) fn allows_second_use(self) -> bool {
        self.bit(41)
    }

    /// Of a code segment: conforming. Of a data segment: expand-down.
    pub(crate) fn is_conforming(self) -> bool {
        self.bit(42)
    }

    pub(crate) fn privilege(self) -> u16 {
        (self.0 >> 45 & 3) as u16
    }

    pub(crate) fn is_present(self) -> bool {
        self.bit(47)
    }

    /// 64-bit code.
    pub(crate) fn is_long(self) -> bool {
        self.bit(53)
    }

    /// 32-bit rather than 16-bit.
    pub(crate) fn is_big(self) -> bool {
        self.bit(54)
    }

    /// The base, bits 31 to 0 of it for system segments of long mode.
    pub(crate) fn base(self) -> u64 {
        (self.0 >> 16 & 0xff_ffff) | (self.0 >> 32 & 0xff00_0000)
    }

    /// Offset of the last byte.
    pub(crate) fn limit(self) -> u32 {
        let raw = (((self.0 & 0xffff) | (self.0 >> 32 & 0xf_0000)) & 0xf_ffff) as u32;
        if self.bit(55) { raw << 12 | 0xfff } else { raw }
    }

    /// Base 0, 4 GiB, 32-bit, growing upwards.
    pub(crate) fn is_flat(self) -> bool {
        let expands_down = self.is_data() && self.is_conforming();
        self.base() == 0 && self.limit() == u32::MAX && self.is_big() && !expands_down
    }
}

/// A descriptor and where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) selector: u16,
    pub(crate) descriptor: Descriptor,
    pub(crate) at: VirtAddr,
}

/// Finds the descriptor that a selector names; `None` for null selectors and those beyond their table.
pub(crate) fn descriptor(cpu: &Cpu, bus: &mut dyn Bus, selector: u16) -> Result<Option<Segment>, Trap> {
    let (base, limit) = if selector & LOCAL == 0 {
        (cpu.gdt.base, u32::from(cpu.gdt.limit))
    } else if is_null(cpu.ldt.selector) {
        return Ok(None);
    } else {
        (cpu.ldt.base, cpu.ldt.limit)
    };
    let offset = selector & INDEX;
    if is_null(selector) || u32::from(offset) + 7 > limit {
        return Ok(None);
    }
    let at = VirtAddr(base.wrapping_add(offset.into()));
    let raw = paging::read_value(cpu, bus, at, 8)?;
    Ok(Some(Segment { selector, descriptor: Descriptor(raw), at }))
}

/// Sets the accessed bit of a code or data descriptor, as loading it does (Intel SDM vol. 3 §3.4.5.1).
pub(crate) fn mark_accessed(cpu: &Cpu, bus: &mut dyn Bus, segment: Segment) -> Result<(), Trap> {
    const ACCESSED: u64 = 1 << 40;
    let raw = segment.descriptor.0;
    if raw & ACCESSED != 0 {
        return Ok(());
    }
    // The type byte, the sixth of eight.
    let type_byte = (raw | ACCESSED) >> 40 & 0xff;
    paging::write_value(cpu, bus, VirtAddr(segment.at.0.wrapping_add(5)), 1, type_byte)
}

/// Whether a selector is null, whatever privilege it asks for.
pub(crate) fn is_null(selector: u16) -> bool {
    selector & !PRIVILEGE == 0
}

/// The privilege level that a selector asks for.
pub(crate) fn requested_privilege(selector: u16) -> u16 {
    selector & PRIVILEGE
}

/// An exception whose error code is a selector.
pub(crate) fn selector_fault(vector: u8, selector: u16) -> Trap {
    Exception { vector, error_code: Some(u32::from(selector & !PRIVILEGE)), cr2: None }.into()
}

impl Step<'_> {
    pub(super) fn mov_to_segment(&mut self, number: usize) -> Result<Effect, Trap> {
        if number == segment::CS {
            return Err(Exception::invalid_opcode().into());
        }
        let selector = self.word_operand(1)?;
        self.load_segment(number, selector)?;
        Ok(if number == segment::SS { Effect::NextShadowed } else { Effect::Next })
    }

    /// To memory 16 bits, to a register zero-extended to its width.
    pub(super) fn mov_from_segment(&mut self, number: usize) -> Result<Effect, Trap> {
        let selector = u64::from(self.selector(number));
        if self.in_memory(0) {
            self.store(0, 2, selector)?
        } else {
            self.set_operand(0, selector)?
        }
        Ok(Effect::Next)
    }

    pub(super) fn push_segment(&mut self) -> Result<Effect, Trap> {
        let Some(number) = segment_number(self.insn.op0_register()) else {
            return Err(self.unsupported("not an instruction that is emulated"));
        };
        self.push(self.selector(number).into(), self.segment_stack_width())?;
        Ok(Effect::Next)
    }

    pub(super) fn pop_segment(&mut self) -> Result<Effect, Trap> {
        let Some(number) = segment_number(self.insn.op0_register()) else {
            return Err(self.unsupported("not an instruction that is emulated"));
        };
        let width = self.segment_stack_width();
        let selector = (self.peek(0, width)? & 0xffff) as u16;
        self.load_segment(number, selector)?;
        self.drop_stack(width.into());
        Ok(if number == segment::SS { Effect::NextShadowed } else { Effect::Next })
    }

    fn segment_stack_width(&self) -> u8 {
        match self.insn.code() {
            Code::Pushq_FS | Code::Pushq_GS | Code::Popq_FS | Code::Popq_GS => 8,
            Code::Pushd_ES | Code::Pushd_CS | Code::Pushd_SS | Code::Pushd_DS => 4,
            Code::Popd_ES | Code::Popd_SS | Code::Popd_DS => 4,
            Code::Pushd_FS | Code::Pushd_GS | Code::Popd_FS | Code::Popd_GS => 4,
            _ => 2,
        }
    }

    /// LDS, LES, LFS, LGS, LSS: an offset into a register and a selector behind it.
    pub(super) fn load_far_pointer(&mut self) -> Result<Effect, Trap> {
        let number = match self.insn.mnemonic() {
            Mnemonic::Lds => segment::DS,
            Mnemonic::Les => segment::ES,
            Mnemonic::Lfs => segment::FS,
            Mnemonic::Lgs => segment::GS,
            _ => segment::SS,
        };
        let (offset, selector) = self.far_pointer(self.insn.op0_register().size())?;
        self.load_segment(number, selector)?;
        self.set_register(self.insn.op0_register(), offset)?;
        Ok(if number == segment::SS { Effect::NextShadowed } else { Effect::Next })
    }

    /// Reads an offset of `width` bytes and the selector behind it from the instruction's memory operand.
    pub(super) fn far_pointer(&mut self, width: usize) -> Result<(u64, u16), Trap> {
        let memory = if self.in_memory(0) { 0 } else { 1 };
        let at = self.address(memory, width + 2)?;
        let offset = paging::read_value(self.cpu, self.bus, at, width)?;
        let behind = VirtAddr(self.wrap(at.0.wrapping_add(u64::try_from(width).unwrap_or(0))));
        let selector = paging::read_value(self.cpu, self.bus, behind, 2)? & 0xffff;
        Ok((offset, selector as u16))
    }

    /// The selector in a segment register.
    pub(super) fn selector(&self, number: usize) -> u16 {
        self.cpu.selectors.get(number).copied().unwrap_or(0)
    }

    /// Loads a data segment register (Intel SDM vol. 2B, MOV, "Protected Mode Exceptions").
    pub(super) fn load_segment(&mut self, number: usize, selector: u16) -> Result<(), Trap> {
        if is_null(selector) {
            return self.load_null(number, selector);
        }
        let gp = || selector_fault(vector::GENERAL_PROTECTION, selector);
        let segment = descriptor(self.cpu, self.bus, selector)?.ok_or_else(gp)?;
        let found = segment.descriptor;
        if number == segment::SS {
            let stack = found.is_data() && found.allows_second_use();
            if !stack || requested_privilege(selector) != 0 || found.privilege() != 0 {
                return Err(gp());
            }
            if !found.is_present() {
                return Err(selector_fault(vector::STACK, selector));
            }
        } else {
            let readable = found.is_data() || found.is_code() && found.allows_second_use();
            let checked = !(found.is_code() && found.is_conforming());
            // CPL 0 may use any segment; a selector may ask for less.
            if !readable || checked && requested_privilege(selector) > found.privilege() {
                return Err(gp());
            }
            if !found.is_present() {
                return Err(selector_fault(vector::NOT_PRESENT, selector));
            }
        }
        let has_base = matches!(number, segment::FS | segment::GS);
        // A readable code segment serves as data as well; its "conforming" is not "expand-down".
        if !found.is_flat() && !has_base && !self.cpu.long_mode_code() {
            return Err(self.unsupported("a data segment with a base or limit in 32-bit code"));
        }
        mark_accessed(self.cpu, self.bus, segment)?;
        self.set_segment(number, selector, found.base(), found.is_flat());
        Ok(())
    }

    /// A null selector: SS may be null in 64-bit code at CPL 0 only.
    fn load_null(&mut self, number: usize, selector: u16) -> Result<(), Trap> {
        let allowed = self.cpu.long_mode_code() && requested_privilege(selector) == 0;
        if number == segment::SS && !allowed {
            return Err(Exception::general_protection(0).into());
        }
        self.set_segment(number, selector, 0, true);
        Ok(())
    }

    fn set_segment(&mut self, number: usize, selector: u16, base: u64, flat: bool) {
        if let Some(register) = self.cpu.selectors.get_mut(number) {
            *register = selector;
        }
        match number {
            segment::FS => self.cpu.fs_base = base,
            segment::GS => self.cpu.gs_base = base,
            _ => {}
        }
        let bit = 1_u8 << number;
        if flat { self.cpu.bounded_segments &= !bit } else { self.cpu.bounded_segments |= bit }
    }

    /// The register operand that a selector check answers into is left alone unless ZF is set.
    pub(super) fn answer(&mut self, register: Register, value: Option<u64>) -> Result<Effect, Trap> {
        if let Some(value) = value {
            self.set_register(register, value)?;
        }
        self.set_zero_flag(value.is_some());
        Ok(Effect::Next)
    }
}
