//! Tries to reach what is not its own: the host's kernel, the monitor's memory, the monitor's state.
//!
//! Each argument is an attack, run in the order given; what it prints is what a guest on a bare machine would
//! see. After the last one it prints `done`. Numbers are hexadecimal.
//!
//! - `syscall`, `syscall-unset`, `x32`, `int80`, `int80-unset`, `sysenter`, `vsyscall`: ways into the host's
//!   kernel
//! - `peek=ADDRESS`: reads 8 bytes; `scan=START:END:STEP`: counts addresses that can be read
//! - `overwrite=ADDRESS:LENGTH`: writes code that makes the system call of `call=…` over a range
//! - `jump=ADDRESS`: jumps there with the registers of `call=…`
//! - `call=NUMBER:A1:A2:A3:A4:A5:A6`: the system call that the two before make; `exit_group(99)` by default
//! - `stack`, `bases`, `flags`, `ports`, `msrs`: state in which a monitor must not lose its way

#![no_std]
#![no_main]

mod calls;
mod memory;
mod state;

use rt::boot::Boot;
use rt::cmdline::hexadecimal;
use rt::{power, println};

rt::guest!("hostile", main);

/// A system call of the host: its number and arguments.
pub(crate) type Call = [u64; 7];

/// `exit_group(99)`: seen from outside, and harmless.
const EXIT_GROUP: Call = [231, 99, 0, 0, 0, 0, 0];

fn main(boot: &'static Boot) -> ! {
    let mut call = EXIT_GROUP;
    for argument in boot.cmdline.argv().iter().skip(1) {
        let (name, value) = match argument.iter().position(|byte| *byte == b'=') {
            Some(at) => (&argument[..at], &argument[at + 1..]),
            None => (*argument, &[][..]),
        };
        let [first, second, third, ..] = numbers(value);
        match name {
            b"syscall" => calls::with_own_entry(0),
            b"syscall-unset" => calls::without_entry(),
            b"x32" => calls::with_own_entry(calls::X32),
            b"int80" => calls::interrupt(),
            b"int80-unset" => calls::interrupt_without_gate(),
            b"sysenter" => calls::sysenter(),
            b"vsyscall" => calls::vsyscall(),
            b"call" => call = numbers(value),
            b"peek" => memory::peek(first),
            b"scan" => memory::scan(first, second, third),
            b"overwrite" => memory::overwrite(first, second, &call),
            b"jump" => memory::jump(first, &call),
            b"stack" => state::without_a_stack(),
            b"bases" => state::with_wild_bases(),
            b"flags" => state::with_wild_flags(),
            b"ports" => state::all_ports(),
            b"msrs" => state::many_registers(),
            _ => println!("unknown attack"),
        }
    }
    println!("done");
    power::exit(0)
}

/// Reads numbers between colons; those that are missing are 0.
fn numbers(text: &[u8]) -> Call {
    let mut numbers = [0; 7];
    for (number, digits) in numbers.iter_mut().zip(text.split(|byte| *byte == b':')) {
        *number = hexadecimal(digits);
    }
    numbers
}
