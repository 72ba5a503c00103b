use crate::{
    cpu::{Cpu, cr0, cr4, efer, flag, segment},
    emulate::{
        Effect,
        rig::{CODE, DATA, INTERRUPT_GATE, PDPT, Rig, STACK, TRAP_GATE, selector},
    },
};

const RETFQ: &[u8] = &[0x48, 0xcb];
const IRETQ: &[u8] = &[0x48, 0xcf];
const JMP_FAR_RAX: &[u8] = &[0x48, 0xff, 0x28]; // jmp far [rax], 16:64
const CALL_FAR_RAX: &[u8] = &[0xff, 0x18]; // call far [rax], 16:32
const SYSCALL: &[u8] = &[0x0f, 0x05];
const SYSRETQ: &[u8] = &[0x48, 0x0f, 0x07];
const HANDLER: u64 = 0xb000;

fn cs(cpu: &Cpu) -> Option<u16> {
    cpu.selectors.get(segment::CS).copied()
}

/// A 32-bit kernel in compatibility mode, just before its far jump to 64-bit code.
fn entering_long_mode() -> Rig {
    let mut rig = Rig::long();
    rig.cpu.code64 = 0;
    rig.cpu.selectors = [selector::DATA, selector::CODE32, selector::DATA, selector::DATA, 0, 0];
    rig
}

fn push_frame(rig: &mut Rig, frame: &[u64]) {
    for (at, value) in (STACK..).step_by(8).zip(frame) {
        rig.bus.poke_u64(at, *value);
    }
}

#[test]
fn far_jump_to_a_64_bit_segment_changes_the_code_size() {
    let mut rig = entering_long_mode();
    // ljmp $0x08, $0x12345678
    assert_eq!(rig.run(&[0xea, 0x78, 0x56, 0x34, 0x12, 0x08, 0x00]), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.cpu.code_size(), cs(&rig.cpu)), (0x1234_5678, 64, Some(0x08)));
}

#[test]
fn far_jump_without_long_mode_takes_the_same_segment_for_32_bit_code() {
    let mut rig = Rig::protected();
    assert_eq!(rig.run(&[0xea, 0x00, 0x20, 0, 0, 0x18, 0x00]), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.cpu.code_size()), (0x2000, 32));
}

#[test]
fn far_jump_through_memory_to_32_bit_code_cuts_the_registers() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.set("rbx", u64::MAX);
    rig.bus.poke_u64(DATA, 0x3000);
    rig.bus.poke(DATA + 8, &selector::CODE32.to_le_bytes());
    assert_eq!(rig.run(JMP_FAR_RAX), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.cpu.code_size(), rig.get("rbx")), (0x3000, 32, 0xffff_ffff));
}

#[test]
fn far_jump_to_32_bit_code_with_based_data_is_refused() {
    let mut rig = Rig::long();
    rig.cpu.bounded_segments = 1 << segment::DS;
    rig.set("rax", DATA);
    rig.bus.poke_u64(DATA + 8, selector::CODE32.into());
    assert!(rig.refusal(JMP_FAR_RAX).contains("base or limit"));
}

#[test]
fn far_jump_to_what_is_not_code_faults_with_its_selector() {
    for (target, vector, error_code) in [
        (0, 13, 0),
        (selector::DATA, 13, 0x10),
        (selector::BEYOND, 13, 0x60),
        (selector::ABSENT_CODE, 11, 0x38),
        (selector::USER_CODE, 13, 0x50),
        (selector::CODE64 | 3, 13, 0x08),
    ] {
        let mut rig = Rig::long();
        rig.set("rax", DATA);
        rig.bus.poke_u64(DATA + 8, target.into());
        assert_eq!(rig.exception(JMP_FAR_RAX), (vector, Some(error_code)), "{target:#x}");
    }
}

#[test]
fn far_jump_to_an_address_that_is_not_canonical_faults() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke_u64(DATA, 1 << 47);
    rig.bus.poke_u64(DATA + 8, selector::CODE64.into());
    assert_eq!(rig.exception(JMP_FAR_RAX), (13, Some(0)));
}

#[test]
fn far_jump_through_a_call_gate_is_refused() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke_u64(DATA + 8, selector::CALL_GATE.into());
    assert!(rig.refusal(JMP_FAR_RAX).contains("call gate"));
}

#[test]
fn far_call_is_undone_by_far_return() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke(DATA, &[0, 0x20, 0, 0, 0x08, 0]);
    assert_eq!(rig.run(CALL_FAR_RAX), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.get("rsp")), (0x2000, STACK - 8));
    assert_eq!(rig.run(&[0xcb]), Ok(Effect::Jump)); // retf, 32-bit
    assert_eq!((rig.regs.rip, rig.get("rsp")), (CODE + 2, STACK));
}

#[test]
fn far_call_that_cannot_push_leaves_the_stack_pointer() {
    let mut rig = Rig::long();
    rig.set("rax", DATA);
    rig.bus.poke(DATA, &[0, 0x20, 0, 0, 0x08, 0]);
    // The selector fits into the third GiB, which is mapped here; the return address falls into the second.
    rig.bus.poke_u64(PDPT + 16, 0x83);
    rig.set("rsp", 0x8000_0004);
    assert_eq!(rig.exception(CALL_FAR_RAX), (14, Some(2)));
}

#[test]
fn far_return_releases_its_parameters() {
    let mut rig = Rig::long();
    push_frame(&mut rig, &[0x2000, selector::CODE64.into()]);
    assert_eq!(rig.run(&[0x48, 0xca, 0x08, 0x00]), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.get("rsp")), (0x2000, STACK + 24));
}

#[test]
fn far_return_to_privilege_3_is_refused() {
    let mut rig = Rig::long();
    push_frame(&mut rig, &[0x2000, u64::from(selector::USER_CODE) | 3]);
    assert!(rig.refusal(RETFQ).contains("privilege level 3"));
}

#[test]
fn iretq_takes_all_five_words() {
    let mut rig = Rig::long();
    let flags = flag::INTERRUPT | flag::CARRY | flag::FIXED;
    push_frame(&mut rig, &[0x2000, selector::CODE64.into(), flags | flag::RESUME, 0x7000, 0]);
    assert_eq!(rig.run(IRETQ), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.get("rsp"), rig.cpu.interrupts), (0x2000, 0x7000, flag::INTERRUPT));
    assert_eq!(rig.cpu.rflags(&rig.regs), flags);
    assert_eq!(rig.cpu.selectors.get(segment::SS), Some(&0));
}

#[test]
fn iretq_with_a_bad_frame_faults() {
    let code = u64::from(selector::CODE64);
    for (frame, expected) in [
        ([1 << 47, code, 2, STACK, 0x10], (13, Some(0))),
        ([0x2000, 0, 2, STACK, 0x10], (13, Some(0))),
        ([0x2000, selector::DATA.into(), 2, STACK, 0x10], (13, Some(0x10))),
        ([0x2000, code, 2, STACK, selector::BEYOND.into()], (13, Some(0x60))),
        ([0x2000, selector::CODE32.into(), 2, STACK, 0], (13, Some(0))),
    ] {
        let mut rig = Rig::long();
        push_frame(&mut rig, &frame);
        assert_eq!(rig.exception(IRETQ), expected, "{frame:x?}");
    }
}

#[test]
fn iretq_that_cannot_be_represented_is_refused() {
    for (selector, flags, why) in [
        (u64::from(selector::USER_CODE) | 3, 2, "privilege level 3"),
        (selector::CODE64.into(), flag::TRAP, "single-stepping"),
    ] {
        let mut rig = Rig::long();
        push_frame(&mut rig, &[0x2000, selector, flags, STACK, 0x10]);
        assert!(rig.refusal(IRETQ).contains(why));
    }
}

#[test]
fn iret_with_nested_task_faults_in_long_mode() {
    let mut rig = Rig::long();
    rig.cpu.kept_flags = flag::NESTED_TASK;
    push_frame(&mut rig, &[0x2000, selector::CODE64.into(), 2, STACK, 0x10]);
    assert_eq!(rig.exception(IRETQ), (13, Some(0)));
}

#[test]
fn iretd_in_32_bit_code_takes_three_words() {
    let mut rig = Rig::protected();
    rig.bus.poke(STACK, &[0, 0x20, 0, 0, 0x18, 0, 0, 0, 0x02, 0x02, 0, 0]);
    assert_eq!(rig.run(&[0xcf]), Ok(Effect::Jump));
    assert_eq!((rig.regs.rip, rig.get("rsp"), rig.cpu.interrupts), (0x2000, STACK + 12, flag::INTERRUPT));
}

#[test]
fn software_interrupt_returns_behind_itself() {
    for (code, vector) in [(&[0xcd_u8, 0x80] as &[u8], 0x80), (&[0xcc], 3), (&[0xf1], 1)] {
        let mut rig = Rig::long();
        rig.cpu.interrupts = flag::INTERRUPT;
        rig.gate(vector, HANDLER, TRAP_GATE, 0);
        assert_eq!(rig.run(code), Ok(Effect::Jump));
        assert_eq!(rig.regs.rip, HANDLER);
        assert_eq!(rig.stacked(0), CODE + u64::try_from(code.len()).unwrap_or(0));
        assert_eq!(rig.cpu.interrupts, flag::INTERRUPT, "a trap gate leaves IF");
        assert_eq!(rig.run(IRETQ), Ok(Effect::Jump));
        assert_eq!(rig.get("rsp"), STACK);
    }
}

#[test]
fn software_interrupt_without_a_gate_faults_as_the_programs_own() {
    assert_eq!(Rig::long().exception(&[0xcd, 0x21]), (13, Some(0x21 << 3 | 2)));
}

#[test]
fn into_without_overflow_goes_on() {
    let mut rig = Rig::protected();
    assert_eq!(rig.run(&[0xce]), Ok(Effect::Next));
}

#[test]
fn syscall_enters_the_kernel_the_guest_set_up() {
    let mut rig = Rig::long();
    rig.cpu.efer |= efer::SCE;
    rig.cpu.star = 0x0008 << 32;
    rig.cpu.lstar = HANDLER;
    rig.cpu.sfmask = flag::INTERRUPT | flag::DIRECTION;
    rig.cpu.interrupts = flag::INTERRUPT;
    rig.regs.rflags = flag::CARRY | flag::DIRECTION | flag::FIXED;
    let flags = rig.cpu.rflags(&rig.regs);

    assert_eq!(rig.run(SYSCALL), Ok(Effect::Jump));

    assert_eq!((rig.regs.rip, rig.get("rcx"), rig.get("r11")), (HANDLER, CODE + 2, flags));
    assert_eq!(rig.cpu.rflags(&rig.regs), flag::CARRY | flag::FIXED);
    assert_eq!(rig.cpu.selectors, [0x10, 0x08, 0x10, 0x10, 0x10, 0x10]);
    assert_eq!(rig.get("rsp"), STACK);
}

#[test]
fn syscall_and_sysret_that_are_not_enabled_do_not_exist() {
    assert_eq!(Rig::long().exception(SYSCALL), (6, None));
    assert_eq!(Rig::long().exception(SYSRETQ), (6, None));
    assert_eq!(Rig::protected().exception(SYSCALL), (6, None));
}

#[test]
fn sysret_is_refused_because_it_enters_privilege_3() {
    let mut rig = Rig::long();
    rig.cpu.efer |= efer::SCE;
    assert!(rig.refusal(SYSRETQ).contains("privilege level 3"));
    rig.set("rcx", 1 << 47);
    assert_eq!(rig.exception(SYSRETQ), (13, Some(0)));
}

#[test]
fn multiboot_start_reaches_64_bit_code() {
    let mut rig = Rig::protected();
    rig.set("rax", cr4::PAE);
    assert_eq!(rig.run(&[0x0f, 0x22, 0xe0]), Ok(Effect::FlushAll)); // mov cr4, eax
    rig.set("rcx", 0xc000_0080);
    rig.set("rax", efer::LME);
    assert_eq!(rig.run(&[0x0f, 0x30]), Ok(Effect::Next)); // wrmsr
    rig.bus.poke_u64(0x1000, 0x2003);
    rig.bus.poke_u64(0x2000, 0x83);
    rig.set("rax", 0x1000);
    assert_eq!(rig.run(&[0x0f, 0x22, 0xd8]), Ok(Effect::FlushAll)); // mov cr3, eax
    rig.set("rax", cr0::PE | cr0::WP | cr0::PG);
    assert_eq!(rig.run(&[0x0f, 0x22, 0xc0]), Ok(Effect::FlushAll)); // mov cr0, eax
    assert_eq!(rig.run(&[0xea, 0, 0x20, 0, 0, 0x08, 0]), Ok(Effect::Jump)); // ljmp $8, $0x2000
    assert_eq!((rig.cpu.code_size(), rig.regs.rip), (64, 0x2000));
}

#[test]
fn interrupt_gate_clears_the_interrupt_flag() {
    let mut rig = Rig::long();
    rig.cpu.interrupts = flag::INTERRUPT;
    rig.gate(0x30, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(rig.run(&[0xcd, 0x30]), Ok(Effect::Jump));
    assert_eq!(rig.cpu.interrupts, 0);
}
