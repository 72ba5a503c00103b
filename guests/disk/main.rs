//! Does to virtio disks what a driver does, and some things that it must not; a line per check, exit code the number of
//! failures.
//!
//! The first disk has at least 64 sectors, a second one, if there is one, 16. The argument `sum` prints a hash of what the
//! first disk holds and does nothing else; `wait` comes to that when there is a byte of input.

#![no_std]
#![no_main]

mod disk;

use disk::{Disk, F_FLUSH, F_RO, IOERR, OK, SECTOR, UNSUPP, kind};
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::check::{self, Check, Outcome, equal, holds};
use rt::{console, power, println};

rt::guest!("disk", main);

/// Exit code when there is no disk.
const NO_DISK: u8 = 101;

/// Sectors that are moved at once at most.
const MOST: usize = 64;

static BUFFER: OneCpu<[u8; MOST * SECTOR]> = OneCpu::new([0; MOST * SECTOR]);
static DISKS: [OneCpu<Option<Disk>>; 2] = [const { OneCpu::new(None) }; 2];

const WRITABLE: &[Check] = &[
    Check { name: "write", run: write },
    Check { name: "write-pieces", run: write_pieces },
    Check { name: "write-many", run: write_many },
    Check { name: "flush", run: flush },
    Check { name: "write-through", run: write_through },
];
const READ_ONLY: &[Check] = &[Check { name: "refused", run: refused }];
const ALL: &[Check] = &[
    Check { name: "size", run: size },
    Check { name: "name", run: name },
    Check { name: "last", run: last },
    Check { name: "beyond", run: beyond },
    Check { name: "parts", run: parts },
    Check { name: "unsupported", run: unsupported },
    Check { name: "reset", run: reset },
];
const SECOND: &[Check] = &[Check { name: "second", run: second }];

fn main(boot: &'static Boot) -> ! {
    for (number, disk) in DISKS.iter().enumerate() {
        // SAFETY: nothing else has a reference to it yet.
        unsafe { *disk.get() = Disk::find(boot, number) };
    }
    // SAFETY: as above.
    let [Some(first), second] = (unsafe { [DISKS[0].get(), DISKS[1].get()] }) else {
        println!("no disk");
        power::exit(NO_DISK)
    };
    let (read_only, has_second) = (first.has(F_RO), second.is_some());
    if boot.cmdline.has(b"wait") {
        println!("waiting");
        let _ = console::read();
        sum()
    }
    if boot.cmdline.has(b"sum") {
        sum()
    }
    let access = if read_only { READ_ONLY } else { WRITABLE };
    check::run(boot, &[ALL, access, if has_second { SECOND } else { &[] }])
}

/// The disk that is checked, and a buffer.
fn disk() -> (&'static mut Disk, &'static mut [u8; MOST * SECTOR]) {
    // SAFETY: every check gets them once and gives them up when it ends.
    unsafe { (DISKS[0].get().as_mut().expect("it was found"), BUFFER.get()) }
}

/// Prints the 64-bit FNV-1a hash of all sectors.
fn sum() -> ! {
    let (disk, buffer) = disk();
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut sector = 0;
    while sector < disk.sectors {
        let count = (disk.sectors - sector).min(MOST as u64) as usize;
        let bytes = &mut buffer[..count * SECTOR];
        if disk.read(sector, bytes) != OK {
            println!("sector {sector} cannot be read");
            power::exit(1)
        }
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
        sector += count as u64;
    }
    println!("{} sectors, fnv1a {hash:016x}", disk.sectors);
    power::off()
}

/// Fills a buffer with bytes that tell `seed` and their place.
fn fill(bytes: &mut [u8], seed: u8) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = (index % 251) as u8 ^ seed;
    }
}

/// Requires that a buffer holds what [`fill`] writes.
fn filled(what: &'static str, bytes: &[u8], seed: u8) -> Outcome {
    let wrong = bytes.iter().enumerate().position(|(index, byte)| *byte != (index % 251) as u8 ^ seed);
    equal(what, wrong.map_or(u64::MAX, |at| at as u64), u64::MAX)
}

fn status(what: &'static str, got: u8, expected: u8) -> Outcome {
    equal(what, got.into(), expected.into())
}

fn size() -> Outcome {
    let (disk, _) = disk();
    holds("at least 64 sectors", disk.sectors >= 64)?;
    equal("size of a block", disk.block_size.into(), SECTOR as u64)?;
    holds("several segments", disk.segments >= 4)
}

fn name() -> Outcome {
    let (disk, buffer) = disk();
    status("status", disk.ask(kind::GET_ID, 0, &mut [&mut buffer[..20]]), OK)
}

fn last() -> Outcome {
    let (disk, buffer) = disk();
    let sector = disk.sectors - 1;
    status("status", disk.read(sector, &mut buffer[..SECTOR]), OK)
}

fn beyond() -> Outcome {
    let (disk, buffer) = disk();
    for sector in [disk.sectors - 1, disk.sectors, 1 << 54, u64::MAX] {
        status("read", disk.read(sector, &mut buffer[..2 * SECTOR]), IOERR)?;
        status("write", disk.write(sector, &mut buffer[..2 * SECTOR]), IOERR)?;
    }
    Ok(())
}

fn parts() -> Outcome {
    let (disk, buffer) = disk();
    status("half a sector", disk.read(0, &mut buffer[..256]), IOERR)?;
    status("half a sector more", disk.read(0, &mut buffer[..SECTOR + 256]), IOERR)
}

fn unsupported() -> Outcome {
    let (disk, _) = disk();
    status("status", disk.ask(0x7777, 0, &mut []), UNSUPP)
}

fn reset() -> Outcome {
    let (disk, buffer) = disk();
    status("before", disk.read(1, &mut buffer[..SECTOR]), OK)?;
    let before: [u8; SECTOR] = buffer[..SECTOR].try_into().expect("the length fits");
    holds("is set up again", disk.set_up(F_FLUSH))?;
    status("after", disk.read(1, &mut buffer[..SECTOR]), OK)?;
    holds("the same", before == buffer[..SECTOR])
}

fn write() -> Outcome {
    let (disk, buffer) = disk();
    let bytes = &mut buffer[..8 * SECTOR];
    fill(bytes, 1);
    status("write", disk.write(3, bytes), OK)?;
    bytes.fill(0);
    status("read", disk.read(3, bytes), OK)?;
    filled("wrong at", bytes, 1)?;
    fill(bytes, 2);
    status("write one", disk.write(5, &mut bytes[..SECTOR]), OK)?;
    status("read one", disk.read(5, &mut bytes[SECTOR..2 * SECTOR]), OK)?;
    filled("wrong in one at", &bytes[SECTOR..2 * SECTOR], 2)
}

fn write_pieces() -> Outcome {
    let (disk, buffer) = disk();
    fill(&mut buffer[..4 * SECTOR], 3);
    let (a, rest) = buffer.split_at_mut(700);
    let (b, rest) = rest.split_at_mut(1);
    let (c, _) = rest.split_at_mut(4 * SECTOR - 701);
    status("write", disk.ask(kind::OUT, 16, &mut [a, b, c]), OK)?;
    for piece in [&mut *a, &mut *b, &mut *c] {
        piece.fill(0);
    }
    status("read", disk.ask(kind::IN, 16, &mut [a, b, c]), OK)?;
    filled("wrong at", &buffer[..4 * SECTOR], 3)
}

fn write_many() -> Outcome {
    let (disk, buffer) = disk();
    fill(buffer, 4);
    status("write", disk.write(0, buffer), OK)?;
    buffer.fill(0);
    for (sector, bytes) in (0..).zip(buffer.chunks_mut(SECTOR)) {
        status("read", disk.read(sector, bytes), OK)?;
    }
    filled("wrong at", buffer, 4)
}

fn flush() -> Outcome {
    let (disk, _) = disk();
    holds("offered", disk.has(F_FLUSH))?;
    status("status", disk.ask(kind::FLUSH, 0, &mut []), OK)
}

/// A driver that does not know of flushing.
fn write_through() -> Outcome {
    let (disk, buffer) = disk();
    holds("is set up without", disk.set_up(0))?;
    fill(&mut buffer[..SECTOR], 5);
    let outcome = status("write", disk.write(63, &mut buffer[..SECTOR]), OK);
    holds("is set up again", disk.set_up(F_FLUSH))?;
    outcome
}

fn refused() -> Outcome {
    let (disk, buffer) = disk();
    holds("says so", disk.has(F_RO))?;
    status("before", disk.read(0, &mut buffer[..SECTOR]), OK)?;
    let before: [u8; SECTOR] = buffer[..SECTOR].try_into().expect("the length fits");
    buffer[..SECTOR].fill(!before[0]);
    status("write", disk.write(0, &mut buffer[..SECTOR]), IOERR)?;
    status("after", disk.read(0, &mut buffer[..SECTOR]), OK)?;
    holds("the same", before == buffer[..SECTOR])
}

/// What is written to one disk is not on the other.
fn second() -> Outcome {
    let (first, buffer) = disk();
    // SAFETY: only this check uses it.
    let second = unsafe { DISKS[1].get().as_mut().expect("it was found") };
    equal("sectors", second.sectors, 16)?;
    let (ours, theirs) = buffer.split_at_mut(SECTOR);
    status("read", first.read(7, ours), OK)?;
    theirs[..SECTOR].fill(!ours[0]);
    status("write", second.write(7, &mut theirs[..SECTOR]), OK)?;
    status("read again", first.read(7, &mut theirs[..SECTOR]), OK)?;
    holds("the same", *ours == theirs[..SECTOR])
}
