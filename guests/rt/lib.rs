//! The runtime that every guest is linked with: from the first instruction to `main`, and the hardware a
//! small kernel uses.
//!
//! A guest is one `main.rs` with a `main(&'static Boot) -> !` named in [`guest!`]. Both entries (multiboot
//! and the Linux 64-bit boot protocol, `entry.s`) end in [`start`], which reads what the loader left, loads
//! segments, IDT and TSS, and calls `main` with interrupts off. There is one processor, no allocation, and
//! nothing is set up before it is used: a guest that only prints never touches the PIC or the PIT.
//!
//! The precompiled `core` uses SSE2 and the red zone. So SSE is on before the first Rust instruction, every
//! interrupt and exception runs on its own stack (IST), and the stubs save the SSE registers.

#![no_std]

pub mod boot;
pub mod cell;
pub mod check;
pub mod cmdline;
pub mod console;
pub mod cpu;
pub mod paging;
pub mod port;
pub mod power;
pub mod tables;
pub mod time;
pub mod trap;
pub mod virtio;

use boot::Boot;
use core::arch::global_asm;
use core::panic::PanicInfo;

global_asm!(include_str!("entry.s"), options(raw));
global_asm!(include_str!("traps.s"), options(raw));
global_asm!(include_str!("memory.s"), options(raw));

/// Names a guest and its main function; writes the `.runu_guest` section by which runu recognises its own
/// guests, and learns what they use.
#[macro_export]
macro_rules! guest {
    ($name:literal, $main:path $(, uses $uses:literal)?) => {
        core::arch::global_asm!(
            ".pushsection .runu_guest, \"\", @progbits",
            concat!(".asciz \"name=", $name, "\""),
            ".asciz \"version=1\"",
            $(concat!(".asciz \"uses=", $uses, "\""),)?
            ".popsection"
        );

        #[unsafe(no_mangle)]
        extern "Rust" fn guest_main(boot: &'static $crate::boot::Boot) -> ! {
            $main(boot)
        }
    };
}

unsafe extern "Rust" {
    /// What [`guest!`] defines.
    safe fn guest_main(boot: &'static Boot) -> !;
}

/// Continues where `entry.s` ends: long mode, SSE on, interrupts off. `kind` is a [`boot::Kind`] as a number,
/// `info` the address of the multiboot information or the zero page.
#[unsafe(no_mangle)]
extern "C" fn start(kind: u64, info: usize) -> ! {
    console::init();
    // SAFETY: entry.s calls this once, with the loader's own information.
    let boot = unsafe { boot::read(kind, info) };
    tables::load();
    cpu::enable_extended_state();
    guest_main(boot)
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    println!("panic: {info}");
    power::crash()
}
