//! Uses all memory that it was given, every page of it, and sees that each keeps what was written.
//!
//! With `twice` it does so through page tables of its own, in which all memory is mapped at two places by 4 KiB pages, as
//! kernels with a direct map and a heap do. With `backwards` the second place shows the pages in the other order, so that no two
//! neighbours there are neighbours in memory: the most a host needs to keep for a guest's memory. With `code` it then runs a
//! great many small pieces of code, each at an address of its own.

#![no_std]
#![no_main]

use rt::boot::Boot;
use rt::paging::{Frames, NO_EXECUTE, Size, Tables, WRITABLE};
use rt::{cpu, power, println};

rt::guest!("fill", main);

/// Where Unikraft maps all RAM (plat/common/include/x86/paging.h).
const DIRECT_MAP: u64 = 0xffff_ff80_0000_0000;

const PAGE: u64 = 0x1000;

fn main(boot: &'static Boot) -> ! {
    let mut frames = Frames::of(boot);
    let top = boot.ram().iter().map(|range| range.end).filter(|end| *end <= 4 << 30).max().unwrap_or(0);
    let top = top - top % PAGE;
    let straight: &dyn Fn(u64) -> u64 = &|page| page;
    let places: &[&dyn Fn(u64) -> u64] = if boot.cmdline.has(b"twice") {
        &[straight, &|page| DIRECT_MAP + page]
    } else if boot.cmdline.has(b"backwards") {
        &[straight, &|page| DIRECT_MAP + (top - PAGE - page)]
    } else {
        &[straight]
    };
    if let [_, second] = places {
        enter(&mut frames, boot, top, second);
    }
    // The next frame is the first that nobody uses.
    let free = frames.allocate(Size::Small);
    let mut pages = 0;
    for (pass, place) in places.iter().enumerate() {
        for_each_page(boot, free, |page| {
            let word = place(page) as *mut u64;
            // SAFETY: free RAM, mapped there.
            unsafe { word.write_volatile(page ^ pass as u64) };
        });
        pages = 0;
        for_each_page(boot, free, |page| {
            // SAFETY: as above; the other place shows the same memory.
            let word = unsafe { (page as *const u64).read_volatile() };
            assert!(word == page ^ pass as u64, "page {page:#x} holds {word:#x}");
            pages += 1;
        });
    }
    println!("filled {} KiB", pages * PAGE / 1024);
    if boot.cmdline.has(b"code") {
        println!("ran {} functions", run_code(free));
    }
    power::off()
}

/// Functions that are run, and the bytes from one to the next.
const FUNCTIONS: u64 = 1 << 17;
const FUNCTION: u64 = 16;

/// Writes functions from `start` on, each of which returns its number, and calls them all; how many told theirs.
fn run_code(start: u64) -> u32 {
    for number in 0..FUNCTIONS {
        let code = (start + number * FUNCTION) as *mut u8;
        // `mov eax, number; ret` (Intel SDM vol. 2).
        // SAFETY: memory that was filled, and is not needed any more.
        unsafe {
            code.write(0xb8);
            code.add(1).cast::<u32>().write_unaligned(number as u32);
            code.add(5).write(0xc3);
        }
    }
    let mut told = 0;
    for number in 0..FUNCTIONS {
        // SAFETY: the code of a function without arguments, just written; memory is executable where it is.
        let function =
            unsafe { core::mem::transmute::<u64, extern "sysv64" fn() -> u32>(start + number * FUNCTION) };
        told += u32::from(function() == number as u32);
    }
    told
}

/// Calls `act` with the address of every page of RAM from `free` on.
fn for_each_page(boot: &Boot, free: u64, mut act: impl FnMut(u64)) {
    for range in boot.ram() {
        let mut page = range.start.max(free).next_multiple_of(PAGE);
        // The loader maps no more.
        while page + PAGE <= range.end.min(4 << 30) {
            act(page);
            page += PAGE;
        }
    }
}

/// Makes and enters an address space with all RAM at its addresses and where `second` says.
fn enter(frames: &mut Frames, boot: &Boot, top: u64, second: &dyn Fn(u64) -> u64) {
    const EFER: u32 = 0xc000_0080;
    const NXE: u64 = 1 << 11;
    let tables = Tables::new(frames);
    // All of the first MiB, in which the loader left its structures, and the rest of it up to the last page of RAM.
    for page in (PAGE..top).step_by(PAGE as usize) {
        let is_ram = boot.ram().iter().any(|range| (range.start..range.end).contains(&page));
        if is_ram || page < 1 << 20 {
            tables.map(frames, page, page, Size::Small, WRITABLE);
            tables.map(frames, second(page), page, Size::Small, WRITABLE | NO_EXECUTE);
        }
    }
    // SAFETY: every processor with long mode has no-execute pages, and all that is in use is mapped.
    unsafe {
        cpu::wrmsr(EFER, cpu::rdmsr(EFER) | NXE);
        tables.load();
    }
}
