//! Times what kernels do all day, in ticks of the time stamp counter: a line `NAME = TICKS ticks` per work.
//!
//! For the benchmark, which runs it in a monitor, under QEMU and, as far as a program may (`work.rs`), without either.
//! What it prints differs from run to run.

#![no_std]
#![no_main]

mod work;

use core::arch::asm;
use rt::boot::Boot;
use rt::port::outb;
use rt::{cpu, power, println, trap};
use work::{UNPRIVILEGED, Work};

rt::guest!("bench", main);

/// Work that only a kernel may do.
const PRIVILEGED: &[Work] = &[
    Work { name: "cli and sti", times: 20_000, run: interrupts_off_and_on },
    Work { name: "out", times: 1_000, run: output },
    Work { name: "breakpoint and iret", times: 100, run: breakpoint },
    Work { name: "page fault and iret", times: 100, run: page_fault },
    Work { name: "change of address space", times: 100, run: change_address_space },
];

const BREAKPOINT: u8 = 3;
const PAGE_FAULT: u8 = 14;

fn main(_: &'static Boot) -> ! {
    trap::on(BREAKPOINT, Some(|_| ()));
    trap::on(PAGE_FAULT, Some(trap::record));
    for work in UNPRIVILEGED.iter().chain(PRIVILEGED) {
        let hundredths = work::time(work);
        println!("{} = {}.{:02} ticks", work.name, hundredths / 100, hundredths % 100);
    }
    power::off()
}

fn interrupts_off_and_on(times: u32) {
    for _ in 0..times {
        cpu::sti();
        cpu::cli();
    }
}

/// The port of power-on self tests, which any machine ignores.
fn output(times: u32) {
    const POST: u16 = 0x80;
    for _ in 0..times {
        outb(POST, 0);
    }
}

fn breakpoint(times: u32) {
    for _ in 0..times {
        // SAFETY: the handler returns behind the instruction.
        unsafe { asm!("int3", options(nomem)) };
    }
}

/// A read where nothing is mapped: the handler goes on behind it.
fn page_fault(times: u32) {
    const NOWHERE: u64 = 0x7f00_0000_1000;
    for _ in 0..times {
        // SAFETY: the read does not happen.
        unsafe { rt::faulting!("mov {0}, [{0}]"; inout(reg) NOWHERE => _) };
    }
}

/// The same page tables again: a processor forgets what it has cached of them all the same.
fn change_address_space(times: u32) {
    for _ in 0..times {
        // SAFETY: nothing changes.
        unsafe { cpu::write_cr3(cpu::read_cr3()) };
    }
}
