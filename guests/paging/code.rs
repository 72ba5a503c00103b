//! Code in pages that are mapped, changed and moved.

use crate::space::{self, MAPPINGS, call, frame, frames, map, poke, returning, tables, write};
use rt::check::{Check, Outcome, equal};
use rt::paging::{self, Size, WRITABLE};

pub(crate) const CHECKS: &[Check] = &[
    Check { name: "code-mapped-high", run: mapped_high },
    Check { name: "code-remapped", run: remapped },
    Check { name: "code-remapped-by-cr3", run: remapped_by_cr3 },
    Check { name: "code-changed-through-alias", run: changed_through_alias },
    Check { name: "code-knows-its-address", run: knows_its_address },
    Check { name: "code-across-scattered-pages", run: across_scattered_pages },
    Check { name: "code-jumps-between-pages", run: jumps_between_pages },
    Check { name: "code-in-two-address-spaces", run: in_two_address_spaces },
    Check { name: "code-unmapped", run: unmapped },
];

const START: u64 = MAPPINGS + (16 << 30);

/// A frame with code that returns a number.
fn frame_returning(value: u32) -> u64 {
    let frame = frame();
    write(frame, &returning(value));
    frame
}

fn mapped_high() -> Outcome {
    for (value, address) in (1..).zip([space::HEAP, MAPPINGS - 0x1000, START, START + 0x3fff_f000]) {
        map(address, frame_returning(value), 0);
        equal("value", call(address), value.into())?;
    }
    Ok(())
}

fn remapped() -> Outcome {
    let two = [frame_returning(10), frame_returning(11)];
    for turn in 0..20 {
        map(START + 0x1000, two[turn & 1], 0);
        equal("value", call(START + 0x1000), 10 + (turn as u64 & 1))?;
    }
    Ok(())
}

fn remapped_by_cr3() -> Outcome {
    let two = [frame_returning(12), frame_returning(13)];
    for turn in 0..20 {
        tables().map(frames(), START + 0x2000, two[turn & 1], Size::Small, 0);
        // SAFETY: the address space in force.
        unsafe { tables().load() };
        equal("value", call(START + 0x2000), 12 + (turn as u64 & 1))?;
    }
    Ok(())
}

/// Written where the frame is, and through the direct map, run elsewhere.
fn changed_through_alias() -> Outcome {
    let frame = frame_returning(1);
    map(START + 0x3000, frame, 0);
    for value in 2..20 {
        let writer = if value & 1 == 0 { frame } else { space::DIRECT_MAP + frame };
        write(writer, &returning(value));
        equal("value", call(START + 0x3000), value.into())?;
        equal("value where the frame is", call(frame), value.into())?;
    }
    Ok(())
}

/// The same bytes at three addresses; each sees its own.
fn knows_its_address() -> Outcome {
    let frame = frame();
    write(frame, &[0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xc3]); // lea rax, [rip - 7]; ret
    write(frame + 0x20, &[0xe8, 0, 0, 0, 0, 0x58, 0xc3]); // call next; next: pop rax; ret
    for address in [frame, START + 0x4000, START + 0x5000] {
        if address != frame {
            map(address, frame, 0);
        }
        equal("lea", call(address), address)?;
        equal("call", call(address + 0x20), address + 0x25)?;
    }
    Ok(())
}

/// An instruction that lies in two pages which are no neighbours in memory; then the second one changes.
fn across_scattered_pages() -> Outcome {
    let [second, _, first, other] = [frame(), frame(), frame(), frame()];
    let code = returning(0x1111_2222);
    write(first + 0xffd, &code[..3]);
    write(second, &code[3..]);
    write(other, &returning(0x3333_2222)[3..]);
    let address = START + 0x7000;
    map(address, first, 0);
    map(address + 0x1000, second, 0);
    equal("value", call(address + 0xffd), 0x1111_2222)?;
    map(address + 0x1000, other, 0);
    equal("value with another second page", call(address + 0xffd), 0x3333_2222)
}

/// Direct jumps to a neighbour page, which is then another.
fn jumps_between_pages() -> Outcome {
    let address = START + 0x9000;
    let jump = frame();
    write(jump, &[0xe9, 0xfb, 0x0f, 0, 0]); // jmp to the next page's start
    map(address, jump, 0);
    for value in 30..40 {
        map(address + 0x1000, frame_returning(value), 0);
        equal("value", call(address), value.into())?;
    }
    Ok(())
}

fn in_two_address_spaces() -> Outcome {
    let (here, address) = (tables(), START + (1 << 30));
    map(address, frame_returning(50), 0);
    let there = space::copy_of_space();
    poke(there.entry(frames(), address, Size::Huge) as u64, 0);
    there.map(frames(), address, frame_returning(51), Size::Small, WRITABLE);
    for _ in 0..10 {
        equal("here", call(address), 50)?;
        // SAFETY: it maps all that this one maps but for one gibibyte, which holds none of what is in use.
        let value = unsafe {
            there.load();
            let value = call(address);
            here.load();
            value
        };
        equal("there", value, 51)?;
    }
    Ok(())
}

fn unmapped() -> Outcome {
    let address = START + 0xc000;
    let frame = frame_returning(60);
    map(address, frame, 0);
    equal("before", call(address), 60)?;
    space::unmap(address);
    space::fetch_faults(address, space::FAULT_FETCH)?;
    map(address, frame, 0);
    paging::invalidate(address);
    equal("after", call(address), 60)
}
