//! Exceptions and software interrupts: which vector, what is pushed, and that the way back restores all.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rt::check::{Check, Outcome, equal, holds};
use rt::tables::{self, CODE, DATA, Gate};
use rt::trap::{self, Frame, Record};
use rt::{cpu, faulting};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "breakpoint", run: breakpoint },
    Check { name: "software-interrupt", run: software_interrupt },
    Check { name: "gate-without-ist", run: gate_without_ist },
    Check { name: "frame", run: frame },
    Check { name: "undefined-instruction", run: undefined_instruction },
    Check { name: "divide-error", run: divide_error },
    Check { name: "general-protection", run: general_protection },
    Check { name: "absent-gate", run: absent_gate },
    Check { name: "page-fault-read", run: page_fault_read },
    Check { name: "page-fault-write", run: page_fault_write },
    Check { name: "page-fault-fetch", run: page_fault_fetch },
    Check { name: "page-fault-retried", run: page_fault_retried },
    Check { name: "nested-exception", run: nested_exception },
    Check { name: "registers-through-exception", run: registers_through_exception },
];

/// Vectors (Intel SDM vol. 3, table 6-1).
const DIVIDE_ERROR: u8 = 0;
const BREAKPOINT: u8 = 3;
const UNDEFINED: u8 = 6;
pub(crate) const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// An address that no page maps: beyond the 4 GiB of the first page tables.
const UNMAPPED: u64 = 0x70_0000_1000;

/// Runs `code`, which must raise `vector`; what was recorded.
pub(crate) fn raised(vector: u8, code: impl FnOnce()) -> Result<Record, rt::check::Wrong> {
    trap::on(vector, Some(trap::record));
    code();
    match trap::last() {
        Some(record) => equal("vector", record.frame.vector, vector.into()).map(|()| record),
        None => Err(equal("exceptions", 0, 1).expect_err("0 is not 1")),
    }
}

fn breakpoint() -> Outcome {
    let mut here = 0_u64;
    // SAFETY: `int3` only raises its exception.
    let record = raised(BREAKPOINT, || unsafe {
        faulting!("lea {0}, [rip + 2f]", "int3", "2: nop"; out(reg) here);
    })?;
    equal("rip is behind it", record.frame.rip, here)
}

fn software_interrupt() -> Outcome {
    for _ in 0..3 {
        let mut here = 0_u64;
        // SAFETY: the vector has a gate.
        let record = raised(0x80, || unsafe {
            faulting!("lea {0}, [rip + 2f]", "int 0x80", "2: nop"; out(reg) here);
        })?;
        equal("rip is behind it", record.frame.rip, here)?;
    }
    Ok(())
}

/// With IST 0 the frame lies on the interrupted stack, aligned to 16 bytes.
fn gate_without_ist() -> Outcome {
    const VECTOR: u8 = 0x42;
    static FRAME_AT: AtomicU64 = AtomicU64::new(0);
    fn note(frame: &mut Frame) {
        FRAME_AT.store((&raw const *frame) as u64 + size_of::<Frame>() as u64, Relaxed);
    }
    // SAFETY: the runtime's stub of the same vector.
    unsafe { tables::set_gate(VECTOR, Gate::interrupt(tables::stub(VECTOR), 0)) };
    trap::on(VECTOR, Some(note));
    let stack: u64;
    // SAFETY: moves off the red zone and off alignment, and back.
    unsafe { asm!("sub rsp, 136", "mov {0}, rsp", "int 0x42", "add rsp, 136", out(reg) stack) };
    let top = FRAME_AT.load(Relaxed);
    equal("frame lies below the stack pointer, aligned", top, stack & !15)
}

fn frame() -> Outcome {
    let (stack, flags): (u64, u64);
    trap::on(BREAKPOINT, Some(trap::record));
    // SAFETY: `int3` only raises its exception.
    unsafe {
        faulting!("stc", "pushfq", "pop {1}", "mov {0}, rsp", "int3"; out(reg) stack, out(reg) flags);
    }
    let Some(Record { frame, flags: inside, .. }) = trap::last() else { return holds("raised", false) };
    equal("cs", frame.cs, CODE.into())?;
    equal("ss", frame.ss, DATA.into())?;
    equal("rsp", frame.rsp, stack)?;
    equal("rflags", frame.rflags, flags)?;
    equal("interrupts are off inside", inside & cpu::INTERRUPT_FLAG, 0)
}

fn undefined_instruction() -> Outcome {
    let mut here = 0_u64;
    // SAFETY: `ud2` only raises its exception.
    let record = raised(UNDEFINED, || unsafe {
        faulting!("lea {0}, [rip + 2f]", "2: ud2"; out(reg) here);
    })?;
    equal("rip", record.frame.rip, here)
}

fn divide_error() -> Outcome {
    let mut here = 0_u64;
    // SAFETY: the division only raises its exception.
    let record = raised(DIVIDE_ERROR, || unsafe {
        faulting!(
            "lea {0}, [rip + 2f]", "2: div {1:e}";
            out(reg) here, in(reg) 0, inout("rax") 1_u64 => _, inout("rdx") 0_u64 => _
        );
    })?;
    equal("rip", record.frame.rip, here)?;
    equal("rax is kept", record.frame.rax, 1)
}

fn general_protection() -> Outcome {
    // SAFETY: the address is not canonical, so nothing is read.
    let record = raised(GENERAL_PROTECTION, || unsafe {
        faulting!("mov {0}, [{0}]"; inout(reg) 0x8000_0000_0000_0000_u64 => _);
    })?;
    equal("error", record.frame.error, 0)?;
    // SAFETY: as above, written to.
    let record = raised(GENERAL_PROTECTION, || unsafe {
        faulting!("mov [{0}], {0}"; in(reg) 0x1234_0000_0000_0000_u64);
    })?;
    equal("error", record.frame.error, 0)
}

/// An interrupt whose gate is empty is a general protection exception; its error code names the gate (QEMU
/// 7.2 miscounts it, so it is not compared).
fn absent_gate() -> Outcome {
    const VECTOR: u8 = 0x99;
    // SAFETY: an empty gate; the stub's is put back.
    let record = unsafe {
        tables::set_gate(VECTOR, Gate::ABSENT);
        let record = raised(GENERAL_PROTECTION, || faulting!("int 0x99"));
        tables::set_gate(VECTOR, Gate::interrupt(tables::stub(VECTOR), 1));
        record?
    };
    equal("error is about the idt", record.frame.error & 7, 2)
}

fn page_fault_read() -> Outcome {
    for address in [0x10, 0xff8, UNMAPPED, 0xffff_8000_0000_0008] {
        // SAFETY: nothing is mapped there.
        let record = raised(PAGE_FAULT, || unsafe {
            faulting!("mov {0}, [{0}]"; inout(reg) address => _);
        })?;
        equal("cr2", record.cr2, address)?;
        equal("error", record.frame.error, 0)?;
    }
    Ok(())
}

fn page_fault_write() -> Outcome {
    // SAFETY: nothing is mapped there.
    let record = raised(PAGE_FAULT, || unsafe {
        faulting!("mov byte ptr [{0}], 1"; in(reg) UNMAPPED + 5);
    })?;
    equal("cr2", record.cr2, UNMAPPED + 5)?;
    equal("error", record.frame.error, 2)
}

fn page_fault_fetch() -> Outcome {
    // SAFETY: nothing is mapped there.
    let record = raised(PAGE_FAULT, || unsafe {
        faulting!("jmp {0}"; in(reg) UNMAPPED);
    })?;
    equal("cr2", record.cr2, UNMAPPED)?;
    equal("rip", record.frame.rip, UNMAPPED)?;
    // Bit 4 says "fetch" only where EFER.NXE or CR4.SMEP is set, which the runtime leaves off.
    equal("error", record.frame.error, 0)
}

/// The handler corrects the address in a register; the instruction runs again.
fn page_fault_retried() -> Outcome {
    static TARGET: AtomicU64 = AtomicU64::new(0x1111);
    fn correct(frame: &mut Frame) {
        frame.rdi = (&raw const TARGET) as u64;
    }
    trap::on(PAGE_FAULT, Some(correct));
    let read: u64;
    // SAFETY: the handler makes the address ours.
    unsafe { asm!("mov {0}, 1", "xadd [rdi], {0}", out(reg) read, inout("rdi") UNMAPPED => _) };
    equal("read", read, 0x1111)?;
    equal("written", TARGET.load(Relaxed), 0x1112)
}

fn nested_exception() -> Outcome {
    static INNER: AtomicU64 = AtomicU64::new(0);
    fn skip(frame: &mut Frame) {
        INNER.fetch_add(1, Relaxed);
        frame.rip += 2;
    }
    fn outer(_: &mut Frame) {
        // SAFETY: its handler skips it. The two vectors have different stacks.
        unsafe { asm!("ud2", "ud2") };
    }
    trap::on(UNDEFINED, Some(skip));
    trap::on(BREAKPOINT, Some(outer));
    let kept: u64;
    // SAFETY: handled above.
    unsafe { asm!("mov {0:e}, 77", "int3", "inc {0}", out(reg) kept) };
    equal("inner exceptions", INNER.load(Relaxed), 2)?;
    equal("register", kept, 78)
}

fn registers_through_exception() -> Outcome {
    fn nothing(_: &mut Frame) {
        // SAFETY: changes what the handler may change.
        unsafe {
            asm!("", out("rcx") _, out("rdx") _, out("r8") _, out("r11") _, out("xmm0") _, out("xmm15") _)
        };
    }
    trap::on(BREAKPOINT, Some(nothing));
    let (sum, flags): (u64, u64);
    // SAFETY: sets every register, raises, and adds them up; RBX and RBP are saved around.
    unsafe {
        asm!(
            "push rbx", "push rbp",
            "mov eax, 1", "mov ebx, 2", "mov ecx, 4", "mov edx, 8", "mov esi, 16", "mov edi, 32", "mov ebp, 64",
            "mov r8d, 128", "mov r9d, 256", "mov r10d, 512", "mov r11d, 1024", "mov r12d, 2048", "mov r13d, 4096",
            "mov r14d, 8192", "mov r15d, 16384",
            "stc",
            "int3",
            "pushfq",
            "add rax, rbx", "add rax, rcx", "add rax, rdx", "add rax, rsi", "add rax, rdi", "add rax, rbp",
            "add rax, r8", "add rax, r9", "add rax, r10", "add rax, r11", "add rax, r12", "add rax, r13",
            "add rax, r14", "add rax, r15",
            "pop rcx",
            "pop rbp", "pop rbx",
            out("rax") sum, out("rcx") flags, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _,
            out("r10") _, out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    equal("sum", sum, 0x7fff)?;
    equal("carry", flags & 1, 1)
}
