//! Manages its own address spaces and checks what the processor makes of them.
//!
//! Pages of every size, remaps, permissions, aliases, demand paging and code in mapped pages, at the
//! addresses where Unikraft has such things: heap from 0x4_0000_0000, mappings from 0x10_0000_0000, all RAM
//! at 0xffff_ff80_0000_0000, and beyond what a process can map. Prints a line per check and ends with the number of failures as exit code;
//! arguments select as in `cpu`. Needs 16 MiB.

#![no_std]
#![no_main]

mod code;
mod demand;
mod kernel_half;
mod mapping;
mod out_of_reach;
mod permissions;
mod space;

use rt::boot::Boot;
use rt::check;

rt::guest!("paging", main);

fn main(boot: &'static Boot) -> ! {
    space::enter(boot);
    check::run(
        boot,
        &[
            mapping::CHECKS,
            permissions::CHECKS,
            kernel_half::CHECKS,
            out_of_reach::CHECKS,
            demand::CHECKS,
            code::CHECKS,
        ],
    )
}
