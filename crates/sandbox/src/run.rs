//! The caller's side of a sandbox: prepares everything, clones the supervisor, forwards signals, waits, cleans up.

use std::os::fd::{AsFd, AsRawFd};

use rustix::pipe::PipeFlags;

use crate::{
    cgroup::Cgroup,
    clock,
    error::SandboxError,
    identity::Identity,
    init,
    parcel::{Parcel, lift},
    report::{End, Message},
    signals::Forwarding,
    spec::{Ended, How, Limits, Spec, Times},
    step::Step,
    supervisor::Supervisor,
    sys::{self, Arguments, Side},
};

/// Namespaces of every sandbox. The network namespace is new and empty: not even loopback is up.
const NAMESPACES: i32 =
    libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

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
    let companion = spec.companion.map(|companion| companion.known_to(&identity));
    let Parcel { descriptors, companion, program, above } = Parcel::pack(spec.descriptors, companion, &[])?;
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
        domain_name: None,
        limits: &[],
        program,
        argv: Arguments::new(spec.argv),
        descriptors,
        companion,
        awaited: forwarding.awaited_inside(),
    };
    times.prepared = clock::now();
    let supervisor = match sys::fork_into(NAMESPACES | identity.namespaces(), cgroup.to_clone_into())
        .map_err(|errno| SandboxError::new(Step::Clone, errno, identity.needs_user_namespace()))?
    {
        Side::Child => init::live(&plan),
        Side::Parent(pidfd, _) => Supervisor::new(pidfd),
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
        Some(
            Message::Reached(_) | Message::Cloned(_) | Message::ParameterRefused { .. } | Message::Refused,
        )
        | None => match status.terminating_signal() {
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
