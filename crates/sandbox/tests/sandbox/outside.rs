//! What happens to a sandbox when something happens to its caller.

use std::{
    error::Error,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::{fd::AsRawFd, unix::process::ExitStatusExt},
    process::{Child, ChildStdout, Command},
};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::{
    Outcome, Skipped, Test,
    caller::{self, EXIT_ERROR},
    expect, is_root,
};

pub(crate) const TESTS: &[Test] = &[
    ("caller_asked_to_end_ends_the_guest", caller_asked_to_end_ends_the_guest),
    ("caller_interrupted_at_its_terminal_ends_the_guest", caller_interrupted_at_its_terminal_ends_the_guest),
    ("caller_that_ignores_hangup_does_not_end_by_it", caller_that_ignores_hangup_does_not_end_by_it),
    ("caller_that_ignores_children_hears_of_the_end", caller_that_ignores_children_hears_of_the_end),
    ("caller_killed_takes_the_sandbox_with_it", caller_killed_takes_the_sandbox_with_it),
    ("supervisor_killed_takes_the_guest_with_it", supervisor_killed_takes_the_guest_with_it),
    ("caller_with_closed_stdio_gives_null_devices", caller_with_closed_stdio_gives_null_devices),
    ("root_of_a_small_user_namespace_makes_its_own", root_of_a_small_user_namespace_makes_its_own),
    ("user_without_user_namespaces_is_told_the_setting", user_without_user_namespaces_is_told_the_setting),
];

/// A caller whose guest waits to be ended, and what the guest tells.
fn waiting(harm: &str) -> Result<(Child, BufReader<ChildStdout>), Box<dyn Error>> {
    wait_in(caller::command(harm, &["wait"]))
}

fn wait_in(mut command: Command) -> Result<(Child, BufReader<ChildStdout>), Box<dyn Error>> {
    let mut caller = command.spawn()?;
    let mut told = BufReader::new(caller.stdout.take().ok_or("no standard output")?);
    let mut line = String::new();
    told.read_line(&mut line)?;
    expect("told", line.as_str(), "waiting\n")?;
    Ok((caller, told))
}

fn send(process: Pid, signal: Signal) -> Outcome {
    Ok(rustix::process::kill_process(process, signal)?)
}

fn caller_asked_to_end_ends_the_guest() -> Outcome {
    for (signal, status) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::QUIT, 131), (Signal::HUP, 129)]
    {
        let (mut caller, _told) = waiting("nothing")?;
        send(Pid::from_child(&caller), Signal::USR1)?;
        send(Pid::from_child(&caller), signal)?;
        expect("the status", caller.wait()?.code(), Some(status))?;
    }
    Ok(())
}

fn caller_interrupted_at_its_terminal_ends_the_guest() -> Outcome {
    let mut keyboard = File::options().read(true).write(true).open("/dev/ptmx")?;
    let mut number: libc::c_int = 0;
    // SAFETY: the request stores a number in live memory of its size.
    if unsafe { libc::ioctl(keyboard.as_raw_fd(), libc::TIOCGPTN, &raw mut number) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let unlocked: libc::c_int = 0;
    // SAFETY: the request reads a number from live memory of its size.
    if unsafe { libc::ioctl(keyboard.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let mut command = caller::command("terminal", &["wait"]);
    command.env("RUNU_TEST_TERMINAL", format!("/dev/pts/{number}"));
    let (mut caller, _told) = wait_in(command)?;
    keyboard.write_all(b"\x03")?;
    expect("the status", caller.wait()?.code(), Some(130))
}

fn caller_that_ignores_hangup_does_not_end_by_it() -> Outcome {
    let (mut caller, _told) = waiting("hangup-ignored")?;
    send(Pid::from_child(&caller), Signal::HUP)?;
    send(Pid::from_child(&caller), Signal::TERM)?;
    expect("the status", caller.wait()?.code(), Some(143))
}

fn caller_that_ignores_children_hears_of_the_end() -> Outcome {
    let caller = caller::command("child-ignored", &["exit", "9"]).output()?;
    expect("the status", caller.status.code(), Some(9))
}

fn caller_killed_takes_the_sandbox_with_it() -> Outcome {
    let (mut caller, mut told) = waiting("nothing")?;
    send(Pid::from_child(&caller), Signal::KILL)?;
    expect("the signal", caller.wait()?.signal(), Some(libc::SIGKILL))?;
    // The supervisor's end raises no signal, so only a wait for all kinds of children finds it.
    let (_, status) =
        rustix::process::wait(WaitOptions::from_bits_retain(0x4000_0000))?.ok_or("no orphan")?;
    expect("the supervisor's signal", status.terminating_signal(), Some(libc::SIGKILL))?;
    let mut rest = String::new();
    told.read_to_string(&mut rest)?;
    expect("the guest's last words", rest.as_str(), "")
}

fn supervisor_killed_takes_the_guest_with_it() -> Outcome {
    let (mut caller, _told) = waiting("nothing")?;
    let children = format!("/proc/{0}/task/{0}/children", caller.id());
    let supervisor: i32 = std::fs::read_to_string(children)?.trim().parse()?;
    send(Pid::from_raw(supervisor).ok_or("no supervisor")?, Signal::KILL)?;
    expect("the status", caller.wait()?.code(), Some(137))
}

fn caller_with_closed_stdio_gives_null_devices() -> Outcome {
    let caller = caller::command("closed-stdio", &["standard"]).output()?;
    // Device 1:3 is /dev/null (Linux allocated devices, admin-guide/devices.txt).
    expect("standard descriptors", String::from_utf8(caller.stdout)?.as_str(), "1:3\n1:3\n1:3\n")?;
    expect("the status", caller.status.code(), Some(0))
}

fn root_of_a_small_user_namespace_makes_its_own() -> Outcome {
    let caller = caller::command("user-namespace", &["facts"]).output()?;
    let told = String::from_utf8(caller.stdout)?;
    let has = |line| told.lines().any(|told| told == line);
    expect("facts", has("uid=65534") && has("gid=65534") && has("capabilities=0") && has("root=0"), true)?;
    expect("the status", caller.status.code(), Some(0))
}

fn user_without_user_namespaces_is_told_the_setting() -> Outcome {
    if is_root() {
        return Err(Skipped("root needs none".into()).into());
    }
    let caller = caller::command("no-user-namespaces", &["exit", "0"]).output()?;
    let error = String::from_utf8(caller.stderr)?;
    expect("the status", caller.status.code(), Some(EXIT_ERROR))?;
    expect(
        "the error",
        error.trim(),
        "UserNamespaces { setting: Some(\"user.max_user_namespaces\"), source: Os { code: 28, kind: StorageFull, message: \"No space left on device\" } }",
    )
}
