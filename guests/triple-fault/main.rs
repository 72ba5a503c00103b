//! Ends by a triple fault that nobody asked for: a breakpoint while no exception can be delivered.

#![no_std]
#![no_main]

use rt::boot::Boot;
use rt::{power, println};

rt::guest!("triple-fault", main);

fn main(_: &'static Boot) -> ! {
    println!("about to raise a breakpoint without an IDT");
    power::triple_fault()
}
