//! The same guest does the same under `runu` and under QEMU's emulator (TCG).
//!
//! Both get the same file, memory, command line and initrd. Compared are every byte of the console and the end: power-off,
//! exit code, crash, triple fault, or none at all. QEMU is the judge: it emulates the whole processor and was not written by
//! us. What may differ is in one table (`console`), and no line of it concerns our own guests, whose consoles must be equal
//! byte by byte.
//!
//! Real Unikraft kernels take part when `RUNU_GUESTS` names a folder with some (`real`).

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "processes and users are not looked at here")]
mod support;

mod console;
mod emulated;
mod end;
mod guest;
mod native;
mod own;
mod real;
