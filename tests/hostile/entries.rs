//! Guest code that raises `syscall`, `int 0x80` and their kin reaches its own kernel, which it is, or an exception.

use crate::support::{BOTH_KINDS, Room};

/// What the guest tries to call, by names of Linux.
const WANTED: [&str; 10] =
    ["write", "open", "mmap", "mprotect", "socket", "clone", "execve", "ptrace", "openat", "execveat"];

/// Runs `hostile` with one attack; its console must be these lines, and its end a good one.
#[track_caller]
fn assert_console(attack: &str, expected: &[String]) {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let kernel = room.guest("hostile", kind);
        let ended = room.finish(&mut room.run(&kernel, &[attack]));
        ended.assert_quiet(0);
        let (done, lines) =
            ended.lines().split_last().map(|(last, lines)| (*last, lines.to_vec())).expect("lines");
        assert_eq!((lines, done), (expected.iter().map(String::as_str).collect(), "done"));
    }
}

/// As [`assert_console`], with one line for each wanted call.
#[track_caller]
fn assert_calls(attack: &str, outcome: &str) {
    assert_console(attack, &WANTED.map(|call| format!("syscall {call} {outcome}")));
}

#[test]
fn syscall_with_an_entry_reaches_the_guest_s_own() {
    assert_calls("syscall", "reached its own entry");
}

#[test]
fn syscall_with_an_x32_number_reaches_the_guest_s_own_entry() {
    assert_calls("x32", "reached its own entry");
}

#[test]
fn syscall_without_an_entry_is_an_undefined_instruction() {
    assert_calls("syscall-unset", "is an undefined instruction");
}

#[test]
fn int_0x80_with_a_gate_reaches_the_guest_s_own() {
    assert_console("int80", &["int 0x80 reached its own gate".into()]);
}

#[test]
fn int_0x80_without_a_gate_is_a_general_protection_exception() {
    assert_console("int80-unset", &["int 0x80 is a general protection exception".into()]);
}

#[test]
fn sysenter_is_an_exception() {
    assert_console("sysenter", &["sysenter is an exception".into()]);
}

#[test]
fn vsyscall_page_of_the_host_is_not_there() {
    let page_fault = |at: u64| format!("vsyscall page fault at {at:#x}");
    let expected = [0xffff_ffff_ff60_0000, 0xffff_ffff_ff60_0400, 0xffff_ffff_ff60_0800].map(page_fault);
    assert_console("vsyscall", &expected);
}

#[test]
fn processor_state_of_any_kind_does_not_lead_the_monitor_astray() {
    let without_a_stack = vec!["without a stack: 1 tick".to_owned(); 5];
    assert_console("stack", &without_a_stack);
    assert_console(
        "bases",
        &without_a_stack[..3].iter().map(|_| "with wild bases: 1 tick".into()).collect::<Vec<_>>(),
    );
    assert_console("ports", &["all ports read".into()]);
    assert_console("msrs", &["all registers read".into()]);
}
