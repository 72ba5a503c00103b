//! When interrupts are taken, and that what they interrupt does not notice.

use core::arch::asm;
use rt::check::{Check, Outcome, equal, holds};
use rt::cpu::{self, INTERRUPT_FLAG};
use rt::time;

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "pushf-shows-if", run: pushf_shows_if },
    Check { name: "popf-restores-if", run: popf_restores_if },
    Check { name: "iret-restores-if", run: iret_restores_if },
    Check { name: "critical-sections", run: critical_sections },
    Check { name: "sti-shadow", run: sti_shadow },
    Check { name: "sti-lets-in", run: sti_lets_in },
    Check { name: "popf-lets-in", run: popf_lets_in },
    Check { name: "iret-lets-in", run: iret_lets_in },
    Check { name: "halt-wakes", run: halt_wakes },
    Check { name: "red-zone", run: red_zone },
    Check { name: "recursion-interrupted", run: recursion_interrupted },
];

fn pushf_shows_if() -> Outcome {
    equal("off", cpu::flags() & INTERRUPT_FLAG, 0)?;
    cpu::sti();
    let on = cpu::flags();
    cpu::cli();
    equal("on", on & INTERRUPT_FLAG, INTERRUPT_FLAG)?;
    equal("off again", cpu::flags() & INTERRUPT_FLAG, 0)
}

/// Loads RFLAGS by `popfq`; what it is then.
fn pop_flags(flags: u64) -> u64 {
    let read;
    // SAFETY: pops what was pushed; every vector has a gate. Interrupts are off afterwards.
    unsafe { asm!("push {0}", "popfq", "pushfq", "cli", "pop {0}", inout(reg) flags => read) };
    read
}

fn popf_restores_if() -> Outcome {
    let off = cpu::flags();
    equal("on", pop_flags(off | INTERRUPT_FLAG) & INTERRUPT_FLAG, INTERRUPT_FLAG)?;
    equal("off", pop_flags(off) & INTERRUPT_FLAG, 0)?;
    const ARITHMETIC: u64 = 0x8d5;
    equal("arithmetic flags set", pop_flags(off | ARITHMETIC) & ARITHMETIC, ARITHMETIC)?;
    equal("arithmetic flags clear", pop_flags(off & !ARITHMETIC) & ARITHMETIC, 0)
}

/// Loads RFLAGS by `iretq`; what it is then.
fn iret_flags(flags: u64) -> u64 {
    let read;
    // SAFETY: returns to the next line with the same segments and stack. Interrupts are off afterwards.
    unsafe {
        asm!(
            "mov {scratch}, rsp",
            "mov {segment:e}, ss",
            "push {segment}",
            "push {scratch}",
            "push {flags}",
            "mov {segment:e}, cs",
            "push {segment}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "iretq",
            "2: pushfq",
            "cli",
            "pop {flags}",
            flags = inout(reg) flags => read,
            scratch = out(reg) _,
            segment = out(reg) _,
        );
    }
    read
}

fn iret_restores_if() -> Outcome {
    let off = cpu::flags();
    equal("on", iret_flags(off | INTERRUPT_FLAG) & INTERRUPT_FLAG, INTERRUPT_FLAG)?;
    equal("off", iret_flags(off) & INTERRUPT_FLAG, 0)?;
    equal("carry", iret_flags(off | 1) & 1, 1)
}

fn critical_sections() -> Outcome {
    let nested = || cpu::without_interrupts(|| cpu::without_interrupts(cpu::flags) | cpu::flags());
    equal("stay off", nested() & INTERRUPT_FLAG, 0)?;
    equal("off afterwards", cpu::flags() & INTERRUPT_FLAG, 0)?;
    cpu::sti();
    let inside = nested();
    let after = cpu::flags();
    cpu::cli();
    equal("off inside", inside & INTERRUPT_FLAG, 0)?;
    equal("on afterwards", after & INTERRUPT_FLAG, INTERRUPT_FLAG)
}

/// The instruction after `sti` still runs without interrupts (Intel SDM vol. 2, STI); here it is `cli`.
fn sti_shadow() -> Outcome {
    holds("tick waits", time::raise_tick())?;
    let before = time::ticks();
    // SAFETY: every vector has a gate.
    unsafe { asm!("sti", "cli", "nop", "nop") };
    let after = time::ticks();
    cpu::wait();
    equal("no tick in the shadow", after, before)?;
    equal("then one", time::ticks(), before + 1)
}

fn sti_lets_in() -> Outcome {
    holds("tick waits", time::raise_tick())?;
    let before = time::ticks();
    // SAFETY: every vector has a gate.
    unsafe { asm!("sti", "nop", "nop", "cli") };
    equal("ticks", time::ticks(), before + 1)
}

fn popf_lets_in() -> Outcome {
    let on = cpu::flags() | INTERRUPT_FLAG;
    holds("tick waits", time::raise_tick())?;
    let before = time::ticks();
    // SAFETY: pops what was pushed; every vector has a gate.
    unsafe { asm!("push {0}", "popfq", "nop", "nop", "cli", in(reg) on) };
    equal("ticks", time::ticks(), before + 1)
}

fn iret_lets_in() -> Outcome {
    let on = cpu::flags() | INTERRUPT_FLAG;
    holds("tick waits", time::raise_tick())?;
    let before = time::ticks();
    iret_flags(on);
    equal("ticks", time::ticks(), before + 1)
}

fn halt_wakes() -> Outcome {
    let before = time::ticks();
    for _ in 0..20 {
        time::start_one_shot(1200);
        time::wait_for_tick();
    }
    equal("ticks", time::ticks(), before + 20)
}

/// Runs a check again and again while the timer interrupts it.
pub(crate) fn while_ticking(check: fn() -> Outcome) -> Outcome {
    let enough = time::while_ticking(20, check)?;
    holds("ticks came", enough)
}

fn red_zone() -> Outcome {
    fn fill_wait_and_add() -> Outcome {
        let sum: u64;
        // SAFETY: the 128 bytes below the stack pointer belong to the block.
        unsafe {
            asm!(
                "lea {at}, [rsp - 128]",
                "mov {count:e}, 16",
                "2: mov [{at} + {count} * 8 - 8], {count}",
                "dec {count}",
                "jnz 2b",
                "mov {count:e}, 20000",
                "3: dec {count}",
                "jnz 3b",
                "xor {sum:e}, {sum:e}",
                "mov {count:e}, 16",
                "4: add {sum}, [{at} + {count} * 8 - 8]",
                "dec {count}",
                "jnz 4b",
                at = out(reg) _,
                count = out(reg) _,
                sum = out(reg) sum,
            );
        }
        equal("sum", sum, (1..=16).sum())
    }
    while_ticking(fill_wait_and_add)
}

fn recursion_interrupted() -> Outcome {
    while_ticking(crate::code::recursion)
}
