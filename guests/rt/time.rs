//! The two interrupt controllers, the interval timer, and sleeping with them.

use crate::cpu;
use crate::port::{inb, outb};
use crate::trap::{self, Frame};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// 8259A ports: command and data of the first and the second.
pub const PIC: [(u16, u16); 2] = [(0x20, 0x21), (0xa0, 0xa1)];
/// The vectors of interrupt lines 0 and 8.
pub const PIC_VECTORS: [u8; 2] = [32, 40];
const PIC_END_OF_INTERRUPT: u8 = 0x20;

/// 8254 ports: channel 0 and control.
pub const PIT_CHANNEL_0: u16 = 0x40;
/// The 8254's control port.
pub const PIT_CONTROL: u16 = 0x43;
/// Channel 0, both bytes, mode 4: one interrupt when the count is over.
const PIT_ONE_SHOT: u8 = 0x38;
/// Channel 0, both bytes, mode 2: an interrupt whenever the count is over.
const PIT_PERIODIC: u8 = 0x34;
/// The 8254's frequency, in Hz.
pub const PIT_HZ: u64 = 1_193_182;

/// Interrupts of the timer since the start.
static TICKS: AtomicU64 = AtomicU64::new(0);
static READY: AtomicBool = AtomicBool::new(false);

/// Interrupts of the timer since the start.
pub fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

fn on_tick(_: &mut Frame) {
    TICKS.store(TICKS.load(Relaxed) + 1, Relaxed);
    outb(PIC[0].0, PIC_END_OF_INTERRUPT);
}

/// Moves the interrupt lines to vectors 32 to 47 and lets only the timer through. Interrupts must be off.
///
/// The timer's output is made high before the controller forgets the edges it has seen, so no tick of the
/// firmware's is taken for one of ours.
fn init() {
    if READY.swap(true, Relaxed) {
        return;
    }
    outb(PIT_CONTROL, PIT_ONE_SHOT);
    program(false);
    trap::on(PIC_VECTORS[0], Some(on_tick));
    // A request that is gone when the processor asks for its vector is input 7's of its controller (8259A data sheet). The
    // second has nothing to end then, the first has: its input 2.
    trap::on(PIC_VECTORS[0] + 7, Some(|_| ()));
    trap::on(PIC_VECTORS[1] + 7, Some(|_| outb(PIC[0].0, PIC_END_OF_INTERRUPT)));
}

/// Sets the controllers up, the timer alone let through. With `ends` they end an interrupt themselves when it is taken.
fn program(ends: bool) {
    for ((command, data), (vector, cascade)) in PIC.into_iter().zip(PIC_VECTORS.into_iter().zip([4, 2])) {
        outb(command, 0x11); // ICW1: edges, cascade, ICW4 follows
        outb(data, vector);
        outb(data, cascade);
        outb(data, 1 | u8::from(ends) << 1); // ICW4: 8086 mode
        outb(data, 0xff);
    }
    outb(PIC[0].1, 0xfe);
}

/// Runs `work` while ticks end themselves, so that nothing is done about one but to count it. Interrupts must be off.
pub fn while_ticks_end_themselves<T>(work: impl FnOnce() -> T) -> T {
    init();
    program(true);
    trap::on(PIC_VECTORS[0], Some(|_| TICKS.store(TICKS.load(Relaxed) + 1, Relaxed)));
    let result = work();
    program(false);
    trap::on(PIC_VECTORS[0], Some(on_tick));
    result
}

/// Lets an interrupt line through, to this handler, which has to call [`end_of_interrupt`]. Interrupts must be off.
pub fn listen(line: u8, handler: trap::Handler) {
    init();
    let controller = usize::from(line >> 3 & 1);
    let (_, mask) = PIC[controller];
    trap::on(PIC_VECTORS[controller] + (line & 7), Some(handler));
    outb(mask, inb(mask) & !(1 << (line & 7)));
    if controller == 1 {
        // The second controller is line 2 of the first.
        outb(PIC[0].1, inb(PIC[0].1) & !(1 << 2));
    }
}

/// The interrupt of this line has been handled.
pub fn end_of_interrupt(line: u8) {
    if line >= 8 {
        outb(PIC[1].0, PIC_END_OF_INTERRUPT);
    }
    outb(PIC[0].0, PIC_END_OF_INTERRUPT);
}

fn load_count(count: u16) {
    let [low, high] = count.to_le_bytes();
    outb(PIT_CHANNEL_0, low);
    outb(PIT_CHANNEL_0, high);
}

/// One interrupt, `count` periods of the 8254 from now. Interrupts must be off.
pub fn start_one_shot(count: u16) {
    init();
    outb(PIT_CONTROL, PIT_ONE_SHOT);
    load_count(count);
}

/// An interrupt every `count` periods of the 8254, from now on. Interrupts must be off.
pub fn start_periodic(count: u16) {
    init();
    outb(PIT_CONTROL, PIT_PERIODIC);
    load_count(count);
}

/// No interrupts any more.
pub fn stop() {
    cpu::without_interrupts(init);
    outb(PIT_CONTROL, PIT_ONE_SHOT);
}

/// Waits in `hlt` for the next tick; interrupts are off before and after.
pub fn wait_for_tick() {
    let before = ticks();
    while ticks() == before {
        cpu::wait();
    }
}

/// Sleeps in `hlt`, in steps of at most 50 ms as Unikraft does; interrupts are off before and after.
pub fn sleep(milliseconds: u64) {
    const STEP_MS: u64 = 50;
    let mut left = milliseconds;
    while left > 0 {
        let step = left.min(STEP_MS);
        start_one_shot((step * PIT_HZ / 1000) as u16);
        wait_for_tick();
        left -= step;
    }
}

/// Frequency of the time stamp counter in kHz: from CPUID leaf 0x40000010 where a monitor offers it, else
/// measured.
pub fn tsc_khz() -> u64 {
    const TIMING_LEAF: u32 = 0x4000_0010;
    if cpu::cpuid(0x4000_0000, 0).eax >= TIMING_LEAF {
        return u64::from(cpu::cpuid(TIMING_LEAF, 0).eax);
    }
    measure_tsc_khz()
}

/// Counts the time stamp counter over 20 ms of the 8254, read by polling. Interrupts must be off.
pub fn measure_tsc_khz() -> u64 {
    const START: u16 = u16::MAX;
    const PERIODS: u64 = PIT_HZ / 50;
    outb(PIT_CONTROL, PIT_PERIODIC);
    load_count(START);
    let first_count = pit_count();
    let first = cpu::rdtsc();
    let mut passed = 0;
    while passed < PERIODS {
        passed = u64::from(first_count.wrapping_sub(pit_count()));
    }
    let cycles = cpu::rdtsc() - first;
    outb(PIT_CONTROL, PIT_ONE_SHOT);
    cycles * PIT_HZ / passed / 1000
}

/// The 8254's channel 0 as it counts down, latched.
pub fn pit_count() -> u16 {
    outb(PIT_CONTROL, 0);
    let low = inb(PIT_CHANNEL_0);
    u16::from_le_bytes([low, inb(PIT_CHANNEL_0)])
}

/// Reads a register of the real-time clock (MC146818).
pub fn cmos(register: u8) -> u8 {
    outb(0x70, register);
    inb(0x71)
}

/// Whether the timer's interrupt waits to be taken, by the first controller's request register.
pub fn tick_is_pending() -> bool {
    const READ_REQUESTS: u8 = 0x0a;
    outb(PIC[0].0, READ_REQUESTS);
    inb(PIC[0].0) & 1 != 0
}

/// Makes a tick wait to be taken; says whether it did within a second. Interrupts must be off.
pub fn raise_tick() -> bool {
    start_one_shot(100);
    within_a_second(tick_is_pending)
}

/// Runs `work` again and again, with interrupts on, while the timer ticks every millisecond, at least `least`
/// times; stops at the first failure. Says whether there were that many ticks within some seconds.
pub fn while_ticking<E>(least: u64, mut work: impl FnMut() -> Result<(), E>) -> Result<bool, E> {
    let goal = ticks() + least;
    let mut result = Ok(());
    start_periodic((PIT_HZ / 1000) as u16);
    cpu::sti();
    let enough = within_a_second(|| {
        result = work();
        result.is_err() || ticks() >= goal
    });
    cpu::cli();
    stop();
    result.map(|()| enough)
}

/// Repeats `done` until it says yes; gives up after a second (or four, of a processor whose frequency is
/// unknown).
pub fn within_a_second(mut done: impl FnMut() -> bool) -> bool {
    const CYCLES: u64 = 4_000_000_000;
    let start = cpu::rdtsc();
    loop {
        if done() {
            return true;
        }
        if cpu::rdtsc() - start > CYCLES {
            return false;
        }
    }
}
