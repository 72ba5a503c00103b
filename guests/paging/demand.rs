//! Memory that appears when it is touched.

use crate::space::{self, FAULT_PRESENT, HEAP, PAGE_FAULT, frame, map, peek, poke};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rt::check::{Check, Outcome, equal, holds};
use rt::paging::WRITABLE;
use rt::trap::{self, Frame};
use rt::{cpu, power, println, time};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "demand-words", run: words },
    Check { name: "demand-across-pages", run: across_pages },
    Check { name: "demand-strings", run: strings },
    Check { name: "demand-sse", run: sse },
    Check { name: "demand-stack", run: stack },
    Check { name: "demand-code", run: code },
    Check { name: "demand-interrupted", run: interrupted },
];

/// The heap's first page that no check has used.
static NEXT: AtomicU64 = AtomicU64::new(HEAP + (1 << 30));
static FAULTS: AtomicU64 = AtomicU64::new(0);

/// Maps a new frame where a page of the heap is missing.
fn provide(fault: &mut Frame) {
    let address = cpu::read_cr2();
    if fault.error & FAULT_PRESENT != 0 || address < HEAP {
        println!("page fault at {address:#x} with error {:#x}", fault.error);
        power::crash();
    }
    FAULTS.fetch_add(1, Relaxed);
    map(address & !0xfff, frame(), WRITABLE);
}

/// The start of `pages` untouched pages behind one that stays untouched.
fn reserve(pages: u64) -> u64 {
    trap::on(PAGE_FAULT, Some(provide));
    FAULTS.store(0, Relaxed);
    NEXT.fetch_add((pages + 1) * 0x1000, Relaxed) + 0x1000
}

fn faults() -> u64 {
    FAULTS.load(Relaxed)
}

fn words() -> Outcome {
    let start = reserve(64);
    for page in 0..64 {
        equal("is zero", peek(start + page * 0x1000 + 8), 0)?;
        poke(start + page * 0x1000 + 8, page);
    }
    equal("sum", (0..64).map(|page| peek(start + page * 0x1000 + 8)).sum(), (0..64).sum())?;
    equal("faults", faults(), 64)
}

fn across_pages() -> Outcome {
    let start = reserve(2);
    poke(start + 0xffc, 0x1234_5678_9abc_def0);
    equal("word", peek(start + 0xffc), 0x1234_5678_9abc_def0)?;
    equal("faults", faults(), 2)
}

fn strings() -> Outcome {
    let (from, to) = (reserve(8), reserve(8));
    // SAFETY: the handler provides the pages.
    unsafe {
        asm!("rep stosb", inout("rcx") 0x7ffe_u64 => _, inout("rdi") from + 1 => _, in("al") 1_u8);
        asm!("rep movsb", inout("rcx") 0x8000_u64 => _, inout("rsi") from => _, inout("rdi") to => _);
    }
    let sum = (0..0x1000).map(|at| peek(to + at * 8)).fold(0, u64::wrapping_add);
    equal("sum", sum, 0x0101_0101_0101_0101_u64.wrapping_mul(0x1000) - 1 - (1 << 56))?;
    equal("faults", faults(), 16)
}

fn sse() -> Outcome {
    let start = reserve(4);
    let sum: u64;
    // SAFETY: the handler provides the pages.
    unsafe {
        asm!(
            "movq {x}, {value}", "movups [{at} + 0xff8], {x}",
            "movups {x}, [{at} + 0x2000]", "paddq {x}, [{at} + 0x3000]",
            "movq {sum}, {x}", "add {sum}, [{at} + 0xff8]",
            at = in(reg) start, value = in(reg) 0x99_u64, sum = out(reg) sum, x = out(xmm_reg) _, options(nostack),
        );
    }
    equal("sum", sum, 0x99)?;
    equal("faults", faults(), 4)
}

/// A stack that grows down into pages that are not there; the handler runs on its own.
fn stack() -> Outcome {
    let start = reserve(8);
    let sum: u64;
    // SAFETY: back on the old stack at the end; the handler provides the pages.
    unsafe {
        asm!(
            "mov {old}, rsp",
            "mov rsp, {top}",
            "mov ecx, 4000",
            "2: push rcx",
            "loop 2b",
            "call 5f",
            "xor {sum:e}, {sum:e}",
            "mov ecx, 4000",
            "3: pop {old2}",
            "add {sum}, {old2}",
            "loop 3b",
            "mov rsp, {old}",
            "jmp 4f",
            "5: ret",
            "4:",
            top = in(reg) start + 0x8000,
            old = out(reg) _,
            old2 = out(reg) _,
            sum = out(reg) sum,
            out("rcx") _,
        );
    }
    equal("sum", sum, (1..=4000).sum())?;
    equal("faults", faults(), 8)
}

/// The handler provides a page with code in it.
fn code() -> Outcome {
    fn provide_code(fault: &mut Frame) {
        FAULTS.fetch_add(1, Relaxed);
        let frame = frame();
        space::write(frame, &space::returning(0x4321));
        map(fault.rip & !0xfff, frame, 0);
    }
    let start = reserve(2);
    trap::on(PAGE_FAULT, Some(provide_code));
    equal("first", space::call(start), 0x4321)?;
    equal("second", space::call(start + 0x1000), 0x4321)?;
    equal("first again", space::call(start), 0x4321)?;
    equal("faults", faults(), 2)
}

fn interrupted() -> Outcome {
    let enough = time::while_ticking(10, || {
        let start = reserve(4);
        for page in 0..4 {
            poke(start + page * 0x1000, page + 1);
        }
        // Most turns touch no new page: there is not that much memory.
        for _ in 0..3000 {
            equal("sum", (0..4).map(|page| peek(start + page * 0x1000)).sum(), 10)?;
        }
        NEXT.store(start - 0x1000, Relaxed);
        Ok(())
    })?;
    holds("ticks came", enough)
}
