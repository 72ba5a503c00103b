//! Exceptions and interrupts in Rust: a handler per vector gets the interrupted registers and may change them.

use crate::cell::OneCpu;
use crate::{cpu, power, println};

/// The interrupted registers, as `traps.s` saves them.
#[repr(C)]
#[derive(Clone, Copy)]
#[expect(missing_docs, reason = "registers are named by the processor's manual")]
pub struct Frame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rax: u64,
    pub vector: u64,
    pub error: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

/// What is called with the interrupted registers.
pub type Handler = fn(&mut Frame);

static HANDLERS: OneCpu<[Option<Handler>; 256]> = OneCpu::new([None; 256]);

/// Sets the handler of a vector; without one, the vector ends the guest with a report.
pub fn on(vector: u8, handler: Option<Handler>) {
    // SAFETY: the reference lives for this one store, and `dispatch` copies the entry before it calls it.
    unsafe { HANDLERS.get()[usize::from(vector)] = handler };
}

/// Called by the stubs of `traps.s`.
#[unsafe(no_mangle)]
extern "C" fn dispatch(frame: &mut Frame) {
    // SAFETY: the reference lives for this one load.
    match unsafe { HANDLERS.get()[frame.vector as usize & 0xff] } {
        Some(handler) => handler(frame),
        None => report(frame),
    }
}

fn report(frame: &Frame) -> ! {
    const PAGE_FAULT: u64 = 14;
    println!("unhandled exception {} error {:#x} at {:#x}", frame.vector, frame.error, frame.rip);
    if frame.vector == PAGE_FAULT {
        println!("page fault at {:#x}", cpu::read_cr2());
    }
    power::crash()
}

/// An exception that [`record`] saw.
#[derive(Clone, Copy)]
pub struct Record {
    /// The registers as they were.
    pub frame: Frame,
    /// CR2 in the handler.
    pub cr2: u64,
    /// RFLAGS in the handler.
    pub flags: u64,
}

static LAST: OneCpu<Option<Record>> = OneCpu::new(None);

/// A handler that notes what came and continues at the address in R10, which [`crate::faulting!`] puts there.
pub fn record(frame: &mut Frame) {
    // SAFETY: `last` is not running: it does nothing that comes here.
    unsafe { *LAST.get() = Some(Record { frame: *frame, cr2: cpu::read_cr2(), flags: cpu::flags() }) };
    frame.rip = frame.r10;
}

/// What [`record`] saw since the last call.
pub fn last() -> Option<Record> {
    // SAFETY: nothing in here comes to `record`.
    unsafe { LAST.get().take() }
}

/// Removes the handlers of all vectors but those of interrupt lines.
pub fn forget_exceptions() {
    for vector in (0..=31).chain(48..=255) {
        on(vector, None);
    }
}

/// Runs instructions that [`record`] is to see; it goes on behind them. They must leave R10 alone.
#[macro_export]
macro_rules! faulting {
    ($($line:literal),+ $(; $($operands:tt)+)?) => {
        core::arch::asm!("lea r10, [rip + 99f]", $($line,)+ "99:", $($($operands)+,)? out("r10") _)
    };
}
