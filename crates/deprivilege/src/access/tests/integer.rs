use super::exception;
use crate::{
    bus::fake::Deed,
    cpu::{cr0, flag},
    emulate::{
        Effect,
        rig::{CODE, DATA, DEVICE, PML4, Rig},
    },
};

/// A machine with RBX at a device and RDI at data.
fn rig() -> Rig {
    let mut rig = Rig::long();
    rig.set("rbx", DEVICE);
    rig.set("rdi", DATA);
    rig
}

#[test]
fn device_register_is_read_and_written_at_its_width() {
    let mut rig = rig();
    rig.set("rax", u64::MAX);
    assert_eq!(rig.access(&[0x8b, 0x43, 0x70]), Ok(Effect::Next)); // mov eax, [rbx+0x70]
    assert_eq!(rig.get("rax"), 0x4433_2211);
    assert_eq!(rig.access(&[0xc7, 0x43, 0x50, 5, 0, 0, 0]), Ok(Effect::Next)); // mov dword [rbx+0x50], 5
    let read = Deed::Read { addr: DEVICE + 0x70, size: 4 };
    assert_eq!(rig.bus.deeds, [read, Deed::Write { addr: DEVICE + 0x50, size: 4, value: 5 }]);
    assert_eq!(rig.regs.rip, CODE + 10);
}

#[test]
fn byte_registers_high_and_low_are_told_apart() {
    let mut rig = rig();
    rig.set("rcx", 0x1122_3344_5566_7788);
    assert_eq!(rig.access(&[0x8a, 0x2f]), Ok(Effect::Next)); // mov ch, [rdi]
    assert_eq!(rig.get("rcx"), 0x1122_3344_5566_0088);
    assert_eq!(rig.access(&[0x40, 0x88, 0x3f]), Ok(Effect::Next)); // mov [rdi], dil
    assert_eq!(rig.bus.peek(DATA), [0x00]);
}

#[test]
fn extension_fills_with_zero_or_sign() {
    let mut rig = rig();
    rig.bus.poke(DATA, &[0x80, 0xff, 0xff, 0x80]);
    assert_eq!(rig.access(&[0x0f, 0xb6, 0x07]), Ok(Effect::Next)); // movzx eax, byte [rdi]
    assert_eq!(rig.get("rax"), 0x80);
    assert_eq!(rig.access(&[0x48, 0x0f, 0xbe, 0x07]), Ok(Effect::Next)); // movsx rax, byte [rdi]
    assert_eq!(rig.get("rax"), 0xffff_ffff_ffff_ff80);
    assert_eq!(rig.access(&[0x48, 0x63, 0x07]), Ok(Effect::Next)); // movsxd rax, dword [rdi]
    assert_eq!(rig.get("rax"), 0xffff_ffff_80ff_ff80);
    assert_eq!(rig.access(&[0x0f, 0x38, 0xf0, 0x07]), Ok(Effect::Next)); // movbe eax, [rdi]
    assert_eq!(rig.get("rax"), 0x80ff_ff80);
}

#[test]
fn arithmetic_in_memory_sets_the_flags() {
    let mut rig = rig();
    rig.bus.poke_u64(DATA, 0xff);
    assert_eq!(rig.access(&[0x80, 0x07, 0x01]), Ok(Effect::Next)); // add byte [rdi], 1
    assert_eq!(rig.bus.peek_u64(DATA), 0);
    let expected = flag::CARRY | flag::ZERO | flag::ADJUST | flag::PARITY;
    assert_eq!(rig.regs.rflags & flag::STATUS, expected);
    assert_eq!(rig.access(&[0x48, 0x83, 0x17, 0x00]), Ok(Effect::Next)); // adc qword [rdi], 0
    assert_eq!(rig.bus.peek_u64(DATA), 1);
    assert_eq!(rig.access(&[0x48, 0xf7, 0x1f]), Ok(Effect::Next)); // neg qword [rdi]
    assert_eq!(rig.bus.peek_u64(DATA), u64::MAX);
    assert_eq!(rig.access(&[0x48, 0xff, 0x07]), Ok(Effect::Next)); // inc qword [rdi]
    assert_eq!(rig.regs.rflags & (flag::CARRY | flag::ZERO), flag::CARRY | flag::ZERO, "inc keeps CF");
    assert_eq!(rig.access(&[0x48, 0x83, 0x3f, 0x01]), Ok(Effect::Next)); // cmp qword [rdi], 1
    assert_eq!(rig.regs.rflags & (flag::CARRY | flag::SIGN), flag::CARRY | flag::SIGN);
    assert_eq!(rig.access(&[0x48, 0xf7, 0x17]), Ok(Effect::Next)); // not qword [rdi]
    assert_eq!(rig.bus.peek_u64(DATA), u64::MAX);
    assert_eq!(rig.access(&[0x48, 0xc1, 0x27, 0x04]), Ok(Effect::Next)); // shl qword [rdi], 4
    assert_eq!(rig.bus.peek_u64(DATA), u64::MAX << 4);
}

#[test]
fn exchanges_swap_register_and_memory() {
    let mut rig = rig();
    rig.bus.poke_u64(DATA, 5);
    rig.set("rax", 7);
    assert_eq!(rig.access(&[0x48, 0x87, 0x07]), Ok(Effect::Next)); // xchg [rdi], rax
    assert_eq!((rig.get("rax"), rig.bus.peek_u64(DATA)), (5, 7));
    assert_eq!(rig.access(&[0xf0, 0x48, 0x0f, 0xc1, 0x07]), Ok(Effect::Next)); // lock xadd [rdi], rax
    assert_eq!((rig.get("rax"), rig.bus.peek_u64(DATA)), (7, 12));
}

#[test]
fn compare_and_exchange_writes_only_what_it_expected() {
    let mut rig = rig();
    rig.bus.poke_u64(DATA, 5);
    rig.set("rcx", 9);
    rig.set("rax", 4);
    assert_eq!(rig.access(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f]), Ok(Effect::Next)); // lock cmpxchg [rdi], rcx
    assert_eq!((rig.get("rax"), rig.bus.peek_u64(DATA)), (5, 5));
    assert_eq!(rig.regs.rflags & flag::ZERO, 0);
    assert_eq!(rig.access(&[0xf0, 0x48, 0x0f, 0xb1, 0x0f]), Ok(Effect::Next));
    assert_eq!((rig.get("rax"), rig.bus.peek_u64(DATA)), (5, 9));
    assert_ne!(rig.regs.rflags & flag::ZERO, 0);
}

#[test]
fn compare_and_exchange_of_16_bytes_wants_alignment() {
    let code = [0x48, 0x0f, 0xc7, 0x0f]; // cmpxchg16b [rdi]
    let mut rig = rig();
    rig.bus.poke_u64(DATA + 8, 3);
    assert_eq!(rig.access(&code), Ok(Effect::Next));
    assert_eq!((rig.get("rax"), rig.get("rdx")), (0, 3));
    rig.set("rcx", 8);
    assert_eq!(rig.access(&code), Ok(Effect::Next));
    assert_eq!((rig.bus.peek_u64(DATA), rig.bus.peek_u64(DATA + 8)), (DEVICE, 8));
    rig.set("rdi", DATA + 8);
    assert_eq!(exception(&mut rig, &code), (13, Some(0)));
}

#[test]
fn bit_far_from_its_operand_is_found() {
    let mut rig = rig();
    rig.set("rdi", DATA + 16);
    rig.set("rax", 0_u64.wrapping_sub(127));
    assert_eq!(rig.access(&[0x48, 0x0f, 0xab, 0x07]), Ok(Effect::Next)); // bts [rdi], rax
    assert_eq!(rig.bus.peek_u64(DATA), 2);
    assert_eq!(rig.regs.rflags & flag::CARRY, 0);
    assert_eq!(rig.access(&[0x48, 0x0f, 0xb3, 0x07]), Ok(Effect::Next)); // btr [rdi], rax
    assert_eq!(rig.bus.peek_u64(DATA), 0);
    assert_ne!(rig.regs.rflags & flag::CARRY, 0);
}

#[test]
fn conditions_decide_what_is_stored_and_moved() {
    let mut rig = rig();
    rig.regs.rflags |= flag::ZERO;
    rig.bus.poke_u64(DATA, 0xffff_ffff_ffff_ffff);
    assert_eq!(rig.access(&[0x0f, 0x94, 0x07]), Ok(Effect::Next)); // sete [rdi]
    assert_eq!(rig.bus.peek(DATA), [1, 0xff]);
    rig.set("rax", 0xaaaa_aaaa_bbbb_bbbb);
    assert_eq!(rig.access(&[0x0f, 0x45, 0x07]), Ok(Effect::Next)); // cmovne eax, [rdi]
    assert_eq!(rig.get("rax"), 0xbbbb_bbbb, "not moved, and still cut to 32 bits");
}

#[test]
fn change_of_a_read_only_page_is_a_write_fault_before_anything_is_read() {
    for code in [&[0x80_u8, 0x07, 0x01] as &[u8], &[0x86, 0x07], &[0x0f, 0xb0, 0x0f], &[0x0f, 0xab, 0x07]] {
        let mut rig = rig();
        rig.cpu.cr0 |= cr0::WP;
        rig.set("rdi", DEVICE);
        rig.bus.poke_u64(PML4, 0x2001);
        assert_eq!(exception(&mut rig, code), (14, Some(3)), "{code:x?}");
        assert_eq!(rig.bus.deeds, []);
        assert_eq!(rig.regs.rip, CODE);
    }
}

#[test]
fn load_from_nowhere_is_a_page_fault_at_its_address() {
    let mut rig = rig();
    rig.set("rdi", 1 << 30);
    assert_eq!(exception(&mut rig, &[0x8b, 0x07]), (14, Some(0)));
    rig.set("rdi", 1 << 47);
    assert_eq!(exception(&mut rig, &[0x8b, 0x07]), (13, Some(0)));
    rig.set("rbp", 1 << 47);
    assert_eq!(exception(&mut rig, &[0x8b, 0x45, 0x00]), (12, Some(0)), "through SS");
}

#[test]
fn address_uses_the_base_of_fs_and_the_address_size() {
    let mut rig = rig();
    rig.cpu.fs_base = DATA;
    rig.bus.poke_u64(DATA + 0x10, 77);
    assert_eq!(rig.access(&[0x64, 0x48, 0x8b, 0x04, 0x25, 0x10, 0, 0, 0]), Ok(Effect::Next)); // mov rax, fs:[0x10]
    assert_eq!(rig.get("rax"), 77);
    rig.set("rdi", 0xffff_ffff_0000_0000 | DATA);
    assert_eq!(rig.access(&[0x67, 0x8b, 0x47, 0x10]), Ok(Effect::Next)); // mov eax, [edi+0x10]
    assert_eq!(rig.get("rax"), 77);
    rig.regs.rip = DATA;
    assert_eq!(rig.access(&[0x8b, 0x05, 0x0a, 0, 0, 0]), Ok(Effect::Next)); // mov eax, [rip+10]
    assert_eq!(rig.get("rax"), 77);
}

#[test]
fn instruction_that_is_not_interpreted_is_refused_by_name() {
    for (code, name) in [
        (&[0xff_u8, 0x17] as &[u8], "call qword ptr [rdi]"),
        (&[0x0f, 0x58, 0x07], "addps xmm0,[rdi]"),
        (&[0xc5, 0xf8, 0x10, 0x07], "vmovups xmm0,[rdi]"),
    ] {
        let refusal = rig().access(code).expect_err("a refusal").to_string();
        assert!(refusal.starts_with(name), "{refusal}");
    }
}

#[test]
fn operand_is_pushed_and_popped_through_memory() {
    let mut rig = rig();
    rig.set("rsp", DATA + 0x100);
    rig.set("rdi", DATA);
    rig.bus.poke_u64(DATA, 77);

    assert_eq!(rig.access(&[0xff, 0x37]), Ok(Effect::Next)); // push qword ptr [rdi]
    assert_eq!(rig.get("rsp"), DATA + 0xf8);
    assert_eq!(rig.access(&[0x8f, 0x44, 0x24, 0x10]), Ok(Effect::Next)); // pop qword ptr [rsp+16]
    assert_eq!(rig.get("rsp"), DATA + 0x100);
    assert_eq!(rig.bus.peek_u64(DATA + 0x110), 77, "relative to the stack pointer behind the pop");

    assert_eq!(rig.access(&[0x6a, 0xff]), Ok(Effect::Next)); // push -1
    assert_eq!(rig.access(&[0x5c]), Ok(Effect::Next)); // pop rsp
    assert_eq!(rig.get("rsp"), u64::MAX);
}

#[test]
fn table_of_bytes_is_looked_up_at_base_plus_index() {
    let mut rig = rig();
    rig.set("rbx", DATA);
    rig.set("rax", 0x1203);
    rig.bus.poke_u64(DATA, 0x8877_6655_4433_2211);

    assert_eq!(rig.access(&[0xd7]), Ok(Effect::Next)); // xlat
    assert_eq!(rig.get("rax"), 0x1244);
}

#[test]
fn frame_is_left_to_the_one_before() {
    let mut rig = rig();
    rig.set("rbp", DATA + 0x80);
    rig.bus.poke_u64(DATA + 0x80, 0x1234);

    assert_eq!(rig.access(&[0xc9]), Ok(Effect::Next)); // leave
    assert_eq!((rig.get("rsp"), rig.get("rbp")), (DATA + 0x88, 0x1234));
}
