//! Arithmetic flags: right by themselves, and untouched by interrupts that come between two instructions.

use core::arch::asm;
use rt::check::{Check, Outcome, equal};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "arithmetic-flags", run: arithmetic_flags },
    Check { name: "lahf-sahf", run: lahf_sahf },
    Check { name: "flags-through-calls", run: flags_through_calls },
    Check { name: "alignment-flag", run: alignment_flag },
    Check { name: "computation-interrupted", run: computation_interrupted },
];

/// The flags that arithmetic defines: OF, SF, ZF, AF, PF, CF.
const ARITHMETIC: u64 = 0x8d5;

/// The flags after an instruction on two numbers.
macro_rules! flags_after {
    ($instruction:literal, $a:expr, $b:expr) => {{
        let flags: u64;
        // SAFETY: arithmetic on registers.
        unsafe { asm!($instruction, "pushfq", "pop {1}", inout(reg) $a => _, inout(reg) $b => flags) };
        flags & ARITHMETIC
    }};
}

fn arithmetic_flags() -> Outcome {
    const MAX: u64 = u64::MAX;
    const TOP: u64 = 1 << 63;
    equal("add carries", flags_after!("add {0}, {1}", MAX, 1_u64), 0x55)?;
    equal("add overflows", flags_after!("add {0}, {1}", TOP - 1, 2_u64), 0x890)?;
    equal("sub borrows", flags_after!("sub {0}, {1}", 0_u64, 1_u64), 0x95)?;
    equal("sub overflows", flags_after!("sub {0}, {1}", TOP, 1_u64), 0x814)?;
    equal("cmp equal", flags_after!("cmp {0}, {1}", 5_u64, 5_u64), 0x44)?;
    equal("neg", flags_after!("neg {0}", TOP, 0_u64), 0x885)?;
    equal("inc keeps carry", flags_after!("stc; inc {0}", MAX, 0_u64), 0x55)?;
    equal("adc", flags_after!("stc; adc {0}, {1}", MAX, 0_u64), 0x55)
}

fn lahf_sahf() -> Outcome {
    let (loaded, stored): (u64, u64);
    // SAFETY: moves flags through AH.
    unsafe {
        asm!("mov ah, 0xd5", "sahf", "pushfq", "pop {0}", "lahf", out(reg) stored, out("rax") loaded);
    }
    equal("sahf", stored & 0xd5, 0xd5)?;
    equal("lahf", loaded >> 8 & 0xff, 0xd7)
}

/// Direct, indirect and conditional transfers leave flags alone.
fn flags_through_calls() -> Outcome {
    let flags: u64;
    // SAFETY: calls and returns in pairs.
    unsafe {
        asm!(
            "lea {target}, [rip + 2f]",
            "xor {scratch:e}, {scratch:e}",
            "sub {scratch:e}, 1", // CF, SF, AF, PF
            "call 2f",
            "call {target}",
            "push {target}",
            "call [rsp]",
            "lea rsp, [rsp + 8]",
            "jmp 3f",
            "2: jnz 4f",
            "ud2",
            "4: jrcxz 5f",
            "5: ret",
            "3: jnc 6f",
            "pushfq",
            "pop {scratch}",
            "6:",
            target = out(reg) _,
            scratch = out(reg) flags,
            in("rcx") 0,
        );
    }
    equal("flags", flags & ARITHMETIC, 0x95)
}

/// Privilege 0 may set the flag that checks alignment, and is not checked.
fn alignment_flag() -> Outcome {
    const ALIGNMENT: u64 = 1 << 18;
    let words = [0_u64, 0x1122_3344];
    let (read, kept): (u64, u64);
    // SAFETY: reads within the array; flags are as they were at the end.
    unsafe {
        asm!(
            "pushfq",
            "pushfq",
            "or qword ptr [rsp], {flag}",
            "popfq",
            "mov {read}, [{words} + 7]",
            "pushfq",
            "pop {kept}",
            "popfq",
            flag = const ALIGNMENT,
            words = in(reg) words.as_ptr(),
            read = out(reg) read,
            kept = out(reg) kept,
        );
    }
    equal("read", read, 0x11_2233_4400)?;
    equal("flag", kept & ALIGNMENT, ALIGNMENT)
}

/// A long computation in which the flags of every step go into the result.
fn computation(rounds: u64) -> u64 {
    let result;
    // SAFETY: arithmetic on registers and on the stack.
    unsafe {
        asm!(
            "2:",
            "mov {t}, {n}",
            "imul {t}, {k}",
            "add {h}, {t}", "lahf", "seto al", "xor {h:x}, ax",
            "adc {h}, {n}", "lahf", "seto al", "rol {h}, 7", "xor {h:x}, ax",
            "mov {u}, {h}", "sub {u}, {t}", "lahf", "seto al", "xor {h:x}, ax",
            "sbb {u}, {n}", "lahf", "seto al", "add {h:x}, ax",
            "neg {u}", "pushfq", "pop rax", "and eax, 0x8d5", "add {h}, rax",
            "cmp {h}, {u}", "setg al", "setb ah", "xor {h:x}, ax",
            "inc {u}", "cmovo {u}, {t}", "cmovs {t}, {u}", "xor {h}, {t}",
            "bt {h}, 13", "rcl {h}, 1",
            "test {u}, {t}", "jz 3f", "xor {h}, {u}", "3: jns 4f", "not {h}", "4:",
            "mov rax, {h}", "mul {k}", "seto al", "movzx eax, al", "add {h}, rax", "xor {h}, rdx",
            "dec {n}",
            "jnz 2b",
            n = inout(reg) rounds => _,
            h = inout(reg_abcd) 0x1234_5678_9abc_def0_u64 => result,
            k = in(reg) 0x9e37_79b9_7f4a_7c15_u64,
            t = out(reg) _,
            u = out(reg) _,
            out("rax") _,
            out("rdx") _,
        );
    }
    result
}

fn computation_interrupted() -> Outcome {
    const ROUNDS: u64 = 20_000;
    equal("by itself", computation(1000), EXPECTED)?;
    let alone = computation(ROUNDS);
    let enough = rt::time::while_ticking(20, || equal("interrupted", computation(ROUNDS), alone))?;
    equal("ticks came", enough.into(), 1)
}

/// [`computation`] of 1000 rounds, as a processor does it outside any monitor.
const EXPECTED: u64 = 0x6bb2_5abc_3720_a835;
