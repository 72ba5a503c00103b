use crate::{
    cpu::{Cpu, Table, flag, segment},
    emulate::{
        Effect,
        rig::{DATA, GDT, Rig, STACK, TSS, selector},
    },
};

const MOV_DS_AX: &[u8] = &[0x8e, 0xd8];
const MOV_SS_AX: &[u8] = &[0x8e, 0xd0];
const MOV_FS_AX: &[u8] = &[0x8e, 0xe0];
const MOV_CS_AX: &[u8] = &[0x8e, 0xc8];
const MOV_EBX_CS: &[u8] = &[0x8c, 0xcb];
const MOV_MEM_DS: &[u8] = &[0x8c, 0x18]; // mov [rax], ds
const PUSH_FS: &[u8] = &[0x0f, 0xa0];
const POP_GS: &[u8] = &[0x0f, 0xa9];
const LGDT_RAX: &[u8] = &[0x0f, 0x01, 0x10];
const LIDT_RAX: &[u8] = &[0x0f, 0x01, 0x18];
const SGDT_RAX: &[u8] = &[0x0f, 0x01, 0x00];
const LTR_AX: &[u8] = &[0x0f, 0x00, 0xd8];
const STR_EBX: &[u8] = &[0x0f, 0x00, 0xcb];
const LLDT_AX: &[u8] = &[0x0f, 0x00, 0xd0];
const LAR_EBX_AX: &[u8] = &[0x0f, 0x02, 0xd8];
const LSL_EBX_AX: &[u8] = &[0x0f, 0x03, 0xd8];
const VERR_AX: &[u8] = &[0x0f, 0x00, 0xe0];
const VERW_AX: &[u8] = &[0x0f, 0x00, 0xe8];
const LSS_ESP_RAX: &[u8] = &[0x0f, 0xb2, 0x20];

fn with_ax(mut rig: Rig, value: u16) -> Rig {
    rig.set("rax", value.into());
    rig
}

fn register(cpu: &Cpu, number: usize) -> Option<u16> {
    cpu.selectors.get(number).copied()
}

#[test]
fn data_segment_loaded_is_read_back() {
    let mut rig = with_ax(Rig::long(), selector::DATA);
    assert_eq!(rig.run(MOV_DS_AX), Ok(Effect::Next));
    rig.set("rax", DATA);
    rig.bus.poke_u64(DATA, u64::MAX);
    assert_eq!(rig.run(MOV_MEM_DS), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), [0x10, 0, 0xff, 0xff], "16 bits to memory");
    rig.set("rbx", u64::MAX);
    assert_eq!(rig.run(MOV_EBX_CS), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), selector::CODE64.into(), "zero-extended to a register");
}

#[test]
fn stack_segment_loaded_shadows_one_instruction() {
    let mut rig = with_ax(Rig::long(), selector::DATA);
    assert_eq!(rig.run(MOV_SS_AX), Ok(Effect::NextShadowed));
    assert_eq!(
        with_ax(Rig::long(), 0).run(MOV_SS_AX),
        Ok(Effect::NextShadowed),
        "null is fine in 64-bit code"
    );
}

#[test]
fn segment_that_cannot_be_loaded_faults_with_its_selector() {
    for (code, selector, expected) in [
        (MOV_DS_AX, selector::BEYOND, (13, 0x60)),
        (MOV_DS_AX, selector::TASK, (13, 0x20)),
        (MOV_DS_AX, selector::ABSENT_DATA, (11, 0x58)),
        (MOV_DS_AX, selector::DATA | 3, (13, 0x10)),
        (MOV_SS_AX, selector::ABSENT_DATA, (12, 0x58)),
        (MOV_SS_AX, selector::CODE64, (13, 0x08)),
        (MOV_SS_AX, selector::USER_DATA, (13, 0x30)),
        (MOV_SS_AX, selector::DATA | 4, (13, 0x14)),
    ] {
        let (vector, code_expected) = expected;
        let found = with_ax(Rig::long(), selector).exception(code);
        assert_eq!(found, (vector, Some(code_expected)), "{selector:#x}");
    }
    assert_eq!(with_ax(Rig::protected(), 0).exception(MOV_SS_AX), (13, Some(0)));
    assert_eq!(Rig::long().exception(MOV_CS_AX), (6, None));
}

#[test]
fn fs_takes_its_base_from_the_descriptor_and_null_clears_it() {
    let mut rig = with_ax(Rig::long(), selector::BASED_DATA);
    assert_eq!(rig.run(MOV_FS_AX), Ok(Effect::Next));
    assert_eq!(rig.cpu.fs_base, 0x1234_5678);
    rig.set("rax", 0);
    assert_eq!(rig.run(MOV_FS_AX), Ok(Effect::Next));
    assert_eq!(rig.cpu.fs_base, 0);
}

#[test]
fn descriptor_loaded_is_marked_accessed() {
    let mut rig = with_ax(Rig::long(), selector::BASED_DATA);
    assert_eq!(rig.run(MOV_FS_AX), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(GDT + u64::from(selector::BASED_DATA) + 5), [0x93]);
}

#[test]
fn data_segment_with_a_base_is_refused_in_32_bit_code_and_ignored_in_64_bit_code() {
    let mut rig = with_ax(Rig::protected(), selector::BASED_DATA);
    assert!(rig.refusal(MOV_DS_AX).contains("base or limit"));
    let mut rig = with_ax(Rig::long(), selector::BASED_DATA);
    assert_eq!(rig.run(MOV_DS_AX), Ok(Effect::Next));
    assert_eq!(rig.cpu.bounded_segments, 1 << segment::DS);
}

#[test]
fn segment_pushed_and_popped_takes_a_stack_word() {
    let mut rig = Rig::long();
    assert_eq!(rig.run(PUSH_FS), Ok(Effect::Next));
    assert_eq!(rig.stacked(0), selector::DATA.into());
    assert_eq!(rig.run(POP_GS), Ok(Effect::Next));
    assert_eq!(register(&rig.cpu, segment::GS), Some(selector::DATA));
    assert_eq!(rig.get("rsp"), STACK);

    let mut rig = Rig::protected();
    assert_eq!(rig.run(&[0x1e]), Ok(Effect::Next)); // push ds
    assert_eq!(rig.get("rsp"), STACK - 4);
    assert_eq!(rig.run(&[0x07]), Ok(Effect::Next)); // pop es
    assert_eq!(rig.get("rsp"), STACK);
}

#[test]
fn lss_loads_stack_segment_and_pointer_together() {
    let mut rig = with_ax(Rig::long(), 0);
    rig.set("rax", DATA);
    rig.bus.poke(DATA, &[0x00, 0x70, 0, 0, 0x10, 0]);
    assert_eq!(rig.run(LSS_ESP_RAX), Ok(Effect::NextShadowed));
    assert_eq!(rig.get("rsp"), 0x7000);
    assert_eq!(register(&rig.cpu, segment::SS), Some(0x10));
}

#[test]
fn table_registers_are_loaded_and_stored() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke(DATA, &[0xff, 0x0f, 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0, 0]);
    assert_eq!(rig.run(LIDT_RAX), Ok(Effect::Next));
    assert_eq!(rig.cpu.idt, Table { base: 0x5040_3020_1000, limit: 0xfff });
    assert_eq!(rig.run(SGDT_RAX), Ok(Effect::Next));
    assert_eq!(rig.bus.peek(DATA), [0x5f, 0, 0x00, 0x40, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn lgdt_in_32_bit_code_takes_32_bits_of_base_and_24_with_a_prefix() {
    let mut rig = Rig::protected();
    rig.set("rax", DATA);
    rig.bus.poke(DATA, &[0x17, 0, 0x78, 0x56, 0x34, 0x12, 0xff, 0xff]);
    assert_eq!(rig.run(LGDT_RAX), Ok(Effect::Next));
    assert_eq!(rig.cpu.gdt, Table { base: 0x1234_5678, limit: 0x17 });
    assert_eq!(rig.run(&[0x66, 0x0f, 0x01, 0x10]), Ok(Effect::Next));
    assert_eq!(rig.cpu.gdt.base, 0x34_5678);
}

#[test]
fn table_base_that_is_not_canonical_faults() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke_u64(DATA + 2, 1 << 47);
    assert_eq!(rig.exception(LGDT_RAX), (13, Some(0)));
}

#[test]
fn task_register_loaded_marks_the_task_busy() {
    let mut rig = with_ax(Rig::long(), selector::TASK);
    assert_eq!(rig.run(LTR_AX), Ok(Effect::Next));
    assert_eq!((rig.cpu.task.base, rig.cpu.task.limit), (TSS, 0x67));
    assert_eq!(rig.run(STR_EBX), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), selector::TASK.into());
    assert_eq!(rig.exception(LTR_AX), (13, Some(0x20)), "a busy task cannot be loaded");
}

#[test]
fn task_register_from_null_or_data_faults() {
    assert_eq!(with_ax(Rig::long(), 0).exception(LTR_AX), (13, Some(0)));
    assert_eq!(with_ax(Rig::long(), selector::DATA).exception(LTR_AX), (13, Some(0x10)));
}

#[test]
fn local_table_can_be_null_and_then_holds_nothing() {
    let mut rig = with_ax(Rig::long(), 0);
    assert_eq!(rig.run(LLDT_AX), Ok(Effect::Next));
    rig.set("rax", 0xc);
    assert_eq!(rig.exception(MOV_DS_AX), (13, Some(0xc)));
}

#[test]
fn rights_and_limits_are_told_for_visible_segments() {
    let mut rig = with_ax(Rig::long(), selector::CODE64);
    assert_eq!(rig.run(LAR_EBX_AX), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), 0xa0_9b00);
    assert_eq!(rig.run(LSL_EBX_AX), Ok(Effect::Next));
    assert_eq!(rig.get("rbx"), 0xffff_ffff);
    assert_ne!(rig.regs.rflags & flag::ZERO, 0);
    rig.set("rax", selector::BEYOND.into());
    assert_eq!(rig.run(LAR_EBX_AX), Ok(Effect::Next));
    assert_eq!(rig.regs.rflags & flag::ZERO, 0);
    assert_eq!(rig.get("rbx"), 0xffff_ffff, "kept when nothing is visible");
}

#[test]
fn code_can_be_read_and_not_written() {
    let mut rig = with_ax(Rig::long(), selector::CODE64);
    assert_eq!(rig.run(VERR_AX), Ok(Effect::Next));
    assert_ne!(rig.regs.rflags & flag::ZERO, 0);
    assert_eq!(rig.run(VERW_AX), Ok(Effect::Next));
    assert_eq!(rig.regs.rflags & flag::ZERO, 0);
}
