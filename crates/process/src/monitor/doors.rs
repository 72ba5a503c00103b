//! The Rust side of the doors in `entry.rs`: where translated code and the kernel's signals come in.

use std::{
    ops::ControlFlow,
    ptr::null_mut,
    sync::atomic::{AtomicPtr, Ordering},
};

use runu_deprivilege::cpu::Registers;

use super::Monitor;
use crate::{entry, host, layout::CODE, signal::Frame};

/// The one monitor of this process.
static MONITOR: AtomicPtr<Monitor> = AtomicPtr::new(null_mut());

impl Monitor {
    /// Enters the guest at the context's registers.
    pub(crate) fn enter(self) -> ! {
        let monitor = Box::leak(Box::new(self));
        MONITOR.store(monitor, Ordering::Release);
        monitor.go_on();
        // SAFETY: `go_on` set where to resume; start-up filled in the rest.
        unsafe { entry::leave() }
    }
}

/// The monitor, for the doors.
///
/// # Safety
/// No other reference to it may be live: the caller interrupted translated code or came through the gate.
unsafe fn monitor() -> &'static mut Monitor {
    // SAFETY: set before the guest was entered, never freed; exclusive as the caller promises.
    unsafe { &mut *MONITOR.load(Ordering::Acquire) }
}

/// Translated code came through the gate.
pub(crate) extern "C" fn on_exit() {
    // SAFETY: translated code ran, so no Rust code holds the monitor.
    let monitor = unsafe { monitor() };
    let number = monitor.context.exit;
    if let Err(stop) = monitor.exit(number) {
        monitor.stop(stop);
    }
}

/// A signal came while the monitor ran; it is about to go back.
pub(crate) extern "C" fn on_noted_signal() {
    // SAFETY: the monitor's last call has returned.
    let monitor = unsafe { monitor() };
    if !monitor.context.take_signal() {
        return;
    }
    monitor.armed = None;
    monitor.take_port_writes();
    monitor.tick();
    monitor.take_port_writes();
    // Whatever led here left the guest's own instruction pointer in the context, and the guest between two instructions unless
    // it has been lent an operand: it looks for interrupts itself when it has used that.
    if monitor.loan.is_none() && monitor.context.cpu.pending != 0 && monitor.context.cpu.interrupts != 0 {
        monitor.go_on();
    }
}

/// The kernel delivered a signal; `fs` is the FS base it interrupted. Returns the FS base to go back with.
pub(crate) extern "C" fn on_signal(
    number: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::ucontext_t,
    fs: u64,
) -> u64 {
    let _ = info;
    // SAFETY: the kernel passes a valid context of this signal, which nobody else uses.
    let mut frame = Frame::new(number, unsafe { &mut *context });
    if !CODE.contains(&frame.rip()) {
        return signal_in_monitor(&mut frame, fs);
    }
    // SAFETY: translated code was interrupted, so no Rust code holds the monitor.
    let monitor = unsafe { monitor() };
    let Some(position) = monitor.cache.position(frame.rip()) else {
        // On the few instructions that lead from a stale block or from 32-bit code to the gate.
        return signal_in_monitor(&mut frame, fs);
    };
    frame.save(&mut monitor.context.regs);
    let regs: Registers = monitor.context.regs;
    monitor.restore(position.spilled);
    monitor.context.regs.rip = position.rip;
    monitor.context.cpu.fs_base = fs;
    monitor.context.cpu.gs_base = host::gs_base();
    match monitor.signal(&mut frame, position) {
        Err(stop) => monitor.stop(stop),
        Ok(ControlFlow::Continue(())) => {
            monitor.context.regs = regs;
            fs
        }
        Ok(ControlFlow::Break(())) => {
            monitor.stepping = false;
            monitor.go_on();
            frame.load(&monitor.context.regs, monitor.context.resume, monitor.context.cpu.long_mode_code());
            host::set_gs_base(monitor.context.cpu.gs_base);
            monitor.context.cpu.fs_base
        }
    }
}

/// A signal interrupted the monitor itself.
fn signal_in_monitor(frame: &mut Frame<'_>, fs: u64) -> u64 {
    // SAFETY: the context is mapped before handlers are set; only its atomic note is touched.
    let context = unsafe { &*host::context() };
    match frame.number() {
        libc::SIGALRM => context.note_signal(),
        // Stepping left translated code: it ends at the way back.
        libc::SIGTRAP if frame.is_stepping() => {
            frame.set_stepping(false);
            context.note_signal();
        }
        number => {
            let reason = format!(
                "signal {number} in the monitor at {:#x}, address {:#x}",
                frame.rip(),
                frame.address()
            );
            crate::fail(reason);
        }
    }
    if entry::leaving().contains(&frame.rip()) {
        frame.restart(entry::leaving().start, context.host_stack);
        return context.host_fs;
    }
    fs
}
