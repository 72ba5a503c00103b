//! Segment bases, floating point and vector registers: loaded, saved, restored, and kept through interrupts.

use core::arch::asm;
use rt::check::{Check, Outcome, equal, holds};
use rt::cpu::{self, cpuid, rdmsr, wrmsr};

use crate::interrupts::while_ticking;
use crate::registers::{FS_BASE, GS_BASE, KERNEL_GS_BASE};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "fs-relative", run: fs_relative },
    Check { name: "gs-relative", run: gs_relative },
    Check { name: "swapgs", run: swapgs },
    Check { name: "wrfsbase", run: wrfsbase },
    Check { name: "x87", run: x87 },
    Check { name: "mxcsr", run: mxcsr },
    Check { name: "fxsave", run: fxsave },
    Check { name: "xsave", run: xsave },
    Check { name: "sse-interrupted", run: sse_interrupted },
    Check { name: "avx-interrupted", run: avx_interrupted },
];

/// Sets FS and GS bases to 0 again.
fn no_bases() {
    // SAFETY: nothing uses them.
    unsafe {
        wrmsr(FS_BASE, 0);
        wrmsr(GS_BASE, 0);
        wrmsr(KERNEL_GS_BASE, 0);
    }
}

/// Thread-local data as compilers reach it: below and above the base, by displacement and by index.
fn fs_relative() -> Outcome {
    let mut words = [10_u64, 11, 12, 13];
    let (below, at, indexed, narrow): (u64, u64, u64, u64);
    // SAFETY: the base points into the array, every access is within it.
    unsafe {
        wrmsr(FS_BASE, (&raw mut words[1]) as u64);
        asm!(
            "mov {below}, fs:[-8]",
            "mov {at}, fs:[0]",
            "mov {indexed:e}, 1",
            "mov {indexed}, fs:[{indexed} * 8 + 8]",
            "mov {narrow:e}, -8",
            "mov {narrow}, fs:[{narrow:e} + 16]",
            "mov qword ptr fs:[8], 99",
            "lock add qword ptr fs:[8], 1",
            below = out(reg) below,
            at = out(reg) at,
            indexed = out(reg) indexed,
            narrow = out(reg) narrow,
        );
    }
    no_bases();
    equal("below", below, 10)?;
    equal("at", at, 11)?;
    equal("indexed", indexed, 13)?;
    equal("32-bit address", narrow, 12)?;
    equal("written", words[2], 100)
}

fn gs_relative() -> Outcome {
    let words = [20_u64, 21];
    let read: u64;
    // SAFETY: the base points to the array.
    unsafe {
        wrmsr(GS_BASE, words.as_ptr() as u64);
        asm!("mov {0}, gs:[8]", out(reg) read, options(nostack));
    }
    no_bases();
    equal("read", read, 21)
}

fn swapgs() -> Outcome {
    let (outer, inner) = (30_u64, 31_u64);
    let (first, second, third): (u64, u64, u64);
    // SAFETY: both bases point to a word.
    let bases = unsafe {
        wrmsr(GS_BASE, (&raw const outer) as u64);
        wrmsr(KERNEL_GS_BASE, (&raw const inner) as u64);
        asm!(
            "mov {0}, gs:[0]", "swapgs", "mov {1}, gs:[0]", "swapgs", "mov {2}, gs:[0]", "swapgs",
            out(reg) first, out(reg) second, out(reg) third, options(nostack),
        );
        (rdmsr(GS_BASE), rdmsr(KERNEL_GS_BASE))
    };
    no_bases();
    equal("before", first, 30)?;
    equal("swapped", second, 31)?;
    equal("back", third, 30)?;
    equal("base", bases.0, (&raw const inner) as u64)?;
    equal("kernel base", bases.1, (&raw const outer) as u64)
}

fn wrfsbase() -> Outcome {
    if cpu::read_cr4() & cpu::CR4_FSGSBASE == 0 {
        return Ok(());
    }
    let words = [40_u64, 41];
    let (first, second): (u64, u64);
    // SAFETY: CR4.FSGSBASE is set and the bases point to words.
    unsafe {
        asm!(
            "wrfsbase {0}", "mov {2}, fs:[0]", "wrfsbase {1}", "mov {3}, fs:[0]",
            in(reg) &words[0], in(reg) &words[1], out(reg) first, out(reg) second, options(nostack),
        );
    }
    no_bases();
    equal("first", first, 40)?;
    equal("second", second, 41)
}

fn x87() -> Outcome {
    let (mut word, mut control, mut integer) = (0x37f_u16, 0_u16, 0_u64);
    // SAFETY: leaves the register stack empty and the control word at its start value.
    unsafe {
        asm!(
            "fninit", "fldcw [{word}]", "fnstcw [{control}]",
            "fld1", "fldpi", "faddp", "fadd st(0), st(0)", "fistp qword ptr [{integer}]",
            "fninit",
            word = in(reg) &raw mut word, control = in(reg) &raw mut control, integer = in(reg) &raw mut integer,
            options(nostack),
        );
    }
    equal("control word", control.into(), 0x37f)?;
    equal("2 * (1 + pi)", integer, 8)
}

fn mxcsr() -> Outcome {
    const ROUND_UP: u32 = 0x5f80;
    const START: u32 = 0x1f80;
    let mut read = 0_u32;
    let rounded: u64;
    // SAFETY: no rounding elsewhere meanwhile; the start value is loaded again.
    unsafe {
        asm!(
            "ldmxcsr [{new}]", "stmxcsr [{read}]",
            "cvtsi2sd {x}, {three}", "cvtsi2sd {y}, {two}", "divsd {x}, {y}", "cvtsd2si {three}, {x}",
            "ldmxcsr [{start}]",
            new = in(reg) &ROUND_UP, read = in(reg) &raw mut read, start = in(reg) &START,
            three = inout(reg) 3_u64 => rounded, two = in(reg) 2_u64,
            x = out(xmm_reg) _, y = out(xmm_reg) _, options(nostack),
        );
    }
    equal("rounding", (read & 0x6000).into(), 0x4000)?;
    equal("3 / 2 rounded up", rounded, 2)
}

/// An area for XSAVE with words behind it that must not change.
#[repr(C, align(64))]
struct Area {
    /// As large as a Unikraft system call's save slot (arch/x86/x86_64/include/uk/asm/ctx.h): x87, SSE and AVX.
    state: [u8; 832],
    canary: [u64; 40],
}

const CANARY: u64 = 0x5555_aaaa_5555_aaaa;

impl Area {
    const NEW: Self = Self { state: [0; 832], canary: [CANARY; 40] };

    fn word(&self, at: usize) -> u64 {
        self.state[at..at + 8].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn canary_is_alive(&self) -> bool {
        self.canary.iter().all(|word| *word == CANARY)
    }
}

fn fxsave() -> Outcome {
    let mut area = Area::NEW;
    let restored: u64;
    // SAFETY: 512 bytes, aligned; what is restored was just saved.
    unsafe {
        asm!(
            "movq xmm5, {a}", "fxsave64 [{area}]", "movq xmm5, {b}", "fxrstor64 [{area}]", "movq {b}, xmm5",
            a = in(reg) 0x1111_u64, b = inout(reg) 0x2222_u64 => restored, area = in(reg) &raw mut area,
            out("xmm5") _, options(nostack),
        );
    }
    equal("saved", area.word(160 + 5 * 16), 0x1111)?;
    equal("restored", restored, 0x1111)
}

/// With a mask of all ones, as Unikraft calls them (arch/x86/ectx.c).
fn xsave() -> Outcome {
    if cpu::read_cr4() & cpu::CR4_OSXSAVE == 0 {
        return Ok(());
    }
    const XSAVEOPT: u32 = 1;
    let mut area = Area::NEW;
    let restored: u64;
    // SAFETY: the area is aligned, and large enough for what XCR0 names; what is restored was just saved.
    let xcr0 = unsafe {
        asm!(
            "movq xmm6, {a}", "xsave64 [{area}]", "movq xmm6, {b}", "xrstor64 [{area}]", "movq {b}, xmm6",
            a = in(reg) 0x3333_u64, b = inout(reg) 0x4444_u64 => restored, area = in(reg) &raw mut area,
            in("eax") u32::MAX, in("edx") u32::MAX, out("xmm6") _, options(nostack),
        );
        cpu::read_xcr0()
    };
    equal("saved", area.word(160 + 6 * 16), 0x3333)?;
    equal("restored", restored, 0x3333)?;
    equal("saves only what xcr0 names", area.word(512) & !xcr0, 0)?;
    holds("writes nothing behind", area.canary_is_alive())?;
    if cpuid(0xd, 1).eax & XSAVEOPT == 0 {
        return Ok(());
    }
    let mut area = Area::NEW;
    // SAFETY: as above.
    unsafe {
        asm!(
            "movq xmm6, {a}", "xsaveopt64 [{area}]",
            a = in(reg) 0x5555_u64, area = in(reg) &raw mut area,
            in("eax") u32::MAX, in("edx") u32::MAX, out("xmm6") _, options(nostack),
        );
    }
    equal("saved by xsaveopt", area.word(160 + 6 * 16), 0x5555)?;
    holds("xsaveopt writes nothing behind", area.canary_is_alive())
}

fn sse_interrupted() -> Outcome {
    while_ticking(|| {
        let sum: u64;
        // SAFETY: registers only.
        unsafe {
            asm!(
                "movq xmm0, {k}",
                "movdqa xmm1, xmm0", "paddq xmm1, xmm0", "movdqa xmm2, xmm1", "paddq xmm2, xmm0",
                "movdqa xmm3, xmm2", "paddq xmm3, xmm0", "movdqa xmm7, xmm3", "paddq xmm7, xmm0",
                "movdqa xmm11, xmm7", "paddq xmm11, xmm0", "movdqa xmm15, xmm11", "paddq xmm15, xmm0",
                "2: dec {n}", "jnz 2b",
                "paddq xmm0, xmm1", "paddq xmm0, xmm2", "paddq xmm0, xmm3", "paddq xmm0, xmm7",
                "paddq xmm0, xmm11", "paddq xmm0, xmm15",
                "movq {k}, xmm0",
                k = inout(reg) 0x1_0001_u64 => sum, n = inout(reg) 20_000_u64 => _,
                out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm7") _, out("xmm11") _,
                out("xmm15") _, options(nostack),
            );
        }
        equal("sum", sum, 28 * 0x1_0001)
    })
}

fn avx_interrupted() -> Outcome {
    const AVX: u32 = 1 << 28;
    if cpuid(1, 0).ecx & AVX == 0 {
        return Ok(());
    }
    while_ticking(|| {
        let (low, high): (u64, u64);
        // SAFETY: the processor has AVX and XCR0 names it.
        unsafe {
            asm!(
                "movq xmm8, {k}",
                "vinsertf128 ymm9, ymm8, xmm8, 1",
                "2: dec {n}", "jnz 2b",
                "movq {k}, xmm9",
                "vextractf128 xmm8, ymm9, 1",
                "movq {h}, xmm8",
                "vzeroupper",
                k = inout(reg) 0x77_u64 => low, h = out(reg) high, n = inout(reg) 20_000_u64 => _,
                out("xmm8") _, out("xmm9") _, options(nostack),
            );
        }
        equal("low half", low, 0x77)?;
        equal("high half", high, 0x77)
    })
}
