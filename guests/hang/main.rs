//! Halts with interrupts off: nothing can ever wake it.

#![no_std]
#![no_main]

use rt::boot::Boot;
use rt::{power, println};

rt::guest!("hang", main);

fn main(_: &'static Boot) -> ! {
    println!("about to halt with interrupts off");
    power::halt()
}
