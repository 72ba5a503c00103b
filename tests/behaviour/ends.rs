//! Every way in which a guest ends, and the status and words that it gets.

use crate::support::{BOTH_KINDS, Room};

const OFF: i32 = 0;
const CRASHED: i32 = 134;
const NOT_REPRESENTED: i32 = 70;

/// What an own guest with these arguments makes of `runu`: a status, the last line of its console, and an error that
/// starts so, or none.
#[track_caller]
fn assert_end(name: &str, arguments: &[&str], status: i32, last_line: &str, error: &str) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest(name, kind);
        let ended = room.finish(&mut room.run(&kernel, arguments));
        ended.assert_error(status, error);
        assert_eq!(ended.stderr.is_empty(), error.is_empty(), "{ended:?}");
        assert_eq!(ended.lines().last(), Some(&last_line), "{ended:?}");
    }
}

/// As [`assert_end`], for guests that report their crash by themselves.
#[track_caller]
fn assert_reported_crash(name: &str, arguments: &[&str], last_line: &str) {
    let error = "error: the guest crashed: the kernel reported a crash at port 0x501\n";
    assert_end(name, arguments, CRASHED, last_line, error);
}

#[test]
fn exit_code_of_a_guest_is_our_status() {
    for code in [0, 1, 2, 42, 70, 125, 126, 127, 128, 134, 143, 159, 255] {
        let argument = format!("exit={code}");
        assert_end("hello", &[&argument], code, &format!("argv[1] = {argument}"), "");
    }
}

#[test]
fn guest_powering_off_by_acpi_ends_well() {
    assert_end("hello", &["shutdown=acpi"], OFF, "argv[1] = shutdown=acpi", "");
}

#[test]
fn guest_resetting_by_the_keyboard_controller_ends_well() {
    assert_end("hello", &["shutdown=i8042"], OFF, "argv[1] = shutdown=i8042", "");
}

#[test]
fn guest_ending_as_unikraft_does_ends_well() {
    assert_end("hello", &["shutdown=unikraft"], OFF, "argv[1] = shutdown=unikraft", "");
}

#[test]
fn guest_ending_by_a_triple_fault_has_crashed() {
    let error = "error: the guest crashed: triple fault: exception 13 at 0x";
    assert_end("hello", &["shutdown=triple"], CRASHED, "argv[1] = shutdown=triple", error);
}

#[test]
fn guest_reporting_a_crash_as_unikraft_does_has_crashed() {
    assert_reported_crash("hello", &["crash=unikraft"], "argv[1] = crash=unikraft");
}

#[test]
fn guest_with_a_triple_fault_by_mistake_has_crashed() {
    let error = "error: the guest crashed: triple fault: exception 13 at 0x";
    assert_end("triple-fault", &[], CRASHED, "about to raise a breakpoint without an IDT", error);
}

#[test]
fn guest_halting_with_interrupts_off_has_crashed() {
    let error = "error: the guest crashed: the guest halted with interrupts off, before 0x";
    assert_end("hang", &[], CRASHED, "about to halt with interrupts off", error);
}

#[test]
fn guest_overflowing_its_stack_without_a_second_one_has_crashed() {
    let error = "error: the guest crashed: triple fault: exception 14 at 0x";
    assert_end("stack-overflow", &[], CRASHED, "about to overflow the stack", error);
}

#[test]
fn guest_overflowing_its_stack_with_a_second_one_for_double_faults_reports_it() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("stack-overflow", kind);
        let ended = room.finish(&mut room.run(&kernel, &["double"]));
        assert!(ended.lines()[1].starts_with("unhandled exception 8 error 0x0 at 0x"), "{ended:?}");
        ended.assert_error(CRASHED, "error: the guest crashed: the kernel reported a crash at port 0x501\n");
    }
}

#[test]
fn guest_overflowing_its_stack_with_a_second_one_for_page_faults_reports_it() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("stack-overflow", kind);
        let ended = room.finish(&mut room.run(&kernel, &["page"]));
        assert!(ended.lines()[1].starts_with("unhandled exception 14 error 0x2 at 0x"), "{ended:?}");
        assert!(ended.lines()[2].starts_with("page fault at 0x"), "{ended:?}");
        ended.assert_error(CRASHED, "error: the guest crashed: the kernel reported a crash at port 0x501\n");
    }
}

#[test]
fn guest_jumping_to_nowhere_reports_its_own_page_fault() {
    assert_reported_crash("wild-jump", &[], "page fault at 0x7f0000001000");
}

#[test]
fn guest_jumping_to_nowhere_without_handlers_has_crashed() {
    let error = "error: the guest crashed: triple fault: exception 14 at 0x7f0000001000";
    assert_end("wild-jump", &["no-idt"], CRASHED, "about to jump to 0x7f0000001000", error);
}

#[test]
fn guest_jumping_where_ram_ends_is_told_with_its_address() {
    let error = "error: the guest needs what the process monitor cannot represent: code outside RAM, \
                 at guest-physical 0x71000000 at 0x71000000";
    assert_end("wild-jump", &["to=71000000"], NOT_REPRESENTED, "about to jump to 0x71000000", error);
}

#[test]
fn guest_with_an_undefined_instruction_gets_its_exception() {
    for name in ["rsm", "getsec", "vmcall"] {
        for kind in BOTH_KINDS {
            let room = Room::new();
            let kernel = room.guest("bad-instruction", kind);
            let ended = room.finish(&mut room.run(&kernel, &[name]));
            assert!(ended.lines()[1].starts_with("unhandled exception 6 error 0x0 at 0x"), "{ended:?}");
            ended.assert_error(
                CRASHED,
                "error: the guest crashed: the kernel reported a crash at port 0x501\n",
            );
        }
    }
}

#[test]
fn guest_with_a_rare_privileged_instruction_survives_it() {
    for name in ["mov-dr", "wbinvd", "invd"] {
        assert_end("bad-instruction", &[name], 0, "survived", "");
    }
}

#[test]
fn guest_dropping_to_privilege_3_is_told_with_instruction_address_and_symbol() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("cpu", kind);
        let ended = room.finish(&mut room.run(&kernel, &["sysret"]));
        let error = "error: the guest needs what the process monitor cannot represent: \
                     sysretq: code at privilege level 3 inside the guest at 0x";
        ended.assert_error(NOT_REPRESENTED, error);
        assert!(ended.stderr.contains(" in cpu::syscalls::sysret+0x"), "no symbol: {ended:?}");
        assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
    }
}

#[test]
fn guest_single_stepping_is_told_with_instruction_address_and_symbol() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hostile", kind);
        let ended = room.finish(&mut room.run(&kernel, &["flags"]));
        let error = "error: the guest needs what the process monitor cannot represent: \
                     popfq: single-stepping (RFLAGS.TF) at 0x";
        ended.assert_error(NOT_REPRESENTED, error);
        assert!(ended.stderr.contains("hostile"), "no symbol: {ended:?}");
        assert!(ended.stderr.contains("\nhint: "), "{ended:?}");
    }
}
