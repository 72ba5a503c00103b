//! Pages of every size, and changes of what they map.

use crate::space::{self, MAPPINGS, frame, frames, map, peek, poke, tables, unmap};
use rt::check::{Check, Outcome, equal};
use rt::cpu;
use rt::paging::{self, Size, WRITABLE};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "own-tables", run: own_tables },
    Check { name: "small-pages", run: small_pages },
    Check { name: "large-pages", run: large_pages },
    Check { name: "huge-page", run: huge_page },
    Check { name: "absent-then-present", run: absent_then_present },
    Check { name: "remap-and-invlpg", run: remap_and_invlpg },
    Check { name: "remap-and-cr3", run: remap_and_cr3 },
    Check { name: "unmap", run: unmap_faults },
    Check { name: "split-large-page", run: split_large_page },
    Check { name: "table-replaced", run: table_replaced },
    Check { name: "aliases", run: aliases },
    Check { name: "two-address-spaces", run: two_address_spaces },
];

/// Each check has its own gibibyte, so that none sees another's pages.
const SMALL: u64 = MAPPINGS;
const LARGE: u64 = MAPPINGS + (1 << 30);
const REMAPPED: u64 = MAPPINGS + (2 << 30);
const SPLIT: u64 = MAPPINGS + (3 << 30);
const ALIASES: u64 = MAPPINGS + (4 << 30);
const REPLACED: u64 = MAPPINGS + (5 << 30);
const HUGE: u64 = MAPPINGS + (256 << 30);

fn own_tables() -> Outcome {
    equal("cr3", cpu::read_cr3(), tables().root)?;
    space::read_faults(0x10, 0)?;
    space::read_faults(0xf000_0000, 0)
}

/// Neighbours in the address space that are none in memory.
fn small_pages() -> Outcome {
    let frames = [frame(), frame(), frame(), frame()];
    for (page, frame) in [3, 1, 0, 2].into_iter().zip(frames) {
        map(SMALL + page * 0x1000, frame, WRITABLE);
    }
    for at in (0..0x4000).step_by(0x100) {
        poke(SMALL + at, at ^ 0x5555);
    }
    for (page, frame) in [3, 1, 0, 2].into_iter().zip(frames) {
        for at in (0..0x1000).step_by(0x100) {
            equal("word", peek(frame + at), (page * 0x1000 + at) ^ 0x5555)?;
        }
    }
    poke(SMALL + 0x1ffc, 0x1111_2222_3333_4444);
    equal("across pages, first half", peek(frames[1] + 0xff8) >> 32, 0x3333_4444)?;
    equal("across pages, second half", peek(frames[3]) & 0xffff_ffff, 0x1111_2222)
}

fn large_pages() -> Outcome {
    let [first, second] = [frames().allocate(Size::Large), frames().allocate(Size::Large)];
    tables().map(frames(), LARGE, second, Size::Large, WRITABLE);
    tables().map(frames(), LARGE + Size::Large.bytes(), first, Size::Large, WRITABLE);
    for at in [0, 0x1000, 0x12_3458, 0x1f_fff8] {
        poke(LARGE + at, at + 1);
        poke(LARGE + Size::Large.bytes() + at, at + 2);
        equal("second frame", peek(second + at), at + 1)?;
        equal("first frame", peek(first + at), at + 2)?;
    }
    Ok(())
}

fn huge_page() -> Outcome {
    if !paging::has_huge_pages() {
        return Ok(());
    }
    tables().map(frames(), HUGE, 0, Size::Huge, WRITABLE);
    let frame = frame();
    poke(frame + 8, 0x1234);
    equal("read", peek(HUGE + frame + 8), 0x1234)?;
    poke(HUGE + frame + 16, 0x5678);
    equal("written", peek(frame + 16), 0x5678)
}

/// A page that appears needs no invalidation.
fn absent_then_present() -> Outcome {
    let frame = frame();
    poke(frame, 0x77);
    space::read_faults(REMAPPED, 0)?;
    tables().map(frames(), REMAPPED, frame, Size::Small, WRITABLE);
    equal("word", peek(REMAPPED), 0x77)
}

/// Two frames that hold 1 and 2.
fn two_frames() -> [u64; 2] {
    let frames = [frame(), frame()];
    poke(frames[0], 1);
    poke(frames[1], 2);
    frames
}

fn remap_and_invlpg() -> Outcome {
    let frames = two_frames();
    for turn in 0..20 {
        map(REMAPPED + 0x1000, frames[turn & 1], WRITABLE);
        equal("word", peek(REMAPPED + 0x1000), 1 + (turn as u64 & 1))?;
    }
    poke(REMAPPED + 0x1000, 3);
    equal("written", peek(frames[1]), 3)?;
    equal("not written", peek(frames[0]), 1)
}

fn remap_and_cr3() -> Outcome {
    let two = two_frames();
    for turn in 0..20 {
        for page in [2, 3] {
            tables().map(
                frames(),
                REMAPPED + page * 0x1000,
                two[(turn + page as usize) & 1],
                Size::Small,
                WRITABLE,
            );
        }
        // SAFETY: the address space in force.
        unsafe { tables().load() };
        for page in [2, 3] {
            equal("word", peek(REMAPPED + page * 0x1000), 1 + ((turn as u64 + page) & 1))?;
        }
    }
    Ok(())
}

fn unmap_faults() -> Outcome {
    let address = REMAPPED + 0x4000;
    let frame = frame();
    map(address, frame, WRITABLE);
    poke(address, 5);
    unmap(address);
    space::read_faults(address, 0)?;
    space::write_faults(address, space::FAULT_WRITE)?;
    map(address, frame, WRITABLE);
    equal("kept", peek(address), 5)
}

/// A large page becomes 512 small ones, of which one maps something else.
fn split_large_page() -> Outcome {
    let large = frames().allocate(Size::Large);
    tables().map(frames(), SPLIT, large, Size::Large, WRITABLE);
    poke(SPLIT + 0x5000, 5);
    poke(SPLIT + 0x6000, 6);
    let other = frame();
    poke(other, 7);
    let table = frame();
    for page in 0..512 {
        poke(table + page * 8, (large + page * 0x1000) | WRITABLE | 1);
    }
    poke(table + 6 * 8, other | WRITABLE | 1);
    poke(tables().entry(frames(), SPLIT, Size::Large) as u64, table | WRITABLE | 1);
    paging::invalidate(SPLIT);
    // SAFETY: the address space in force; whole, because invlpg of one address need not forget the others.
    unsafe { tables().load() };
    equal("same", peek(SPLIT + 0x5000), 5)?;
    equal("other", peek(SPLIT + 0x6000), 7)?;
    tables().map(frames(), SPLIT, large, Size::Large, WRITABLE);
    // SAFETY: the address space in force.
    unsafe { tables().load() };
    equal("joined again", peek(SPLIT + 0x6000), 6)
}

/// The entry of a higher level points to another table.
fn table_replaced() -> Outcome {
    let two = two_frames();
    map(REPLACED, two[0], WRITABLE);
    equal("before", peek(REPLACED), 1)?;
    let table = frame();
    poke(table, two[1] | WRITABLE | 1);
    poke(tables().entry(frames(), REPLACED, Size::Large) as u64, table | WRITABLE | 1);
    paging::invalidate(REPLACED);
    equal("after", peek(REPLACED), 2)
}

fn aliases() -> Outcome {
    let frame = frame();
    let places = [
        ALIASES,
        ALIASES + 0x1000,
        ALIASES + 0x7fff_f000,
        space::HEAP - 0x1000,
        frame,
        space::DIRECT_MAP + frame,
    ];
    for place in &places[..4] {
        map(*place, frame, WRITABLE);
    }
    for (value, writer) in (100..).zip(places) {
        poke(writer + 0x88, value);
        space::all(places, |reader| equal("word", peek(reader + 0x88), value))?;
    }
    Ok(())
}

/// The same address means different frames, and back.
fn two_address_spaces() -> Outcome {
    let (here, address) = (tables(), REMAPPED + 0x5000);
    let two = two_frames();
    map(address, two[0], WRITABLE);
    let there = space::copy_of_space();
    let entry = there.entry(frames(), address, Size::Huge) as u64;
    poke(entry, 0);
    there.map(frames(), address, two[1], Size::Small, WRITABLE);
    for _ in 0..10 {
        equal("here", peek(address), 1)?;
        // SAFETY: it maps all that this one maps but for one gibibyte, which holds no code and no stack.
        let read = unsafe {
            there.load();
            let read = peek(address);
            here.load();
            read
        };
        equal("there", read, 2)?;
    }
    Ok(())
}
