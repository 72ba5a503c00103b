//! Says `ready` and halts for ever with interrupts on, to be killed and to be seen using no processor time.
//!
//! With `tick=MS` it wakes that often, in steps of 50 ms at most, as an idle Unikraft does.

#![no_std]
#![no_main]

use rt::boot::Boot;
use rt::{cpu, println, time};

rt::guest!("idle", main);

fn main(boot: &'static Boot) -> ! {
    time::stop();
    println!("ready");
    let period = boot.cmdline.number(b"tick").filter(|milliseconds| *milliseconds > 0);
    loop {
        match period {
            Some(milliseconds) => time::sleep(milliseconds),
            None => cpu::wait(),
        }
    }
}
