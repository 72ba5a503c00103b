//! Operands: registers of any width, immediates, memory with its segment.

use iced_x86::{OpKind, Register};
use runu_core::VirtAddr;

use super::{Step, Trap};
use crate::{
    cpu::{Cpu, Registers, segment},
    exception::{Exception, vector},
    paging,
};

/// The low `size` bytes of a value (8 or more: all of it).
pub(crate) fn truncate(value: u64, size: usize) -> u64 {
    match size {
        1 => value & 0xff,
        2 => value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    }
}

/// Reads a general register of any width; `None` for any other register.
pub(crate) fn general(regs: &Registers, register: Register) -> Option<u64> {
    if !register.is_gpr() {
        return None;
    }
    let full = *regs.gpr.get(register.full_register().number())?;
    Some(match register {
        Register::AH | Register::CH | Register::DH | Register::BH => (full >> 8) & 0xff,
        _ => truncate(full, register.size()),
    })
}

/// Writes a general register of any width: 32-bit writes clear the upper half, narrower ones keep the rest (Intel SDM
/// vol. 1 §3.4.1.1). False for any other register.
pub(crate) fn set_general(regs: &mut Registers, register: Register, value: u64) -> bool {
    let index = register.full_register().number();
    let Some(full) = regs.gpr.get_mut(index).filter(|_| register.is_gpr()) else { return false };
    *full = match register {
        Register::AH | Register::CH | Register::DH | Register::BH => (*full & !0xff00) | (value & 0xff) << 8,
        _ => match register.size() {
            1 => (*full & !0xff) | (value & 0xff),
            2 => (*full & !0xffff) | (value & 0xffff),
            4 => value & 0xffff_ffff,
            _ => value,
        },
    };
    true
}

/// Number of a segment register in [`Cpu::selectors`]; `None` for any other register.
pub(crate) fn segment_number(register: Register) -> Option<usize> {
    Some(match register {
        Register::ES => segment::ES,
        Register::CS => segment::CS,
        Register::SS => segment::SS,
        Register::DS => segment::DS,
        Register::FS => segment::FS,
        Register::GS => segment::GS,
        _ => return None,
    })
}

/// Base of a segment. Only FS and GS have one: the others are ignored in 64-bit code and refused elsewhere.
pub(crate) fn segment_base(cpu: &Cpu, register: Register) -> u64 {
    match register {
        Register::FS => cpu.fs_base,
        Register::GS => cpu.gs_base,
        _ => 0,
    }
}

impl Step<'_> {
    /// Reads a general register.
    pub(crate) fn register(&self, register: Register) -> Result<u64, Trap> {
        general(self.regs, register).ok_or_else(|| self.unsupported("its register operand"))
    }

    /// Writes a general register.
    pub(crate) fn set_register(&mut self, register: Register, value: u64) -> Result<(), Trap> {
        if set_general(self.regs, register, value) {
            Ok(())
        } else {
            Err(self.unsupported("its register operand"))
        }
    }

    /// Linear address of memory operand `op`, not checked for being canonical.
    pub(crate) fn linear(&self, op: u32) -> Result<u64, Trap> {
        let value = |register: Register, _, _| {
            if register.is_segment_register() {
                Some(segment_base(self.cpu, register))
            } else {
                general(self.regs, register)
            }
        };
        let addr = self.insn.virtual_address(op, 0, value);
        addr.map(|addr| self.wrap(addr)).ok_or_else(|| self.unsupported("its address operand"))
    }

    /// Address of memory operand `op` of `size` bytes: not canonical is #GP(0), through SS #SS(0) (Intel SDM vol. 1
    /// §3.3.7.1).
    pub(crate) fn address(&self, op: u32, size: usize) -> Result<VirtAddr, Trap> {
        self.canonical(op, self.linear(op)?, size)
    }

    /// An address of memory operand `op`, checked as [`Step::address`] does.
    pub(crate) fn canonical(&self, op: u32, addr: u64, size: usize) -> Result<VirtAddr, Trap> {
        let last = addr.wrapping_add(u64::try_from(size).unwrap_or(1).saturating_sub(1));
        if self.cpu.long_mode_code() && !(Cpu::canonical(addr) && Cpu::canonical(last)) {
            let through_stack =
                self.insn.op_kind(op) == OpKind::Memory && self.insn.memory_segment() == Register::SS;
            let vector = if through_stack { vector::STACK } else { vector::GENERAL_PROTECTION };
            return Err(Exception { vector, error_code: Some(0), cr2: None }.into());
        }
        Ok(VirtAddr(addr))
    }

    /// Whether operand `op` is in memory.
    pub(crate) fn in_memory(&self, op: u32) -> bool {
        self.insn.op_kind(op) == OpKind::Memory
    }

    /// Width in bytes of operand `op`, a register or memory.
    pub(crate) fn width(&self, op: u32) -> usize {
        match self.insn.op_kind(op) {
            OpKind::Register => self.insn.op_register(op).size(),
            _ => self.insn.memory_size().size(),
        }
    }

    /// Reads `size` bytes (1 to 8) of memory operand `op`.
    pub(crate) fn load(&mut self, op: u32, size: usize) -> Result<u64, Trap> {
        let at = self.address(op, size)?;
        paging::read_value(self.cpu, self.bus, at, size)
    }

    /// Writes `size` bytes (1 to 8) to memory operand `op`.
    pub(crate) fn store(&mut self, op: u32, size: usize, value: u64) -> Result<(), Trap> {
        let at = self.address(op, size)?;
        paging::write_value(self.cpu, self.bus, at, size, value)
    }

    /// Reads operand `op`: a general register, an immediate (sign-extended), or memory.
    pub(crate) fn operand(&mut self, op: u32) -> Result<u64, Trap> {
        match self.insn.op_kind(op) {
            OpKind::Register => self.register(self.insn.op_register(op)),
            OpKind::Memory => self.load(op, self.width(op)),
            _ => self.insn.try_immediate(op).map_err(|_| self.unsupported("its operand")),
        }
    }

    /// Writes operand `op`: a general register or memory.
    pub(crate) fn set_operand(&mut self, op: u32, value: u64) -> Result<(), Trap> {
        match self.insn.op_kind(op) {
            OpKind::Register => self.set_register(self.insn.op_register(op), value),
            _ => self.store(op, self.width(op), value),
        }
    }

    /// Reads operand `op` as a 16-bit selector or word, whatever its nominal width.
    pub(crate) fn word_operand(&mut self, op: u32) -> Result<u16, Trap> {
        let value = if self.in_memory(op) { self.load(op, 2)? } else { self.operand(op)? };
        Ok((value & 0xffff) as u16)
    }
}
