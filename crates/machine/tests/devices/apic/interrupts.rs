//! How interrupts come, which first, and when (§11.5 to §11.9). Registers are memory.

use super::{Bench, EXTINT, IN_MEMORY, LEVEL, MASKED, REMOTE_IRR, address, register};

/// A PC with a device that asks for interrupt 37.
fn with_line() -> Bench {
    let mut bench = Bench::with_interrupts();
    bench.pc.set_line(5, true);
    bench
}

#[test]
fn firmware_left_it_enabled_and_transparent() {
    let mut bench = with_line();
    let found = [register::ID, register::VERSION, register::SPURIOUS, register::LINT0, register::LINT1];
    assert_eq!(found.map(|register| bench.apic(register)), [0, 0x5_0014, 0x1ff, EXTINT, 0x400]);
    assert_eq!((bench.apic(register::TIMER), bench.apic(register::ERROR)), (MASKED, MASKED));
    assert_eq!((bench.interrupt(), bench.interrupt()), (Some(37), None));
    assert_eq!(bench.apic(register::IN_SERVICE + 1), 0, "it knows nothing of it");
}

#[test]
fn interrupts_of_the_8259s_pass_every_priority() {
    let mut bench = with_line();
    bench.set_apic(register::TASK_PRIORITY, 0xff);
    assert_eq!(bench.interrupt(), Some(37));
}

#[test]
fn lint0_masked_keeps_interrupts_of_the_8259s_until_it_is_not() {
    let mut bench = with_line();
    bench.set_apic(register::LINT0, EXTINT | MASKED);
    assert_eq!(bench.interrupt(), None);
    bench.set_apic(register::LINT0, EXTINT);
    assert_eq!(bench.interrupt(), Some(37));
}

#[test]
fn lint0_fixed_interrupts_at_each_edge_of_the_8259s() {
    let mut bench = Bench::with_interrupts();
    bench.set_apic(register::LINT0, 0x45);
    assert_eq!(bench.interrupt(), None);
    bench.pc.set_line(5, true);
    assert_eq!((bench.take_all(), bench.interrupt()), (vec![0x45], None), "the line stays high");
}

#[test]
fn lint0_level_triggered_interrupts_until_the_8259s_ask_no_more() {
    let mut bench = with_line();
    bench.set_apic(register::LINT0, LEVEL | 0x45);
    assert_eq!(bench.interrupt(), Some(0x45));
    assert_eq!(bench.apic(register::LINT0), LEVEL | REMOTE_IRR | 0x45);
    assert_eq!(bench.apic(register::TRIGGER_MODE + 2), 1 << 5);
    bench.set_apic(register::END, 0);
    assert_eq!(bench.interrupt(), Some(0x45), "it is still high");
    bench.outb(0x21, 0xff);
    assert_eq!(bench.interrupt(), None);
    bench.set_apic(register::END, 0);
    assert_eq!((bench.interrupt(), bench.apic(register::LINT0)), (None, LEVEL | 0x45));
}

#[test]
fn own_interrupts_come_before_those_of_the_8259s() {
    let mut bench = with_line();
    bench.send(0x50);
    assert_eq!((bench.interrupt(), bench.interrupt()), (Some(0x50), Some(37)));
}

#[test]
fn vector_sent_twice_before_it_is_taken_is_taken_once() {
    let mut bench = Bench::new();
    bench.send(0x50);
    bench.send(0x50);
    assert_eq!(bench.take_all(), [0x50]);
}

#[test]
fn vectors_are_taken_from_the_highest_down() {
    let mut bench = Bench::new();
    for vector in [0x41, 0xff, 0x10, 0x7f, 0x42] {
        bench.send(vector);
    }
    assert_eq!(bench.take_all(), [0xff, 0x7f, 0x42, 0x41, 0x10]);
}

#[test]
fn in_service_holds_back_its_class_and_those_below_until_its_end() {
    let mut bench = Bench::new();
    bench.send(0x51);
    assert_eq!(bench.interrupt(), Some(0x51));
    bench.send(0x5f);
    bench.send(0x41);
    assert_eq!(bench.interrupt(), None);
    bench.send(0x60);
    assert_eq!(bench.interrupt(), Some(0x60));
    assert_eq!(bench.apic(register::PROCESSOR_PRIORITY), 0x60);
    bench.set_apic(register::END, 0);
    assert_eq!((bench.interrupt(), bench.apic(register::IN_SERVICE + 2)), (None, 1 << 17));
    bench.set_apic(register::END, 0);
    assert_eq!(bench.take_all(), [0x5f, 0x41]);
}

#[test]
fn task_priority_holds_back_its_class_and_those_below() {
    let mut bench = Bench::new();
    bench.set_apic(register::TASK_PRIORITY, 0x5f);
    bench.send(0x5f);
    assert_eq!(bench.interrupt(), None);
    assert_eq!((bench.apic(register::PROCESSOR_PRIORITY), bench.pc.priority_class()), (0x5f, 5));
    bench.pc.set_priority_class(4);
    assert_eq!((bench.interrupt(), bench.apic(register::TASK_PRIORITY)), (Some(0x5f), 0x40));
    assert_eq!(bench.apic(register::PROCESSOR_PRIORITY), 0x50, "that of what is in service");
}

#[test]
fn end_without_an_interrupt_is_none() {
    let mut bench = Bench::new();
    bench.set_apic(register::END, 0);
    bench.send(0x50);
    assert_eq!(bench.take_all(), [0x50]);
}

#[test]
fn message_arrives_where_its_destination_is_this_cpu() {
    const LOGICAL: u32 = 1 << 11;
    let mut bench = Bench::new();
    let mut arrives = |logical_id: u32, format: u32, destination: u32, command: u32| {
        bench.set_apic(register::LOGICAL_DESTINATION, logical_id << 24);
        bench.set_apic(register::DESTINATION_FORMAT, format << 28);
        bench.set_apic(register::COMMAND_HIGH, destination << 24);
        bench.set_apic(register::COMMAND, command | 0x50);
        bench.take_all() == [0x50]
    };
    let (flat, cluster) = (0xf, 0);
    assert!(arrives(0, flat, 0, 0) && arrives(0, flat, 0xff, 0) && !arrives(0, flat, 1, 0));
    assert!(arrives(0, flat, 0, 1 << 8), "lowest priority: there is no other");
    assert!(arrives(0, flat, 0, LEVEL | 1 << 14), "level-triggered");
    assert!(arrives(0x04, flat, 0x06, LOGICAL) && !arrives(0x04, flat, 0x0b, LOGICAL));
    assert!(arrives(0x34, cluster, 0x3c, LOGICAL) && !arrives(0x34, cluster, 0x33, LOGICAL));
    assert!(!arrives(0x34, cluster, 0x44, LOGICAL) && arrives(0x34, cluster, 0xff, LOGICAL));
    assert!(arrives(0, flat, 9, 2 << 18), "all");
    assert!(!arrives(0, flat, 0, 3 << 18), "all others");
}

#[test]
fn message_that_is_no_interrupt_is_dropped() {
    let mut bench = Bench::new();
    // SMI, NMI, INIT, start-up.
    for mode in [2, 4, 5, 6] {
        bench.set_apic(register::COMMAND, 2 << 18 | mode << 8 | 0x50);
    }
    assert_eq!((bench.interrupt(), bench.apic(register::ERRORS)), (None, 0));
    assert_eq!(bench.apic(register::COMMAND), 2 << 18 | 6 << 8 | 0x50);
}

#[test]
fn errors_are_shown_when_they_are_asked_for_and_interrupt() {
    let mut bench = Bench::new();
    bench.set_apic(register::ERROR, 0x70);
    bench.send(0x0f);
    assert_eq!((bench.apic(register::ERRORS), bench.take_all()), (0, vec![0x70]));
    bench.apic(0x3f);
    bench.set_apic(0x00, 1);
    assert_eq!(bench.take_all(), [0x70], "registers that there are not");
    bench.set_apic(register::ERRORS, 0);
    assert_eq!(bench.apic(register::ERRORS), 1 << 5 | 1 << 7);
    bench.set_apic(register::ERRORS, 0);
    assert_eq!(bench.apic(register::ERRORS), 0);
}

#[test]
fn local_vector_of_the_cpu_itself_is_an_error() {
    let mut bench = Bench::with_interrupts();
    bench.set_apic(register::ERROR, 0x0e);
    bench.set_apic(register::TIMER, 0x0d);
    bench.set_apic(register::INITIAL, 10);
    bench.at_ns(1000);
    bench.set_apic(register::ERRORS, 0);
    assert_eq!((bench.interrupt(), bench.apic(register::ERRORS)), (None, 1 << 6));
}

#[test]
fn software_disabled_masks_local_vectors_and_keeps_what_is_requested() {
    let mut bench = with_line();
    bench.set_apic(register::TASK_PRIORITY, 0xf0);
    bench.send(0x50);
    bench.set_apic(register::SPURIOUS, 0x0ff);
    bench.send(0x60);
    bench.set_apic(register::LINT0, EXTINT);
    assert_eq!(bench.apic(register::LINT0), EXTINT | MASKED, "and they stay masked");
    bench.set_apic(register::TASK_PRIORITY, 0);
    assert_eq!(bench.take_all(), [0x50]);
    bench.set_apic(register::SPURIOUS, 0x1ff);
    assert_eq!((bench.interrupt(), bench.apic(register::LINT0)), (None, EXTINT | MASKED));
}

#[test]
fn interrupt_that_is_gone_when_it_is_taken_is_the_spurious_one() {
    let mut bench = Bench::new();
    bench.set_apic(register::SPURIOUS, 0x1ab);
    bench.set_apic(register::LINT0, EXTINT | MASKED);
    assert_eq!((bench.pc.acknowledge(), bench.apic(register::IN_SERVICE + 5)), (0xab, 0));
}

#[test]
fn access_of_other_width_or_between_registers_is_nothing() {
    let mut bench = Bench::new();
    for (offset, len) in [(0, 1), (0, 2), (4, 4), (2, 4)] {
        let mut at = address(register::SPURIOUS);
        at.0 += offset;
        let mut bytes = [0xee; 8];
        assert!(bench.pc.read_memory(at, &mut bytes[..len], bench.now));
        assert_eq!(bytes[..len], vec![0; len]);
        assert!(bench.pc.write_memory(at, &bytes[..len], bench.now));
    }
    assert_eq!(bench.apic(register::SPURIOUS), 0x1ff);
}

#[test]
fn registers_are_one_page_and_only_while_they_are_memory() {
    let mut bench = Bench::new();
    for outside in [0xfedf_fffc, 0xfee0_1000] {
        assert!(!bench.pc.read_memory(runu_core::GuestAddr(outside), &mut [0; 4], bench.now));
    }
    assert_eq!(bench.rdmsr(super::BASE), Some(IN_MEMORY));
    assert!(bench.wrmsr(super::BASE, super::BY_MSRS));
    assert!(!bench.pc.read_memory(address(register::ID), &mut [0; 4], bench.now));
    assert!(!bench.pc.write_memory(address(register::END), &[0; 4], bench.now));
}
