//! Loops for ever with interrupts off, in one instruction.

#![no_std]
#![no_main]

use core::arch::asm;
use rt::boot::Boot;
use rt::println;

rt::guest!("spin", main);

fn main(_: &'static Boot) -> ! {
    println!("about to loop with interrupts off");
    // SAFETY: stays where it is.
    unsafe { asm!("cli", "2: jmp 2b", options(noreturn)) }
}
