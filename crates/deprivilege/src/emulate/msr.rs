//! Model-specific registers, CPUID, the time stamp, and the bases of FS and GS.
//!
//! A register exists if CPUID tells the feature it belongs to. Any other raises #GP, as on a CPU without it: no MTRRs,
//! machine checks, SYSENTER, performance counters or microcode are told. Those of the local APIC are the [`Bus`]'s.
//!
//! [`Bus`]: crate::bus::Bus

use iced_x86::{Mnemonic, Register};

use super::{Effect, Step, Trap};
use crate::{
    cpu::{Cpu, cr0, cr4, efer},
    cpuid::{self, Feature, Host, PHYSICAL_ADDRESS_BITS},
    exception::Exception,
};

/// Numbers of the registers that exist (Intel SDM vol. 4, table 2-2).
pub(crate) mod number {
    pub(super) const TIME_STAMP_COUNTER: u32 = 0x10;
    pub(super) const APIC_BASE: u32 = 0x1b;
    pub(super) const PAT: u32 = 0x277;
    pub(super) const EFER: u32 = 0xc000_0080;
    pub(super) const STAR: u32 = 0xc000_0081;
    pub(super) const LSTAR: u32 = 0xc000_0082;
    pub(super) const CSTAR: u32 = 0xc000_0083;
    pub(super) const FMASK: u32 = 0xc000_0084;
    pub(crate) const FS_BASE: u32 = 0xc000_0100;
    pub(crate) const GS_BASE: u32 = 0xc000_0101;
    pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;
    pub(super) const TSC_AUX: u32 = 0xc000_0103;
}

/// IA32_APIC_BASE (Intel SDM vol. 3 §11.4.4): where the registers are.
const APIC_ADDRESS: u64 = (1 << PHYSICAL_ADDRESS_BITS) - 0x1000;

/// Hardware numbers of the registers that these instructions use.
const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;

fn general_protection() -> Trap {
    Exception::general_protection(0).into()
}

fn canonical(value: u64) -> Result<u64, Trap> {
    if Cpu::canonical(value) { Ok(value) } else { Err(general_protection()) }
}

impl Step<'_> {
    /// EDX:EAX.
    pub(super) fn edx_eax(&self) -> u64 {
        let low = |number: usize| self.regs.gpr.get(number).copied().unwrap_or(0) & 0xffff_ffff;
        low(RDX) << 32 | low(RAX)
    }

    /// Sets EDX:EAX; the upper halves of RDX and RAX are cleared.
    pub(super) fn set_edx_eax(&mut self, value: u64) {
        self.set_gpr(RAX, value & 0xffff_ffff);
        self.set_gpr(RDX, value >> 32);
    }

    fn set_gpr(&mut self, number: usize, value: u64) {
        if let Some(register) = self.regs.gpr.get_mut(number) {
            *register = value;
        }
    }

    fn ecx(&self) -> u32 {
        (self.regs.gpr.get(RCX).copied().unwrap_or(0) & 0xffff_ffff) as u32
    }

    pub(super) fn rdmsr(&mut self, host: &Host) -> Result<Effect, Trap> {
        let cpu = &self.cpu;
        let value = match self.ecx() {
            number::FS_BASE => cpu.fs_base,
            number::GS_BASE => cpu.gs_base,
            number::KERNEL_GS_BASE => cpu.kernel_gs_base,
            number::EFER => cpu.efer,
            number::STAR => cpu.star,
            number::LSTAR => cpu.lstar,
            number::CSTAR => cpu.cstar,
            number::FMASK => cpu.sfmask,
            number::TSC_AUX if host.has(Feature::Rdtscp) => cpu.tsc_aux,
            number::PAT => cpu.pat,
            number::TIME_STAMP_COUNTER => host.time_stamp(),
            msr => self.bus.apic_in(msr).ok_or_else(general_protection)?,
        };
        self.set_edx_eax(value);
        Ok(Effect::Next)
    }

    pub(super) fn wrmsr(&mut self, host: &Host) -> Result<Effect, Trap> {
        let value = self.edx_eax();
        let msr = self.ecx();
        let cpu = &mut *self.cpu;
        match msr {
            number::FS_BASE => cpu.fs_base = canonical(value)?,
            number::GS_BASE => cpu.gs_base = canonical(value)?,
            number::KERNEL_GS_BASE => cpu.kernel_gs_base = canonical(value)?,
            number::EFER => return self.write_efer(value),
            number::STAR => cpu.star = value,
            number::LSTAR => cpu.lstar = canonical(value)?,
            number::CSTAR => cpu.cstar = canonical(value)?,
            // Bits 63 to 32 are reserved (Intel SDM vol. 3 §5.8.8).
            number::FMASK if value >> 32 == 0 => cpu.sfmask = value,
            number::TSC_AUX if host.has(Feature::Rdtscp) && value >> 32 == 0 => cpu.tsc_aux = value,
            number::PAT if pat_is_valid(value) => cpu.pat = value,
            number::TIME_STAMP_COUNTER => {
                return Err(self.unsupported("setting the time stamp counter, which is the host's"));
            }
            number::APIC_BASE => return self.write_apic_base(value),
            _ if self.bus.apic_out(msr, value) => {}
            _ => return Err(general_protection()),
        }
        Ok(Effect::Next)
    }

    /// Intel SDM vol. 3 §11.4.4. The address can be written, and memory would have to give way to it.
    fn write_apic_base(&mut self, value: u64) -> Result<Effect, Trap> {
        let before = self.bus.apic_in(number::APIC_BASE).unwrap_or(0);
        if (value ^ before) & APIC_ADDRESS != 0 {
            return Err(self.unsupported("moving the local APIC's registers (IA32_APIC_BASE)"));
        }
        if self.bus.apic_out(number::APIC_BASE, value) { Ok(Effect::Next) } else { Err(general_protection()) }
    }

    /// Intel SDM vol. 3 §2.2.1 and §10.8.5: LMA cannot be written, LME not while paging.
    fn write_efer(&mut self, value: u64) -> Result<Effect, Trap> {
        const WRITABLE: u64 = efer::SCE | efer::LME | efer::NXE;
        if value & !(WRITABLE | efer::LMA) != 0 {
            return Err(general_protection());
        }
        let new = (value & WRITABLE) | (self.cpu.efer & efer::LMA);
        let changed = new ^ self.cpu.efer;
        if changed & efer::LME != 0 && self.cpu.cr0 & cr0::PG != 0 {
            return Err(general_protection());
        }
        self.cpu.efer = new;
        Ok(if changed & efer::NXE != 0 { Effect::FlushAll } else { Effect::Next })
    }

    pub(super) fn swapgs(&mut self) -> Result<Effect, Trap> {
        if !self.cpu.long_mode_code() {
            return Err(Exception::invalid_opcode().into());
        }
        std::mem::swap(&mut self.cpu.gs_base, &mut self.cpu.kernel_gs_base);
        Ok(Effect::Next)
    }

    fn needs_fsgsbase(&self) -> Result<(), Trap> {
        let enabled = self.cpu.cr4 & cr4::FSGSBASE != 0 && self.cpu.long_mode_code();
        if enabled { Ok(()) } else { Err(Exception::invalid_opcode().into()) }
    }

    pub(super) fn read_segment_base(&mut self) -> Result<Effect, Trap> {
        self.needs_fsgsbase()?;
        let is_fs = self.insn.mnemonic() == Mnemonic::Rdfsbase;
        let base = if is_fs { self.cpu.fs_base } else { self.cpu.gs_base };
        self.set_register(self.insn.op0_register(), base)?;
        Ok(Effect::Next)
    }

    pub(super) fn write_segment_base(&mut self) -> Result<Effect, Trap> {
        self.needs_fsgsbase()?;
        let base = canonical(self.register(self.insn.op0_register())?)?;
        let is_fs = self.insn.mnemonic() == Mnemonic::Wrfsbase;
        *(if is_fs { &mut self.cpu.fs_base } else { &mut self.cpu.gs_base }) = base;
        Ok(Effect::Next)
    }

    pub(super) fn cpuid(&mut self, host: &Host) -> Result<Effect, Trap> {
        let leaf = self.register(Register::EAX)? & 0xffff_ffff;
        let apic = self.bus.has_apic();
        let [eax, ebx, ecx, edx] = cpuid::cpuid(leaf as u32, self.ecx(), self.cpu, apic, host);
        self.set_gpr(RAX, eax.into());
        self.set_gpr(RBX, ebx.into());
        self.set_gpr(RCX, ecx.into());
        self.set_gpr(RDX, edx.into());
        Ok(Effect::Next)
    }

    pub(super) fn rdtsc(&mut self, host: &Host) -> Result<Effect, Trap> {
        self.set_edx_eax(host.time_stamp());
        Ok(Effect::Next)
    }

    pub(super) fn rdtscp(&mut self, host: &Host) -> Result<Effect, Trap> {
        if !host.has(Feature::Rdtscp) {
            return Err(Exception::invalid_opcode().into());
        }
        self.set_edx_eax(host.time_stamp());
        self.set_gpr(RCX, self.cpu.tsc_aux);
        Ok(Effect::Next)
    }

    pub(super) fn rdpid(&mut self, host: &Host) -> Result<Effect, Trap> {
        if !host.has(Feature::Rdpid) {
            return Err(Exception::invalid_opcode().into());
        }
        let aux = self.cpu.tsc_aux;
        self.set_register(self.insn.op0_register(), aux)?;
        Ok(Effect::Next)
    }
}

/// Whether each byte is a memory type: 2, 3 and above 7 are reserved (Intel SDM vol. 3, table 13-10).
fn pat_is_valid(value: u64) -> bool {
    value.to_le_bytes().iter().all(|byte| matches!(byte, 0 | 1 | 4..=7))
}
