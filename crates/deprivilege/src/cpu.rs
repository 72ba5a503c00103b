//! The virtual CPU: everything a kernel believes to own and ring 3 does not give it.
//!
//! General registers and arithmetic flags live in the real CPU while the guest runs and in [`Registers`] while it does
//! not. All that needs privilege lives in [`Cpu`]. The guest always runs at CPL 0; entering CPL 3 is refused where it
//! would happen. Translated code reads and writes some fields of [`Cpu`] by their offsets, hence plain integers and
//! `repr(C)`.

use runu_core::{GuestAddr, VirtAddr};

/// RFLAGS (Intel SDM vol. 1 §3.4.3).
pub(crate) mod flag {
    pub(crate) const CARRY: u64 = 1 << 0;
    /// Bit 1 reads as one.
    pub(crate) const FIXED: u64 = 1 << 1;
    pub(crate) const PARITY: u64 = 1 << 2;
    pub(crate) const ADJUST: u64 = 1 << 4;
    pub(crate) const ZERO: u64 = 1 << 6;
    pub(crate) const SIGN: u64 = 1 << 7;
    pub(crate) const TRAP: u64 = 1 << 8;
    pub(crate) const INTERRUPT: u64 = 1 << 9;
    pub(crate) const DIRECTION: u64 = 1 << 10;
    pub(crate) const OVERFLOW: u64 = 1 << 11;
    pub(crate) const NESTED_TASK: u64 = 1 << 14;
    pub(crate) const RESUME: u64 = 1 << 16;
    pub(crate) const VIRTUAL_8086: u64 = 1 << 17;
    pub(crate) const ALIGNMENT: u64 = 1 << 18;
    pub(crate) const IDENTIFICATION: u64 = 1 << 21;
    /// The status flags that arithmetic sets.
    pub(crate) const STATUS: u64 = CARRY | PARITY | ADJUST | ZERO | SIGN | OVERFLOW;
    /// What may stand in the real RFLAGS while the guest runs.
    pub(crate) const LIVE: u64 = STATUS | DIRECTION | IDENTIFICATION;
    /// What is kept beside the real RFLAGS: at CPL 3 AC would make unaligned accesses fault.
    pub(crate) const KEPT: u64 = ALIGNMENT | NESTED_TASK;
}

/// CR0 (Intel SDM vol. 3 §2.5).
pub(crate) mod cr0 {
    pub(crate) const PE: u64 = 1 << 0;
    pub(crate) const MP: u64 = 1 << 1;
    pub(crate) const EM: u64 = 1 << 2;
    pub(crate) const TS: u64 = 1 << 3;
    pub(crate) const ET: u64 = 1 << 4;
    pub(crate) const NE: u64 = 1 << 5;
    pub(crate) const WP: u64 = 1 << 16;
    pub(crate) const AM: u64 = 1 << 18;
    pub(crate) const NW: u64 = 1 << 29;
    pub(crate) const CD: u64 = 1 << 30;
    pub(crate) const PG: u64 = 1 << 31;
}

/// CR4 (Intel SDM vol. 3 §2.5).
pub(crate) mod cr4 {
    pub(crate) const TSD: u64 = 1 << 2;
    pub(crate) const DE: u64 = 1 << 3;
    pub(crate) const PSE: u64 = 1 << 4;
    pub(crate) const PAE: u64 = 1 << 5;
    pub(crate) const PGE: u64 = 1 << 7;
    pub(crate) const PCE: u64 = 1 << 8;
    pub(crate) const OSFXSR: u64 = 1 << 9;
    pub(crate) const OSXMMEXCPT: u64 = 1 << 10;
    pub(crate) const LA57: u64 = 1 << 12;
    pub(crate) const FSGSBASE: u64 = 1 << 16;
    pub(crate) const OSXSAVE: u64 = 1 << 18;
}

/// IA32_EFER (Intel SDM vol. 3 §2.2.1).
pub(crate) mod efer {
    pub(crate) const SCE: u64 = 1 << 0;
    pub(crate) const LME: u64 = 1 << 8;
    pub(crate) const LMA: u64 = 1 << 10;
    pub(crate) const NXE: u64 = 1 << 11;
}

/// Hardware numbers of the segment registers: where each stands in [`Cpu::selectors`].
pub mod segment {
    /// ES.
    pub const ES: usize = 0;
    /// CS.
    pub const CS: usize = 1;
    /// SS.
    pub const SS: usize = 2;
    /// DS.
    pub const DS: usize = 3;
    /// FS.
    pub const FS: usize = 4;
    /// GS.
    pub const GS: usize = 5;
}

/// Hardware number of RSP: where it stands in [`Registers::gpr`].
pub(crate) const RSP: usize = 4;

/// What the real CPU holds while the guest runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// General registers in hardware order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15. Upper halves are 0 in 32-bit code.
    pub gpr: [u64; 16],
    /// Instruction pointer, guest-virtual.
    pub rip: u64,
    /// Status flags, DF and ID only; what else RFLAGS holds is in [`Cpu`]. See [`Cpu::rflags`].
    pub rflags: u64,
}

/// A descriptor-table register: GDTR or IDTR.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Guest-virtual address of the table.
    pub base: u64,
    /// Offset of its last byte.
    pub limit: u16,
}

/// What LDTR and TR cache of their descriptor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SystemSegment {
    /// Guest-virtual address of the segment.
    pub base: u64,
    /// Offset of its last byte.
    pub limit: u32,
    /// The selector it was loaded with; 0 means unusable.
    pub selector: u16,
}

/// The privileged state of the virtual CPU.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// The virtual IF, as it stands in RFLAGS.
    pub interrupts: u64,
    /// The same bit if an interrupt waits to be delivered. The monitor sets and clears it.
    pub pending: u64,
    /// 1 while CS is a 64-bit code segment, 0 while it is a 32-bit one (the L bit that CS caches).
    pub code64: u8,
    /// Bit n is set while segment register n caches something other than base 0 and a limit of 4 GiB. Matters to
    /// 32-bit code only, which is refused while it is set for ES, CS, SS or DS.
    pub bounded_segments: u8,
    /// es cs ss ds fs gs, as the guest loaded them; see [`segment`].
    pub selectors: [u16; 6],
    /// AC and NT as they stand in RFLAGS. At CPL 0 neither acts by itself, but in the real RFLAGS AC would.
    pub kept_flags: u64,
    /// Base of FS.
    pub fs_base: u64,
    /// Base of GS.
    pub gs_base: u64,
    /// What SWAPGS exchanges [`gs_base`](Self::gs_base) with.
    pub kernel_gs_base: u64,
    /// CR0.
    pub cr0: u64,
    /// CR2: address of the last page fault.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// XCR0: the extended states the guest enabled.
    pub xcr0: u64,
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_STAR.
    pub star: u64,
    /// IA32_LSTAR.
    pub lstar: u64,
    /// IA32_CSTAR.
    pub cstar: u64,
    /// IA32_FMASK.
    pub sfmask: u64,
    /// IA32_TSC_AUX.
    pub tsc_aux: u64,
    /// IA32_PAT. Kept for the guest to read back; all memory is write-back.
    pub pat: u64,
    /// GDTR.
    pub gdt: Table,
    /// IDTR.
    pub idt: Table,
    /// LDTR.
    pub ldt: SystemSegment,
    /// TR.
    pub task: SystemSegment,
    /// DR0 to DR3, kept for the guest to read back: arming one is refused.
    pub breakpoints: [u64; 4],
    /// DR6.
    pub dr6: u64,
    /// DR7.
    pub dr7: u64,
}

impl Cpu {
    /// What [`Cpu::pending`] is when an interrupt waits.
    pub const PENDING: u64 = flag::INTERRUPT;

    /// A CPU in 32-bit protected mode without paging, as Multiboot 0.6.96 §3.2 hands it over: flat `code` and `data`
    /// selectors, interrupts off, no interrupt table.
    #[must_use]
    pub fn new_protected32(gdt: Table, code: u16, data: u16) -> Self {
        Self {
            interrupts: 0,
            pending: 0,
            code64: 0,
            bounded_segments: 0,
            selectors: [data, code, data, data, data, data],
            kept_flags: 0,
            fs_base: 0,
            gs_base: 0,
            kernel_gs_base: 0,
            cr0: cr0::PE | cr0::ET,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            // Values after reset: Intel SDM vol. 3 §10.1.1 and table 10-1; PAT §12.12.4.
            xcr0: 1,
            efer: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            tsc_aux: 0,
            pat: 0x0007_0406_0007_0406,
            gdt,
            idt: Table::default(),
            ldt: SystemSegment::default(),
            task: SystemSegment::default(),
            breakpoints: [0; 4],
            dr6: 0xffff_0ff0,
            dr7: 0x400,
        }
    }

    /// A CPU in 64-bit mode with paging, as the Linux 64-bit boot protocol hands it over (Linux
    /// Documentation/arch/x86/boot.rst): flat selectors, interrupts off, `page_table` in CR3.
    #[must_use]
    pub fn new_long64(page_table: GuestAddr, gdt: Table, code: u16, data: u16) -> Self {
        let mut cpu = Self::new_protected32(gdt, code, data);
        cpu.cr0 |= cr0::PG;
        cpu.cr3 = page_table.0;
        cpu.cr4 = cr4::PAE;
        cpu.efer = efer::LME | efer::LMA;
        cpu.code64 = 1;
        cpu
    }

    /// Whether the code that runs is 64-bit code.
    #[must_use]
    pub fn long_mode_code(&self) -> bool {
        self.code64 != 0
    }

    /// How wide the code that runs is, in bits, as a decoder wants to know it: 32 or 64.
    #[must_use]
    pub fn code_size(&self) -> u32 {
        if self.long_mode_code() { 64 } else { 32 }
    }

    /// Whether long mode is active (EFER.LMA), be the code 64-bit or 32-bit ("compatibility mode").
    #[must_use]
    pub fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }

    /// Whether page tables are in use.
    #[must_use]
    pub fn paging(&self) -> bool {
        self.cr0 & cr0::PG != 0
    }

    /// RFLAGS as the guest is to read it: with its IF, AC and NT, bit 1 set, without IOPL and TF.
    #[must_use]
    pub fn rflags(&self, regs: &Registers) -> u64 {
        (regs.rflags & flag::LIVE) | (self.kept_flags & flag::KEPT) | self.interrupts | flag::FIXED
    }

    /// Takes RFLAGS as the guest wrote it apart. IOPL means nothing at CPL 0 and is dropped; so are TF and VM, which
    /// the caller must have refused.
    pub fn set_rflags(&mut self, regs: &mut Registers, value: u64) {
        regs.rflags = (value & flag::LIVE) | flag::FIXED;
        self.kept_flags = value & flag::KEPT;
        self.interrupts = value & flag::INTERRUPT;
    }

    /// Whether an address is canonical: bits 63 to 47 alike (Intel SDM vol. 1 §3.3.7.1; four-level paging).
    #[must_use]
    pub fn canonical(addr: u64) -> bool {
        let top = addr >> 47;
        top == 0 || top == 0x1_ffff
    }
}

/// What `syscall` does (Intel SDM vol. 2B, SYSCALL).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// IA32_LSTAR: where it leads.
    pub target: VirtAddr,
    /// IA32_FMASK: the flags that it clears.
    pub mask: u64,
    /// Of IA32_STAR: what it loads CS with.
    pub code: u16,
    /// Of IA32_STAR: what it loads SS with.
    pub stack: u16,
}

impl SystemCall {
    /// What it does on this CPU.
    #[must_use]
    pub fn of(cpu: &Cpu) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the selector is bits 47 to 32 of the register")]
        let code = (cpu.star >> 32) as u16 & !3;
        SystemCall { target: VirtAddr(cpu.lstar), mask: cpu.sfmask, code, stack: code.wrapping_add(8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rflags_written_and_read_back_keep_what_cpl_0_may_set() {
        let mut cpu = Cpu::new_protected32(Table::default(), 8, 16);
        let mut regs = Registers::default();
        let written = flag::STATUS | flag::DIRECTION | flag::INTERRUPT | flag::ALIGNMENT | flag::NESTED_TASK;

        cpu.set_rflags(&mut regs, written | flag::TRAP | (3 << 12));

        assert_eq!(cpu.rflags(&regs), written | flag::FIXED);
        assert_eq!(cpu.interrupts, flag::INTERRUPT);
        assert_eq!(
            regs.rflags & (flag::INTERRUPT | flag::ALIGNMENT | flag::TRAP),
            0,
            "not for the real RFLAGS"
        );
    }

    #[test]
    fn address_between_the_halves_is_not_canonical() {
        assert!(Cpu::canonical(0x7fff_ffff_ffff));
        assert!(Cpu::canonical(0xffff_8000_0000_0000));
        assert!(!Cpu::canonical(0x8000_0000_0000));
        assert!(!Cpu::canonical(0xffff_7fff_ffff_ffff));
    }
}
