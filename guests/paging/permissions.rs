//! Read-only and non-executable pages.

use crate::space::{
    self, FAULT_FETCH, FAULT_PRESENT, FAULT_WRITE, MAPPINGS, PAGE_FAULT, frame, frames, map, peek, poke,
    tables,
};
use rt::check::{Check, Outcome, equal};
use rt::cpu;
use rt::paging::{self, NO_EXECUTE, Size, WRITABLE};
use rt::trap::{self, Frame};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "read-only", run: read_only },
    Check { name: "read-only-without-wp", run: read_only_without_wp },
    Check { name: "read-only-table", run: read_only_table },
    Check { name: "made-writable", run: made_writable },
    Check { name: "copy-on-write", run: copy_on_write },
    Check { name: "no-execute", run: no_execute },
    Check { name: "no-execute-table", run: no_execute_table },
];

const START: u64 = MAPPINGS + (8 << 30);
const UNDER_A_TABLE: u64 = MAPPINGS + (9 << 30);

fn read_only() -> Outcome {
    let frame = frame();
    poke(frame, 9);
    map(START, frame, 0);
    equal("can be read", peek(START), 9)?;
    space::write_faults(START, FAULT_PRESENT | FAULT_WRITE)?;
    equal("unchanged", peek(frame), 9)
}

/// Without CR0.WP, privilege 0 may write to every page.
fn read_only_without_wp() -> Outcome {
    const WP: u64 = 1 << 16;
    let frame = frame();
    map(START + 0x1000, frame, 0);
    let original = cpu::read_cr0();
    // SAFETY: only the page above is read-only.
    unsafe {
        cpu::write_cr0(original & !WP);
        poke(START + 0x1000, 10);
        cpu::write_cr0(original);
    }
    equal("written", peek(frame), 10)?;
    space::write_faults(START + 0x1000, FAULT_PRESENT | FAULT_WRITE)
}

/// A page is as writable as the least writable entry above it.
fn read_only_table() -> Outcome {
    let frame = frame();
    map(UNDER_A_TABLE, frame, WRITABLE);
    poke(UNDER_A_TABLE, 11);
    let entry = tables().entry(frames(), UNDER_A_TABLE, Size::Large) as u64;
    poke(entry, peek(entry) & !WRITABLE);
    paging::invalidate(UNDER_A_TABLE);
    equal("can be read", peek(UNDER_A_TABLE), 11)?;
    space::write_faults(UNDER_A_TABLE, FAULT_PRESENT | FAULT_WRITE)?;
    poke(entry, peek(entry) | WRITABLE);
    paging::invalidate(UNDER_A_TABLE);
    poke(UNDER_A_TABLE, 12);
    equal("written", peek(frame), 12)
}

fn made_writable() -> Outcome {
    let frame = frame();
    let address = START + 0x2000;
    for turn in 0..5 {
        map(address, frame, 0);
        space::write_faults(address, FAULT_PRESENT | FAULT_WRITE)?;
        map(address, frame, WRITABLE);
        poke(address, turn);
        equal("written", peek(frame), turn)?;
    }
    Ok(())
}

fn copy_on_write() -> Outcome {
    const ADDRESS: u64 = START + 0x3000;
    fn copy(fault: &mut Frame) {
        let page = cpu::read_cr2() & !0xfff;
        let to = frame();
        for at in (0..0x1000).step_by(8) {
            poke(to + at, peek(page + at));
        }
        map(page, to, WRITABLE);
        fault.error = 0;
    }
    let shared = frame();
    poke(shared, 13);
    poke(shared + 8, 14);
    for page in 0..3 {
        map(ADDRESS + page * 0x1000, shared, 0);
    }
    trap::on(PAGE_FAULT, Some(copy));
    for page in 0..3 {
        poke(ADDRESS + page * 0x1000, 100 + page);
    }
    for page in 0..3 {
        equal("own word", peek(ADDRESS + page * 0x1000), 100 + page)?;
        equal("copied word", peek(ADDRESS + page * 0x1000 + 8), 14)?;
    }
    equal("shared word", peek(shared), 13)
}

fn no_execute() -> Outcome {
    let frame = frame();
    let address = START + 0x8000;
    space::write(frame, &space::returning(15));
    map(address, frame, NO_EXECUTE);
    equal("can be read", peek(address) & 0xff, 0xb8)?;
    space::fetch_faults(address, FAULT_PRESENT | FAULT_FETCH)?;
    map(address, frame, 0);
    equal("runs", space::call(address), 15)?;
    map(address, frame, NO_EXECUTE);
    space::fetch_faults(address, FAULT_PRESENT | FAULT_FETCH)
}

fn no_execute_table() -> Outcome {
    let frame = frame();
    let address = UNDER_A_TABLE + Size::Large.bytes();
    space::write(frame, &space::returning(16));
    map(address, frame, 0);
    equal("runs", space::call(address), 16)?;
    let entry = tables().entry(frames(), address, Size::Large) as u64;
    poke(entry, peek(entry) | NO_EXECUTE);
    paging::invalidate(address);
    space::fetch_faults(address, FAULT_PRESENT | FAULT_FETCH)?;
    poke(entry, peek(entry) & !NO_EXECUTE);
    paging::invalidate(address);
    equal("runs again", space::call(address), 16)
}
