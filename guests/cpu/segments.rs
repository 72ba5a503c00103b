//! Segments and the tables behind them.

use core::arch::asm;
use rt::cell::OneCpu;
use rt::check::{Check, Outcome, equal, holds};
use rt::tables::{self, CODE, DATA, TSS, TablePointer};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "segment-registers", run: segment_registers },
    Check { name: "segment-loads", run: segment_loads },
    Check { name: "far-return", run: far_return },
    Check { name: "gdt", run: gdt },
    Check { name: "idt", run: idt },
    Check { name: "task-register", run: task_register },
    Check { name: "machine-status-word", run: machine_status_word },
    Check { name: "descriptor-queries", run: descriptor_queries },
];

/// Reads a segment register.
macro_rules! selector {
    ($register:literal) => {{
        let value: u32;
        // SAFETY: reading a segment register changes nothing.
        unsafe { asm!(concat!("mov {:e}, ", $register), out(reg) value, options(nomem, nostack, preserves_flags)) };
        u64::from(value)
    }};
}

fn segment_registers() -> Outcome {
    equal("cs", selector!("cs"), CODE.into())?;
    equal("ss", selector!("ss"), DATA.into())?;
    equal("ds", selector!("ds"), DATA.into())?;
    equal("es", selector!("es"), DATA.into())?;
    equal("fs", selector!("fs"), 0)?;
    equal("gs", selector!("gs"), 0)
}

fn segment_loads() -> Outcome {
    // SAFETY: in 64-bit mode these selectors change no address; FS and GS bases become 0, as they were.
    unsafe {
        asm!("mov ds, {0:e}", "mov es, {0:e}", in(reg) 0, options(preserves_flags));
        asm!("mov fs, {0:e}", "mov gs, {0:e}", in(reg) u32::from(DATA), options(preserves_flags));
    }
    equal("ds", selector!("ds"), 0)?;
    equal("es", selector!("es"), 0)?;
    equal("fs", selector!("fs"), DATA.into())?;
    equal("gs", selector!("gs"), DATA.into())?;
    // SAFETY: as above.
    unsafe {
        asm!("mov fs, {0:e}", "mov gs, {0:e}", in(reg) 0, options(preserves_flags));
        let data = u32::from(DATA);
        asm!("mov ds, {0:e}", "mov es, {0:e}", "mov ss, {0:e}", in(reg) data, options(preserves_flags));
    }
    segment_registers()
}

fn stored_gdt() -> TablePointer {
    let mut table = TablePointer { limit: 0, base: 0 };
    // SAFETY: stores ten bytes there.
    unsafe { asm!("sgdt [{}]", in(reg) &mut table, options(nostack, preserves_flags)) };
    table
}

fn stored_idt() -> TablePointer {
    let mut table = TablePointer { limit: 0, base: 0 };
    // SAFETY: stores ten bytes there.
    unsafe { asm!("sidt [{}]", in(reg) &mut table, options(nostack, preserves_flags)) };
    table
}

/// A second code segment behind the usual five descriptors.
const OTHER_CODE: u16 = 0x28;
static OTHER_GDT: OneCpu<[u64; 6]> = OneCpu::new([0; 6]);

/// Copies the current GDT and adds [`OTHER_CODE`].
fn other_gdt() -> TablePointer {
    let current = stored_gdt().base as *const [u64; 5];
    // SAFETY: the runtime's GDT has five descriptors; nobody else uses the copy.
    unsafe {
        let table = OTHER_GDT.get();
        table[..5].copy_from_slice(&*current);
        table[5] = table[usize::from(CODE) / 8];
    }
    TablePointer::to(OTHER_GDT.as_ptr())
}

/// Returns far to a selector; the CS that was in force there.
fn far_return_to(selector: u16) -> u64 {
    let cs;
    // SAFETY: the callers name code segments only; the label is the next line.
    unsafe {
        asm!(
            "push {selector}",
            "lea {cs}, [rip + 2f]",
            "push {cs}",
            "retfq",
            "2: mov {cs:e}, cs",
            selector = in(reg) u64::from(selector),
            cs = out(reg) cs,
            options(preserves_flags),
        );
    }
    cs
}

fn far_return() -> Outcome {
    let original = stored_gdt();
    // SAFETY: the copy holds all that the original does.
    unsafe { tables::load_gdt(&other_gdt()) };
    let there = far_return_to(OTHER_CODE);
    let back = far_return_to(CODE);
    // SAFETY: it was loaded before.
    unsafe { tables::load_gdt(&original) };
    equal("cs there", there, OTHER_CODE.into())?;
    equal("cs back", back, CODE.into())
}

fn gdt() -> Outcome {
    let original = stored_gdt();
    let (limit, base) = (original.limit, original.base);
    equal("limit", limit.into(), 5 * 8 - 1)?;
    let other = other_gdt();
    // SAFETY: the copy holds all that the original does; then back to what was loaded before.
    let read_back = unsafe {
        tables::load_gdt(&other);
        let read_back = stored_gdt();
        tables::load_gdt(&original);
        read_back
    };
    let (other_limit, other_base) = (read_back.limit, read_back.base);
    equal("other limit", other_limit.into(), 6 * 8 - 1)?;
    equal("other base", other_base, OTHER_GDT.as_ptr() as u64)?;
    let again = stored_gdt().base;
    equal("base again", again, base)
}

fn idt() -> Outcome {
    let (limit, base) = (stored_idt().limit, stored_idt().base);
    equal("limit", limit.into(), 256 * 16 - 1)?;
    // SAFETY: interrupts are off, and nothing between the two loads needs the table.
    let short = unsafe {
        tables::load_idt(&TablePointer { limit: 0x1ff, base });
        let short = stored_idt().limit;
        tables::load_idt(&TablePointer { limit, base });
        short
    };
    equal("short limit", short.into(), 0x1ff)
}

fn task_register() -> Outcome {
    let selector: u32;
    // SAFETY: only reads the register.
    unsafe { asm!("str {:e}", out(reg) selector, options(nomem, nostack, preserves_flags)) };
    equal("selector", selector.into(), TSS.into())?;
    let gdt = stored_gdt().base as *const u64;
    // SAFETY: the runtime's GDT has a TSS descriptor.
    let descriptor = unsafe { gdt.add(usize::from(TSS) / 8).read_volatile() };
    equal("descriptor is busy", descriptor >> 40 & 0xff, 0x8b)?;
    let local: u32;
    // SAFETY: only reads the register.
    unsafe { asm!("sldt {:e}", out(reg) local, options(nomem, nostack, preserves_flags)) };
    equal("local table", local.into(), 0)
}

fn machine_status_word() -> Outcome {
    let word: u32;
    // SAFETY: only reads CR0.
    unsafe { asm!("smsw {:e}", out(reg) word, options(nomem, nostack, preserves_flags)) };
    equal("smsw", u64::from(word) & 0xffff, rt::cpu::read_cr0() & 0xffff)
}

fn descriptor_queries() -> Outcome {
    let (rights, limit): (u32, u32);
    let writable: u8;
    // SAFETY: these only look at descriptors.
    unsafe {
        asm!("lar {:e}, {:e}", out(reg) rights, in(reg) u32::from(CODE), options(nostack));
        asm!("lsl {:e}, {:e}", out(reg) limit, in(reg) u32::from(DATA), options(nostack));
        asm!("verw {:x}", "setz {}", in(reg) DATA, out(reg_byte) writable, options(nostack));
    }
    equal("lar code", rights.into(), 0x00a0_9b00)?;
    equal("lsl data", limit.into(), 0xffff_ffff)?;
    holds("verw data", writable == 1)
}
