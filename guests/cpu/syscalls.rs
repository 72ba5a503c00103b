//! `syscall` from code of the guest to the guest's own entry, and both ways back.

use core::arch::{asm, naked_asm};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use rt::cell::OneCpu;
use rt::check::{Check, Outcome, equal, holds};
use rt::cpu::{self, INTERRUPT_FLAG, rdmsr, wrmsr};
use rt::tables::{self, CODE, DATA, TablePointer};
use rt::trap::{self, Frame};

use crate::code;
use crate::exceptions::GENERAL_PROTECTION;
use crate::registers::{EFER, FMASK, GS_BASE, KERNEL_GS_BASE, LSTAR, SCE, STAR};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "syscall", run: syscall },
    Check { name: "syscall-unikraft", run: syscall_unikraft },
    Check { name: "syscall-changed", run: syscall_changed },
    Check { name: "syscall-off", run: syscall_off },
    Check { name: "sysret", run: sysret },
];

/// Points the system call registers to `entry`; `syscall` loads CS 0x08 and SS 0x10, and clears `mask`.
fn enable(entry: u64, mask: u64) {
    // SAFETY: the entries below are made for it; `disable` undoes it.
    unsafe {
        wrmsr(STAR, u64::from(CODE) << 32 | u64::from(USER_BASE | 3) << 48);
        wrmsr(LSTAR, entry);
        wrmsr(FMASK, mask);
        wrmsr(EFER, rdmsr(EFER) | SCE);
    }
}

fn disable() {
    // SAFETY: nothing makes system calls any more.
    unsafe { wrmsr(EFER, rdmsr(EFER) & !SCE) };
}

/// What [`noting_entry`] saw.
static RIP: AtomicU64 = AtomicU64::new(0);
static FLAGS: AtomicU64 = AtomicU64::new(0);
static FLAGS_INSIDE: AtomicU64 = AtomicU64::new(0);
static CS_INSIDE: AtomicU64 = AtomicU64::new(0);
static STACK: AtomicU64 = AtomicU64::new(0);

/// Notes what `syscall` has done and returns by a jump.
#[unsafe(naked)]
extern "C" fn noting_entry() {
    naked_asm!(
        "mov [{rip}], rcx",
        "mov [{flags}], r11",
        "mov [{stack}], rsp",
        "pushfq",
        "pop qword ptr [{inside}]",
        "mov r11d, cs",
        "mov [{cs}], r11",
        "lea rax, [rdi + rsi]",
        "jmp rcx",
        rip = sym RIP,
        flags = sym FLAGS,
        stack = sym STACK,
        inside = sym FLAGS_INSIDE,
        cs = sym CS_INSIDE,
    )
}

fn syscall() -> Outcome {
    const CARRY: u64 = 1;
    enable(noting_entry as *const () as u64, CARRY | INTERRUPT_FLAG);
    let (sum, here, stack, flags): (u64, u64, u64, u64);
    // SAFETY: the entry changes RAX, RCX and R11 only. The stack is moved off the red zone before the entry
    // pushes.
    unsafe {
        asm!(
            "sub rsp, 128",
            "lea {here}, [rip + 2f]",
            "mov {stack}, rsp",
            "stc",
            "pushfq",
            "pop {flags}",
            "syscall",
            "2: add rsp, 128",
            here = out(reg) here,
            stack = out(reg) stack,
            flags = out(reg) flags,
            in("rdi") 40_u64,
            in("rsi") 2_u64,
            inout("rax") 59_u64 => sum,
            out("rcx") _,
            out("r11") _,
        );
    }
    disable();
    equal("reaches the own entry", sum, 42)?;
    equal("rcx", RIP.load(Relaxed), here)?;
    equal("r11", FLAGS.load(Relaxed), flags)?;
    equal("rsp", STACK.load(Relaxed), stack)?;
    equal("cs", CS_INSIDE.load(Relaxed), CODE.into())?;
    // The other arithmetic flags should be as they were; QEMU 7.2 clears them, so they are not looked at.
    equal("masked flags", FLAGS_INSIDE.load(Relaxed) & (CARRY | INTERRUPT_FLAG), 0)
}

/// As Unikraft's system call entry goes (plat/common/x86/syscall.S): own stack from a GS-relative word,
/// interrupts on inside, back by `jmp rcx` with interrupts on.
#[unsafe(naked)]
extern "C" fn unikraft_entry() {
    naked_asm!(
        "cli",
        "swapgs",
        "mov gs:[8], rsp",
        "mov rsp, gs:[0]",
        "push r11",
        "push rcx",
        "sti",
        "lea rax, [rdi + rdi]",
        "nop",
        "cli",
        "pop rcx",
        "pop r11",
        "mov rsp, gs:[8]",
        "swapgs",
        "sti",
        "jmp rcx",
    )
}

fn syscall_unikraft() -> Outcome {
    static AUXILIARY: OneCpu<[u64; 512]> = OneCpu::new([0; 512]);
    let words = [AUXILIARY.as_ptr() as u64 + 4096, 0_u64];
    enable(unikraft_entry as *const () as u64, 0);
    // SAFETY: while GS swaps, both bases are ours.
    unsafe {
        wrmsr(GS_BASE, 0);
        wrmsr(KERNEL_GS_BASE, words.as_ptr() as u64);
    }
    let outcome = super::interrupts::while_ticking(|| {
        let doubled: u64;
        // SAFETY: the entry changes RAX, RCX and R11 only.
        unsafe {
            asm!("syscall", in("rdi") 21_u64, inout("rax") 257_u64 => doubled, out("rcx") _, out("r11") _)
        };
        equal("result", doubled, 42)
    });
    disable();
    // SAFETY: nothing uses it any more.
    unsafe { wrmsr(KERNEL_GS_BASE, 0) };
    outcome
}

/// The same instruction goes where LSTAR, FMASK and STAR lead when it runs.
fn syscall_changed() -> Outcome {
    #[unsafe(naked)]
    extern "C" fn other_entry() {
        naked_asm!("pushfq", "pop r11", "lea rax, [rdi - 1]", "jmp rcx")
    }
    #[inline(never)]
    fn call(number: u64) -> (u64, u64) {
        let (result, flags): (u64, u64);
        // SAFETY: both entries change RAX, RCX and R11 only; the stack is moved off the red zone before they push.
        unsafe {
            asm!(
                "sub rsp, 128", "stc", "syscall", "lea rsp, [rsp + 128]",
                in("rdi") number, in("rsi") number, lateout("rax") result, out("rcx") _, lateout("r11") flags,
            );
        }
        (result, flags)
    }
    const CARRY: u64 = 1;
    enable(noting_entry as *const () as u64, INTERRUPT_FLAG);
    let (first, _) = call(10);
    // SAFETY: made for it, as above.
    unsafe { wrmsr(LSTAR, other_entry as *const () as u64) };
    let (second, kept) = call(10);
    // SAFETY: clears one flag more.
    unsafe { wrmsr(FMASK, INTERRUPT_FLAG | CARRY) };
    let (_, cleared) = call(10);
    disable();
    equal("first entry", first, 20)?;
    equal("second entry", second, 9)?;
    equal("carry is cleared", cleared & CARRY, 0)?;
    // QEMU 7.2 clears the arithmetic flags whatever the mask says.
    holds("carry is a flag", kept & !CARRY == cleared)
}

/// Without EFER.SCE, `syscall` is an undefined instruction.
fn syscall_off() -> Outcome {
    const UNDEFINED: u8 = 6;
    disable();
    trap::on(UNDEFINED, Some(trap::record));
    // SAFETY: only raises its exception.
    unsafe { rt::faulting!("syscall"; inout("rax") 39_u64 => _, out("rcx") _, out("r11") _) };
    holds("undefined instruction", trap::last().is_some())
}

/// `sysretq` loads SS from the base plus 8 and CS from the base plus 16, both with privilege 3.
const USER_BASE: u16 = 0x28;
const USER_DATA: u16 = USER_BASE + 8;
const USER_CODE: u16 = USER_BASE + 16;
static GDT: OneCpu<[u64; 8]> = OneCpu::new([0; 8]);

/// A GDT with the runtime's five descriptors and those of privilege 3.
fn load_user_gdt() -> TablePointer {
    let mut original = TablePointer { limit: 0, base: 0 };
    // SAFETY: the runtime's GDT has five descriptors; the copy holds them all.
    unsafe {
        asm!("sgdt [{}]", in(reg) &mut original, options(nostack, preserves_flags));
        let table = GDT.get();
        table[..5].copy_from_slice(&*(original.base as *const [u64; 5]));
        table[usize::from(USER_DATA) / 8] = 0x00cf_f300_0000_ffff;
        table[usize::from(USER_CODE) / 8] = 0x00af_fb00_0000_ffff;
        tables::load_gdt(&TablePointer::to(GDT.as_ptr()));
    }
    original
}

/// Lets code of privilege 3 reach one page of the first 2 MiB.
fn allow_user(page: u64) {
    const USER: u64 = 1 << 2;
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let mut table = cpu::read_cr3() & ADDRESS;
    for shift in [39, 30, 21, 12] {
        let entry = (table + (page >> shift & 0x1ff) * 8) as *mut u64;
        // SAFETY: the runtime's page tables map all of them at their physical addresses.
        unsafe {
            entry.write_volatile(entry.read_volatile() | USER);
            table = entry.read_volatile() & ADDRESS;
        }
    }
    // SAFETY: the same tables.
    unsafe { cpu::write_cr3(cpu::read_cr3()) };
}

/// Where the way out of privilege 3 ends: the stack pointer and the address that [`sysret`] has left.
static KERNEL_STACK: AtomicU64 = AtomicU64::new(0);
static KERNEL_RIP: AtomicU64 = AtomicU64::new(0);

#[unsafe(naked)]
extern "C" fn leaving_entry() {
    naked_asm!(
        "mov rsp, [{stack}]",
        "jmp qword ptr [{rip}]",
        stack = sym KERNEL_STACK,
        rip = sym KERNEL_RIP,
    )
}

/// To privilege 3 by `sysretq`, and back: by `syscall`, and by the exception of an instruction that is not
/// allowed there.
fn sysret() -> Outcome {
    const ENTER: usize = 0x200;
    const FORBIDDEN: usize = 0x280;
    static SEEN_CS: AtomicU64 = AtomicU64::new(0);
    fn leave(frame: &mut Frame) {
        SEEN_CS.store(frame.cs, Relaxed);
        (frame.rip, frame.rsp) = (KERNEL_RIP.load(Relaxed), KERNEL_STACK.load(Relaxed));
        (frame.cs, frame.ss) = (CODE.into(), DATA.into());
    }
    code::write_code(ENTER, &[0x8c, 0xcf, 0x8c, 0xd6, 0x0f, 0x05]); // mov edi, cs; mov esi, ss; syscall
    code::write_code(FORBIDDEN, &[0xfa, 0x0f, 0x0b]); // cli; ud2
    let page = code::CODE.as_ptr() as u64;
    let original = load_user_gdt();
    allow_user(page);
    enable(leaving_entry as *const () as u64, INTERRUPT_FLAG);
    trap::on(GENERAL_PROTECTION, Some(leave));

    let enter = |offset: usize| {
        let (cs, ss): (u64, u64);
        // SAFETY: the code there comes back by one of the two ways above with every register but those named
        // unchanged.
        unsafe {
            asm!(
                "push rbx", "push rbp",
                "mov [{stack}], rsp",
                "lea rdi, [rip + 2f]",
                "mov [{rip}], rdi",
                "mov r11d, 2",
                "sysretq",
                "2: pop rbp", "pop rbx",
                stack = sym KERNEL_STACK,
                rip = sym KERNEL_RIP,
                inout("rcx") page + offset as u64 => _,
                out("rdi") cs,
                out("rsi") ss,
                out("r11") _,
            );
        }
        (cs, ss)
    };
    let (cs, ss) = enter(ENTER);
    enter(FORBIDDEN);
    disable();
    // SAFETY: it was loaded before.
    unsafe { tables::load_gdt(&original) };
    equal("cs there", cs, u64::from(USER_CODE | 3))?;
    equal("ss there", ss, u64::from(USER_DATA | 3))?;
    equal("cs of the exception", SEEN_CS.load(Relaxed), u64::from(USER_CODE | 3))
}
