use super::exception;
use crate::{
    bus::fake::Deed,
    emulate::{
        Effect,
        rig::{CODE, DATA, DEVICE, Rig},
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
        (&[0xc4, 0xe2, 0x71, 0x92, 0x04, 0x17], "vgatherdps xmm0,[rdi+xmm2],xmm1"),
        (&[0xc8, 0x10, 0, 0], "enter 10h,0"),
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

#[test]
fn line_of_a_device_is_flushed_without_being_read() {
    let mut rig = rig();
    assert_eq!(rig.access(&[0x0f, 0xae, 0x3b]), Ok(Effect::Next)); // clflush [rbx]
    assert_eq!(rig.bus.deeds, []);
    rig.set("rbx", 1 << 30);
    assert_eq!(exception(&mut rig, &[0x0f, 0xae, 0x3b]), (14, Some(0)));
}
