//! `create`, `start` and `delete` killed at each of their system calls.
//!
//! The test is their tracer (ptrace(2)): it lets them go from call to call and kills them before the nth. What a process
//! has done changes only by its calls, so this is every moment at which it can be killed.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{self, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use crate::container::{Container, skip};

/// More calls than any of them makes: some 300.
const MOST_CALLS: usize = 2000;

/// How a traced call ended.
#[derive(Debug, PartialEq, Eq)]
enum Traced {
    /// Killed at that step.
    Killed,
    /// It ended by itself first, with that status.
    Ended(i32),
    /// This host lets nobody trace.
    Forbidden,
}

/// Runs `command` and kills it before its `step`th system call, counted from 1.
fn kill_before(command: &Command, step: usize) -> Traced {
    // A process that has stopped itself can be seized before it does anything that counts.
    let mut stopped = Command::new("/bin/sh");
    stopped.arg0("sh").args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]);
    stopped.arg(command.get_program()).args(command.get_args());
    let mut child = stopped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = trace(Pid::from_raw(child.id().cast_signed()), step);
    // Its tracer has reaped it.
    assert!(child.wait().is_err());
    end
}

/// Lets a process that has stopped itself become the program and kills that before its `step`th call.
fn trace(pid: Pid, step: usize) -> Traced {
    waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_EXITKILL;
    if ptrace::seize(pid, options).is_err() {
        signal::kill(pid, Signal::SIGKILL).unwrap();
        waitpid(pid, None).unwrap();
        return Traced::Forbidden;
    }
    // Before the program is there, nothing counts. Its own stops come in pairs, at a call and behind it; the first of all
    // is behind the execve that made it.
    let (mut is_program, mut stops) = (false, 0);
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => is_program = true,
            WaitStatus::PtraceSyscall(_) if is_program => {
                stops += 1;
                if stops == 2 * step {
                    signal::kill(pid, Signal::SIGKILL).unwrap();
                    waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap();
                    return Traced::Killed;
                }
            }
            WaitStatus::Stopped(_, signal) => {
                ptrace::syscall(pid, signal).unwrap();
                continue;
            }
            WaitStatus::Exited(_, status) => return Traced::Ended(status),
            WaitStatus::Signaled(_, signal, _) => return Traced::Ended(128 + signal as i32),
            _ => {}
        }
        match is_program {
            true => ptrace::syscall(pid, None).unwrap(),
            false => ptrace::cont(pid, None).unwrap(),
        }
    }
}

/// Kills the call before each of its system calls, in a container that `prepare` has brought so far; each time nothing may
/// be left after `delete --force`. Two work side by side, each on steps of its own.
fn kill_before_each(verb: fn(&Container) -> Command, prepare: fn(&Container), guest: &str) {
    let steps = thread::scope(|scope| {
        let work = |first: usize| {
            let Some(container) = Container::new(guest, |_| ()) else { return 0 };
            for step in (first..MOST_CALLS).step_by(2) {
                prepare(&container);
                match kill_before(&verb(&container), step) {
                    Traced::Killed => {}
                    Traced::Ended(status) => {
                        assert_eq!(status, 0, "untouched: {}", container.logged());
                        return step;
                    }
                    Traced::Forbidden => {
                        skip("this host lets nobody trace a process");
                        return 0;
                    }
                }
                let known = container.call(&["state"]);
                let missing = String::from_utf8_lossy(&known.stderr).contains("does not exist");
                assert!(known.status.success() || missing, "step {step}: {known:?}");
                let listed = container.raw(&["list"]).output().unwrap();
                assert!(listed.status.success() || !container.root().exists(), "step {step}: {listed:?}");
                let deleted = container.call(&["delete", "--force"]);
                assert!(deleted.status.success(), "step {step}: {deleted:?}");
                let left = container.leftovers();
                assert!(left.is_empty(), "step {step}: {left:#?}");
            }
            panic!("more than {MOST_CALLS} calls");
        };
        let odd = scope.spawn(move || work(1));
        let even = scope.spawn(move || work(2));
        [odd, even].map(|steps| steps.join().unwrap())
    });
    eprintln!("killed before each of some {steps:?} calls");
}

#[test]
fn create_killed_before_any_of_its_calls_leaves_what_delete_reaps() {
    kill_before_each(Container::creation, |_| (), "idle");
}

#[test]
fn start_killed_before_any_of_its_calls_leaves_what_delete_reaps() {
    kill_before_each(|container| container.command(&["start"]), Container::create, "idle");
}

#[test]
fn delete_killed_before_any_of_its_calls_leaves_what_the_next_reaps() {
    kill_before_each(|container| container.command(&["delete", "--force"]), Container::start, "idle");
}
