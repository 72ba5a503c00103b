//! Control registers, model-specific registers, CPUID.

use core::arch::asm;
use core::arch::x86_64::_mm_lfence;
use rt::check::{Check, Outcome, equal, holds};
use rt::cpu::{self, cpuid, rdmsr, wrmsr};
use rt::faulting;

use crate::exceptions::{GENERAL_PROTECTION, raised};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "cr0", run: cr0 },
    Check { name: "cr2", run: cr2 },
    Check { name: "cr3", run: cr3 },
    Check { name: "cr4", run: cr4 },
    Check { name: "msr-efer", run: msr_efer },
    Check { name: "msr-pat", run: msr_pat },
    Check { name: "msr-bases", run: msr_bases },
    Check { name: "msr-bases-keep-registers", run: msr_bases_keep_registers },
    Check { name: "msr-bases-bad", run: msr_bases_bad },
    Check { name: "msr-syscall", run: msr_syscall },
    Check { name: "fsgsbase", run: fsgsbase },
    Check { name: "cpuid-basic", run: cpuid_basic },
    Check { name: "cpuid-osxsave", run: cpuid_osxsave },
    Check { name: "cpuid-xsave-size", run: cpuid_xsave_size },
    Check { name: "tsc", run: tsc },
];

/// Model-specific registers (Intel SDM vol. 4, table 2-2; AMD APM vol. 2, appendix A).
pub(crate) const EFER: u32 = 0xc000_0080;
const PAT: u32 = 0x277;
pub(crate) const STAR: u32 = 0xc000_0081;
pub(crate) const LSTAR: u32 = 0xc000_0082;
pub(crate) const FMASK: u32 = 0xc000_0084;
pub(crate) const FS_BASE: u32 = 0xc000_0100;
pub(crate) const GS_BASE: u32 = 0xc000_0101;
pub(crate) const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// EFER bits.
pub(crate) const SCE: u64 = 1 << 0;
const LME_LMA: u64 = 1 << 8 | 1 << 10;

fn cr0() -> Outcome {
    const PE: u64 = 1 << 0;
    const MP: u64 = 1 << 1;
    const TS: u64 = 1 << 3;
    const NE: u64 = 1 << 5;
    const WP: u64 = 1 << 16;
    const PG: u64 = 1 << 31;
    let original = cpu::read_cr0();
    equal("at start", original & (PE | MP | TS | NE | WP | PG), PE | MP | NE | WP | PG)?;
    // SAFETY: no floating point between the two writes, and no page is read-only.
    let changed = unsafe {
        cpu::write_cr0(original & !WP | TS);
        let changed = cpu::read_cr0();
        asm!("clts", options(nostack, preserves_flags));
        changed
    };
    let cleared = cpu::read_cr0();
    // SAFETY: as it was.
    unsafe { cpu::write_cr0(original) };
    equal("changed", changed, original & !WP | TS)?;
    equal("after clts", cleared, original & !WP)?;
    equal("again", cpu::read_cr0(), original)
}

fn cr2() -> Outcome {
    // SAFETY: nobody relies on it.
    unsafe { cpu::write_cr2(0x1234_5678_9000) };
    equal("cr2", cpu::read_cr2(), 0x1234_5678_9000)
}

fn cr3() -> Outcome {
    let original = cpu::read_cr3();
    // SAFETY: the same tables.
    unsafe { cpu::write_cr3(original) };
    equal("cr3", cpu::read_cr3(), original)?;
    equal("is a page below 4 GiB", original & !0xffff_f000, 0)
}

fn cr4() -> Outcome {
    const PAE: u64 = 1 << 5;
    const PGE: u64 = 1 << 7;
    const OSFXSR_OSXMMEXCPT: u64 = 3 << 9;
    let original = cpu::read_cr4();
    equal("at start", original & (PAE | OSFXSR_OSXMMEXCPT), PAE | OSFXSR_OSXMMEXCPT)?;
    // SAFETY: no page is global.
    let changed = unsafe {
        cpu::write_cr4(original ^ PGE);
        let changed = cpu::read_cr4();
        cpu::write_cr4(original);
        changed
    };
    equal("changed", changed, original ^ PGE)?;
    equal("again", cpu::read_cr4(), original)
}

/// Writes a register, reads it, and writes what it was.
fn write_and_read(register: u32, value: u64) -> u64 {
    // SAFETY: the callers name registers that every x86-64 processor has, which nothing uses meanwhile.
    unsafe {
        let original = rdmsr(register);
        wrmsr(register, value);
        let read = rdmsr(register);
        wrmsr(register, original);
        read
    }
}

fn msr_efer() -> Outcome {
    // SAFETY: every x86-64 processor has it.
    let original = unsafe { rdmsr(EFER) };
    equal("long mode", original & LME_LMA, LME_LMA)?;
    equal("toggled", write_and_read(EFER, original ^ SCE), original ^ SCE)
}

fn msr_pat() -> Outcome {
    const VALUE: u64 = 0x0007_0406_0007_0106;
    equal("pat", write_and_read(PAT, VALUE), VALUE)
}

fn msr_bases() -> Outcome {
    for register in [FS_BASE, GS_BASE, KERNEL_GS_BASE] {
        for value in [0x12_3456, 0x7fff_ffff_f000, 0xffff_ff80_0000_1000] {
            equal("base", write_and_read(register, value), value)?;
        }
    }
    Ok(())
}

/// Reading and writing a base changes no register but those of the value, and no flag.
fn msr_bases_keep_registers() -> Outcome {
    const VALUE: u64 = 0x1234_5678_9abc;
    const UPPER: u64 = 0xffff_ffff_0000_0000;
    for register in [FS_BASE, GS_BASE, KERNEL_GS_BASE] {
        let (rax, rdx, rcx, flags): (u64, u64, u64, u64);
        // SAFETY: nothing uses the bases, and the one is put back.
        unsafe {
            let original = rdmsr(register);
            asm!(
                // The upper halves mean nothing; the sum sets CF, PF, AF, ZF and clears SF, OF.
                "mov {saved:e}, 0xffffffff", "add {saved:e}, 1",
                "wrmsr",
                "mov eax, 0", "mov edx, 0",
                "rdmsr",
                "pushfq", "pop {flags}",
                saved = out(reg) _,
                flags = out(reg) flags,
                inout("rax") UPPER | VALUE & 0xffff_ffff => rax,
                inout("rdx") UPPER | VALUE >> 32 => rdx,
                inout("rcx") UPPER | u64::from(register) => rcx,
            );
            wrmsr(register, original);
        }
        equal("rax", rax, VALUE & 0xffff_ffff)?;
        equal("rdx", rdx, VALUE >> 32)?;
        equal("rcx", rcx, UPPER | u64::from(register))?;
        equal("flags", flags & 0x8d5, 0x55)?;
    }
    Ok(())
}

/// What is no address cannot be a base: QEMU 7.2 takes it.
fn msr_bases_bad() -> Outcome {
    const BAD: u64 = 0x8000_0000_0000;
    for register in [FS_BASE, GS_BASE, KERNEL_GS_BASE] {
        let mut here = 0_u64;
        // SAFETY: changes nothing but raises its exception.
        let before = unsafe { rdmsr(register) };
        let record = raised(GENERAL_PROTECTION, || unsafe {
            faulting!(
                "lea {0}, [rip + 2f]", "2: wrmsr";
                out(reg) here, in("ecx") register, inout("rax") BAD & 0xffff_ffff => _, inout("rdx") BAD >> 32 => _
            );
        })?;
        equal("rip", record.frame.rip, here)?;
        equal("error", record.frame.error, 0)?;
        equal("rcx is kept", record.frame.rcx, register.into())?;
        equal("rdx is kept", record.frame.rdx, BAD >> 32)?;
        // SAFETY: as above.
        equal("is what it was", unsafe { rdmsr(register) }, before)?;
    }
    Ok(())
}

fn msr_syscall() -> Outcome {
    equal("star", write_and_read(STAR, 0x0013_0008_0000_0000), 0x0013_0008_0000_0000)?;
    equal("lstar", write_and_read(LSTAR, 0x10_2030), 0x10_2030)?;
    equal("fmask", write_and_read(FMASK, 0x700), 0x700)
}

fn fsgsbase() -> Outcome {
    if cpu::read_cr4() & cpu::CR4_FSGSBASE == 0 {
        return Ok(());
    }
    const FS: u64 = 0x5555_0000;
    const GS: u64 = 0xffff_ff80_1234_5678;
    let (fs, gs): (u64, u64);
    // SAFETY: CR4.FSGSBASE is set; nothing uses the bases.
    let (fs_register, gs_register) = unsafe {
        asm!("wrfsbase {0}", "wrgsbase {1}", in(reg) FS, in(reg) GS, options(nostack, preserves_flags));
        asm!("rdfsbase {0}", "rdgsbase {1}", out(reg) fs, out(reg) gs, options(nostack, preserves_flags));
        let registers = (rdmsr(FS_BASE), rdmsr(GS_BASE));
        wrmsr(FS_BASE, 0);
        wrmsr(GS_BASE, 0);
        registers
    };
    equal("rdfsbase", fs, FS)?;
    equal("rdgsbase", gs, GS)?;
    equal("msr fs", fs_register, FS)?;
    equal("msr gs", gs_register, GS)?;
    let fs: u64;
    // SAFETY: as above.
    unsafe { asm!("rdfsbase {0}", out(reg) fs, options(nostack, preserves_flags)) };
    equal("rdfsbase after wrmsr", fs, 0)
}

fn cpuid_basic() -> Outcome {
    const SSE_SSE2: u32 = 3 << 25;
    const LONG_MODE_NX_SYSCALL: u32 = 1 << 29 | 1 << 20 | 1 << 11;
    equal("initial apic id", (cpuid(1, 0).ebx >> 24).into(), 0)?;
    equal("sse and sse2", (cpuid(1, 0).edx & SSE_SSE2).into(), SSE_SSE2.into())?;
    holds("has leaf 0x80000008", cpuid(0x8000_0000, 0).eax >= 0x8000_0008)?;
    let extended = cpuid(0x8000_0001, 0).edx & LONG_MODE_NX_SYSCALL;
    equal("long mode, nx and syscall", extended.into(), LONG_MODE_NX_SYSCALL.into())?;
    let (first, second) = (cpuid(1, 0), cpuid(1, 0));
    equal("says the same again", first.eax.into(), second.eax.into())?;
    holds("physical address bits", (32..=52).contains(&(cpuid(0x8000_0008, 0).eax & 0xff)))
}

fn cpuid_osxsave() -> Outcome {
    const XSAVE: u32 = 1 << 26;
    const OSXSAVE: u32 = 1 << 27;
    if cpuid(1, 0).ecx & XSAVE == 0 {
        return Ok(());
    }
    holds("set", cpuid(1, 0).ecx & OSXSAVE != 0)?;
    let original = cpu::read_cr4();
    // SAFETY: nothing uses AVX.
    let cleared = unsafe {
        cpu::write_cr4(original & !cpu::CR4_OSXSAVE);
        let cleared = cpuid(1, 0).ecx;
        cpu::write_cr4(original);
        cleared
    };
    holds("cleared with cr4", cleared & OSXSAVE == 0)?;
    holds("set again", cpuid(1, 0).ecx & OSXSAVE != 0)
}

fn cpuid_xsave_size() -> Outcome {
    if cpu::read_cr4() & cpu::CR4_OSXSAVE == 0 {
        return Ok(());
    }
    // SAFETY: CR4.OSXSAVE is set; x87 and SSE exist; AVX is not used.
    let (original, small) = unsafe {
        let original = cpu::read_xcr0();
        cpu::write_xcr0(3);
        let small = cpuid(0xd, 0).ebx;
        cpu::write_xcr0(original);
        (original, small)
    };
    equal("with x87 and sse", small.into(), 576)?;
    let all = if original == 7 { 832 } else { 576 };
    equal("with all that is on", cpuid(0xd, 0).ebx.into(), all)
}

fn tsc() -> Outcome {
    let mut before = cpu::rdtsc();
    for _ in 0..1000 {
        // SAFETY: SSE2 has it.
        unsafe { _mm_lfence() };
        let now = cpu::rdtsc();
        holds("never goes back", now >= before)?;
        before = now;
    }
    Ok(())
}
