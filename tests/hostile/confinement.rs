//! The guest's process while it runs, as root sees it: what it holds, what it could do, and who could look into it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use crate::support::process::folder;
use crate::support::user::{User, is_root, users};
use crate::support::{GuestKind, Room, Running, skip};

/// Runs `look` on the supervisor's and the guest's process of an idle guest, for every user.
#[track_caller]
fn look(look: impl Fn(User, Pid, Pid)) {
    if !is_root() {
        return skip("only root may look into a process that is not dumpable");
    }
    for user in users() {
        let room = Room::new();
        let kernel = room.guest("idle", GuestKind::Multiboot);
        let running = idle(&room, room.runu_as(user, &["run"]).arg(kernel).env("SECRET", "ours"));
        let [supervisor, guest] = running.sandbox();
        look(user, supervisor.pid, guest.pid);
        running.stop();
    }
}

/// An idle guest that has said so.
fn idle(room: &Room, command: &mut Command) -> Running {
    let mut running = room.start(command);
    running.wait_for("ready\r\n");
    running
}

#[track_caller]
fn read(pid: Pid, file: &str) -> String {
    let path = folder(pid).join(file);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Descriptors of a process and what they are open on.
fn descriptors(pid: Pid) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder(pid).join("fd")).expect("we are root").flatten();
    entries
        .filter_map(|entry| {
            // A descriptor that is closed meanwhile is not held.
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Asserts that a supervisor holds one pipe, as soon as it has closed the rest: the guest may have said a word by then.
#[track_caller]
fn assert_holds_a_report(supervisor: Pid) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut held = descriptors(supervisor);
    while held.len() > 1 && Instant::now() < deadline {
        thread::yield_now();
        held = descriptors(supervisor);
    }
    assert!(held.len() == 1 && held.values().all(|target| target.starts_with("pipe:")), "{held:?}");
}

/// The value of a line `NAME:\tVALUE` of /proc/PID/status.
#[track_caller]
fn status(pid: Pid, name: &str) -> String {
    let text = read(pid, "status");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn guest_s_process_holds_its_console_its_memory_and_its_report() {
    look(|_, _, guest| assert_holds_little(guest));
}

#[test]
fn guest_s_process_holds_the_files_of_its_disks_and_no_others() {
    if !is_root() {
        return skip("only root may look into a process that is not dumpable");
    }
    let room = Room::new();
    let kernel = room.guest("idle", GuestKind::Multiboot);
    let (disk, other) = (room.file("disk", &[0; 512]), room.file("other", &[0; 512]));
    let running = idle(&room, room.runu(&["run", "--disk", "disk", "--disk", "other:ro"]).arg(kernel));
    let [supervisor, guest] = running.sandbox();
    let held = descriptors(guest.pid);
    let numbers: Vec<&str> = held.keys().map(String::as_str).collect();
    assert_eq!(numbers, ["0", "1", "3", "6", "7", "8"], "{held:?}");
    assert_eq!([&held["7"], &held["8"]].map(PathBuf::from), [disk, other]);
    // The access mode of open(2), in octal.
    let flags = ["7", "8"].map(|number| {
        let info = read(guest.pid, &format!("fdinfo/{number}"));
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).expect("it has flags");
        u32::from_str_radix(flags, 8).expect("octal digits") & 3
    });
    assert_eq!(flags, [2, 0]);
    assert_holds_a_report(supervisor.pid);
    running.stop();
}

#[track_caller]
fn assert_holds_little(guest: Pid) {
    let held = descriptors(guest);
    let numbers: Vec<&str> = held.keys().map(String::as_str).collect();
    let targets: Vec<&str> = held.values().map(|target| target.split('[').next().unwrap_or(target)).collect();
    assert_eq!(numbers, ["0", "1", "3", "6"], "{held:?}");
    assert_eq!(targets, ["/dev/null", "pipe:", "/memfd:guest-ram (deleted)", "pipe:"], "{held:?}");
}

#[test]
fn guest_s_process_gets_no_descriptor_that_its_caller_leaked() {
    if !is_root() {
        return skip("only root may look into a process that is not dumpable");
    }
    let room = Room::new();
    let kernel = room.guest("idle", GuestKind::Multiboot);
    let mut command = Command::new("sh");
    let script = "exec 3</etc/passwd 7</ 9<>\"$1\"; exec \"$2\" run \"$1\"";
    command.args(["-c", script, "sh"]).arg(&kernel).arg(env!("CARGO_BIN_EXE_runu"));
    room.settle(&mut command);
    let running = idle(&room, &mut command);
    let [supervisor, guest] = running.sandbox();
    assert_holds_little(guest.pid);
    assert_holds_a_report(supervisor.pid);
    running.stop();
}

#[test]
fn supervisor_holds_nothing_but_its_report() {
    look(|_, supervisor, _| assert_holds_a_report(supervisor));
}

#[test]
fn guest_s_process_has_no_privilege_and_cannot_get_any() {
    const NONE: &str = "0000000000000000";
    look(|user, supervisor, guest| {
        for pid in [supervisor, guest] {
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(status(pid, set), NONE, "{set} for {user:?}");
            }
            assert!(!status(pid, "Uid").split('\t').any(|uid| uid == "0"), "{user:?}");
            assert!(!status(pid, "Gid").split('\t').any(|gid| gid == "0"), "{user:?}");
        }
        assert_eq!(status(guest, "NoNewPrivs"), "1");
        assert_eq!(status(guest, "Threads"), "1");
    });
}

#[test]
fn guest_s_process_is_behind_a_filter() {
    look(|_, _, guest| {
        // SECCOMP_MODE_FILTER
        assert_eq!(status(guest, "Seccomp"), "2");
        assert_eq!(status(guest, "Seccomp_filters"), "1");
    });
}

#[test]
fn guest_of_root_runs_as_a_user_of_its_own() {
    look(|user, _, guest| {
        let uid: u32 =
            status(guest, "Uid").split('\t').next().and_then(|uid| uid.parse().ok()).expect("a number");
        let own = 0x7200_0000..0x7240_0000;
        assert_eq!(own.contains(&uid), user == User::Tester, "{uid} for {user:?}");
    });
}

#[test]
fn processes_of_a_sandbox_cannot_be_looked_into() {
    look(|_, supervisor, guest| {
        for pid in [supervisor, guest] {
            // Files of a process that is not dumpable are root's (proc(5)).
            let owner = fs::metadata(folder(pid).join("environ")).expect("it runs").uid();
            assert_eq!(owner, 0);
        }
    });
}

#[test]
fn guest_s_process_knows_nothing_of_its_caller() {
    look(|_, _, guest| {
        assert_eq!(read(guest, "environ"), "");
        // Two readings of the clock, and nothing else.
        let words = read(guest, "cmdline");
        let readings = words.strip_prefix("runu-guest\0").unwrap_or_else(|| panic!("{words:?}"));
        assert!(readings.chars().all(|c| c.is_ascii_digit() || ":\0".contains(c)), "{words:?}");
        assert_eq!(fs::read_link(folder(guest).join("cwd")).expect("we are root"), Path::new("/"));
    });
}

#[test]
fn sandbox_has_namespaces_of_its_own() {
    look(|user, _, guest| {
        let of =
            |pid: &str, name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).expect("we are root");
        let guest = guest.as_raw_nonzero().to_string();
        for name in ["mnt", "pid", "net", "ipc", "uts"] {
            assert_ne!(of(&guest, name), of("self", name), "{name} for {user:?}");
        }
        assert_eq!(of(&guest, "user") != of("self", "user"), user == User::Nobody);
    });
}

#[test]
fn sandbox_has_an_empty_root_that_cannot_be_written() {
    look(|_, _, guest| {
        let root = fs::read_dir(folder(guest).join("root")).expect("we are root");
        assert_eq!(root.count(), 0);
        let mounts = read(guest, "mountinfo");
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(mounts.split([' ', ',']).any(|word| word == option), "no {option}: {mounts}");
        }
    });
}

#[test]
fn sandbox_has_no_network_but_a_loopback_that_is_down() {
    look(|_, _, guest| {
        let links = read(guest, "net/dev");
        // Two lines of headings.
        let names: Vec<&str> =
            links.lines().skip(2).filter_map(|line| line.trim().split(':').next()).collect();
        assert_eq!(names, ["lo"]);
        // The first line is a heading, where there is one.
        assert_eq!(read(guest, "net/route").lines().nth(1), None);
    });
}

#[test]
fn guest_s_process_can_make_no_process_and_no_core_dump() {
    look(|_, _, guest| {
        let limits = read(guest, "limits");
        for name in ["Max processes", "Max core file size", "Max locked memory", "Max msgqueue size"] {
            let values = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
            assert_eq!(values.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{name}");
        }
    });
}

#[test]
fn guest_s_memory_is_not_executable_and_only_translated_code_is_both_writable_and_executable() {
    look(|_, _, guest| {
        let maps = read(guest, "maps");
        let executable: Vec<&str> = maps
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|access| access.contains('x')))
            .collect();
        let writable: Vec<&&str> = executable.iter().filter(|line| line.contains(" rwx")).collect();
        assert!(executable.iter().all(|line| !line.contains("memfd")), "{executable:#?}");
        assert_eq!(writable.len(), 1, "{executable:#?}");
        assert!(writable[0].starts_with("71000000-75000000 "), "{writable:?}");
    });
}

#[test]
fn program_of_a_guest_s_process_is_out_of_its_reach() {
    // The way of CVE-2019-5736: a process opens /proc/self/exe, which is the program of root, for writing.
    look(|_, _, guest| {
        let program = fs::read_link(folder(guest).join("exe")).expect("we are root");
        assert!(program.ends_with("runu"), "{program:?}");
        let root = PathBuf::from(format!("/proc/{}/root", guest.as_raw_nonzero()));
        assert!(!root.join("proc").exists());
        let writable =
            read(guest, "maps").lines().any(|line| line.contains("runu") && line.contains(" rw-s"));
        assert!(!writable, "the program is mapped shared and writable");
    });
}
