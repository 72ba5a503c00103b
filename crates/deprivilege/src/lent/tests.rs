//! What is lent and what comes of it. That instructions then do the right thing is seen in guests (guests/paging,
//! guests/random).

use runu_core::VirtAddr;

use super::{AREA_LEN, Area, Loan, Operand};
use crate::{
    bus::fake::Deed,
    cpu::cr0,
    emulate::{
        Trap,
        rig::{CODE, DATA, DEVICE, PML4, Rig},
    },
};

const ADD_BYTE: &[u8] = &[0x80, 0x07, 0x01]; // add byte [rdi], 1
const CMP: &[u8] = &[0x48, 0x3b, 0x07]; // cmp rax, [rdi]
const MOVUPS_STORE: &[u8] = &[0x0f, 0x11, 0x07]; // movups [rdi], xmm0
const FXSAVE: &[u8] = &[0x0f, 0xae, 0x07]; // fxsave [rdi]
const XSAVE: &[u8] = &[0x0f, 0xae, 0x27]; // xsave [rdi]
const BTS: &[u8] = &[0x48, 0x0f, 0xab, 0x07]; // bts [rdi], rax
const BT_WORD: &[u8] = &[0x66, 0x0f, 0xa3, 0x07]; // bt [rdi], ax

/// A machine with RDI at an address, and an area.
fn rig(at: u64) -> (Rig, Area) {
    let mut rig = Rig::long();
    rig.set("rdi", at);
    (rig, [0xee; AREA_LEN])
}

fn lend(rig: &mut Rig, area: &mut Area, code: &[u8]) -> Result<Loan, Trap> {
    let operand = Operand::of(&rig.decode(code)).expect("it can be lent");
    operand.lend(&mut rig.cpu, &mut rig.regs, &mut rig.bus, area)
}

fn lent(rig: &mut Rig, area: &mut Area, code: &[u8]) -> Loan {
    lend(rig, area, code).expect("the operand is there")
}

fn exception(at: u64, code: &[u8]) -> (u8, Option<u32>, Option<u64>) {
    let (mut rig, mut area) = rig(at);
    rig.cpu.cr0 |= cr0::WP;
    let before = (rig.cpu.clone(), rig.regs, rig.bus.deeds.clone());
    let result = lend(&mut rig, &mut area, code);
    assert_eq!((rig.cpu, rig.regs, rig.bus.deeds), before, "nothing has happened");
    match result {
        Err(Trap::Exception(exception)) => {
            (exception.vector, exception.error_code, exception.cr2.map(|cr2| cr2.0))
        }
        other => panic!("expected an exception, found {other:?}"),
    }
}

#[test]
fn copy_is_as_far_from_a_boundary_as_the_operand() {
    let (mut rig, mut area) = rig(DATA + 0x47);
    rig.bus.poke(DATA + 0x47, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let loan = lent(&mut rig, &mut area, CMP);
    assert_eq!(area[7..15], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(loan.address(VirtAddr(0x7000_0000)), 0x7000_0007);
}

#[test]
fn copy_that_was_changed_comes_back() {
    let (mut rig, mut area) = rig(DATA + 3);
    rig.bus.poke(DATA, &[9; 8]);
    let loan = lent(&mut rig, &mut area, ADD_BYTE);
    area[3] += 1;
    loan.give_back(&mut rig.bus, &area);
    assert_eq!(rig.bus.peek(DATA), [9, 9, 9, 10, 9]);
    assert_eq!(rig.regs.rip, CODE);
}

#[test]
fn operand_across_pages_is_lent_whole() {
    let at = DATA + 0x1000 - 5;
    let (mut rig, mut area) = rig(at);
    rig.bus.poke(at, &[7; 16]);
    let loan = lent(&mut rig, &mut area, MOVUPS_STORE);
    area[59..75].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
    loan.give_back(&mut rig.bus, &area);
    assert_eq!(rig.bus.peek(at), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
}

#[test]
fn device_is_read_once_and_written_once() {
    let (mut rig, mut area) = rig(DEVICE + 4);
    let loan = lent(&mut rig, &mut area, ADD_BYTE);
    let read = Deed::Read { addr: DEVICE + 4, size: 1 };
    assert_eq!((area[4], rig.bus.deeds.as_slice()), (0x11, [read].as_slice()));
    area[4] = 0x12;
    loan.give_back(&mut rig.bus, &area);
    assert_eq!(rig.bus.deeds, [read, Deed::Write { addr: DEVICE + 4, size: 1, value: 0x12 }]);
}

#[test]
fn device_that_is_only_written_is_not_read() {
    let (mut rig, mut area) = rig(DEVICE);
    let loan = lent(&mut rig, &mut area, MOVUPS_STORE);
    assert_eq!((area[0], rig.bus.deeds.as_slice()), (0, [].as_slice()));
    loan.give_back(&mut rig.bus, &area);
    let write = |addr| Deed::Write { addr, size: 8, value: 0 };
    assert_eq!(rig.bus.deeds, [write(DEVICE), write(DEVICE + 8)]);
}

#[test]
fn operand_that_must_be_aligned_and_is_not_is_a_protection_fault_wherever_it_is() {
    const MOVAPS: &[u8] = &[0x0f, 0x28, 0x07]; // movaps xmm0, [rdi]
    const PADDD: &[u8] = &[0x66, 0x0f, 0xfe, 0x07]; // paddd xmm0, [rdi]
    const VMOVAPS: &[u8] = &[0xc5, 0xfc, 0x28, 0x07]; // vmovaps ymm0, [rdi]
    const CMPXCHG16B: &[u8] = &[0x48, 0x0f, 0xc7, 0x0f]; // cmpxchg16b [rdi]
    const ABSENT: u64 = 0x7fff_0000_0000;
    for code in [MOVAPS, PADDD, VMOVAPS, CMPXCHG16B, FXSAVE, XSAVE] {
        for at in [DATA, DEVICE, ABSENT] {
            assert_eq!(exception(at + 8, code), (13, Some(0), None), "{code:x?} at {at:#x}");
        }
    }
    const MOVUPS: &[u8] = &[0x0f, 0x10, 0x07]; // movups xmm0, [rdi]
    const VADDPS: &[u8] = &[0xc5, 0xfc, 0x58, 0x07]; // vaddps ymm0, ymm0, [rdi]
    for code in [MOVUPS, VADDPS, CMP, MOVUPS_STORE] {
        let (mut rig, mut area) = rig(DATA + 7);
        lent(&mut rig, &mut area, code);
    }
}

#[test]
fn bit_named_by_an_address_of_32_bits_is_found_at_one() {
    const BTS: &[u8] = &[0x67, 0x0f, 0xab, 0x07]; // bts [edi], eax
    let (mut rig, mut area) = rig(DATA + 4);
    rig.set("rax", 32);
    let loan = lent(&mut rig, &mut area, BTS);
    assert_eq!(loan.distance, 4);
    rig.set("rdi", 0xffff_fff0);
    rig.set("rax", (DATA + 0x10) * 8);
    rig.bus.poke(DATA, &[0x55]);
    lent(&mut rig, &mut area, BTS);
    assert_eq!(area[0], 0x55);
}

#[test]
fn memory_that_is_only_written_keeps_what_is_not_written() {
    let (mut rig, mut area) = rig(DATA + 0x10);
    rig.bus.poke(DATA + 0x10 + 511, &[0x5a]);
    let loan = lent(&mut rig, &mut area, FXSAVE);
    loan.give_back(&mut rig.bus, &area);
    assert_eq!(rig.bus.peek(DATA + 0x10 + 511), [0x5a]);
}

#[test]
fn bit_far_from_its_operand_is_lent_and_named_from_there() {
    let (mut rig, mut area) = rig(DATA + 16);
    rig.set("rax", 0_u64.wrapping_sub(127));
    rig.bus.poke_u64(DATA, 0x1234);
    let loan = lent(&mut rig, &mut area, BTS);
    assert_eq!(area[..8], 0x1234_u64.to_le_bytes());
    assert_eq!(loan.address(VirtAddr(0x7000_0000)), 0x7000_0010, "the instruction goes 16 bytes back");

    rig.set("rax", 0x7_ff38);
    rig.bus.poke(DATA + 16 - 26, &[0xcd, 0xab]);
    let loan = lent(&mut rig, &mut area, BT_WORD);
    let start = usize::try_from((DATA + 16 - 26) % 64).expect("small");
    assert_eq!(area[start..start + 2], [0xcd, 0xab]);
    assert_eq!(loan.address(VirtAddr(0x7000_0000)), 0x7000_0000 + start as u64 + 26);
}

#[test]
fn save_area_is_as_long_as_the_states_that_it_holds() {
    for (xcr0, requested, len) in [(3, u64::MAX, 576), (7, 3, 576), (7, 7, 832)] {
        let (mut rig, mut area) = rig(DATA);
        rig.cpu.xcr0 = xcr0;
        rig.set("rax", requested);
        rig.set("rdx", 0);
        let loan = lent(&mut rig, &mut area, XSAVE);
        assert_eq!(loan.len, len, "{xcr0:#x} {requested:#x}");
    }
}

#[test]
fn operand_that_is_not_there_faults_for_what_is_done_to_it() {
    let nowhere = 1 << 30;
    assert_eq!(exception(nowhere, CMP), (14, Some(0), Some(nowhere)));
    assert_eq!(exception(nowhere, ADD_BYTE), (14, Some(2), Some(nowhere)));
    assert_eq!(exception(nowhere - 3, MOVUPS_STORE), (14, Some(2), Some(nowhere)), "its second page");
    assert_eq!(exception(nowhere - 3, CMP), (14, Some(0), Some(nowhere)));
    assert_eq!(exception(1 << 47, CMP), (13, Some(0), None));
    assert_eq!(exception((1 << 47) - 1, BTS), (13, Some(0), None), "its end");
}

#[test]
fn operand_through_the_stack_segment_that_is_not_canonical_is_a_stack_fault() {
    let (mut rig, mut area) = rig(0);
    rig.set("rbp", 1 << 47);
    let trap = lend(&mut rig, &mut area, &[0x83, 0x45, 0x00, 0x01]); // add dword [rbp], 1
    let Err(Trap::Exception(raised)) = trap else { panic!("{trap:?}") };
    assert_eq!((raised.vector, raised.error_code), (12, Some(0)));
}

#[test]
fn change_of_a_read_only_page_is_a_write_fault_before_anything_is_read() {
    let codes: [&[u8]; 5] = [ADD_BYTE, &[0x86, 0x07], &[0x0f, 0xb0, 0x0f], BTS, &[0x48, 0x0f, 0xc7, 0x0f]];
    for code in codes {
        let (mut rig, mut area) = rig(DEVICE);
        rig.cpu.cr0 |= cr0::WP;
        rig.bus.poke_u64(PML4, 0x2001);
        let trap = lend(&mut rig, &mut area, code);
        let Err(Trap::Exception(raised)) = trap else { panic!("{code:x?}: {trap:?}") };
        assert_eq!((raised.vector, raised.error_code), (14, Some(3)), "{code:x?}");
        assert_eq!(rig.bus.deeds, []);
    }
}
