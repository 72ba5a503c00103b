//! Loops for ever with interrupts off, in one instruction. With `pieces` it says some things before, a piece at a time, and
//! computes between them without touching any device.

#![no_std]
#![no_main]

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::hint::spin_loop;
use rt::boot::Boot;
use rt::{print, println};

rt::guest!("spin", main);

/// Some 20 ms of a processor's time stamps, and 100 at the most.
const WHILE: u64 = 100_000_000;

fn main(boot: &'static Boot) -> ! {
    if boot.cmdline.has(b"pieces") {
        for _ in 0..3 {
            print!("a piece, ");
            compute();
            println!("and the rest");
            compute();
        }
    }
    println!("about to loop with interrupts off");
    // SAFETY: stays where it is.
    unsafe { asm!("cli", "2: jmp 2b", options(noreturn)) }
}

fn compute() {
    // SAFETY: every x86-64 processor has a time stamp counter.
    let now = || unsafe { _rdtsc() };
    let begin = now();
    while now().wrapping_sub(begin) < WHILE {
        spin_loop();
    }
}
