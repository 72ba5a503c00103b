use runu_core::{GuestAddr, VirtAddr};

use super::{Intent, NotMapped, Translation, check, read, walk, write};
use crate::{
    bus::{
        Bus,
        fake::{Deed, Fake},
    },
    cpu::{Cpu, Table, cr0, cr4, efer},
    emulate::Trap,
    exception::Exception,
};

const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const PD: u64 = 0x3000;
const PT: u64 = 0x4000;
const P: u64 = 1;
const W: u64 = 2;
const LARGE: u64 = 0x80;
const NX: u64 = 1 << 63;
/// An address whose four indices are 1, 2, 3, 4.
const VA: u64 = 1 << 39 | 2 << 30 | 3 << 21 | 4 << 12 | 0x567;

/// Tables that lead [`VA`] to a 4 KiB page at 0x8000, writable all the way.
fn tables() -> (Cpu, Fake) {
    let mut cpu = Cpu::new_long64(GuestAddr(PML4), Table::default(), 8, 16);
    cpu.efer |= efer::NXE;
    cpu.cr0 |= cr0::WP;
    let mut bus = Fake::new();
    bus.poke_u64(PML4 + 8, PDPT | P | W);
    bus.poke_u64(PDPT + 16, PD | P | W);
    bus.poke_u64(PD + 24, PT | P | W);
    bus.poke_u64(PT + 32, 0x8000 | P | W);
    (cpu, bus)
}

fn look(cpu: &Cpu, bus: &mut Fake, va: u64) -> Result<Translation, NotMapped> {
    let read_u64 = |addr| {
        let mut bytes = [0; 8];
        bus.read_physical(addr, &mut bytes).then(|| u64::from_le_bytes(bytes))
    };
    walk(cpu, read_u64, VirtAddr(va))
}

fn page_fault(va: u64, error_code: u32) -> Trap {
    Trap::Exception(Exception::page_fault(VirtAddr(va), error_code))
}

#[test]
fn address_in_a_4k_page_is_found_through_four_levels() {
    let (cpu, mut bus) = tables();
    let found = Translation { addr: GuestAddr(0x8567), writable: true, executable: true, page_size: 4096 };
    assert_eq!(look(&cpu, &mut bus, VA), Ok(found));
}

#[test]
fn address_in_a_large_page_keeps_its_lower_bits() {
    let (cpu, mut bus) = tables();
    bus.poke_u64(PD + 24, 0x4000_0000 | LARGE | P);
    let found = look(&cpu, &mut bus, VA).expect("a 2 MiB page");
    assert_eq!((found.addr.0, found.page_size, found.writable), (0x4000_4567, 2 << 20, false));
    bus.poke_u64(PDPT + 16, 0xc000_0000 | LARGE | P | W);
    let found = look(&cpu, &mut bus, VA).expect("a 1 GiB page");
    assert_eq!((found.addr.0, found.page_size, found.writable), (0xc060_4567, 1 << 30, true));
}

#[test]
fn pat_bit_of_a_large_page_is_not_part_of_the_address() {
    let (cpu, mut bus) = tables();
    bus.poke_u64(PD + 24, 0x4000_0000 | 1 << 12 | LARGE | P);
    assert_eq!(look(&cpu, &mut bus, VA).map(|found| found.addr.0), Ok(0x4000_4567));
}

#[test]
fn entry_missing_at_any_level_is_not_present() {
    for slot in [PML4 + 8, PDPT + 16, PD + 24, PT + 32] {
        let (cpu, mut bus) = tables();
        bus.poke_u64(slot, W);
        assert_eq!(look(&cpu, &mut bus, VA), Err(NotMapped::NotPresent), "{slot:#x}");
    }
}

#[test]
fn entry_read_only_at_any_level_forbids_writing_only_with_write_protect() {
    for (slot, entry) in [(PML4 + 8, PDPT), (PDPT + 16, PD), (PD + 24, PT), (PT + 32, 0x8000)] {
        let (mut cpu, mut bus) = tables();
        bus.poke_u64(slot, entry | P);
        assert_eq!(check(&cpu, &mut bus, VirtAddr(VA), Intent::Write), Err(page_fault(VA, 3)));
        cpu.cr0 &= !cr0::WP;
        assert!(check(&cpu, &mut bus, VirtAddr(VA), Intent::Write).is_ok());
    }
}

#[test]
fn no_execute_at_any_level_forbids_fetching_and_is_reserved_without_nxe() {
    for (slot, entry) in [(PML4 + 8, PDPT), (PDPT + 16, PD), (PD + 24, PT), (PT + 32, 0x8000)] {
        let (mut cpu, mut bus) = tables();
        bus.poke_u64(slot, entry | P | W | NX);
        assert!(check(&cpu, &mut bus, VirtAddr(VA), Intent::Read).is_ok());
        assert_eq!(check(&cpu, &mut bus, VirtAddr(VA), Intent::Execute), Err(page_fault(VA, 0x11)));
        cpu.efer &= !efer::NXE;
        assert_eq!(check(&cpu, &mut bus, VirtAddr(VA), Intent::Read), Err(page_fault(VA, 9)));
    }
}

#[test]
fn reserved_bits_of_entries_fault_as_such() {
    for (slot, entry) in [
        (PML4 + 8, PDPT | LARGE),
        (PML4 + 8, PDPT | 1 << 40),
        (PDPT + 16, LARGE | 1 << 13),
        (PD + 24, LARGE | 1 << 20),
        (PT + 32, 0x8000 | 1 << 51),
    ] {
        let (cpu, mut bus) = tables();
        bus.poke_u64(slot, entry | P);
        assert_eq!(look(&cpu, &mut bus, VA), Err(NotMapped::ReservedBit), "{entry:#x}");
    }
}

#[test]
fn table_outside_ram_faults_like_reserved_bits() {
    let (mut cpu, mut bus) = tables();
    cpu.cr3 = 0x40_0000;
    assert_eq!(look(&cpu, &mut bus, VA), Err(NotMapped::ReservedBit));
}

#[test]
fn address_that_is_not_canonical_is_no_page_fault() {
    let (cpu, mut bus) = tables();
    assert_eq!(look(&cpu, &mut bus, 1 << 47), Err(NotMapped::NonCanonical));
    let fault = check(&cpu, &mut bus, VirtAddr(1 << 47), Intent::Read);
    assert_eq!(fault, Err(Trap::Exception(Exception::general_protection(0))));
}

#[test]
fn address_without_paging_is_its_own() {
    let cpu = Cpu::new_protected32(Table::default(), 8, 16);
    let found = walk(&cpu, |_| None, VirtAddr(0xfee0_0020)).expect("identity");
    assert_eq!(found.addr, GuestAddr(0xfee0_0020));
}

#[test]
fn paging_modes_that_are_not_represented_are_named() {
    let (mut cpu, mut bus) = tables();
    cpu.cr4 |= cr4::LA57;
    assert_eq!(look(&cpu, &mut bus, VA), Err(NotMapped::Unsupported("five-level paging")));
    cpu.efer = 0;
    assert_eq!(look(&cpu, &mut bus, VA), Err(NotMapped::Unsupported("32-bit paging")));
}

#[test]
fn access_across_two_pages_reaches_both() {
    let (cpu, mut bus) = tables();
    bus.poke_u64(PT + 40, 0xc000 | P | W);
    let at = VirtAddr(VA & !0xfff | 0xffe);
    assert_eq!(write(&cpu, &mut bus, at, &[1, 2, 3, 4]), Ok(()));
    assert_eq!((bus.peek(0x8ffe), bus.peek(0xc000)), ([1, 2], [3, 4]));
    let mut back = [0; 4];
    assert_eq!(read(&cpu, &mut bus, at, &mut back), Ok(()));
    assert_eq!(back, [1, 2, 3, 4]);
}

#[test]
fn write_whose_second_page_faults_writes_nothing() {
    let (cpu, mut bus) = tables();
    let start = VA & !0xfff | 0xffe;
    assert_eq!(write(&cpu, &mut bus, VirtAddr(start), &[1, 2, 3, 4]), Err(page_fault(start + 2, 2)));
    assert_eq!(bus.peek(0x8ffe), [0, 0]);
}

#[test]
fn device_sees_one_access_of_the_width_used() {
    let (cpu, mut bus) = tables();
    bus.poke_u64(PT + 32, 0x10_0000 | P | W);
    assert_eq!(super::write_value(&cpu, &mut bus, VirtAddr(VA & !0xfff), 4, 0xdead_beef), Ok(()));
    assert_eq!(super::read_value(&cpu, &mut bus, VirtAddr((VA & !0xfff) + 8), 2), Ok(0x2211));
    let write = Deed::Write { addr: 0x10_0000, size: 4, value: 0xdead_beef };
    assert_eq!(bus.deeds, [write, Deed::Read { addr: 0x10_0008, size: 2 }]);
}
