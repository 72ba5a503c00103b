//! Does what real kernels do to a processor and its oldest devices, and checks what comes of it.
//!
//! Prints a line per check and ends with the number of failures as exit code. Arguments select checks by
//! name; `-name` leaves one out. Under QEMU TCG (`-M pc -cpu max`) every check passes.

#![no_std]
#![no_main]

mod code;
mod devices;
mod exceptions;
mod flags;
mod interrupts;
mod registers;
mod segments;
mod state;
mod syscalls;

use rt::boot::Boot;
use rt::check;

rt::guest!("cpu", main);

fn main(boot: &'static Boot) -> ! {
    check::run(
        boot,
        &[
            segments::CHECKS,
            registers::CHECKS,
            devices::CHECKS,
            code::CHECKS,
            exceptions::CHECKS,
            interrupts::CHECKS,
            flags::CHECKS,
            state::CHECKS,
            syscalls::CHECKS,
        ],
    )
}
