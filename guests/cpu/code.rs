//! Control flow and code: what a translator of instructions could get wrong.

use core::arch::{asm, naked_asm};
use core::hint::black_box;
use rt::cell::OneCpu;
use rt::check::{Check, Outcome, equal};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "call-pushes-own-address", run: call_pushes_own_address },
    Check { name: "return-address-changed", run: return_address_changed },
    Check { name: "push-ret-jumps", run: push_ret_jumps },
    Check { name: "ret-pops-arguments", run: ret_pops_arguments },
    Check { name: "rip-relative", run: rip_relative },
    Check { name: "indirect-jumps", run: indirect_jumps },
    Check { name: "loop-instructions", run: loop_instructions },
    Check { name: "jump-into-instruction", run: jump_into_instruction },
    Check { name: "string-instructions", run: string_instructions },
    Check { name: "stack-frames", run: stack_frames },
    Check { name: "recursion", run: recursion },
    Check { name: "written-code", run: written_code },
    Check { name: "rewritten-code", run: rewritten_code },
    Check { name: "code-rewrites-itself", run: code_rewrites_itself },
    Check { name: "code-across-pages", run: code_across_pages },
];

fn call_pushes_own_address() -> Outcome {
    let (pushed, here): (u64, u64);
    // SAFETY: pops what the call pushes.
    unsafe { asm!("call 2f", "2: pop {}", "lea {}, [rip + 2b]", out(reg) pushed, out(reg) here) };
    equal("rip", pushed, here)
}

fn return_address_changed() -> Outcome {
    let reached: u64;
    // SAFETY: the called code returns behind the two bytes of `ud2`.
    unsafe {
        asm!(
            "call 2f",
            "ud2",
            "mov {0:e}, 7",
            "jmp 3f",
            "2: add qword ptr [rsp], 2",
            "ret",
            "3:",
            out(reg) reached,
        );
    }
    equal("reached", reached, 7)
}

fn push_ret_jumps() -> Outcome {
    let reached: u64;
    // SAFETY: `ret` pops what was pushed, the address of the label.
    unsafe {
        asm!(
            "lea {0}, [rip + 2f]", "push {0}", "xor {0:e}, {0:e}", "ret", "ud2",
            "2: add {0}, 9",
            out(reg) reached,
        );
    }
    equal("reached", reached, 9)
}

fn ret_pops_arguments() -> Outcome {
    let moved: u64;
    // SAFETY: `ret 16` pops the two words pushed before the call.
    unsafe {
        asm!(
            "mov {0}, rsp",
            "push 1",
            "push 2",
            "call 2f",
            "sub {0}, rsp",
            "jmp 3f",
            "2: ret 16",
            "3:",
            out(reg) moved,
        );
    }
    equal("stack is level", moved, 0)
}

fn rip_relative() -> Outcome {
    let (loaded, stored, compared, jumped, wide): (u64, u64, u64, u64, u64);
    // SAFETY: the words lie behind the code and are used by it only; the runtime's text is writable.
    unsafe {
        asm!(
            "mov {loaded}, [rip + 20f]",
            "mov dword ptr [rip + 21f], 0x55667788", // an immediate behind the displacement
            "lock inc qword ptr [rip + 21f]",
            "mov {stored}, [rip + 21f]",
            "xor {compared:e}, {compared:e}",
            "cmp byte ptr [rip + 20f], 0x44",
            "sete {compared:l}",
            "lea {jumped}, [rip + 30f]",
            "mov [rip + 22f], {jumped}",
            "xor {jumped:e}, {jumped:e}",
            "jmp qword ptr [rip + 22f]",
            "ud2",
            ".balign 16",
            "20: .quad 0x1122334411223344",
            "21: .quad 0x9900000000",
            "22: .quad 0",
            "30: inc {jumped}",
            "push qword ptr [rip + 20b]",
            "pop {wide}",
            "movq {xmm}, qword ptr [rip + 20b]",
            "movq {scratch}, {xmm}",
            "add {wide}, {scratch}",
            loaded = out(reg) loaded,
            stored = out(reg) stored,
            compared = out(reg) compared,
            jumped = out(reg) jumped,
            wide = out(reg) wide,
            scratch = out(reg) _,
            xmm = out(xmm_reg) _,
        );
    }
    equal("load", loaded, 0x1122_3344_1122_3344)?;
    equal("store", stored, 0x99_5566_7789)?;
    equal("compare", compared, 1)?;
    equal("jump", jumped, 1)?;
    equal("push and sse", wide, 0x2244_6688_2244_6688)
}

fn indirect_jumps() -> Outcome {
    let mut sum = 0;
    for index in 0..64_u64 {
        let result: u64;
        // SAFETY: the index is below 4, the table's length.
        unsafe {
            asm!(
                "lea {table}, [rip + 40f]",
                "mov {result}, [{table} + {index} * 8]",
                "jmp {result}",
                "40: .quad 41f, 42f, 43f, 44f",
                "41: mov {result:e}, 1",
                "jmp 45f",
                "42: mov {result:e}, 20",
                "jmp 45f",
                "43: mov {result:e}, 300",
                "jmp 45f",
                "44: mov {result:e}, 4000",
                "45:",
                table = out(reg) _,
                index = in(reg) index & 3,
                result = out(reg) result,
            );
        }
        sum += result;
    }
    equal("by register", sum, 16 * 4321)?;
    let functions: [fn(u64) -> u64; 3] = [|it| it + 1, |it| it * 3, |it| it ^ 0x55];
    let called = (0..300).fold(1_u64, |value, index| black_box(functions)[index % 3](value) & 0xffff);
    let direct = (0..100).fold(1_u64, |value, _| ((((value + 1) & 0xffff) * 3) & 0xffff) ^ 0x55);
    equal("calls through a table", called, direct)
}

fn loop_instructions() -> Outcome {
    let (turns, left, equal_left, jumped): (u64, u64, u64, u64);
    // SAFETY: counts in registers.
    unsafe {
        asm!("xor {0:e}, {0:e}", "mov ecx, 1000", "2: inc {0}", "loop 2b", out(reg) turns, out("rcx") left);
        asm!("mov ecx, 10", "2: cmp ecx, 5", "loopne 2b", out("rcx") equal_left);
        asm!(
            "xor {0:e}, {0:e}",
            "xor ecx, ecx",
            "jrcxz 2f",
            "ud2",
            "2: mov rcx, 0x100000000",
            "jecxz 3f",
            "ud2",
            "3: jrcxz 4f",
            "mov {0:e}, 1",
            "4:",
            out(reg) jumped,
            out("rcx") _,
        );
    }
    equal("loop", turns, 1000)?;
    equal("rcx after loop", left, 0)?;
    equal("rcx after loopne", equal_left, 4)?;
    equal("jrcxz", jumped, 1)
}

/// Code that is read twice from different offsets: `eb ff c0` is a jump to its own second byte, and then `inc
/// eax`; and a jump behind a `lock` prefix, as C libraries do it where there is one processor.
fn jump_into_instruction() -> Outcome {
    let (counted, unlocked): (u64, u64);
    let mut word = 5_u64;
    // SAFETY: changes a register, and a word of ours.
    unsafe {
        asm!("xor eax, eax", ".byte 0xeb, 0xff, 0xc0", out("rax") counted);
        asm!(
            "jmp 2f + 1",
            "2: lock inc qword ptr [{0}]",
            "mov {1}, [{0}]",
            in(reg) &raw mut word,
            out(reg) unlocked,
        );
    }
    equal("eax", counted, 1)?;
    equal("without lock", unlocked, 6)
}

fn string_instructions() -> Outcome {
    let source: [u8; 64] = core::array::from_fn(|index| index as u8);
    let mut target = [0_u8; 64];
    let (from, to) = (source.as_ptr(), target.as_mut_ptr());
    let (found, differs): (u64, u64);
    // SAFETY: within the arrays; the direction flag is cleared again.
    unsafe {
        asm!("rep movsb", inout("rcx") 64_u64 => _, inout("rsi") from => _, inout("rdi") to => _);
        asm!("repne scasb", inout("rcx") 64_u64 => found, inout("rdi") from => _, in("al") 40_u8);
        to.add(50).write(0xff);
        asm!("repe cmpsb", inout("rcx") 64_u64 => differs, inout("rsi") from => _, inout("rdi") to => _);
        let (end, sevens) = (to.add(56), u64::from_le_bytes([7; 8]));
        asm!("std", "rep stosq", "cld", inout("rcx") 3_u64 => _, inout("rdi") end => _, in("rax") sevens);
        asm!("rep stosb", inout("rcx") 0_u64 => _, inout("rdi") to => _, in("al") 0xee_u8);
    }
    equal("scasb", found, 64 - 41)?;
    equal("cmpsb", differs, 64 - 51)?;
    let sum = target.iter().map(|byte| u64::from(*byte)).sum::<u64>();
    equal("movsb and backward stosq", sum, (0..40).sum::<u64>() + 24 * 7)
}

fn stack_frames() -> Outcome {
    let (level, value): (u64, u64);
    // SAFETY: `leave` undoes `enter`; RBP is saved around.
    unsafe {
        asm!(
            "push rbp",
            "mov {level}, rsp",
            "enter 32, 0",
            "mov qword ptr [rbp - 8], 0x1234",
            "mov {value}, [rbp - 8]",
            "leave",
            "sub {level}, rsp",
            "pop rbp",
            level = out(reg) level,
            value = out(reg) value,
        );
    }
    equal("level", level, 0)?;
    equal("local", value, 0x1234)
}

fn depth(left: u64) -> u64 {
    if left == 0 { 0 } else { 1 + black_box(depth as fn(u64) -> u64)(left - 1) }
}

pub(crate) fn recursion() -> Outcome {
    equal("depth", depth(1000), 1000)
}

/// Room for code that is written at run time: two pages, so that an instruction can lie across their border.
#[repr(align(4096))]
pub(crate) struct Pages(pub(crate) [u8; 8192]);
pub(crate) static CODE: OneCpu<Pages> = OneCpu::new(Pages([0; 8192]));

/// `mov eax, value; ret`.
fn returning(value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d, 0xc3]
}

/// Writes code at an offset of [`CODE`].
pub(crate) fn write_code(offset: usize, code: &[u8]) {
    // SAFETY: the only reference; nothing runs there now.
    unsafe { CODE.get().0[offset..offset + code.len()].copy_from_slice(code) };
}

/// Calls the code at an offset of [`CODE`].
fn call_code(offset: usize) -> u64 {
    let result;
    // SAFETY: the callers have written code there that changes RAX and RCX only.
    unsafe { asm!("call {}", in(reg) CODE.as_ptr() as usize + offset, out("rax") result, out("rcx") _) };
    result
}

fn written_code() -> Outcome {
    for value in 0..20 {
        write_code(64, &returning(value));
        equal("value", call_code(64), value.into())?;
    }
    Ok(())
}

fn rewritten_code() -> Outcome {
    write_code(128, &returning(1));
    let code = CODE.as_ptr() as usize + 128;
    equal("before", call_code(128), 1)?;
    // SAFETY: writes into the immediate of the code above, each time in another way.
    unsafe {
        ((code + 1) as *mut u8).write_volatile(2);
        equal("after a byte", call_code(128), 2)?;
        asm!("rep stosb", inout("rcx") 3_u64 => _, inout("rdi") code + 2 => _, in("al") 1_u8);
        equal("after rep stosb", call_code(128), 0x0101_0102)?;
        let new = returning(0x77);
        asm!("rep movsb", inout("rcx") 6_u64 => _, inout("rsi") new.as_ptr() => _, inout("rdi") code => _);
        equal("after rep movsb", call_code(128), 0x77)?;
        let new = 0xc300_0000_99b8_u64; // mov eax, 0x99; ret
        asm!("movq {x}, {new}", "movq [{at}], {x}", x = out(xmm_reg) _, new = in(reg) new, at = in(reg) code);
        equal("after sse", call_code(128), 0x99)?;
        asm!("lock xadd dword ptr [{}], {:e}", in(reg) code + 1, inout(reg) 1 => _);
        equal("after xadd", call_code(128), 0x9a)?;
        asm!("push qword ptr [{0}]", "inc qword ptr [rsp + 1]", "pop qword ptr [{0}]", in(reg) code);
    }
    equal("after pop", call_code(128), 0x9b)
}

/// A loop whose body changes the immediate of an instruction behind it, in the same page, each turn.
#[unsafe(naked)]
extern "C" fn rewriting_loop() -> u64 {
    naked_asm!(
        "xor edx, edx",
        "mov ecx, 100",
        "2: lea rax, [rip + 3f]",
        "inc dword ptr [rax + 1]",
        "jmp 3f",
        "3: mov eax, 0",
        "add rdx, rax",
        "dec ecx",
        "jnz 2b",
        "mov rax, rdx",
        "ret",
    )
}

fn code_rewrites_itself() -> Outcome {
    equal("sum", rewriting_loop(), (1..=100).sum())
}

fn code_across_pages() -> Outcome {
    write_code(4096 - 3, &returning(0x1234_5678));
    equal("first", call_code(4096 - 3), 0x1234_5678)?;
    write_code(4096, &[0xff, 0xff]);
    equal("second page changed", call_code(4096 - 3), 0xffff_5678)
}
