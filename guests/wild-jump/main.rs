//! Jumps to where nothing is mapped. With an IDT it reports its own page fault; with `no-idt` that is a
//! triple fault.
//!
//! `to=HEX` is the address, 0x7f0000001000 by default.

#![no_std]
#![no_main]

use core::arch::asm;
use rt::boot::Boot;
use rt::cmdline::hexadecimal;
use rt::{println, tables};

rt::guest!("wild-jump", main);

const NOWHERE: u64 = 0x7f00_0000_1000;

fn main(boot: &'static Boot) -> ! {
    let target = boot.cmdline.value(b"to").map_or(NOWHERE, hexadecimal);
    println!("about to jump to {target:#x}");
    if boot.cmdline.has(b"no-idt") {
        tables::load_empty_idt();
    }
    // SAFETY: there is no code to run.
    unsafe { asm!("jmp {}", in(reg) target, options(noreturn)) }
}
