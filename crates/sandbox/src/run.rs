//! The caller's side of a sandbox: prepares everything, clones the supervisor, forwards signals, waits, cleans up.

use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
    process::{Signal, WaitId, WaitIdOptions, WaitIdStatus},
};

use crate::{
    cgroup::Cgroup,
    clock,
    error::SandboxError,
    identity::Identity,
    init::{self, FIRST_GIVEN},
    report::{End, Message},
    signals::Forwarding,
    spec::{Ended, How, Limits, Spec, Times},
    step::Step,
    sys::{self, Arguments, Side},
};

/// Namespaces of every sandbox. The network namespace is new and empty: not even loopback is up.
const NAMESPACES: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// The largest number a descriptor can have inside: far more than any guest has devices, far less than any limit on open
/// files.
const LAST_GIVEN: RawFd = 255;

/// Runs our own executable in a new sandbox, in the foreground, and returns when nothing of the sandbox is left.
///
/// Standard input, output and error are the caller's. While the guest runs, SIGTERM, SIGINT, SIGQUIT and SIGHUP sent to
/// the caller end it, unless the caller ignores them. When the caller itself dies, the kernel kills the sandbox.
///
/// # Errors
/// A step that the host does not permit or cannot do; nothing of the sandbox is left then either.
pub fn run(spec: Spec<'_>) -> Result<Ended, SandboxError> {
    let mut times = Times { called: clock::now(), ..Times::default() };
    let identity = Identity::choose().map_err(|errno| SandboxError::new(Step::Privileges, errno, false))?;
    let fail = |step| move |errno| SandboxError::new(step, errno, false);
    keep_stdio_open().map_err(fail(Step::Stdio))?;
    let mut descriptors = spec.descriptors;
    let above = check_numbers(&mut descriptors)?;
    for (descriptor, _) in &mut descriptors {
        lift(descriptor, above).map_err(fail(Step::Descriptors))?;
    }
    let mut program = rustix::fs::open(c"/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(fail(Step::OwnExecutable))?;
    lift(&mut program, above).map_err(fail(Step::OwnExecutable))?;
    let (report_reader, mut report) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(fail(Step::Pipe))?;
    lift(&mut report, above).map_err(fail(Step::Pipe))?;
    let (cgroup, limits) = match &spec.cgroup {
        None => (Cgroup::none(), Limits::Unasked),
        Some(wanted) => Cgroup::create(wanted)?,
    };
    let forwarding = Forwarding::start().map_err(fail(Step::Signals))?;
    let plan = init::Plan {
        report,
        report_reader: report_reader.as_raw_fd(),
        identity: &identity,
        cgroups: cgroup.to_join(),
        hostname: spec.hostname,
        program,
        argv: Arguments::new(spec.argv),
        descriptors,
        awaited: forwarding.awaited_inside(),
    };
    times.prepared = clock::now();
    let supervisor = match sys::fork_into(NAMESPACES | identity.namespaces(), cgroup.to_clone_into())
        .map_err(|errno| SandboxError::new(Step::Clone, errno, identity.needs_user_namespace()))?
    {
        Side::Child => init::live(&plan),
        Side::Parent(pidfd) => Supervisor { pidfd, reaped: false },
    };
    times.cloned = clock::now();
    drop(plan);
    let status = supervisor.wait(&forwarding).map_err(fail(Step::Wait))?;
    times.reaped = clock::now();
    let message = Message::receive(report_reader.as_fd());
    let out_of_memory = cgroup.ran_out_of_memory();
    cgroup.remove()?;
    times.removed = clock::now();
    let end = match message {
        Some(Message::Ended { end, ready, executed, ended }) => {
            (times.ready, times.executed, times.ended) = (ready, executed, ended);
            if matches!(end, End::Requested(_)) {
                // A terminal's signal reaches caller and supervisor alike: this copy has done its work already.
                forwarding.discard();
            }
            end
        }
        Some(Message::Failed { step, errno }) => {
            return Err(SandboxError::new(step, errno, identity.needs_user_namespace()));
        }
        // Killed from outside, or by the kernel for want of memory: then that is how the guest ended, too.
        None => match status.terminating_signal() {
            Some(signal) => End::Signalled(signal),
            None => return Err(SandboxError::Silent { status: status.exit_status().unwrap_or(-1) }),
        },
    };
    let how = match end {
        End::Signalled(libc::SIGKILL) if out_of_memory => How::OutOfMemory,
        End::Signalled(signal) => How::Signalled(signal),
        End::Requested(signal) => How::Requested(signal),
        End::Exited(status) => How::Exited(status),
    };
    Ok(Ended { how, limits, times })
}

/// Opens /dev/null in place of each closed standard descriptor.
///
/// Else the next file to be opened would become standard output, and the guest's words would be written into it.
fn keep_stdio_open() -> Result<(), Errno> {
    for number in 0..FIRST_GIVEN {
        if sys::is_open(number) {
            continue;
        }
        // The lowest free number is this one: all below are open. It stays open for the life of the process.
        let null = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty())?;
        std::mem::forget(null);
    }
    Ok(())
}

/// Sorts descriptors by the number they are to have and returns the first number above all of these.
fn check_numbers(descriptors: &mut [(OwnedFd, RawFd)]) -> Result<RawFd, SandboxError> {
    descriptors.sort_unstable_by_key(|(_, number)| *number);
    let mut least = FIRST_GIVEN;
    for (_, number) in descriptors {
        if !(least..=LAST_GIVEN).contains(number) {
            return Err(SandboxError::Descriptor(*number));
        }
        least = *number + 1;
    }
    Ok(least)
}

/// Gives a descriptor another number unless it is at least `least`.
fn lift(descriptor: &mut OwnedFd, least: RawFd) -> Result<(), Errno> {
    if descriptor.as_raw_fd() < least {
        *descriptor = rustix::io::fcntl_dupfd_cloexec(&*descriptor, least)?;
    }
    Ok(())
}

/// The running supervisor. Dropping it kills and reaps it, and with it all of the sandbox.
struct Supervisor {
    pidfd: OwnedFd,
    reaped: bool,
}

impl Supervisor {
    /// Waits for its end, forwarding signals meanwhile.
    fn wait(mut self, forwarding: &Forwarding) -> Result<WaitIdStatus, Errno> {
        loop {
            let mut ready = [
                PollFd::new(&self.pidfd, PollFlags::IN),
                PollFd::new(forwarding.descriptor(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
            let ended = ready.first().is_some_and(|fd| !fd.revents().is_empty());
            if ended {
                return self.reap();
            }
            while let Some(signal) = forwarding.next().and_then(Signal::from_named_raw) {
                // Fails only if it has ended meanwhile, which the next round sees.
                let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
            }
        }
    }

    fn reap(&mut self) -> Result<WaitIdStatus, Errno> {
        /// Children whose end raises no signal are waited for only with `__WALL` (wait(2)).
        const WALL: WaitIdOptions = WaitIdOptions::from_bits_retain(0x4000_0000);
        loop {
            match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WALL) {
                Ok(Some(status)) => {
                    self.reaped = true;
                    return Ok(status);
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.reaped {
            // Nobody is left to tell; what can be done is done.
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
            let _ = self.reap();
        }
    }
}
