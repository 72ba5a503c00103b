use super::exception;
use crate::{
    bus::fake::Deed,
    cpu::flag,
    emulate::{
        Effect,
        rig::{CODE, DATA, DEVICE, Rig},
    },
};

const REP_STOSQ: &[u8] = &[0xf3, 0x48, 0xab];
const REP_STOSD: &[u8] = &[0xf3, 0xab];
const REP_MOVSB: &[u8] = &[0xf3, 0xa4];
const REP_MOVSQ: &[u8] = &[0xf3, 0x48, 0xa5];
const REPNE_SCASB: &[u8] = &[0xf2, 0xae];
const REPE_CMPSB: &[u8] = &[0xf3, 0xa6];
const LODSW: &[u8] = &[0x66, 0xad];

fn rig(rsi: u64, rdi: u64, rcx: u64) -> Rig {
    let mut rig = Rig::long();
    rig.set("rsi", rsi);
    rig.set("rdi", rdi);
    rig.set("rcx", rcx);
    rig
}

fn registers(rig: &mut Rig) -> (u64, u64, u64) {
    (rig.get("rsi"), rig.get("rdi"), rig.get("rcx"))
}

#[test]
fn page_is_cleared_in_one_call() {
    let mut rig = rig(0, DATA, 512);
    rig.bus.poke(DATA, &[0xff; 4096 + 8]);
    assert_eq!(rig.access(REP_STOSQ), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), [0_u8; 4096]);
    assert_eq!(rig.bus.peek_u64(DATA + 4096), u64::MAX);
    assert_eq!(registers(&mut rig), (0, DATA + 4096, 0));
    assert_eq!(rig.regs.rip, CODE + 3);
}

#[test]
fn more_than_a_page_takes_several_calls() {
    let mut rig = rig(0, DATA + 4, 0x1000);
    rig.set("rax", 0x0403_0201);
    for left in [0xc00, 0x800, 0x400] {
        assert_eq!(rig.access(REP_STOSD), Ok(Effect::Again));
        assert_eq!((rig.get("rcx"), rig.regs.rip), (left, CODE));
    }
    assert_eq!(rig.access(REP_STOSD), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), [0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(rig.bus.peek(DATA + 0x4000), [1, 2, 3, 4, 0, 0, 0, 0]);
}

#[test]
fn store_that_straddles_pages_is_whole() {
    let mut rig = rig(0, DATA + 4096 - 3, 2);
    rig.set("rax", 0x8877_6655_4433_2211);
    assert_eq!(rig.access(REP_STOSQ), Ok(Effect::Next));
    let word = 0x8877_6655_4433_2211_u64.to_le_bytes();
    assert_eq!(rig.bus.peek(DATA + 4096 - 3), word);
    assert_eq!(rig.bus.peek(DATA + 4096 + 5), word);
}

#[test]
fn copy_onto_itself_repeats_its_start() {
    let mut rig = rig(DATA, DATA + 1, 6);
    rig.bus.poke(DATA, b"ab");
    assert_eq!(rig.access(REP_MOVSB), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), *b"aaaaaaa\0");
}

#[test]
fn copy_downwards_onto_itself_moves() {
    let mut rig = rig(DATA + 1, DATA, 6);
    rig.bus.poke(DATA, b"abcdefg");
    assert_eq!(rig.access(REP_MOVSB), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), *b"bcdefgg");
}

#[test]
fn copy_backwards_walks_down() {
    let mut rig = rig(DATA + 5, DATA + 6, 6);
    rig.regs.rflags |= flag::DIRECTION;
    rig.bus.poke(DATA, b"abcdef");
    assert_eq!(rig.access(REP_MOVSB), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), *b"aabcdef");
    assert_eq!(registers(&mut rig), (DATA - 1, DATA, 0));
}

#[test]
fn copy_to_a_device_keeps_its_width() {
    let mut rig = rig(DATA, DEVICE, 2);
    rig.bus.poke_u64(DATA, 1);
    rig.bus.poke_u64(DATA + 8, 2);
    assert_eq!(rig.access(REP_MOVSQ), Ok(Effect::Next));
    let write = |addr, value| Deed::Write { addr, size: 8, value };
    assert_eq!(rig.bus.deeds, [write(DEVICE, 1), write(DEVICE + 8, 2)]);
}

#[test]
fn copy_that_faults_half_way_can_go_on_from_there() {
    let end = 1 << 30;
    let mut rig = rig(DATA, end - 16, 4);
    assert_eq!(exception(&mut rig, REP_MOVSQ), (14, Some(2)));
    assert_eq!(registers(&mut rig), (DATA + 16, end, 2));
    assert_eq!(rig.regs.rip, CODE);
}

#[test]
fn copy_of_nothing_touches_nothing() {
    let mut rig = rig(1 << 47, 1 << 47, 0);
    assert_eq!(rig.access(REP_MOVSQ), Ok(Effect::Next));
}

#[test]
fn count_in_32_bit_registers_ignores_the_upper_half() {
    let mut rig = rig(0xdead_0000_0000_0000 | DATA, DATA + 64, 0xffff_ffff_0000_0002);
    rig.bus.poke(DATA, b"xyz");
    assert_eq!(rig.access(&[0x67, 0xf3, 0xa4]), Ok(Effect::Next)); // rep movsb [edi], [esi]
    assert_eq!(rig.bus.peek(DATA + 64), *b"xy\0");
    assert_eq!(registers(&mut rig), (DATA + 2, DATA + 66, 0));
}

#[test]
fn scan_stops_behind_what_it_found() {
    let mut rig = rig(0, DATA, u64::MAX);
    rig.bus.poke(DATA, b"length");
    assert_eq!(rig.access(REPNE_SCASB), Ok(Effect::Next));
    assert_eq!(registers(&mut rig), (0, DATA + 7, u64::MAX - 7));
    assert_ne!(rig.regs.rflags & flag::ZERO, 0);
}

#[test]
fn scan_that_finds_nothing_stops_at_the_count() {
    let mut rig = rig(0, DATA, 4);
    rig.set("rax", 0x55);
    assert_eq!(rig.access(REPNE_SCASB), Ok(Effect::Next));
    assert_eq!((rig.get("rcx"), rig.regs.rflags & flag::ZERO), (0, 0));
}

#[test]
fn comparison_stops_behind_the_first_difference() {
    let mut rig = rig(DATA, DATA + 16, 8);
    rig.bus.poke(DATA, b"same but");
    rig.bus.poke(DATA + 16, b"same and");
    assert_eq!(rig.access(REPE_CMPSB), Ok(Effect::Next));
    assert_eq!(registers(&mut rig), (DATA + 6, DATA + 22, 2));
    assert_eq!(rig.regs.rflags & (flag::ZERO | flag::CARRY), 0, "'b' is above 'a'");
}

#[test]
fn load_without_a_prefix_takes_one_element() {
    let mut rig = rig(DATA, 0, 9);
    rig.bus.poke(DATA, &[1, 2]);
    assert_eq!(rig.access(LODSW), Ok(Effect::Next));
    assert_eq!((rig.get("rax"), registers(&mut rig)), (0x201, (DATA + 2, 0, 9)));
}

#[test]
fn comparison_sets_the_flags_as_a_subtraction_does() {
    let all = flag::CARRY | flag::PARITY | flag::ADJUST | flag::ZERO | flag::SIGN | flag::OVERFLOW;
    let cases = [
        (5, 5, flag::ZERO | flag::PARITY),
        (0, 1, flag::CARRY | flag::SIGN | flag::ADJUST | flag::PARITY),
        (0x80, 1, flag::OVERFLOW | flag::ADJUST),
        (0x7f, 0xff, flag::CARRY | flag::SIGN | flag::OVERFLOW),
        (0x30, 0x0f, flag::ADJUST | flag::PARITY),
    ];
    for (wanted, found, expected) in cases {
        let mut rig = rig(0, DATA, 0);
        rig.set("rax", wanted);
        rig.bus.poke(DATA, &[found]);
        assert_eq!(rig.access(&[0xae]), Ok(Effect::Next)); // scasb
        assert_eq!(rig.regs.rflags & all, expected, "{wanted:#x} against {found:#x}");
    }
}
