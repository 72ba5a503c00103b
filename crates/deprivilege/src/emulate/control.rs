//! Control, debug and extended control registers.

use iced_x86::Register;
use runu_core::VirtAddr;

use super::{Effect, Step, Trap, operand::segment_number};
use crate::{
    cpu::{Cpu, cr0, cr4, efer, flag},
    cpuid::{Feature, Host, PHYSICAL_ADDRESS_BITS},
    exception::Exception,
};

/// Bits of CR0 that exist; writes to the others below bit 32 are ignored (Intel SDM vol. 3 §2.5).
const CR0_EXISTING: u64 =
    cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::NE | cr0::WP | cr0::AM | cr0::NW | cr0::CD | cr0::PG;

/// Bits of CR4 that every guest may set; features add to them.
const CR4_ALWAYS: u64 =
    cr4::TSD | cr4::DE | cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT;

/// What LMSW can write and SMSW is about: PE, MP, EM, TS.
const MACHINE_STATUS: u64 = 0xf;

/// DR6: bits a guest can write, and bits that read as one (Intel SDM vol. 3 §19.2.3).
const DR6_WRITABLE: u64 = 0xe00f;
const DR6_FIXED: u64 = 0xffff_0ff0;

/// DR7: enable bits, general detect, and bits that exist; bit 10 reads as one (Intel SDM vol. 3 §19.2.4).
const DR7_ENABLE: u64 = 0xff;
const DR7_GENERAL_DETECT: u64 = 1 << 13;
const DR7_WRITABLE: u64 = 0xffff_2bff;
const DR7_FIXED: u64 = 1 << 10;

fn general_protection() -> Trap {
    Exception::general_protection(0).into()
}

fn invalid_opcode() -> Trap {
    Exception::invalid_opcode().into()
}

impl Step<'_> {
    /// MOV to or from a control, debug or segment register.
    pub(super) fn mov(&mut self, host: &Host) -> Result<Effect, Trap> {
        let (to, from) = (self.insn.op0_register(), self.insn.op1_register());
        if let Some(number) = segment_number(to) {
            self.mov_to_segment(number)
        } else if let Some(number) = segment_number(from) {
            self.mov_from_segment(number)
        } else if to.is_cr() {
            let value = self.register(from)?;
            self.write_control(to, value, host)
        } else if from.is_cr() {
            let value = self.read_control(from)?;
            self.set_register(to, value)?;
            Ok(Effect::Next)
        } else if to.is_dr() {
            let value = self.register(from)?;
            self.write_debug(to.number(), value)
        } else if from.is_dr() {
            let value = self.read_debug(from.number())?;
            self.set_register(to, value)?;
            Ok(Effect::Next)
        } else if to.is_tr() || from.is_tr() {
            // Test registers ended with the 486.
            Err(invalid_opcode())
        } else {
            Err(self.unsupported("not an instruction that is emulated"))
        }
    }

    fn read_control(&mut self, register: Register) -> Result<u64, Trap> {
        Ok(match register {
            Register::CR0 => self.cpu.cr0,
            Register::CR2 => self.cpu.cr2,
            Register::CR3 => self.cpu.cr3,
            Register::CR4 => self.cpu.cr4,
            Register::CR8 if self.cpu.long_mode_code() => self.bus.priority_class().into(),
            _ => return Err(invalid_opcode()),
        })
    }

    fn write_control(&mut self, register: Register, value: u64, host: &Host) -> Result<Effect, Trap> {
        match register {
            Register::CR0 => self.write_cr0(value),
            Register::CR2 => {
                self.cpu.cr2 = value;
                Ok(Effect::Next)
            }
            Register::CR3 => self.write_cr3(value),
            Register::CR4 => self.write_cr4(value, host),
            Register::CR8 if self.cpu.long_mode_code() => {
                // A priority has four bits; all others are reserved (Intel SDM vol. 3 §12.8.6.1).
                let class = u8::try_from(value).ok().filter(|class| *class < 16);
                self.bus.set_priority_class(class.ok_or_else(general_protection)?);
                Ok(Effect::Next)
            }
            _ => Err(invalid_opcode()),
        }
    }

    /// Intel SDM vol. 2B, MOV to control registers; vol. 3 §10.8.5 for entering and leaving long mode.
    fn write_cr0(&mut self, value: u64) -> Result<Effect, Trap> {
        if value >> 32 != 0 {
            return Err(general_protection());
        }
        let value = (value & CR0_EXISTING) | cr0::ET;
        let changed = value ^ self.cpu.cr0;
        let has = |bit| value & bit != 0;
        if has(cr0::NW) && !has(cr0::CD) || has(cr0::PG) && !has(cr0::PE) {
            return Err(general_protection());
        }
        if !has(cr0::PE) {
            return Err(self.unsupported("real mode (CR0.PE clear)"));
        }
        if has(cr0::EM) {
            // SSE instructions would have to raise #UD and x87 ones #NM. TS is seen to by translation.
            return Err(self.unsupported("floating point emulation (CR0.EM set)"));
        }
        let mut efer_now = self.cpu.efer;
        if changed & cr0::PG != 0 {
            if has(cr0::PG) && efer_now & efer::LME == 0 {
                return Err(self.unsupported("paging outside long mode"));
            }
            // Long mode cannot start without PAE nor stop in 64-bit code.
            let impossible =
                if has(cr0::PG) { self.cpu.cr4 & cr4::PAE == 0 } else { self.cpu.long_mode_code() };
            if impossible {
                return Err(general_protection());
            }
            efer_now ^= efer::LMA;
        }
        self.cpu.efer = efer_now;
        self.cpu.cr0 = value;
        Ok(if changed & (cr0::PG | cr0::WP) != 0 { Effect::FlushAll } else { Effect::Next })
    }

    fn write_cr3(&mut self, value: u64) -> Result<Effect, Trap> {
        // Without PCIDs bit 63 is reserved like every bit above the address width.
        if self.cpu.long_mode() && value >> PHYSICAL_ADDRESS_BITS != 0 {
            return Err(general_protection());
        }
        self.cpu.cr3 = value;
        Ok(Effect::FlushAll)
    }

    fn write_cr4(&mut self, value: u64, host: &Host) -> Result<Effect, Trap> {
        let mut allowed = CR4_ALWAYS;
        if host.has(Feature::Xsave) {
            allowed |= cr4::OSXSAVE;
        }
        if host.has(Feature::FsGsBase) {
            allowed |= cr4::FSGSBASE;
        }
        let leaves_long_mode = self.cpu.long_mode() && value & cr4::PAE == 0;
        if value & !allowed != 0 || leaves_long_mode {
            return Err(general_protection());
        }
        let changed = value ^ self.cpu.cr4;
        self.cpu.cr4 = value;
        Ok(if changed & (cr4::PGE | cr4::PAE | cr4::PSE) != 0 { Effect::FlushAll } else { Effect::Next })
    }

    pub(super) fn clts(&mut self) -> Result<Effect, Trap> {
        self.cpu.cr0 &= !cr0::TS;
        Ok(Effect::Next)
    }

    pub(super) fn lmsw(&mut self) -> Result<Effect, Trap> {
        let word = u64::from(self.word_operand(0)?);
        // LMSW can set PE and not clear it (Intel SDM vol. 2A, LMSW).
        let kept = self.cpu.cr0 & (!MACHINE_STATUS | cr0::PE);
        self.write_cr0(kept | (word & MACHINE_STATUS))
    }

    pub(super) fn smsw(&mut self) -> Result<Effect, Trap> {
        let value = self.cpu.cr0;
        if self.in_memory(0) {
            self.store(0, 2, value)?
        } else {
            self.set_operand(0, value)?
        }
        Ok(Effect::Next)
    }

    /// INVLPG neither touches memory nor checks the address (Intel SDM vol. 2A, INVLPG).
    pub(super) fn invlpg(&mut self) -> Result<Effect, Trap> {
        let addr = self.linear(0)?;
        let nothing_there = self.cpu.long_mode_code() && !Cpu::canonical(addr);
        Ok(if nothing_there { Effect::Next } else { Effect::FlushPage(VirtAddr(addr)) })
    }

    /// The debug register a number names: 4 and 5 are other names of 6 and 7 while CR4.DE is clear.
    fn debug_number(&self, number: usize) -> Result<usize, Trap> {
        match number {
            4 | 5 if self.cpu.cr4 & cr4::DE == 0 => Ok(number + 2),
            0..4 | 6 | 7 => Ok(number),
            _ => Err(invalid_opcode()),
        }
    }

    fn read_debug(&self, number: usize) -> Result<u64, Trap> {
        Ok(match self.debug_number(number)? {
            6 => self.cpu.dr6,
            7 => self.cpu.dr7,
            number => self.cpu.breakpoints.get(number).copied().unwrap_or(0),
        })
    }

    fn write_debug(&mut self, number: usize, value: u64) -> Result<Effect, Trap> {
        let number = self.debug_number(number)?;
        if number >= 6 && value >> 32 != 0 {
            return Err(general_protection());
        }
        match number {
            6 => self.cpu.dr6 = (value & DR6_WRITABLE) | DR6_FIXED,
            7 if value & (DR7_ENABLE | DR7_GENERAL_DETECT) != 0 => {
                return Err(self.unsupported("hardware breakpoints (DR7)"));
            }
            7 => self.cpu.dr7 = (value & DR7_WRITABLE) | DR7_FIXED,
            _ => {
                if let Some(breakpoint) = self.cpu.breakpoints.get_mut(number) {
                    *breakpoint = value;
                }
            }
        }
        Ok(Effect::Next)
    }

    /// XCR0 is all there is to read; it needs CR4.OSXSAVE (Intel SDM vol. 2D, XGETBV).
    pub(super) fn xgetbv(&mut self) -> Result<Effect, Trap> {
        self.only_xcr0()?;
        let value = self.cpu.xcr0;
        self.set_edx_eax(value);
        Ok(Effect::Next)
    }

    /// Intel SDM vol. 1 §13.3: x87 always, AVX not without SSE, and only what CPUID 0xD tells.
    pub(super) fn xsetbv(&mut self, host: &Host) -> Result<Effect, Trap> {
        const X87: u64 = 1;
        const SSE_AND_AVX: u64 = 0b110;
        self.only_xcr0()?;
        let value = self.edx_eax();
        let avx_alone = value & SSE_AND_AVX == 0b100;
        if value & X87 == 0 || avx_alone || value & !host.extended_states() != 0 {
            return Err(general_protection());
        }
        self.cpu.xcr0 = value;
        Ok(Effect::Next)
    }

    fn only_xcr0(&self) -> Result<(), Trap> {
        if self.cpu.cr4 & cr4::OSXSAVE == 0 {
            return Err(invalid_opcode());
        }
        if self.register(Register::ECX)? != 0 {
            return Err(general_protection());
        }
        Ok(())
    }

    /// What INTO and 32-bit code need to know of the flags.
    pub(super) fn overflow(&self) -> bool {
        self.regs.rflags & flag::OVERFLOW != 0
    }
}
