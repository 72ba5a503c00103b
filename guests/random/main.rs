//! Runs random instructions and prints a hash of all they did: registers, flags, XMM registers, memory. The
//! numbers mean nothing by themselves; what matters is that every machine prints the same.
//!
//! - `seed=N`: the first sequence, 1 by default; `count=N`: how many, 200 by default
//! - `tick`: with the timer's interrupt coming all the time, whose handler changes every register
//! - `each`: a line for each sequence, not one for fifty; `dump`: also code, registers and memory
//! - `items=N`: only the first parts of each sequence

#![no_std]
#![no_main]

mod encode;
mod generate;
mod machine;

use generate::Generator;
use machine::{Machine, TICKING};
use rt::boot::Boot;
use rt::{power, print, println};

rt::guest!("random", main);

/// Sequences in a line of output.
const GROUP: u64 = 50;

fn main(boot: &'static Boot) -> ! {
    let argument = |name, default| boot.cmdline.number(name).unwrap_or(default);
    let (first, count) = (argument(b"seed", 1), argument(b"count", 200));
    let items = argument(b"items", u64::MAX);
    let group = if boot.cmdline.has(b"each") { 1 } else { GROUP };
    let mut machine = Machine::prepare(boot.cmdline.has(b"tick"));
    let mut hash = 0;
    for seed in first..first + count {
        let code = Generator::new(seed, boot.cmdline.has(b"tick")).sequence(items);
        if boot.cmdline.has(b"dump") {
            println!("code of {seed} at {:#x}:", code.as_ptr() as usize);
            code.iter().for_each(|byte| print!("{byte:02x}"));
            println!("");
        }
        hash = machine.run(seed, code, if group == 1 { 0 } else { hash });
        if boot.cmdline.has(b"dump") {
            machine.print();
        }
        if (seed - first + 1) % group == 0 || seed + 1 == first + count {
            println!("up to {seed}: {hash:016x}");
            hash = 0;
        }
    }
    machine.rest();
    if boot.cmdline.has(b"tick") && !TICKING.load(core::sync::atomic::Ordering::Relaxed) {
        println!("there was no tick");
    }
    power::exit(0)
}
