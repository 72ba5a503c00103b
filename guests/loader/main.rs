//! Runs a program made for Linux, as Unikraft's elfloader does: the initrd is its file, a static ELF64 executable.
//!
//! The program's memory appears page by page when it is touched, its file's contents with it. Its system calls come by
//! `syscall` to this kernel's own entry, at the same privilege. It gets the guest's arguments and environment, and its exit
//! status is the guest's exit code. What a program does that prints, computes and allocates is served; other system calls
//! fail with `ENOSYS`.

#![no_std]
#![no_main]

mod calls;
mod entry;
mod image;
mod space;

use rt::boot::Boot;
use rt::{power, println};

rt::guest!("loader", main);

fn main(boot: &'static Boot) -> ! {
    if boot.initrd.is_empty() {
        println!("no program: it is the initrd");
        power::exit(1);
    }
    let Some(image) = image::Image::read(boot.initrd) else {
        println!("the initrd is no static ELF64 program");
        power::exit(1);
    };
    space::enter(boot, image);
    let stack = image.stack(boot);
    entry::enable();
    entry::run(image.entry(), stack)
}
