//! The way into the kernel by `syscall` and back, as Unikraft's goes (plat/common/x86/syscall.S): own stack from a word
//! behind GS, all registers kept but RAX, RCX and R11.

use core::arch::naked_asm;
use rt::cell::OneCpu;
use rt::cpu::{rdmsr, wrmsr};
use rt::tables::CODE;

use crate::calls;

/// MSRs of `syscall` and `swapgs` (Intel SDM vol. 4, table 2-2).
const EFER: u32 = 0xc000_0080;
const STAR: u32 = 0xc000_0081;
const LSTAR: u32 = 0xc000_0082;
const FMASK: u32 = 0xc000_0084;
const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// EFER: `syscall` is there.
const SCE: u64 = 1;
/// RFLAGS: interrupts and string direction, both off in the kernel.
const MASK: u64 = 1 << 9 | 1 << 10;

/// The kernel's stack.
#[repr(align(64))]
struct Stack(#[expect(dead_code, reason = "only the processor uses it")] [u8; 0x8000]);

static STACK: OneCpu<Stack> = OneCpu::new(Stack([0; 0x8000]));
/// Its top, and room for the program's stack pointer.
static WORDS: OneCpu<[u64; 2]> = OneCpu::new([0; 2]);

/// Opens the entry.
pub(crate) fn enable() {
    // SAFETY: the words are complete before the first `syscall`.
    unsafe {
        WORDS.get()[0] = STACK.as_ptr() as u64 + size_of::<Stack>() as u64;
        wrmsr(STAR, u64::from(CODE) << 32);
        wrmsr(LSTAR, entry as *const () as u64);
        wrmsr(FMASK, MASK);
        wrmsr(KERNEL_GS_BASE, WORDS.as_ptr() as u64);
        wrmsr(EFER, rdmsr(EFER) | SCE);
    }
}

/// The registers of a system call as [`entry`] saves them.
#[repr(C)]
pub(crate) struct Call {
    /// The first six arguments.
    pub(crate) arguments: [u64; 6],
    /// Its number, then its result.
    pub(crate) rax: u64,
}

/// The kernel is compiled with SSE, so the program's registers are put away.
#[unsafe(naked)]
extern "C" fn entry() {
    naked_asm!(
        "swapgs",
        "mov gs:[8], rsp",
        "mov rsp, gs:[0]",
        "push qword ptr gs:[8]",
        "swapgs",
        "push r11",
        "push rcx",
        "push rbp",
        "push rax",
        "push r9",
        "push r8",
        "push r10",
        "push rdx",
        "push rsi",
        "push rdi",
        "mov rdi, rsp",
        "mov rbp, rsp",
        "sub rsp, 512",
        "and rsp, -64",
        "fxsave64 [rsp]",
        "call {serve}",
        "fxrstor64 [rsp]",
        "mov rsp, rbp",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop r10",
        "pop r8",
        "pop r9",
        "pop rax",
        "pop rbp",
        "pop rcx",
        "popfq",
        "pop rsp",
        "jmp rcx",
        serve = sym calls::serve,
    )
}

/// Begins the program with that stack; it leaves by a system call.
pub(crate) fn run(start: u64, stack: u64) -> ! {
    // SAFETY: the program's own; it never comes back.
    unsafe {
        core::arch::asm!(
            "mov rsp, {stack}",
            "xor edx, edx",
            "xor ebp, ebp",
            "jmp {start}",
            stack = in(reg) stack,
            start = in(reg) start,
            options(noreturn),
        )
    }
}
