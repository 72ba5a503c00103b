//! A guest that has broken out of translation: it overwrites the monitor's translated code with a system call of its choice.
//!
//! This is possible by design: guest and monitor share one address space, and the boundary is the system-call filter. So
//! these calls are really made, and the kernel ends the process with SIGSYS, status 159, before it does any of them.

use crate::support::{BOTH_KINDS, Ended, GuestKind, Room};

/// The monitor's translated code (crates/process/src/layout.rs, `CODE`): start and length for `overwrite=`.
const CODE: &str = "overwrite=71000000:4000000";

/// Where a guest's command line lies in its memory (crates/machine/src/boot/layout.rs), so that a call has some text to point
/// at: the name of a file that would be a witness.
const TEXT: &str = "20000";

/// A witness that would be made in the room.
const WITNESS: &str = "witness";

/// Status of a process that its filter killed.
const FILTERED: i32 = 159;

/// Statuses of a process that broke itself: the monitor noticed, the guest crashed, a signal, the filter.
const BROKEN: [i32; 4] = [70, 134, 139, FILTERED];

/// Calls by number, in hexadecimal, with arguments, and what they would do. Should one be made after all, it does no harm:
/// signals are number 0, which only asks whether a process is there.
const FORBIDDEN: &[(&str, &str)] = &[
    ("3b:{text}:0:0", "execve"),
    ("142:1:{text}:0:0:1000", "execveat of standard output"),
    ("2:{text}:241:1ff", "open a file for writing"),
    ("101:ffffff9c:{text}:241:1ff", "openat a file for writing"),
    ("1b5:ffffff9c:{text}:0:18", "openat2"),
    ("53:{text}:1ff", "mkdir"),
    ("65:0:0:0:0", "ptrace TRACEME"),
    ("65:10:1:0:0", "ptrace ATTACH to the supervisor"),
    ("29:1:1:0", "socket AF_UNIX"),
    ("29:10:3:0", "socket AF_NETLINK"),
    ("29:2:1:0", "socket AF_INET"),
    ("9:0:1000:1:2:0:0", "mmap of descriptor 0"),
    ("9:0:1000:1:2:1:0", "mmap of descriptor 1"),
    ("9:0:1000:1:2:6:0", "mmap of descriptor 6"),
    ("9:30000000:1000:3:4011:1:0", "mmap of descriptor 1 as guest memory is mapped"),
    ("9:30000000:1000:5:4011:3:0", "mmap PROT_EXEC of descriptor 3"),
    ("9:30000000:1000:7:22:ffffffff:0", "mmap PROT_EXEC of anonymous memory"),
    ("a:71000000:1000:7", "mprotect PROT_EXEC of the code area"),
    ("a:100000:1000:5", "mprotect PROT_EXEC of guest memory"),
    ("149:100000:1000:5:ffffffff", "pkey_mprotect PROT_EXEC"),
    ("1:0:{text}:5", "write to descriptor 0"),
    ("1:2:{text}:5", "write to descriptor 2"),
    ("1:7:{text}:5", "write to descriptor 7"),
    ("14:1:{text}:1", "writev to descriptor 1"),
    ("0:1:{text}:5", "read from descriptor 1"),
    ("0:3:{text}:5", "read from descriptor 3"),
    ("0:6:{text}:5", "read from descriptor 6"),
    ("10:1:5412:{text}", "ioctl TIOCSTI"),
    ("48:1:4:0", "fcntl"),
    ("20:1", "dup"),
    ("3e:1:0", "kill the supervisor"),
    ("3e:ffffffffffffffff:0", "kill everybody"),
    ("ea:1:1:0", "tgkill"),
    ("81:1:0:{text}", "rt_sigqueueinfo"),
    ("1b2:1:0", "pidfd_open"),
    ("136:1:{text}:1:{text}:1:0", "process_vm_readv"),
    ("137:1:{text}:1:{text}:1:0", "process_vm_writev"),
    ("38:11:0", "clone"),
    ("39", "fork"),
    ("3a", "vfork"),
    ("1b3:{text}:58", "clone3"),
    ("110:10000000", "unshare a user namespace"),
    ("134:1:0", "setns"),
    ("a5:{text}:{text}:{text}:0:0", "mount"),
    ("9b:{text}:{text}", "pivot_root"),
    ("a1:{text}", "chroot"),
    ("69:0", "setuid"),
    ("9d:4:1", "prctl PR_SET_DUMPABLE"),
    ("13d:1:0:0", "seccomp"),
    ("12e:0:7:0:0", "prlimit64"),
    ("d:b:0:0:8", "rt_sigaction"),
    ("141:0:{text}:78", "bpf"),
    ("1a9:1:{text}", "io_uring_setup"),
    ("143:1", "userfaultfd"),
    ("13f:{text}:0", "memfd_create"),
    ("12a:{text}:0:ffffffff:ffffffff:0", "perf_event_open"),
    ("de:1:0:{text}", "timer_create"),
    ("df:63:0:{text}:0", "timer_settime of another timer"),
    ("10f:{text}:3:0:0", "ppoll of three descriptors"),
    ("10f:{text}:100000001:0:0", "ppoll of many descriptors"),
    ("e4:0:{text}", "clock_gettime of the wall clock"),
];

/// Numbers of the calls that the guest's process may make with some arguments that are all zero.
const ALLOWED_WITH_ZEROS: [u32; 7] = [
    0,   // read from standard input
    10,  // mprotect without any access
    11,  // munmap
    12,  // brk
    15,  // rt_sigreturn
    223, // timer_settime
    231, // exit_group
];

/// `uretprobe` and `uprobe`: Linux lets them pass every filter (kernel/seccomp.c) and ends a caller that is no probe of
/// its own with SIGILL.
const PROBES: [u32; 2] = [335, 336];

/// More than the numbers that Linux 6.18 knows.
const NUMBERS: u32 = 480;

/// What became of a guest that makes a system call by overwriting code of the monitor.
fn attack(room: &Room, kind: GuestKind, call: &str) -> Ended {
    // The command line starts with the kernel's name, so this is the text that calls point at.
    let kernel = room.file(WITNESS, kind.image("hostile"));
    let strike = || room.finish(&mut room.run(&kernel, &[&format!("call={call}"), CODE]));
    let mut ended = strike();
    // The guest overwrites the very code that does it. If the host is interrupted just then, what goes on is half of the
    // attack and half of what was there before, and that ends in a fault instead of the call.
    for _ in 0..4 {
        if !ended.stderr.contains("signal 11 in the monitor") {
            break;
        }
        ended = strike();
    }
    std::fs::remove_file(kernel).expect("it is the kernel");
    ended
}

#[track_caller]
fn assert_filtered(ended: &Ended, what: &str) {
    assert_eq!(ended.status(), FILTERED, "{what}: {ended:?}");
    let error = "error: the guest's process was killed by its system-call filter\n";
    assert!(ended.stderr.starts_with(error), "{what}: {ended:?}");
    assert!(ended.stdout.is_empty(), "{what}: {ended:?}");
}

#[test]
fn call_that_is_allowed_shows_that_attacks_reach_the_host() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let ended = attack(&room, kind, "e7:63");
        ended.assert_error(
            70,
            "error: the process monitor failed: its process left no report and exited with status 99\n",
        );
    }
}

#[test]
fn call_that_writes_to_the_console_shows_that_arguments_arrive() {
    let room = Room::new();
    let ended = attack(&room, GuestKind::Multiboot, &format!("1:1:{TEXT}:7"));
    assert_eq!(ended.stdout, WITNESS.as_bytes(), "{ended:?}");
    // Behind the call is an undefined instruction.
    ended.assert_error(70, "error: the process monitor failed: signal 4 in the monitor");
}

#[test]
fn calls_that_reach_out_are_killed_and_did_nothing() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        for (call, what) in FORBIDDEN {
            let ended = attack(&room, kind, &call.replace("{text}", TEXT));
            assert_filtered(&ended, what);
            assert!(!room.path(WITNESS).exists(), "{what} made a file");
        }
    }
}

#[test]
fn calls_of_even_numbers_off_the_list_are_killed() {
    assert_all_filtered((0..NUMBERS).step_by(2));
}

#[test]
fn calls_of_odd_numbers_off_the_list_are_killed() {
    assert_all_filtered((1..NUMBERS).step_by(2));
}

#[track_caller]
fn assert_all_filtered(numbers: impl Iterator<Item = u32>) {
    let room = Room::new();
    for number in numbers.filter(|number| !ALLOWED_WITH_ZEROS.contains(number) && !PROBES.contains(number)) {
        assert_filtered(
            &attack(&room, GuestKind::Linux64, &format!("{number:x}")),
            &format!("call {number}"),
        );
    }
}

#[test]
fn calls_with_x32_numbers_are_killed() {
    let room = Room::new();
    for number in [1_u64, 9, 11, 12, 59, 231, 520] {
        let call = format!("{:x}:1:{TEXT}:1", number | 1 << 30);
        assert_filtered(&attack(&room, GuestKind::Linux64, &call), &format!("x32 call {number}"));
    }
}

#[test]
fn guest_that_destroys_the_monitor_s_books_ends_and_takes_nothing_along() {
    for kind in BOTH_KINDS {
        for range in ["70000000:1000", "70000000:100000", "70100000:c0000", "70000000:1000000"] {
            let room = Room::new();
            let kernel = room.guest("hostile", kind);
            let ended = room.finish(&mut room.run(&kernel, &[&format!("overwrite={range}")]));
            // It may not need again what is destroyed.
            let unharmed = ended.status() == 0 && ended.stdout.ends_with(b"done\r\n");
            let broken = BROKEN.contains(&ended.status()) && ended.stderr.starts_with("error: ");
            assert!(unharmed || broken, "{range}: {ended:?}");
        }
    }
}

#[test]
fn guest_that_writes_over_the_rest_of_the_address_space_hits_nothing() {
    for range in ["400000000000:1000000", "7f0000000000:1000000", "7ffff0000000:10000000"] {
        let room = Room::new();
        let kernel = room.guest("hostile", GuestKind::Multiboot);
        let ended = room.finish(&mut room.run(&kernel, &[&format!("overwrite={range}")]));
        ended.assert_quiet(0);
        assert_eq!(ended.lines()[0], "overwrite: 0 pages written");
    }
}

#[test]
fn guest_that_jumps_into_the_monitor_gets_a_fault_of_its_own() {
    for at in ["7f0000000000", "400000000000", "555555554000"] {
        let room = Room::new();
        let kernel = room.guest("hostile", GuestKind::Linux64);
        let ended = room.finish(&mut room.run(&kernel, &["call=3b:20000:0:0", &format!("jump={at}")]));
        ended.assert_error(134, "error: the guest crashed: the kernel reported a crash at port 0x501\n");
        assert!(ended.lines()[1].starts_with("unhandled exception 14 "), "{ended:?}");
    }
}
