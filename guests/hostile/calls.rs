//! Every way by which a Linux process enters its kernel. In a guest each is the guest's own affair.

use core::arch::{asm, naked_asm};
use rt::cpu::{rdmsr, wrmsr};
use rt::tables::{self, Gate};
use rt::trap::{self, Frame, Record};
use rt::{faulting, println};

/// Model-specific registers of `syscall`, and EFER's bit that allows it.
const EFER: u32 = 0xc000_0080;
const SCE: u64 = 1 << 0;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;

const UNDEFINED: u8 = 6;
const GENERAL_PROTECTION: u8 = 13;
const PAGE_FAULT: u8 = 14;

/// The bit that makes an x32 call of a number (arch/x86/include/uapi/asm/unistd.h).
pub(crate) const X32: u64 = 1 << 30;

/// Numbers of x86-64 Linux that a guest would like to have.
const WANTED: [(&str, u64); 10] = [
    ("write", 1),
    ("open", 2),
    ("mmap", 9),
    ("mprotect", 10),
    ("socket", 41),
    ("clone", 56),
    ("execve", 59),
    ("ptrace", 101),
    ("openat", 257),
    ("execveat", 322),
];

/// What the guest's own entries answer.
const OWN_ANSWER: u64 = 0x600d;

#[unsafe(naked)]
extern "C" fn entry() {
    naked_asm!("mov eax, {answer}", "jmp rcx", answer = const OWN_ANSWER)
}

/// Makes a system call whose arguments are harmless on any kernel.
fn raise(number: u64) -> u64 {
    let answer;
    // SAFETY: the own entry changes RAX, RCX and R11; the handler of the exception none.
    unsafe {
        faulting!(
            "syscall";
            inout("rax") number => answer, in("rdi") -1_i64, in("rsi") 0, in("rdx") 0, in("r8") -1_i64, in("r9") 0,
            out("rcx") _, out("r11") _
        );
    }
    answer
}

/// With own entry: every call ends there, whatever its number.
pub(crate) fn with_own_entry(bit: u64) {
    // SAFETY: the entry is made for it; switched off again below.
    unsafe {
        wrmsr(STAR, u64::from(tables::CODE) << 32);
        wrmsr(LSTAR, entry as *const () as u64);
        wrmsr(FMASK, 0);
        wrmsr(EFER, rdmsr(EFER) | SCE);
    }
    for (name, number) in WANTED {
        match raise(number | bit) {
            OWN_ANSWER => println!("syscall {name} reached its own entry"),
            answer => println!("syscall {name} was answered {answer:#x}"),
        }
    }
    // SAFETY: as it was.
    unsafe { wrmsr(EFER, rdmsr(EFER) & !SCE) };
}

/// Without EFER.SCE: every call is an undefined instruction.
pub(crate) fn without_entry() {
    // SAFETY: nothing makes system calls.
    unsafe { wrmsr(EFER, rdmsr(EFER) & !SCE) };
    trap::on(UNDEFINED, Some(trap::record));
    for (name, number) in WANTED {
        let answer = raise(number);
        match trap::last() {
            Some(_) => println!("syscall {name} is an undefined instruction"),
            None => println!("syscall {name} was answered {answer:#x}"),
        }
    }
    trap::forget_exceptions();
}

/// `int 0x80` with the 32-bit number of `getpid`, which any kernel may answer.
fn raise_interrupt() -> u64 {
    const GETPID: u64 = 20;
    let answer;
    // SAFETY: handled by the own gate or as an exception.
    unsafe { faulting!("int 0x80"; inout("rax") GETPID => answer) };
    answer
}

pub(crate) fn interrupt() {
    fn answer(frame: &mut Frame) {
        frame.rax = OWN_ANSWER;
    }
    trap::on(0x80, Some(answer));
    match raise_interrupt() {
        OWN_ANSWER => println!("int 0x80 reached its own gate"),
        answer => println!("int 0x80 was answered {answer:#x}"),
    }
    trap::forget_exceptions();
}

pub(crate) fn interrupt_without_gate() {
    trap::on(GENERAL_PROTECTION, Some(trap::record));
    // SAFETY: an empty gate is an exception; the stub's is put back.
    let answer = unsafe {
        tables::set_gate(0x80, Gate::ABSENT);
        let answer = raise_interrupt();
        tables::set_gate(0x80, Gate::interrupt(tables::stub(0x80), 1));
        answer
    };
    match trap::last() {
        Some(_) => println!("int 0x80 is a general protection exception"),
        None => println!("int 0x80 was answered {answer:#x}"),
    }
    trap::forget_exceptions();
}

/// Without its registers set, `sysenter` is an exception: which one depends on the processor's maker.
pub(crate) fn sysenter() {
    trap::on(UNDEFINED, Some(trap::record));
    trap::on(GENERAL_PROTECTION, Some(trap::record));
    // SAFETY: an exception, whose handler goes on behind it.
    unsafe { faulting!("sysenter"; inout("rax") 20_u64 => _, out("rcx") _, out("rdx") _) };
    match trap::last() {
        Some(_) => println!("sysenter is an exception"),
        None => println!("sysenter came back"),
    }
    trap::forget_exceptions();
}

/// Linux maps code for three system calls at this address into every process.
pub(crate) fn vsyscall() {
    const VSYSCALL: u64 = 0xffff_ffff_ff60_0000;
    trap::on(PAGE_FAULT, Some(trap::record));
    for offset in [0, 0x400, 0x800] {
        let answer: u64;
        // SAFETY: the fault's handler goes on at the label, as does the page's code, should there be any.
        unsafe {
            asm!(
                "lea r10, [rip + 2f]", "mov r12, rsp", "push r10", "xor edi, edi", "xor esi, esi", "jmp {at}",
                "2: mov rsp, r12",
                at = in(reg) VSYSCALL + offset, out("rax") answer, out("rcx") _, out("rdx") _, out("rdi") _,
                out("rsi") _, out("r10") _, out("r11") _, out("r12") _,
            );
        }
        match trap::last() {
            Some(Record { cr2, .. }) => println!("vsyscall page fault at {cr2:#x}"),
            None => println!("vsyscall was answered {answer:#x}"),
        }
    }
    trap::forget_exceptions();
}
