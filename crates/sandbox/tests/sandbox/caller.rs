//! Callers of sandboxes: the test itself, and processes of its own for tests that harm the caller.

use std::{
    error::Error,
    ffi::{CStr, CString},
    fs::File,
    io::Read,
    os::{
        fd::{BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::Path,
    process::{Command, Stdio},
};

use runu_sandbox::{CgroupSpec, Ended, SandboxError, Spec};
use rustix::{
    io::Errno,
    pipe::PipeFlags,
    process::{DumpableBehavior, Gid, Uid},
    thread::{CapabilitySet, CapabilitySets},
};

/// Exit status of a caller whose sandbox could not be made.
pub(crate) const EXIT_ERROR: i32 = 70;

/// Where the guest process of these tests writes what it has to tell.
pub(crate) const TOLD: RawFd = 3;

/// The host name inside.
pub(crate) const HOST_NAME: &str = "first-light";

/// Runs the guest program `words` in a sandbox; returns how it ended and what it told.
pub(crate) fn run(words: &[&str]) -> Result<(Ended, String), Box<dyn Error>> {
    run_in(words, None, Vec::new())
}

/// As [`run`], with a control group and further descriptors.
pub(crate) fn run_in(
    words: &[&str],
    cgroup: Option<CgroupSpec>,
    mut descriptors: Vec<(OwnedFd, RawFd)>,
) -> Result<(Ended, String), Box<dyn Error>> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    descriptors.push((writer, TOLD));
    let ended = start(words, cgroup, descriptors)?;
    let mut told = String::new();
    File::from(reader).read_to_string(&mut told)?;
    Ok((ended, told))
}

/// Runs the guest program `words` in a sandbox with exactly these descriptors.
pub(crate) fn start(
    words: &[&str],
    cgroup: Option<CgroupSpec>,
    descriptors: Vec<(OwnedFd, RawFd)>,
) -> Result<Ended, SandboxError> {
    let strings: Vec<CString> =
        ["runu-guest"].iter().chain(words).filter_map(|word| CString::new(*word).ok()).collect();
    let argv: Vec<&CStr> = strings.iter().map(CString::as_c_str).collect();
    runu_sandbox::run(Spec { argv: &argv, descriptors, companion: None, hostname: Some(HOST_NAME), cgroup })
}

/// A name for a control group of this test run.
pub(crate) fn cgroup_name() -> String {
    format!("runu-test-{}", std::process::id())
}

/// A caller in a process of its own, which suffers `harm` and runs the guest program `words`. Its standard output is what
/// the guest tells.
pub(crate) fn command(harm: &str, words: &[&str]) -> Command {
    command_of(Path::new("/proc/self/exe"), harm, words)
}

/// As [`command`], run from a copy of this program.
pub(crate) fn command_of(program: &Path, harm: &str, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg0("runu-caller").arg(harm).args(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Puts this process into the situation `harm`.
fn suffer(harm: &str) -> Result<(), Box<dyn Error>> {
    match harm {
        "nothing" => {}
        "hangup-ignored" => ignore(libc::SIGHUP),
        "child-ignored" => ignore(libc::SIGCHLD),
        "closed-stdio" => {
            // Standard output is what the guest tells, so it moves out of the way first.
            let told = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 64)?;
            std::mem::forget(told);
            for number in 0..3 {
                // SAFETY: nothing in this process owns a standard descriptor.
                unsafe { libc::close(number) };
            }
        }
        "leaked-descriptor" => {
            // As containerd's shim leaks its socket: not closed on exec.
            let leaked = rustix::io::dup(rustix::stdio::stderr())?;
            std::mem::forget(leaked);
        }
        "terminal" => {
            // The first terminal that the leader of a new session opens becomes its controlling terminal.
            rustix::process::setsid()?;
            File::open(std::env::var("RUNU_TEST_TERMINAL")?).map(std::mem::forget)?;
        }
        "user-namespace" => enter_user_namespace()?,
        "no-user-namespaces" => forbid_user_namespaces()?,
        other => return Err(format!("unknown harm {other}").into()),
    }
    Ok(())
}

fn ignore(signal: libc::c_int) {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Becomes root of a user namespace that holds nobody else.
fn enter_user_namespace() -> Result<(), Box<dyn Error>> {
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    Ok(std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?)
}

/// Enters a user namespace in which no further one can be made, as an ordinary user.
fn forbid_user_namespaces() -> Result<(), Box<dyn Error>> {
    enter_user_namespace()?;
    std::fs::write("/proc/sys/user/max_user_namespaces", "0")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    Ok(rustix::thread::set_capabilities(None, sets)?)
}

/// Life of a caller in a process of its own: runs a guest program whose channel is standard output, ends as it ended.
pub(crate) fn main(arguments: impl Iterator<Item = String>) -> i32 {
    let words: Vec<String> = arguments.collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    let harm = words.remove(0);
    if let Err(error) = suffer(harm) {
        eprintln!("cannot suffer {harm}: {error}");
        return 71;
    }
    let told = if harm == "closed-stdio" { 64 } else { 1 };
    // SAFETY: the descriptor is open: the standard one is from the start, the other was made by `suffer`.
    let told = unsafe { BorrowedFd::borrow_raw(told) };
    let ended = rustix::io::fcntl_dupfd_cloexec(told, TOLD)
        .map_err(|errno| errno.to_string())
        .and_then(|told| start(&words, None, vec![(told, TOLD)]).map_err(|error| format!("{error:?}")));
    match ended {
        Ok(ended) => i32::from(ended.how.exit_status()),
        Err(error) => {
            eprintln!("{error}");
            EXIT_ERROR
        }
    }
}

/// A user and group that own nothing on any machine.
const ORDINARY: u32 = 54_321;

/// Becomes an ordinary user for good.
pub(crate) fn become_ordinary_user() -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(ORDINARY), Gid::from_raw(ORDINARY));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // The change of user made /proc/self root's; a user's own login has no such change in its past.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
}
