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
    println!(
        "unhandled exception {} error {:#x} at {:#x} cr2 {:#x}",
        frame.vector,
        frame.error,
        frame.rip,
        cpu::read_cr2()
    );
    power::crash()
}
