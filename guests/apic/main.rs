//! Does to the local APIC what kernels do, and checks what comes of it: first with its registers in memory, then, where the
//! processor has that, as MSRs (checks that begin with `x2-`).
//!
//! A line per check, exit code the number of failures; arguments as for `cpu`. Under QEMU TCG (`-M pc -cpu max`) every check
//! passes.

#![no_std]
#![no_main]

mod apic;

use apic::{
    BY_1, EXTINT, MASKED, PERIODIC, expect, is_set, read, register, send, send_to_self, taken, write,
};
use core::arch::asm;
use rt::boot::Boot;
use rt::check::{self, Check, Outcome, equal, holds};
use rt::{cpu, faulting, time, trap};

rt::guest!("apic", main);

/// Checks of what both faces have in common.
macro_rules! both {
    ($($name:literal: $run:ident,)*) => {
        const IN_MEMORY: &[Check] = &[$(Check { name: $name, run: $run },)*];
        const BY_MSRS: &[Check] = &[$(Check { name: concat!("x2-", $name), run: || by_msrs($run) },)*];
    };
}

both! {
    "firmware": firmware,
    "tick-through-lint0": tick_through_lint0,
    "lint0-masked": lint0_masked,
    "timer-counts-down": timer_counts_down,
    "timer-one-shot": timer_one_shot,
    "timer-interrupts-code": timer_interrupts_code,
    "timer-waits": timer_waits,
    "timer-periodic": timer_periodic,
    "timer-masked": timer_masked,
    "timer-stopped": timer_stopped,
    "timer-and-tick": timer_and_tick,
    "self": to_self,
    "destinations": destinations,
    "order": order,
    "in-service": in_service,
    "task-priority": task_priority,
}

const ONLY_IN_MEMORY: &[Check] = &[Check { name: "changed-in-place", run: changed_in_place }];

const ONLY_MSRS: &[Check] = &[
    Check { name: "x2-self-interrupt", run: || by_msrs(self_interrupt) },
    Check { name: "x2-faults", run: || by_msrs(faults) },
    Check { name: "x2-off", run: || by_msrs(off) },
];

/// Vectors of different urgency.
const LOW: u8 = 0x41;
const LOW_TOO: u8 = 0x4e;
const MIDDLE: u8 = 0x55;
const HIGH: u8 = 0xe1;

/// A millisecond of the timer in this machine and in QEMU; some other while elsewhere.
const SHORT: u32 = 1_000_000;

fn main(boot: &'static Boot) -> ! {
    check::run(boot, &[IN_MEMORY, ONLY_IN_MEMORY, BY_MSRS, ONLY_MSRS])
}

/// Runs a check with MSRs, where there are any.
fn by_msrs(check: fn() -> Outcome) -> Outcome {
    if !apic::has_x2apic() {
        return Ok(());
    }
    apic::enter_x2apic();
    check()
}

/// Lets in what waits, one after the other.
fn let_in() {
    // SAFETY: every vector has a gate and its own stack.
    unsafe { asm!("sti", "nop", "nop", "cli") };
}

/// Makes the timer raise LOW; interrupts of LOW are noted and ended.
fn start_timer(bits: u32, count: u32) {
    expect(&[LOW], true);
    write(register::DIVIDE, BY_1);
    write(register::TIMER, u32::from(LOW) | bits);
    write(register::INITIAL_COUNT, count);
}

fn stop_timer() {
    write(register::INITIAL_COUNT, 0);
    write(register::TIMER, MASKED);
}

/// What a kernel finds.
fn firmware() -> Outcome {
    let features = cpu::cpuid(1, 0);
    equal("told", (features.edx >> 9 & 1).into(), 1)?;
    let mode = if apic::by_msrs() { apic::X2APIC } else { 0 };
    equal("base", apic::base(), apic::ADDRESS | apic::BOOTSTRAP | apic::ENABLED | mode)?;
    equal("id", read(register::ID).into(), 0)?;
    equal("version", (read(register::VERSION) >> 4 & 0xf).into(), 1)?;
    holds("local vectors", read(register::VERSION) >> 16 & 0xff >= 5)?;
    equal("software-enabled", (read(register::SPURIOUS) >> 8 & 1).into(), 1)?;
    equal("LINT0", (read(register::LINT0) & (MASKED | EXTINT)).into(), EXTINT.into())?;
    equal("timer", (read(register::TIMER) & MASKED).into(), MASKED.into())?;
    equal("task priority", read(register::TASK_PRIORITY).into(), 0)
}

/// Registers as the operands of instructions that compute; the last one sends an interrupt by what it writes.
fn changed_in_place() -> Outcome {
    expect(&[LOW], true);
    let (divided, rest, tested, product): (u64, u64, u64, u64);
    // SAFETY: device memory that the first page tables map; a handler is set for the vector.
    unsafe {
        asm!(
            "mov dword ptr [{at} + 0x80], 7", "add dword ptr [{at} + 0x80], 0x24", "xor dword ptr [{at} + 0x80], 8",
            "and dword ptr [{at} + 0x80], 0x2f", "test dword ptr [{at} + 0x80], 0x20", "setnz {tested:l}",
            "movzx {tested:e}, {tested:l}", "imul {product:e}, [{at} + 0x80], 3", "mov eax, 100", "xor edx, edx",
            "div dword ptr [{at} + 0x80]", "mov dword ptr [{at} + 0x80], 0",
            at = in(reg) apic::ADDRESS, tested = out(reg) tested, product = out(reg) product, out("rax") divided,
            out("rdx") rest, options(nostack),
        );
    }
    equal("tested", tested, 1)?;
    equal("multiplied", product, 0x69)?;
    equal("divided", divided, 2)?;
    equal("rest", rest, 30)?;
    write(register::COMMAND_HIGH, 0);
    // SAFETY: as above. The vector is LOW's, in the shorthand for the processor itself.
    unsafe {
        asm!(
            "mov {command:e}, {low}", "movd xmm0, {command:e}", "sti", "movd dword ptr [{at} + 0x300], xmm0", "nop", "cli",
            at = in(reg) apic::ADDRESS, command = out(reg) _, low = const 0x4_0000 | LOW as u32, out("xmm0") _,
        );
    }
    equal("taken", taken(), LOW.into())
}

/// A tick of the old timer through the old interrupt controller.
fn tick_through_lint0() -> Outcome {
    holds("waits", time::raise_tick())?;
    let before = time::ticks();
    cpu::wait();
    equal("ticks", time::ticks(), before + 1)?;
    let sets = (0..8).map(|word| read(register::IN_SERVICE + word) | read(register::REQUESTED + word));
    equal("passes the APIC by", sets.fold(0, |all, word| all | word).into(), 0)
}

fn lint0_masked() -> Outcome {
    let before = time::ticks();
    write(register::LINT0, EXTINT | MASKED);
    let waits = time::raise_tick();
    let_in();
    let masked = time::ticks();
    write(register::LINT0, EXTINT);
    let_in();
    holds("waits", waits)?;
    equal("ticks while masked", masked, before)?;
    equal("ticks then", time::ticks(), before + 1)
}

fn timer_counts_down() -> Outcome {
    start_timer(MASKED, u32::MAX);
    let mut before = u32::MAX;
    for _ in 0..20 {
        let now = read(register::CURRENT_COUNT);
        holds("counts down", now <= before)?;
        before = now;
    }
    equal("initial count", read(register::INITIAL_COUNT).into(), u32::MAX.into())?;
    stop_timer();
    holds("has counted", before < u32::MAX)
}

fn timer_one_shot() -> Outcome {
    start_timer(0, SHORT);
    cpu::wait();
    equal("taken", taken(), LOW.into())?;
    equal("count", read(register::CURRENT_COUNT).into(), 0)?;
    // Twice as long nothing comes.
    time::sleep(2);
    equal("taken in the end", taken(), LOW.into())
}

/// The processor does not wait, it works.
fn timer_interrupts_code() -> Outcome {
    start_timer(0, SHORT);
    cpu::sti();
    let came = time::within_a_second(|| taken() != 0);
    cpu::cli();
    holds("came", came)
}

/// With interrupts off it is requested, then taken, then done with.
fn timer_waits() -> Outcome {
    start_timer(0, 1000);
    let requested = time::within_a_second(|| is_set(register::REQUESTED, LOW));
    holds("requested", requested)?;
    equal("not taken", taken(), 0)?;
    expect(&[LOW], false);
    let_in();
    equal("taken", taken(), LOW.into())?;
    holds("no longer requested", !is_set(register::REQUESTED, LOW))?;
    holds("in service", is_set(register::IN_SERVICE, LOW))?;
    apic::end();
    holds("no longer in service", !is_set(register::IN_SERVICE, LOW))
}

fn timer_periodic() -> Outcome {
    const FIVE: u64 = 0x41_4141_4141;
    start_timer(PERIODIC, SHORT);
    while taken() < FIVE {
        cpu::wait();
    }
    holds("goes on", read(register::CURRENT_COUNT) != 0)?;
    stop_timer();
    // It may have come once more before it was stopped.
    let_in();
    equal("taken", taken() & 0xff_ffff_ffff, FIVE)
}

fn timer_masked() -> Outcome {
    start_timer(MASKED, 1000);
    holds("ends", time::within_a_second(|| read(register::CURRENT_COUNT) == 0))?;
    let_in();
    holds("not requested", !is_set(register::REQUESTED, LOW))?;
    equal("taken", taken(), 0)
}

fn timer_stopped() -> Outcome {
    start_timer(0, SHORT);
    stop_timer();
    // Whoever runs this may have stood still between the two.
    let too_late = is_set(register::REQUESTED, LOW);
    time::sleep(2);
    equal("count", read(register::CURRENT_COUNT).into(), 0)?;
    equal("taken", (taken() != 0).into(), too_late.into())
}

/// Both timers at once; each is taken as often as it comes.
fn timer_and_tick() -> Outcome {
    start_timer(PERIODIC, SHORT);
    let before = time::ticks();
    time::start_periodic((time::PIT_HZ / 500) as u16);
    while time::ticks() < before + 3 || taken() < 0x41_4141 {
        cpu::wait();
    }
    time::stop();
    stop_timer();
    let_in();
    equal("taken", taken() & 0xff_ffff, 0x41_4141)
}

fn to_self() -> Outcome {
    expect(&[LOW], true);
    send_to_self(LOW);
    equal("waits", taken(), 0)?;
    holds("requested", is_set(register::REQUESTED, LOW))?;
    // Twice the same is once.
    send_to_self(LOW);
    let_in();
    equal("taken", taken(), LOW.into())?;
    send_to_self(LOW);
    cpu::wait();
    equal("ends a halt", taken(), u64::from(LOW) << 8 | u64::from(LOW))
}

fn destinations() -> Outcome {
    const LOGICAL: u32 = 1 << 11;
    const ALL: u32 = 2 << 18;
    const OTHERS: u32 = 3 << 18;
    let (everybody, logical) = if apic::by_msrs() {
        (u32::MAX, 1)
    } else {
        write(register::DESTINATION_FORMAT, u32::MAX);
        write(register::LOGICAL_DESTINATION, 0x0400_0000);
        (0xff, 4)
    };
    let arrives = |destination, command| {
        expect(&[LOW], true);
        send(destination, command | u32::from(LOW));
        let_in();
        taken() == LOW.into()
    };
    holds("its id", arrives(0, 0))?;
    holds("all ids", arrives(everybody, 0))?;
    holds("another id", !arrives(1, 0))?;
    holds("its logical id", arrives(logical, LOGICAL))?;
    holds("another logical id", !arrives(logical << 1, LOGICAL))?;
    holds("all", arrives(0, ALL))?;
    holds("all others", !arrives(0, OTHERS))
}

fn order() -> Outcome {
    expect(&[LOW, MIDDLE, HIGH], true);
    for vector in [MIDDLE, LOW, HIGH] {
        send_to_self(vector);
    }
    let_in();
    equal("taken", taken(), 0xe1_5541)
}

/// What is in service holds back its class and those below, until its end.
fn in_service() -> Outcome {
    expect(&[LOW, LOW_TOO, MIDDLE, HIGH], false);
    send_to_self(MIDDLE);
    let_in();
    equal("taken", taken(), MIDDLE.into())?;
    equal("priority", read(register::PROCESSOR_PRIORITY).into(), 0x50)?;
    send_to_self(LOW);
    let_in();
    equal("less urgent waits", taken(), MIDDLE.into())?;
    send_to_self(HIGH);
    let_in();
    equal("more urgent does not", taken(), 0x55e1)?;
    apic::end();
    holds("the most urgent ends first", is_set(register::IN_SERVICE, MIDDLE))?;
    apic::end();
    let_in();
    equal("less urgent comes", taken(), 0x55_e141)?;
    send_to_self(LOW_TOO);
    let_in();
    equal("of the same class waits", taken(), 0x55_e141)?;
    apic::end();
    let_in();
    apic::end();
    equal("then comes", taken(), 0x55e1_414e)?;
    equal("nothing is left", read(register::PROCESSOR_PRIORITY).into(), 0)
}

fn read_cr8() -> u64 {
    let value;
    // SAFETY: reading it changes nothing.
    unsafe { asm!("mov {}, cr8", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

fn write_cr8(value: u64) {
    // SAFETY: only changes which interrupts are taken.
    unsafe { asm!("mov cr8, {}", in(reg) value, options(nostack, preserves_flags)) };
}

/// The same register, as seen by the APIC and by the processor.
fn task_priority() -> Outcome {
    expect(&[LOW, MIDDLE, HIGH], true);
    write(register::TASK_PRIORITY, 0x50);
    equal("cr8", read_cr8(), 5)?;
    equal("processor priority", read(register::PROCESSOR_PRIORITY).into(), 0x50)?;
    send_to_self(MIDDLE);
    let_in();
    equal("as urgent waits", taken(), 0)?;
    send_to_self(HIGH);
    let_in();
    equal("more urgent does not", taken(), HIGH.into())?;
    write_cr8(4);
    let_in();
    equal("task priority", read(register::TASK_PRIORITY).into(), 0x40)?;
    equal("now it is", taken(), 0xe155)?;
    write_cr8(15);
    send_to_self(HIGH);
    cpu::sti();
    write_cr8(0);
    cpu::cli();
    equal("at once", taken(), 0xe1_55e1)
}

fn self_interrupt() -> Outcome {
    expect(&[HIGH], true);
    write(register::SELF_INTERRUPT, HIGH.into());
    let_in();
    equal("taken", taken(), HIGH.into())
}

/// Whether reading or writing an MSR raises a general protection exception.
fn raises(write: bool, msr: u32, value: u64) -> bool {
    const GENERAL_PROTECTION: u8 = 13;
    trap::on(GENERAL_PROTECTION, Some(trap::record));
    // SAFETY: the handler goes on behind the instruction; what is written changes nothing if it does not fault.
    unsafe {
        if write {
            faulting!("wrmsr"; in("ecx") msr, in("eax") value as u32, in("edx") (value >> 32) as u32);
        } else {
            faulting!("rdmsr"; in("ecx") msr, out("eax") _, out("edx") _);
        }
    }
    trap::last().is_some()
}

fn faults() -> Outcome {
    use apic::{ADDRESS, BOOTSTRAP, ENABLED, MSR_BASE, MSR_FIRST};
    holds("back to memory", raises(true, MSR_BASE, ADDRESS | BOOTSTRAP | ENABLED))?;
    holds("a bit that there is not", raises(true, MSR_BASE, apic::base() | 1))?;
    for register in [register::ID, register::VERSION, register::REQUESTED, register::CURRENT_COUNT] {
        holds("read-only", raises(true, MSR_FIRST + register, 0))?;
    }
    for register in [register::END_OF_INTERRUPT, register::SELF_INTERRUPT] {
        holds("write-only", raises(false, MSR_FIRST + register, 0))?;
    }
    for register in [register::DESTINATION_FORMAT, register::COMMAND_HIGH, 0x00, 0x2f, 0xff] {
        holds("absent", raises(false, MSR_FIRST + register, 0))?;
    }
    holds("end of something", raises(true, MSR_FIRST + register::END_OF_INTERRUPT, 1))?;
    holds("33 bits", raises(true, MSR_FIRST + register::INITIAL_COUNT, 1 << 32))?;
    holds("none is there", !raises(false, MSR_FIRST + register::TIMER, 0))
}

/// Without it the old interrupt controllers ask the processor themselves.
fn off() -> Outcome {
    // SAFETY: nothing of it is used now.
    unsafe { cpu::wrmsr(apic::MSR_BASE, apic::ADDRESS | apic::BOOTSTRAP) };
    equal("not told", (cpu::cpuid(1, 0).edx >> 9 & 1).into(), 0)?;
    let waits = time::raise_tick();
    let before = time::ticks();
    cpu::wait();
    apic::leave_x2apic();
    holds("waits", waits)?;
    equal("ticks", time::ticks(), before + 1)?;
    equal("software-disabled", read(register::SPURIOUS).into(), 0xff)?;
    equal("LINT0", read(register::LINT0).into(), MASKED.into())?;
    write(register::SPURIOUS, 0x1ff);
    write(register::LINT0, EXTINT);
    tick_through_lint0()
}
