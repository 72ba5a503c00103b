//! Recurses until it falls off its stack onto a page that is not mapped.
//!
//! By default the page fault has no stack of its own, nor has the double fault that follows: a triple fault.
//! With `double` the double fault has one and is reported, with `page` the page fault itself.

#![no_std]
#![no_main]

use core::hint::black_box;
use rt::boot::Boot;
use rt::paging::{Frames, Size, Tables};
use rt::tables::{Gate, set_gate, stub};
use rt::{cpu, paging, println};

rt::guest!("stack-overflow", main);

/// Vectors (Intel SDM vol. 3, table 6-1).
const DOUBLE_FAULT: u8 = 8;
const PAGE_FAULT: u8 = 14;

unsafe extern "C" {
    /// The lowest byte of the stack (entry.s).
    static boot_stack: u8;
}

fn main(boot: &'static Boot) -> ! {
    let guard = (&raw const boot_stack as u64).next_multiple_of(0x1000);
    let entry = Tables { root: cpu::read_cr3() }.entry(&mut Frames::of(boot), guard, Size::Small);
    // SAFETY: the far end of the stack is not in use yet; the stubs are those of the same vectors.
    unsafe {
        entry.write_volatile(0);
        paging::invalidate(guard);
        if !boot.cmdline.has(b"page") {
            set_gate(PAGE_FAULT, Gate::interrupt(stub(PAGE_FAULT), 0));
            if !boot.cmdline.has(b"double") {
                set_gate(DOUBLE_FAULT, Gate::interrupt(stub(DOUBLE_FAULT), 0));
            }
        }
    }
    println!("about to overflow the stack");
    println!("came back from depth {}", recurse(1));
    rt::power::exit(1)
}

/// Has no end.
fn recurse(depth: u64) -> u64 {
    black_box([depth; 8]);
    1 + black_box(recurse as fn(u64) -> u64)(depth + 1)
}
