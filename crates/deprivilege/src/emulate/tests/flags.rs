use crate::{
    cpu::flag,
    emulate::{
        Effect,
        rig::{CODE, Rig, STACK},
    },
};

const CLI: &[u8] = &[0xfa];
const STI: &[u8] = &[0xfb];
const PUSHFQ: &[u8] = &[0x9c];
const POPFQ: &[u8] = &[0x9d];
const POPFW: &[u8] = &[0x66, 0x9d];
const HLT: &[u8] = &[0xf4];

#[test]
fn critical_section_with_pushf_cli_popf_restores_the_interrupt_flag() {
    let mut rig = Rig::long();
    rig.cpu.interrupts = flag::INTERRUPT;

    assert_eq!(rig.run(PUSHFQ), Ok(Effect::Next));
    assert_eq!(rig.run(CLI), Ok(Effect::Next));
    assert_eq!(rig.cpu.interrupts, 0);
    assert_eq!(rig.stacked(0), flag::INTERRUPT | flag::FIXED);
    assert_eq!(rig.run(POPFQ), Ok(Effect::Next));

    assert_eq!(rig.cpu.interrupts, flag::INTERRUPT);
    assert_eq!(rig.get("rsp"), STACK);
    assert_eq!(rig.regs.rip, CODE + 3);
}

#[test]
fn sti_that_enables_shadows_one_instruction_and_sti_that_does_not_shadows_none() {
    let mut rig = Rig::long();
    assert_eq!(rig.run(STI), Ok(Effect::NextShadowed));
    assert_eq!(rig.run(STI), Ok(Effect::Next));
}

#[test]
fn hlt_waits_behind_itself() {
    let mut rig = Rig::long();
    assert_eq!(rig.run(HLT), Ok(Effect::Halt));
    assert_eq!(rig.regs.rip, CODE + 1);
}

#[test]
fn popf_of_16_bits_keeps_the_upper_flags() {
    let mut rig = Rig::long();
    rig.cpu.kept_flags = flag::ALIGNMENT;
    rig.regs.rflags = flag::IDENTIFICATION | flag::CARRY;
    rig.bus.poke_u64(STACK, flag::ZERO);

    assert_eq!(rig.run(POPFW), Ok(Effect::Next));

    let expected = flag::ALIGNMENT | flag::IDENTIFICATION | flag::ZERO | flag::FIXED;
    assert_eq!(rig.cpu.rflags(&rig.regs), expected);
    assert_eq!(rig.get("rsp"), STACK + 2);
}

#[test]
fn popf_with_the_trap_flag_is_refused() {
    let mut rig = Rig::long();
    rig.bus.poke_u64(STACK, flag::TRAP);
    assert!(rig.refusal(POPFQ).contains("single-stepping"));
}

#[test]
fn pushf_in_32_bit_code_pushes_32_bits() {
    let mut rig = Rig::protected();
    rig.regs.rflags = flag::CARRY;
    assert_eq!(rig.run(PUSHFQ), Ok(Effect::Next));
    assert_eq!(rig.get("rsp"), STACK - 4);
    assert_eq!(rig.bus.peek(STACK - 4), [3, 0, 0, 0]);
}

#[test]
fn pushf_on_a_stack_that_is_not_canonical_is_a_stack_fault() {
    let mut rig = Rig::long();
    rig.set("rsp", 1 << 47 | 8);
    assert_eq!(rig.exception(PUSHFQ), (12, Some(0)));
}

#[test]
fn clac_and_stac_do_not_exist() {
    let mut rig = Rig::long();
    assert_eq!(rig.exception(&[0x0f, 0x01, 0xca]), (6, None));
    assert_eq!(rig.exception(&[0x0f, 0x01, 0xcb]), (6, None));
}
