//! The devices that a PC's kernel meets first: serial port, text screen, interrupt controllers, timer, clock.

use rt::check::{Check, Outcome, equal, holds};
use rt::port::{inb, outb};
use rt::{cpu, time};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "serial-status", run: serial_status },
    Check { name: "vga-text", run: vga_text },
    Check { name: "pic-masks", run: pic_masks },
    Check { name: "pit-counts-down", run: pit_counts_down },
    Check { name: "pit-tick", run: pit_tick },
    Check { name: "pit-periodic", run: pit_periodic },
    Check { name: "pit-ends-itself", run: pit_ends_itself },
    Check { name: "pit-sleep", run: pit_sleep },
    Check { name: "cmos-clock", run: cmos_clock },
];

fn serial_status() -> Outcome {
    equal("transmitter is empty", (inb(0x3fd) & 0x20).into(), 0x20)?;
    equal("no input", (inb(0x3fd) & 1).into(), 0)
}

/// Unikraft writes to 0xb8000 whether or not there is a screen (plat/kvm/x86/vga_console.c). Without one,
/// what is read back is nothing that can be relied on.
fn vga_text() -> Outcome {
    const SCREEN: *mut u16 = 0xb_8000 as *mut u16;
    const CELLS: usize = 80 * 25;
    let cursor = |register: u8, value: u8| {
        outb(0x3d4, register);
        outb(0x3d5, value);
    };
    for at in 0..CELLS {
        // SAFETY: device memory, or nothing.
        unsafe { SCREEN.add(at).write_volatile(0x0720 + (at as u16 & 0x3f)) };
    }
    cursor(0xe, 0);
    cursor(0xf, 0);
    // SAFETY: as above.
    let read = unsafe { SCREEN.add(65).read_volatile() };
    holds("reads as written, or as nothing", matches!(read, 0x0721 | 0xffff | 0))
}

fn pic_masks() -> Outcome {
    for (_, data) in time::PIC {
        let original = inb(data);
        outb(data, 0x5a);
        let first = inb(data);
        outb(data, 0xff);
        let second = inb(data);
        outb(data, original);
        equal("mask", first.into(), 0x5a)?;
        equal("mask", second.into(), 0xff)?;
    }
    Ok(())
}

fn pit_counts_down() -> Outcome {
    time::start_periodic(0xffff);
    let mut before = time::pit_count();
    for _ in 0..20 {
        let now = time::pit_count();
        holds("counts down", now <= before)?;
        before = now;
    }
    time::stop();
    holds("has counted", before < 0xffff)
}

fn pit_tick() -> Outcome {
    holds("is requested", time::raise_tick())?;
    let before = time::ticks();
    equal("waits while interrupts are off", time::ticks(), before)?;
    cpu::wait();
    equal("is taken once", time::ticks(), before + 1)?;
    holds("is no longer requested", !time::tick_is_pending())
}

fn pit_periodic() -> Outcome {
    let before = time::ticks();
    time::start_periodic((time::PIT_HZ / 100) as u16);
    for _ in 0..5 {
        time::wait_for_tick();
    }
    time::stop();
    holds("ticks", time::ticks() >= before + 5)
}

/// The processor works, and nothing it does tells anybody that a tick has been taken.
fn pit_ends_itself() -> Outcome {
    let goal = time::ticks() + 5;
    let came = time::while_ticks_end_themselves(|| {
        time::start_periodic((time::PIT_HZ / 1000) as u16);
        cpu::sti();
        let came = time::within_a_second(|| time::ticks() >= goal);
        cpu::cli();
        time::stop();
        came
    });
    holds("ticks", came)
}

/// The middle of three measurements: one may be spoilt by the monitor's not being scheduled.
fn tsc_khz() -> u64 {
    let mut measured = [time::tsc_khz(), time::tsc_khz(), time::tsc_khz()];
    measured.sort_unstable();
    measured[1]
}

fn pit_sleep() -> Outcome {
    let khz = tsc_khz();
    let start = cpu::rdtsc();
    time::sleep(20);
    let milliseconds = (cpu::rdtsc() - start) / khz;
    holds("at least 20 ms, measured not too well", milliseconds >= 15)?;
    holds("at most some seconds", milliseconds < 5000)
}

/// MC146818: update in progress in status A, binary-coded decimal and 24 hours in status B.
fn cmos_clock() -> Outcome {
    let idle = (0..1_000_000).any(|_| time::cmos(0x0a) & 0x80 == 0);
    holds("an update ends", idle)?;
    for register in [0, 2, 4, 7, 8, 9] {
        let value = time::cmos(register);
        holds("is decimal", value & 0xf < 10 && value >> 4 < 10)?;
    }
    Ok(())
}
