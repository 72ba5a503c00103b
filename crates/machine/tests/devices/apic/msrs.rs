//! Its MSRs: x2APIC mode (§11.12) and the way there.

use super::{BASE, BY_1, BY_MSRS, Bench, EXTINT, IN_MEMORY, MASKED, MSR, OFF, register};

fn by_msrs() -> Bench {
    let mut bench = Bench::with_interrupts();
    assert!(bench.wrmsr(BASE, BY_MSRS));
    bench
}

#[test]
fn modes_change_as_the_manual_allows_and_no_other_way() {
    let allowed = |from: &[u64], to| {
        let mut bench = Bench::new();
        assert!(from.iter().all(|mode| bench.wrmsr(BASE, *mode)));
        let before = bench.rdmsr(BASE);
        let allowed = bench.wrmsr(BASE, to);
        assert_eq!(bench.rdmsr(BASE), if allowed { Some(to) } else { before });
        allowed
    };
    assert!(allowed(&[], IN_MEMORY) && allowed(&[], BY_MSRS) && allowed(&[], OFF));
    assert!(allowed(&[OFF], OFF) && allowed(&[OFF], IN_MEMORY) && !allowed(&[OFF], BY_MSRS));
    assert!(allowed(&[BY_MSRS], BY_MSRS) && allowed(&[BY_MSRS], OFF) && !allowed(&[BY_MSRS], IN_MEMORY));
    // x2APIC without being enabled, reserved bits, another address.
    for wrong in [OFF | 1 << 10, IN_MEMORY | 1, IN_MEMORY | 1 << 9, IN_MEMORY | 1 << 40, IN_MEMORY + 0x1000] {
        assert!(!allowed(&[], wrong), "{wrong:#x}");
    }
}

#[test]
fn registers_are_no_msrs_until_it_is_switched_to_them() {
    for mode in [IN_MEMORY, OFF] {
        let mut bench = Bench::new();
        assert!(bench.wrmsr(BASE, mode));
        for msr in [MSR, MSR + register::ID, MSR + register::SELF, 0x8ff] {
            assert_eq!((bench.rdmsr(msr), bench.wrmsr(msr, 0)), (None, false), "{msr:#x}");
        }
    }
}

#[test]
fn switching_keeps_what_was_set() {
    let mut bench = Bench::with_interrupts();
    bench.set_apic(register::TASK_PRIORITY, 0x20);
    bench.set_apic(register::LOGICAL_DESTINATION, 0x0400_0000);
    bench.set_apic(register::COMMAND_HIGH, 0x0300_0000);
    bench.set_apic(register::COMMAND, 0x51);
    bench.send(0x61);
    assert!(bench.wrmsr(BASE, BY_MSRS));
    let set = [register::TASK_PRIORITY, register::SPURIOUS, register::LINT0, register::COMMAND];
    let found = set.map(|register| bench.rdmsr(MSR + register));
    assert_eq!(found, [0x20, 0x1ff, EXTINT.into(), 1 << 18 | 0x61].map(Some));
    assert_eq!(bench.rdmsr(MSR + register::LOGICAL_DESTINATION), Some(1), "made of the id");
    assert_eq!(bench.interrupt(), Some(0x61));
}

#[test]
fn switching_off_forgets_all_and_lets_the_8259s_ask_the_cpu() {
    let mut bench = by_msrs();
    assert!(bench.wrmsr(MSR + register::LINT0, MASKED.into()) && bench.wrmsr(MSR + register::SELF, 0x50));
    bench.pc.set_line(5, true);
    assert!(bench.wrmsr(BASE, OFF));
    assert_eq!((bench.interrupt(), bench.interrupt()), (Some(37), None));
    assert!(bench.wrmsr(BASE, IN_MEMORY));
    assert_eq!((bench.apic(register::SPURIOUS), bench.apic(register::LINT0)), (0xff, MASKED));
}

#[test]
fn msr_that_can_only_be_read_or_only_be_written_faults() {
    let mut bench = by_msrs();
    let read_only = [
        register::ID,
        register::VERSION,
        register::PROCESSOR_PRIORITY,
        register::LOGICAL_DESTINATION,
        register::IN_SERVICE,
        register::TRIGGER_MODE + 7,
        register::REQUESTED + 3,
        register::CURRENT,
    ];
    for register in read_only {
        assert!(bench.rdmsr(MSR + register).is_some() && !bench.wrmsr(MSR + register, 0), "{register:#x}");
    }
    for register in [register::END, register::SELF] {
        assert!(bench.rdmsr(MSR + register).is_none() && bench.wrmsr(MSR + register, 0), "{register:#x}");
    }
}

#[test]
fn msr_that_there_is_not_faults() {
    let mut bench = by_msrs();
    let absent = [0x00, 0x01, 0x04, 0x09, 0x0c, 0x0e, 0x29, 0x2f, 0x31, 0x3a, 0x40, 0xff];
    for register in absent {
        assert_eq!(
            (bench.rdmsr(MSR + register), bench.wrmsr(MSR + register, 0)),
            (None, false),
            "{register:#x}"
        );
    }
}

#[test]
fn reserved_bits_fault_and_change_nothing() {
    let mut bench = by_msrs();
    let reserved = [
        (register::TASK_PRIORITY, 1 << 8),
        (register::END, 1),
        (register::SPURIOUS, 1 << 9),
        (register::ERRORS, 1),
        (register::COMMAND, 1 << 13),
        (register::COMMAND, 1 << 20),
        (register::TIMER, 1 << 18),
        (register::TIMER, 1 << 8),
        (register::LINT0, 1 << 17),
        (register::ERROR, 1 << 10),
        (register::DIVIDE, 1 << 2),
        (register::SELF, 1 << 8),
        (register::INITIAL, 1 << 32),
        (register::TIMER, 1 << 32),
    ];
    for (register, value) in reserved {
        let before = bench.rdmsr(MSR + register);
        assert!(!bench.wrmsr(MSR + register, value), "{register:#x} {value:#x}");
        assert_eq!(bench.rdmsr(MSR + register), before);
    }
}

#[test]
fn command_has_a_destination_of_32_bits() {
    const LOGICAL: u64 = 1 << 11;
    let mut bench = by_msrs();
    let mut arrives = |destination: u64, command: u64| {
        assert!(bench.wrmsr(MSR + register::COMMAND, destination << 32 | command | 0x50));
        let arrived = bench.interrupt() == Some(0x50);
        assert!(bench.wrmsr(MSR + register::END, 0));
        arrived
    };
    assert!(arrives(0, 0) && arrives(0xffff_ffff, 0) && !arrives(0xff, 0) && !arrives(1, 0));
    assert!(arrives(1, LOGICAL) && arrives(0x8001, LOGICAL) && arrives(0xffff_ffff, LOGICAL));
    assert!(!arrives(2, LOGICAL) && !arrives(0x1_0001, LOGICAL));
    assert!(arrives(7, 1 << 18) && arrives(7, 2 << 18) && !arrives(0, 3 << 18));
}

#[test]
fn timer_and_errors_work_by_msrs() {
    let mut bench = by_msrs();
    for (register, value) in [(register::ERROR, 0x70), (register::TIMER, 0x40), (register::DIVIDE, BY_1)] {
        assert!(bench.wrmsr(MSR + register, value.into()));
    }
    assert!(bench.wrmsr(MSR + register::INITIAL, 1000));
    bench.at_ns(400);
    assert_eq!(bench.rdmsr(MSR + register::CURRENT), Some(600));
    bench.at_ns(1000);
    assert_eq!(bench.interrupt(), Some(0x40));
    assert!(bench.wrmsr(MSR + register::SELF, 3));
    assert_eq!(bench.interrupt(), Some(0x70));
    assert!(bench.wrmsr(MSR + register::ERRORS, 0));
    assert_eq!(bench.rdmsr(MSR + register::ERRORS), Some(1 << 5));
}
