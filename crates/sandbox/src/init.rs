//! The supervisor: process 1 of the sandbox, cloned from the caller without exec.
//!
//! It turns the namespaces it was born into into a sandbox, gives up every privilege, clones the guest process, waits,
//! tells the caller what happened and ends with the guest's status. When it ends, however it ends, the kernel kills all
//! that is left in its process namespace (pid_namespaces(7)).
//!
//! It costs some 90 KiB (44 KiB of pages that differ from the caller's, 40 KiB of page tables), one clone and two wake-ups.
//!
//! It does not allocate: the caller may have had other threads, and one of them may have held the heap's lock.

use std::{
    ffi::c_int,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions},
};

use crate::{
    clock,
    companion::Prepared,
    identity::Identity,
    report::{End, Message},
    root,
    signals::ENDING,
    step::Step,
    sys::{self, Arguments, Close, Disposition, SignalSet},
};

/// Everything the supervisor needs, made by the caller before the clone.
pub(crate) struct Plan<'a> {
    /// Where it reports.
    pub(crate) report: OwnedFd,
    /// The other end, which only the caller may hold.
    pub(crate) report_reader: RawFd,
    /// Whom it becomes.
    pub(crate) identity: &'a Identity,
    /// Files of version-1 control groups; writing `0` to one enters it.
    pub(crate) cgroups: &'a [OwnedFd],
    /// The host name inside.
    pub(crate) hostname: Option<&'a str>,
    /// The domain name inside.
    pub(crate) domain_name: Option<&'a str>,
    /// Resource limits of the guest process.
    pub(crate) limits: &'a [(Resource, Rlimit)],
    /// Our own executable.
    pub(crate) program: OwnedFd,
    /// The guest process's arguments.
    pub(crate) argv: Arguments<'a>,
    /// The guest process's descriptors, in ascending order of the numbers they get; all numbers that they and `program`
    /// and `report` have now are higher.
    pub(crate) descriptors: Vec<(OwnedFd, RawFd)>,
    /// What is started beside the guest process.
    pub(crate) companion: Option<Prepared<'a>>,
    /// SIGCHLD and the signals that end the sandbox.
    pub(crate) awaited: SignalSet,
}

/// The number of the first descriptor after standard input, output and error.
pub(crate) const FIRST_GIVEN: RawFd = 3;

/// Exit status of a supervisor whose sandbox could not be made; the caller learns the reason from the report.
pub(crate) const NOT_MADE: c_int = 70;

/// Lives the supervisor's life.
pub(crate) fn live(plan: &Plan<'_>) -> ! {
    let (guest, ready, executed) = match set_up(plan) {
        Ok(started) => started,
        Err((step, errno)) => {
            Message::Failed { step, errno }.send(plan.report.as_fd());
            sys::exit_now(NOT_MADE);
        }
    };
    let end = wait_for(guest, plan);
    Message::Ended { end, ready, executed, ended: clock::now() }.send(plan.report.as_fd());
    sys::exit_now(end.exit_status());
}

/// Makes the sandbox and runs the guest process; returns it, and when the one and the other was done.
fn set_up(plan: &Plan<'_>) -> Result<(Pid, u64, u64), (Step, Errno)> {
    SignalSet::all().set_mask().at(Step::Signals)?;
    sys::set_disposition(libc::SIGCHLD, Disposition::Default);
    sys::close_range(plan.report_reader, plan.report_reader, Close::Now).at(Step::Pipe)?;
    enter_cgroups(plan.cgroups)?;
    plan.identity.map()?;
    furnish(plan, plan.identity)?;
    follow_caller(plan)?;
    let ready = clock::now();
    let guest = sys::spawn_shared(0, &|| guest(plan)).at(Step::CloneGuest)?;
    let executed = clock::now();
    // What the guest process holds must end with it, so the supervisor keeps nothing but its report.
    let report = plan.report.as_raw_fd();
    sys::close_range(0, report - 1, Close::Now).at(Step::Descriptors)?;
    sys::close_range(report + 1, RawFd::MAX, Close::Now).at(Step::Descriptors)?;
    Ok((guest, ready, executed))
}

/// Enters the version-1 control groups.
pub(crate) fn enter_cgroups(groups: &[OwnedFd]) -> Result<(), (Step, Errno)> {
    groups.iter().try_for_each(|tasks| rustix::io::write(tasks, b"0").map(drop)).at(Step::JoinCgroup)
}

/// Gives the sandbox its names and root, and gives up all privileges.
pub(crate) fn furnish(plan: &Plan<'_>, identity: &Identity) -> Result<(), (Step, Errno)> {
    if let Some(name) = plan.hostname {
        sys::set_host_name(name).at(Step::HostName)?;
    }
    if let Some(name) = plan.domain_name {
        sys::set_domain_name(name).at(Step::DomainName)?;
    }
    root::empty()?;
    if let Some(companion) = &plan.companion {
        companion.start(&plan.program)?;
    }
    identity.assume().at(Step::Privileges)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Privileges)
}

/// Makes the kernel kill this process when the caller ends, and fails if it already has.
///
/// This comes after the change of user, which would undo it (prctl(2), `PR_SET_PDEATHSIG`).
fn follow_caller(plan: &Plan<'_>) -> Result<(), (Step, Errno)> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::DeathSignal)?;
    // Only the caller holds the other end, so an error condition on this one says that the caller is gone.
    let mut report = [PollFd::new(&plan.report, PollFlags::empty())];
    match rustix::event::poll(&mut report, Some(&Timespec::default())).at(Step::DeathSignal)? {
        0 => Ok(()),
        _ => Err((Step::DeathSignal, Errno::PIPE)),
    }
}

/// Becomes the guest process; returns the exit status of one that could not.
fn guest(plan: &Plan<'_>) -> c_int {
    let (step, errno) = become_guest(plan, &[]);
    Message::Failed { step, errno }.send(plan.report.as_fd());
    CANNOT_EXECUTE
}

/// As of a shell that cannot execute a command (POSIX XCU 2.8.2).
pub(crate) const CANNOT_EXECUTE: c_int = 126;

/// Becomes the guest process, which gets `more` besides its descriptors, of higher numbers; returns only on failure.
pub(crate) fn become_guest(plan: &Plan<'_>, more: &[(OwnedFd, RawFd)]) -> (Step, Errno) {
    // Of this process alone: a supervisor that may write no more could not tell how it went.
    for (resource, limit) in plan.limits {
        if let Err(errno) = rustix::process::setrlimit(*resource, *limit) {
            return (Step::Limits, errno);
        }
    }
    match place(plan.descriptors.iter().chain(more)) {
        Ok(()) => (Step::Exec, sys::exec(plan.program.as_fd(), &plan.argv)),
        Err(errno) => (Step::Descriptors, errno),
    }
}

/// Gives this process exactly these descriptors, whose numbers ascend, and the signal dispositions of a fresh one.
pub(crate) fn place<'a>(descriptors: impl Iterator<Item = &'a (OwnedFd, RawFd)>) -> Result<(), Errno> {
    let mut next = FIRST_GIVEN;
    for (descriptor, number) in descriptors {
        sys::close_range(next, number - 1, Close::OnExec)?;
        sys::duplicate_onto(descriptor.as_raw_fd(), *number)?;
        next = number + 1;
    }
    sys::close_range(next, RawFd::MAX, Close::OnExec)?;
    for signal in 1..=LAST_SIGNAL {
        sys::set_disposition(signal, Disposition::Default);
    }
    // A terminal sends these to the whole foreground process group; what they mean is the supervisor's to say.
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        sys::set_disposition(signal, Disposition::Ignore);
    }
    SignalSet::of(&[]).set_mask()?;
    // Where the supervisor is not process 1 of a namespace, its end would leave this process alive.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)
}

/// `_NSIG` of x86_64 Linux.
const LAST_SIGNAL: c_int = 64;

/// Reaps until the guest process is over; ends it when one of the ending signals comes, or when its companion fails: it would
/// wait for it for ever.
pub(crate) fn wait_for(guest: Pid, plan: &Plan<'_>) -> End {
    let companion = plan.companion.as_ref().and_then(Prepared::pid);
    let mut requested = None;
    loop {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if pid == guest {
                return End::new(status, requested);
            }
            if Some(pid) == companion && status.exit_status() != Some(0) {
                let _ = rustix::process::kill_process(guest, Signal::KILL);
            }
        }
        if let Ok(signal) = plan.awaited.wait()
            && ENDING.contains(&signal)
        {
            requested = requested.or(Some(signal));
            // Fails only if the guest process has ended by itself, of which SIGCHLD tells next.
            let _ = rustix::process::kill_process(guest, Signal::KILL);
        }
    }
}

/// Names the step that failed.
pub(crate) trait At<T> {
    /// Names it.
    fn at(self, step: Step) -> Result<T, (Step, Errno)>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, (Step, Errno)> {
        self.map_err(|errno| (step, errno))
    }
}
