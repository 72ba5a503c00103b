//! The doors between translated code and the monitor, in assembly.
//!
//! * `runu_gate`: translated code left through an exit. Saves the guest's registers, calls [`runu_exit`], and returns to
//!   wherever the context then says.
//! * `runu_signal`: the kernel delivers a signal. The guest owns FS and GS, the monitor's thread-local storage needs its
//!   own FS base, so it is swapped around the handler.
//!
//! A signal that arrives while the monitor runs only leaves a note, which the way back reads last. From there to the
//! first guest instruction nothing is lost if the whole way back is taken again; the handler does that when it finds
//! itself there ([`leaving`]).

use std::{arch::global_asm, mem::offset_of, ops::Range};

use crate::layout::{CONTEXT, Context, FPU_COMPONENTS};

/// Address of general register `n` of the context.
const fn gpr(n: usize) -> u64 {
    CONTEXT + offset_of!(Context, regs.gpr) as u64 + 8 * n as u64
}

macro_rules! at {
    ($($field:tt)+) => {
        CONTEXT + offset_of!(Context, $($field)+) as u64
    };
}

global_asm!(
    ".global runu_gate",
    "runu_gate:",
    "mov [{rsp}], rsp",
    "mov rsp, [{host_stack}]",
    "pushfq",
    "pop qword ptr [{rflags}]",
    "cld",
    "mov [{rax}], rax",
    "mov [{rcx}], rcx",
    "mov [{rdx}], rdx",
    "mov [{rbx}], rbx",
    "mov [{rbp}], rbp",
    "mov [{rsi}], rsi",
    "mov [{rdi}], rdi",
    "mov [{r8}], r8",
    "mov [{r9}], r9",
    "mov [{r10}], r10",
    "mov [{r11}], r11",
    "mov [{r12}], r12",
    "mov [{r13}], r13",
    "mov [{r14}], r14",
    "mov [{r15}], r15",
    "rdfsbase rax",
    "mov [{fs_base}], rax",
    "rdgsbase rax",
    "mov [{gs_base}], rax",
    "mov rax, [{host_fs}]",
    "wrfsbase rax",
    "mov eax, {components}",
    "xor edx, edx",
    "xsaveopt64 [{fpu}]",
    "ldmxcsr [{host_mxcsr}]",
    "call {exit}",
    // The way back. Everything up to `runu_leave_end` can be taken again from here at any point.
    ".global runu_leave",
    "runu_leave:",
    "cmp dword ptr [{signalled}], 0",
    "je 2f",
    "call {signalled_call}",
    "jmp runu_leave",
    "2:",
    "mov eax, {components}",
    "xor edx, edx",
    "xrstor64 [{fpu}]",
    // Reading a base costs a tick, writing one some thirty; GS's seldom changes.
    "rdgsbase rcx",
    "mov rax, [{gs_base}]",
    "cmp rax, rcx",
    "je 4f",
    "wrgsbase rax",
    "4:",
    "mov rax, [{fs_base}]",
    "wrfsbase rax",
    "mov rcx, [{rcx}]",
    "mov rdx, [{rdx}]",
    "mov rbx, [{rbx}]",
    "mov rbp, [{rbp}]",
    "mov rsi, [{rsi}]",
    "mov rdi, [{rdi}]",
    "mov r8, [{r8}]",
    "mov r9, [{r9}]",
    "mov r10, [{r10}]",
    "mov r11, [{r11}]",
    "mov r12, [{r12}]",
    "mov r13, [{r13}]",
    "mov r14, [{r14}]",
    "mov r15, [{r15}]",
    "cmp byte ptr [{code64}], 0",
    "je 3f",
    "push qword ptr [{rflags}]",
    "popfq",
    "mov rax, [{rax}]",
    "mov rsp, [{rsp}]",
    "jmp qword ptr [{resume}]",
    "3:",
    "push qword ptr [{rflags}]",
    "popfq",
    "mov rax, [{rax}]",
    "mov rsp, [{rsp}]",
    "jmp fword ptr [{far_resume}]",
    ".global runu_leave_end",
    "runu_leave_end:",
    ".global runu_signal",
    "runu_signal:",
    "push rbx",
    "rdfsbase rcx",
    "mov rax, [{host_fs}]",
    "wrfsbase rax",
    "call {on_signal}",
    "wrfsbase rax",
    "pop rbx",
    "ret",
    rax = const gpr(0),
    rcx = const gpr(1),
    rdx = const gpr(2),
    rbx = const gpr(3),
    rsp = const gpr(4),
    rbp = const gpr(5),
    rsi = const gpr(6),
    rdi = const gpr(7),
    r8 = const gpr(8),
    r9 = const gpr(9),
    r10 = const gpr(10),
    r11 = const gpr(11),
    r12 = const gpr(12),
    r13 = const gpr(13),
    r14 = const gpr(14),
    r15 = const gpr(15),
    rflags = const at!(regs.rflags),
    fs_base = const at!(cpu.fs_base),
    gs_base = const at!(cpu.gs_base),
    code64 = const at!(cpu.code64),
    fpu = const at!(fpu),
    host_stack = const at!(host_stack),
    host_fs = const at!(host_fs),
    host_mxcsr = const at!(host_mxcsr),
    signalled = const at!(signalled),
    resume = const at!(resume),
    far_resume = const at!(far_resume),
    components = const FPU_COMPONENTS,
    exit = sym crate::monitor::doors::on_exit,
    signalled_call = sym crate::monitor::doors::on_noted_signal,
    on_signal = sym crate::monitor::doors::on_signal,
);

unsafe extern "C" {
    fn runu_gate();
    fn runu_leave();
    fn runu_leave_end();
    fn runu_signal();
}

/// Address of the entry for translated 64-bit code.
pub(crate) fn gate() -> u64 {
    runu_gate as *const () as u64
}

/// Address of the signal handler.
pub(crate) fn signal_handler() -> usize {
    runu_signal as *const () as usize
}

/// The way back to translated code: it may be taken again from its start, on the monitor's stack.
pub(crate) fn leaving() -> Range<u64> {
    runu_leave as *const () as u64..runu_leave_end as *const () as u64
}

/// Leaves the monitor for the guest and never comes back here.
///
/// # Safety
/// The context must be complete: registers, extended state, `resume`, `host_stack`, `host_fs`; nothing on the current
/// stack may be needed again.
pub(crate) unsafe fn leave() -> ! {
    // SAFETY: the caller filled in the context; the way back needs nothing else than its stack pointer.
    unsafe {
        std::arch::asm!(
            "mov rsp, [{host_stack}]",
            "jmp runu_leave",
            host_stack = const at!(host_stack),
            options(noreturn)
        )
    }
}
