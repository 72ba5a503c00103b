//! Sleeps and wakes: five one-shots of 20 ms, then ten ticks of a periodic timer. Prints counts, no times.

#![no_std]
#![no_main]

use rt::boot::Boot;
use rt::{power, println, time};

rt::guest!("timer", main);

fn main(_: &'static Boot) -> ! {
    for sleep in 1..=5 {
        time::sleep(20);
        println!("slept {sleep}, ticks {}", time::ticks());
    }
    time::start_periodic((time::PIT_HZ / 100) as u16);
    for tick in 1..=10 {
        time::wait_for_tick();
        println!("tick {tick}");
    }
    time::stop();
    power::off()
}
