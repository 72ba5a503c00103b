use runu_core::VirtAddr;

use super::{Exception, Undelivered, interrupt, raise};
use crate::{
    cpu::{Table, flag, segment},
    emulate::rig::{CODE, IDT, INTERRUPT_GATE, PDPT, Rig, STACK, TRAP_GATE, TSS, selector},
};

const HANDLER: u64 = 0xffff_8000_0000_b000;
const IST: u64 = 0x7000;

fn raised(rig: &mut Rig, exception: Exception) -> Result<(), Undelivered> {
    raise(&mut rig.cpu, &mut rig.regs, &mut rig.bus, exception)
}

fn interrupted(rig: &mut Rig, vector: u8) -> Result<(), Undelivered> {
    interrupt(&mut rig.cpu, &mut rig.regs, &mut rig.bus, vector)
}

#[test]
fn exception_with_error_code_leaves_a_full_frame() {
    let mut rig = Rig::long();
    rig.gate(13, HANDLER, INTERRUPT_GATE, 0);
    rig.cpu.interrupts = flag::INTERRUPT;
    rig.regs.rflags |= flag::ZERO;
    rig.set("rsp", STACK - 3);

    assert_eq!(raised(&mut rig, Exception::general_protection(0x18)), Ok(()));

    assert_eq!(rig.regs.rip, HANDLER);
    assert_eq!(rig.get("rsp"), STACK - 16 - 48, "aligned to 16 before the frame");
    let flags = flag::ZERO | flag::FIXED | flag::INTERRUPT | flag::RESUME;
    let frame = [0, 1, 2, 3, 4, 5].map(|n| rig.stacked(n));
    assert_eq!(frame, [0x18, CODE, selector::CODE64.into(), flags, STACK - 3, selector::DATA.into()]);
    assert_eq!(rig.cpu.interrupts, 0);
}

#[test]
fn interrupt_leaves_no_error_code_and_no_resume_flag() {
    let mut rig = Rig::long();
    rig.gate(32, HANDLER, INTERRUPT_GATE, 0);
    rig.cpu.interrupts = flag::INTERRUPT;
    assert_eq!(interrupted(&mut rig, 32), Ok(()));
    assert_eq!(rig.get("rsp"), STACK - 40, "the top is aligned, not the bottom");
    assert_eq!((rig.stacked(0), rig.stacked(2)), (CODE, flag::INTERRUPT | flag::FIXED));
}

#[test]
fn interrupt_with_a_stack_of_its_own_uses_it() {
    let mut rig = Rig::long();
    rig.gate(32, HANDLER, TRAP_GATE, 2);
    rig.bus.poke_u64(TSS + 0x2c, IST);
    rig.cpu.interrupts = flag::INTERRUPT;
    assert_eq!(interrupted(&mut rig, 32), Ok(()));
    assert_eq!(rig.get("rsp"), IST - 40);
    assert_eq!(rig.stacked(3), STACK);
    assert_eq!(rig.cpu.interrupts, flag::INTERRUPT, "a trap gate leaves IF");
}

#[test]
fn exception_clears_nested_task_and_keeps_the_other_flags() {
    let mut rig = Rig::long();
    rig.gate(6, HANDLER, INTERRUPT_GATE, 0);
    rig.cpu.kept_flags = flag::NESTED_TASK | flag::ALIGNMENT;
    rig.regs.rflags |= flag::DIRECTION;
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Ok(()));
    assert_eq!(rig.cpu.kept_flags, flag::ALIGNMENT);
    assert_ne!(rig.regs.rflags & flag::DIRECTION, 0);
}

#[test]
fn page_fault_leaves_its_address_in_cr2() {
    let mut rig = Rig::long();
    rig.gate(14, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(raised(&mut rig, Exception::page_fault(VirtAddr(0xdead_0000), 2)), Ok(()));
    assert_eq!((rig.cpu.cr2, rig.stacked(0)), (0xdead_0000, 2));
}

#[test]
fn exception_in_compatibility_mode_enters_64_bit_code() {
    let mut rig = Rig::long();
    rig.gate(6, HANDLER, INTERRUPT_GATE, 0);
    rig.cpu.code64 = 0;
    rig.cpu.selectors = [selector::DATA, selector::CODE32, selector::DATA, selector::DATA, 0, 0];
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Ok(()));
    assert!(rig.cpu.long_mode_code());
    assert_eq!(rig.stacked(1), selector::CODE32.into());
}

#[test]
fn fault_without_a_gate_becomes_a_double_fault() {
    let mut rig = Rig::long();
    rig.gate(8, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(raised(&mut rig, Exception::general_protection(0)), Ok(()));
    assert_eq!((rig.regs.rip, rig.stacked(0), rig.stacked(1)), (HANDLER, 0, CODE));
}

#[test]
fn benign_exception_without_a_gate_becomes_a_protection_fault_that_names_it() {
    let mut rig = Rig::long();
    rig.gate(13, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Ok(()));
    assert_eq!(rig.stacked(0), 6 << 3 | 2 | 1, "gate of vector 6, external event");
}

#[test]
fn gate_that_is_not_present_is_told_so() {
    let mut rig = Rig::long();
    rig.gate(6, HANDLER, INTERRUPT_GATE & !0x80, 0);
    rig.gate(11, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Ok(()));
    assert_eq!(rig.stacked(0), 6 << 3 | 2 | 1);
}

#[test]
fn page_fault_on_the_way_to_the_page_fault_handler_becomes_a_double_fault() {
    let mut rig = Rig::long();
    rig.gate(14, HANDLER, INTERRUPT_GATE, 0);
    rig.gate(8, HANDLER, INTERRUPT_GATE, 1);
    rig.bus.poke_u64(TSS + 0x24, IST);
    rig.set("rsp", 1 << 30 | 0x100);
    assert_eq!(raised(&mut rig, Exception::page_fault(VirtAddr(0x1234), 0)), Ok(()));
    assert_eq!(rig.get("rsp"), IST - 48);
    assert_eq!((rig.stacked(0), rig.stacked(4)), (0, 1 << 30 | 0x100));
    assert_eq!(rig.cpu.cr2, 0x4000_00d0, "the stack's address, which faulted second");
}

#[test]
fn page_fault_on_the_way_to_a_protection_fault_handler_is_handled_first() {
    let mut rig = Rig::long();
    rig.gate(13, HANDLER, INTERRUPT_GATE, 0);
    rig.gate(14, HANDLER + 1, INTERRUPT_GATE, 1);
    rig.bus.poke_u64(TSS + 0x24, IST);
    rig.set("rsp", 1 << 30 | 0x100);
    assert_eq!(raised(&mut rig, Exception::general_protection(0)), Ok(()));
    assert_eq!((rig.regs.rip, rig.stacked(0), rig.stacked(1)), (HANDLER + 1, 2, CODE));
}

#[test]
fn exception_without_any_table_is_a_triple_fault() {
    let mut rig = Rig::long();
    rig.cpu.idt = Table::default();
    let before = rig.regs;
    let triple = Undelivered::TripleFault { vector: 6, rip: CODE };
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Err(triple));
    assert_eq!(rig.regs, before);
}

#[test]
fn stack_overflow_without_a_stack_for_double_faults_is_a_triple_fault() {
    let mut rig = Rig::long();
    for vector in [8, 14] {
        rig.gate(vector, HANDLER, INTERRUPT_GATE, 0);
    }
    rig.set("rsp", 1 << 30 | 0x10);
    let triple = Undelivered::TripleFault { vector: 14, rip: CODE };
    assert_eq!(raised(&mut rig, Exception::page_fault(VirtAddr(1 << 30), 2)), Err(triple));
}

#[test]
fn interrupt_with_the_vector_of_an_exception_is_no_exception() {
    // A PIC that was never reprogrammed delivers the timer as vector 8.
    let mut rig = Rig::long();
    rig.gate(8, HANDLER, INTERRUPT_GATE & !0x80, 0);
    rig.gate(11, HANDLER, INTERRUPT_GATE, 0);
    assert_eq!(interrupted(&mut rig, 8), Ok(()));
    assert_eq!(rig.stacked(0), 8 << 3 | 2 | 1, "not present, rather than a triple fault");
}

#[test]
fn task_without_room_for_the_interrupt_stack_is_an_invalid_task() {
    let mut rig = Rig::long();
    rig.gate(32, HANDLER, INTERRUPT_GATE, 7);
    rig.gate(10, HANDLER, INTERRUPT_GATE, 0);
    rig.cpu.task.limit = 0x5a;
    assert_eq!(interrupted(&mut rig, 32), Ok(()));
    assert_eq!(rig.stacked(0), u64::from(selector::TASK) | 1);
}

#[test]
fn stack_that_is_not_canonical_is_a_stack_fault() {
    let mut rig = Rig::long();
    rig.gate(32, HANDLER, INTERRUPT_GATE, 0);
    rig.gate(12, HANDLER, INTERRUPT_GATE, 1);
    rig.bus.poke_u64(TSS + 0x24, IST);
    rig.set("rsp", 1 << 47 | 0x1000);
    assert_eq!(interrupted(&mut rig, 32), Ok(()));
    assert_eq!((rig.get("rsp"), rig.stacked(0)), (IST - 48, 1));
}

#[test]
fn handler_that_is_not_64_bit_code_is_a_protection_fault() {
    for (bad, error_code) in [(selector::CODE32, 0x19), (selector::DATA, 0x11), (0, 1)] {
        let mut rig = Rig::long();
        rig.gate(32, HANDLER, INTERRUPT_GATE, 0);
        rig.bus.poke(IDT + 16 * 32 + 2, &bad.to_le_bytes());
        rig.gate(13, HANDLER, INTERRUPT_GATE, 0);
        assert_eq!(interrupted(&mut rig, 32), Ok(()));
        assert_eq!(rig.stacked(0), error_code, "{bad:#x}");
    }
}

#[test]
fn interrupt_table_that_is_not_mapped_faults_until_the_end() {
    let mut rig = Rig::long();
    rig.cpu.idt.base = 0x8000_0000;
    rig.bus.poke_u64(PDPT + 16, 0);
    let triple = Undelivered::TripleFault { vector: 6, rip: CODE };
    assert_eq!(raised(&mut rig, Exception::invalid_opcode()), Err(triple));
}

#[test]
fn exception_in_protected_mode_leaves_a_32_bit_frame() {
    let mut rig = Rig::protected();
    rig.cpu.idt = Table { base: IDT, limit: 0xff };
    let gate = 0xb000 | u64::from(selector::CODE32) << 16 | INTERRUPT_GATE << 40;
    rig.bus.poke_u64(IDT + 8 * 13, gate);
    rig.cpu.interrupts = flag::INTERRUPT;
    assert_eq!(raised(&mut rig, Exception::general_protection(0x30)), Ok(()));
    assert_eq!((rig.regs.rip, rig.get("rsp"), rig.cpu.interrupts), (0xb000, STACK - 16, 0));
    let frame: [u8; 16] = rig.bus.peek(STACK - 16);
    assert_eq!(frame, [0x30, 0, 0, 0, 0, 0x90, 0, 0, 0x18, 0, 0, 0, 0x02, 0x02, 0x01, 0]);
    assert_eq!(rig.cpu.selectors.get(segment::CS), Some(&selector::CODE32));
}

#[test]
fn exception_in_protected_mode_without_a_table_is_a_triple_fault() {
    let mut rig = Rig::protected();
    assert!(matches!(
        raised(&mut rig, Exception::general_protection(0)),
        Err(Undelivered::TripleFault { vector: 13, .. })
    ));
}

#[test]
fn task_gate_is_refused() {
    let mut rig = Rig::protected();
    rig.cpu.idt = Table { base: IDT, limit: 0xff };
    rig.bus.poke_u64(IDT + 8 * 13, 0x85 << 40);
    assert!(matches!(raised(&mut rig, Exception::general_protection(0)), Err(Undelivered::Unsupported(_))));
}
