//! Processor state in which nothing that a monitor might lean on can be leant on.

use core::arch::asm;
use rt::cpu::wrmsr;
use rt::port::inb;
use rt::trap::{self, Frame};
use rt::{println, time};

const DEBUG: u8 = 1;
const BREAKPOINT: u8 = 3;
const GENERAL_PROTECTION: u8 = 13;

/// Traps, port accesses and a tick while RSP points nowhere; everything that is delivered has its own stack
/// (IST).
pub(crate) fn without_a_stack() {
    trap::on(BREAKPOINT, Some(|_: &mut Frame| ()));
    for wild in [0, 0x10, 0x7f00_0000_1000, 0x8000_0000_0000_0000, u64::MAX] {
        let before = time::ticks();
        time::start_one_shot(100);
        // SAFETY: no instruction uses the stack before it is back.
        unsafe {
            asm!(
                "mov {old}, rsp", "mov rsp, {wild}",
                "int3", "mov eax, 1", "xchg rbx, {rbx}", "cpuid", "xchg rbx, {rbx}",
                "mov dx, 0x3fd", "in al, dx", "sti", "hlt", "cli",
                "mov rsp, {old}",
                old = out(reg) _, wild = in(reg) wild, rbx = out(reg) _,
                out("rax") _, out("rcx") _, out("rdx") _,
            );
        }
        println!("without a stack: {} tick", time::ticks() - before);
    }
    trap::forget_exceptions();
}

/// Traps and ticks while FS and GS bases point nowhere.
pub(crate) fn with_wild_bases() {
    const BASES: [u32; 3] = [0xc000_0100, 0xc000_0101, 0xc000_0102];
    trap::on(BREAKPOINT, Some(|_: &mut Frame| ()));
    for wild in [8, 0x7f00_0000_1000, 0xffff_8000_0000_0000] {
        let before = time::ticks();
        for register in BASES {
            // SAFETY: nothing uses the bases.
            unsafe { wrmsr(register, wild) };
        }
        // SAFETY: handled above.
        unsafe { asm!("int3") };
        time::sleep(1);
        println!("with wild bases: {} tick", time::ticks() - before);
    }
    for register in BASES {
        // SAFETY: as it was.
        unsafe { wrmsr(register, 0) };
    }
    trap::forget_exceptions();
}

/// Backward strings, alignment checks (which privilege 0 is free of), and single steps.
pub(crate) fn with_wild_flags() {
    const DIRECTION: u64 = 1 << 10;
    const ALIGNMENT: u64 = 1 << 18;
    const TRAP: u64 = 1 << 8;
    fn stop(frame: &mut Frame) {
        frame.rflags &= !TRAP;
    }
    trap::on(BREAKPOINT, Some(|_: &mut Frame| ()));
    trap::on(DEBUG, Some(stop));
    let words = [0_u64, 1, 2];
    let (kept, unaligned): (u64, u64);
    // SAFETY: flags are as they were at the end; reads within the array.
    unsafe {
        asm!(
            "pushfq", "pushfq", "or qword ptr [rsp], {set}", "popfq",
            "int3", "mov {unaligned}, [{words} + 1]", "in al, 0x61",
            "pushfq", "pop {kept}", "popfq",
            set = const DIRECTION | ALIGNMENT, words = in(reg) words.as_ptr(), kept = out(reg) kept,
            unaligned = out(reg) unaligned, out("rax") _,
        );
        println!("with wild flags: {:#x}, read {unaligned:#x}", kept & (DIRECTION | ALIGNMENT));
        asm!("pushfq", "or qword ptr [rsp], {trap}", "popfq", "nop", "nop", trap = const TRAP);
    }
    println!("with the trap flag: still here");
    trap::forget_exceptions();
}

/// Reads every port once.
pub(crate) fn all_ports() {
    for port in 0..=u16::MAX {
        inb(port);
    }
    println!("all ports read");
}

/// Reads the ranges in which model-specific registers lie; those that do not exist are exceptions.
pub(crate) fn many_registers() {
    trap::on(GENERAL_PROTECTION, Some(trap::record));
    for register in (0..0x2000_u32).chain(0xc000_0000..0xc000_2000) {
        // SAFETY: a read; faults are caught.
        unsafe { rt::faulting!("rdmsr"; in("ecx") register, out("eax") _, out("edx") _) };
        let _ = trap::last();
    }
    println!("all registers read");
    trap::forget_exceptions();
}
