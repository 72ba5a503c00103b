//! One instruction being carried out, and the small things every instruction needs.

use iced_x86::Instruction;
use runu_core::VirtAddr;

use super::Trap;
use crate::{
    bus::Bus,
    cpu::{Cpu, RSP, Registers},
    exception::{Exception, vector},
    paging::{self, Intent},
};

/// One instruction being carried out.
pub(crate) struct Step<'a> {
    pub(crate) insn: &'a Instruction,
    pub(crate) cpu: &'a mut Cpu,
    pub(crate) regs: &'a mut Registers,
    pub(crate) bus: &'a mut dyn Bus,
}

impl Step<'_> {
    /// Where the instruction ends. 32-bit code wraps at 4 GiB.
    pub(crate) fn next_rip(&self) -> u64 {
        let len = u64::try_from(self.insn.len()).unwrap_or(0);
        self.wrap(self.regs.rip.wrapping_add(len))
    }

    /// An address or stack pointer as the current code size holds it.
    pub(crate) fn wrap(&self, addr: u64) -> u64 {
        if self.cpu.long_mode_code() { addr } else { addr & 0xffff_ffff }
    }

    /// Refuses the instruction, naming it and what about it is not represented.
    pub(crate) fn unsupported(&self, why: &str) -> Trap {
        Trap::Unsupported(format!("{}: {why}", self.insn))
    }

    /// The stack pointer.
    pub(crate) fn rsp(&self) -> u64 {
        self.wrap(self.regs.gpr.get(RSP).copied().unwrap_or(0))
    }

    /// Sets the stack pointer.
    pub(crate) fn set_rsp(&mut self, value: u64) {
        let value = self.wrap(value);
        if let Some(rsp) = self.regs.gpr.get_mut(RSP) {
            *rsp = value;
        }
    }

    /// Where `size` bytes at an offset from the stack pointer lie; #SS(0) when not canonical.
    fn stack(&self, offset: u64, size: u64) -> Result<VirtAddr, Trap> {
        let addr = self.wrap(self.rsp().wrapping_add(offset));
        let last = addr.wrapping_add(size.saturating_sub(1));
        if self.cpu.long_mode_code() && !(Cpu::canonical(addr) && Cpu::canonical(last)) {
            return Err(Exception { vector: vector::STACK, error_code: Some(0), cr2: None }.into());
        }
        Ok(VirtAddr(addr))
    }

    /// Reads a value of `size` bytes that lies `offset` bytes above the stack pointer, which stays.
    pub(crate) fn peek(&mut self, offset: u64, size: u8) -> Result<u64, Trap> {
        let at = self.stack(offset, size.into())?;
        paging::read_value(self.cpu, self.bus, at, size.into())
    }

    /// Drops `size` bytes from the stack.
    pub(crate) fn drop_stack(&mut self, size: u64) {
        self.set_rsp(self.rsp().wrapping_add(size));
    }

    /// Pushes a value of `size` bytes.
    pub(crate) fn push(&mut self, value: u64, size: u8) -> Result<(), Trap> {
        let below = 0_u64.wrapping_sub(size.into());
        let at = self.stack(below, size.into())?;
        paging::write_value(self.cpu, self.bus, at, size.into(), value)?;
        self.drop_stack(below);
        Ok(())
    }

    /// Checks that guest-virtual memory can be written, without writing it.
    pub(crate) fn check_writable(&mut self, at: VirtAddr) -> Result<(), Trap> {
        paging::check(self.cpu, self.bus, at, Intent::Write).map(|_| ())
    }
}
