//! Says hello: prints its arguments, environment and initrd, then ends as it is told to.
//!
//! Arguments, each optional:
//! - `echo`: reads a line from the serial port and prints it
//! - `sleep=MS`: sleeps by the timer, in milliseconds
//! - `exit=N`: ends with exit code N
//! - `crash=unikraft`: reports a crash as Unikraft does
//! - `shutdown=acpi` (default), `i8042`, `triple`, `unikraft`: ends without a code

#![no_std]
#![no_main]

use rt::boot::{Boot, Kind};
use rt::{console, power, time};

rt::guest!("hello", main);

fn main(boot: &'static Boot) -> ! {
    console::write(match boot.kind {
        Kind::Multiboot => b"Hello from a unikernel, booted by multiboot\n",
        Kind::Linux64 => b"Hello from a unikernel, booted as Linux is\n",
    });
    for (index, argument) in boot.cmdline.argv().iter().enumerate() {
        console::write(b"argv[");
        console::write_decimal(index);
        console::write(b"] = ");
        print_line(argument);
    }
    for variable in boot.cmdline.env() {
        console::write(b"env ");
        print_line(variable);
    }
    if !boot.initrd.is_empty() {
        rt::println!("initrd {} bytes, fnv1a {:016x}", boot.initrd.len(), fnv1a(boot.initrd));
    }
    let args = &boot.cmdline;
    if args.has(b"echo") {
        echo();
    }
    if let Some(milliseconds) = args.number(b"sleep") {
        time::sleep(milliseconds);
        console::write(b"slept\n");
    }
    if let Some(code) = args.number(b"exit") {
        power::exit(code as u8);
    }
    if args.value(b"crash").is_some() {
        power::crash();
    }
    match args.value(b"shutdown") {
        Some(b"i8042") => power::reset(),
        Some(b"triple") => power::triple_fault(),
        Some(b"unikraft") => power::unikraft(boot.kind),
        _ => power::off(),
    }
}

fn print_line(text: &[u8]) {
    console::write(text);
    console::write(b"\n");
}

/// Reads up to a line end, which a terminal sends as CR and a pipe as LF.
fn echo() {
    console::write(b"echo: ");
    let mut line = [0; 256];
    let mut size = 0;
    loop {
        match console::read() {
            b'\n' | b'\r' => return print_line(&line[..size]),
            byte if size < line.len() => {
                line[size] = byte;
                size += 1;
            }
            _ => {}
        }
    }
}

/// The 64-bit FNV-1a hash.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
