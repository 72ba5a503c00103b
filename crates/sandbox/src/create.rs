//! The caller's side of a sandbox that is made now and started later by another process.
//!
//! ```text
//! create() -> Placed      the supervisor is in all of its namespaces: the time for whatever wires them from outside
//! Placed::furnish() -> Ready    it has its root and no privileges: the time to write down that it exists
//! Ready::release()        it lives on without us and waits for its start
//! ```
//!
//! A [`Placed`] or [`Ready`] that is dropped takes the sandbox with it, and so does the caller's death.
//!
//! The caller must have a single thread: unlike the supervisor of [`run`](crate::run()), this one allocates.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::{
    event::{PollFd, PollFlags},
    fs::OFlags,
    io::Errno,
    pipe::PipeFlags,
    process::Pid,
};

use crate::{
    error::SandboxError,
    hold::{self, Hold},
    identity::Identity,
    init,
    namespaces::{Cloned, UserNamespace},
    parcel::{Parcel, lift},
    report::{Message, Stage},
    signals::ENDING,
    spec::{Holding, Spec, UserMaps},
    step::Step,
    supervisor::Supervisor,
    sys::{self, Arguments, SignalSet},
};

/// A sandbox whose supervisor is in all of its namespaces and waits.
pub struct Placed(Maker);

/// A sandbox that is complete.
pub struct Ready(Maker);

/// Makes a sandbox around our own executable, up to its namespaces and control group.
///
/// # Errors
/// A step that the host does not permit or cannot do; nothing of the sandbox is left then, but the control group is the
/// caller's to remove.
pub fn create(spec: Spec<'_>, holding: Holding<'_>) -> Result<Placed, SandboxError> {
    let fail = |step| move |errno| SandboxError::new(step, errno, false);
    let identity = match &holding.namespaces.user {
        UserNamespace::New(UserMaps { uid, gid, .. }) => Identity::Within { uid: *uid, gid: *gid },
        UserNamespace::Joined(_) => Identity::Joined,
        UserNamespace::Callers => Identity::choose().map_err(fail(Step::Privileges))?,
    };
    let companion = spec.companion.map(|companion| companion.known_to(&identity));
    let Parcel { descriptors, companion, program, above } =
        Parcel::pack(spec.descriptors, companion, &holding.handed_at_start)?;
    let lifted = |descriptor: OwnedFd, step| {
        let mut descriptor = descriptor;
        lift(&mut descriptor, above).map_err(fail(step)).map(|()| descriptor)
    };
    let (report_reader, report) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(fail(Step::Pipe))?;
    let (words_reader, words) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(fail(Step::Pipe))?;
    let ending = SignalSet::of(&ENDING);
    let mut awaited = ENDING.to_vec();
    awaited.push(libc::SIGCHLD);
    let plan = init::Plan {
        report: lifted(report, Step::Pipe)?,
        report_reader: report_reader.as_raw_fd(),
        identity: &identity,
        cgroups: holding.cgroup.to_join(),
        hostname: spec.hostname.filter(|_| holding.namespaces.has_host_name()),
        domain_name: holding.domain_name.filter(|_| holding.namespaces.has_host_name()),
        limits: &holding.limits,
        program,
        argv: Arguments::new(spec.argv),
        descriptors,
        companion,
        awaited: SignalSet::of(&awaited),
    };
    let hold = Hold {
        words: lifted(words_reader, Step::Pipe)?,
        namespaces: &holding.namespaces,
        terminal: holding.terminal.map(|terminal| lifted(terminal, Step::Session)).transpose()?,
        parameters: &holding.parameters,
        oom_score_adj: holding.oom_score_adj,
        listener: lifted(holding.listener, Step::Channel)?,
        signals: lifted(sys::signal_descriptor(&ending).map_err(fail(Step::Signals))?, Step::Signals)?,
        kept: holding.kept,
        handed_at_start: holding.handed_at_start,
        above,
        witness: holding.witness,
    };
    let needs_user_namespace = identity.needs_user_namespace();
    let cloned = holding
        .namespaces
        .clone_into(&identity, holding.oom_score_adj, holding.cgroup.to_clone_into())
        .map_err(|(step, errno)| SandboxError::new(step, errno, needs_user_namespace))?;
    let (pidfd, pid) = match cloned {
        Cloned::Supervisor(left) => hold::live(&plan, &hold, left),
        Cloned::Parent(pidfd, pid) => (pidfd, pid),
    };
    let mut maker =
        Maker { supervisor: Supervisor::new(pidfd), pid, words, report: report_reader, needs_user_namespace };
    let id = identity.outliving(pid);
    drop((plan, hold));
    if let UserNamespace::New(maps) = &holding.namespaces.user {
        write_maps(pid, maps).map_err(|errno| SandboxError::new(Step::UserMap, errno, true))?;
    }
    if let Some(score) = holding.oom_score_adj {
        // Again from outside: a new user namespace has not the privilege to lower it that the caller may have.
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", pid.as_raw_pid()), score.to_string());
    }
    // Before it enters anything or opens what it keeps.
    holding.cgroup.adopt(pid)?;
    maker.say(id)?;
    maker.hear(Stage::Placed)?;
    Ok(Placed(maker))
}

impl Placed {
    /// The supervisor's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.0.pid.as_raw_pid()
    }

    /// Completes the sandbox.
    ///
    /// # Errors
    /// A step that the host does not permit or cannot do; nothing of the sandbox is left then.
    pub fn furnish(mut self) -> Result<Ready, SandboxError> {
        self.0.say(0)?;
        self.0.hear(Stage::Ready)?;
        Ok(Ready(self.0))
    }
}

impl Ready {
    /// Lets the sandbox live on without us.
    ///
    /// # Errors
    /// It has ended meanwhile.
    pub fn release(mut self) -> Result<(), SandboxError> {
        self.0.say(0)?;
        self.0.supervisor.release();
        Ok(())
    }
}

/// The hold that the maker has on a sandbox.
struct Maker {
    supervisor: Supervisor,
    pid: Pid,
    /// Where we tell the supervisor to go on.
    words: OwnedFd,
    /// Where it tells how far it got.
    report: OwnedFd,
    needs_user_namespace: bool,
}

impl Maker {
    fn say(&mut self, word: u32) -> Result<(), SandboxError> {
        match rustix::io::write(&self.words, &word.to_ne_bytes()) {
            Ok(_) => Ok(()),
            // It is gone, and its report says why.
            Err(Errno::PIPE) => self.hear(Stage::Placed),
            Err(errno) => Err(SandboxError::new(Step::Channel, errno, false)),
        }
    }

    fn hear(&mut self, awaited: Stage) -> Result<(), SandboxError> {
        loop {
            let mut ready = [
                PollFd::new(&self.report, PollFlags::IN),
                PollFd::new(self.supervisor.descriptor(), PollFlags::IN),
            ];
            match rustix::event::poll(&mut ready, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(SandboxError::new(Step::Channel, errno, false)),
            }
            match Message::receive(self.report.as_fd()) {
                Some(Message::Reached(stage)) if stage == awaited => return Ok(()),
                Some(Message::Failed { step, errno }) => {
                    return Err(SandboxError::new(step, errno, self.needs_user_namespace));
                }
                Some(Message::ParameterRefused { number, errno }) => {
                    return Err(SandboxError::Parameter { number, source: errno });
                }
                Some(_) => {}
                None => {
                    let status = self.supervisor.reap().ok().and_then(|status| status.exit_status());
                    return Err(SandboxError::Silent { status: status.unwrap_or(-1) });
                }
            }
        }
    }
}

/// Fills in the maps of the supervisor's new user namespace.
fn write_maps(pid: Pid, maps: &UserMaps) -> Result<(), Errno> {
    let write = |file: &str, text: &str| {
        let path = format!("/proc/{}/{file}", pid.as_raw_pid());
        let opened = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, rustix::fs::Mode::empty())?;
        // One write: the kernel takes a map only whole.
        rustix::io::write(opened, text.as_bytes()).map(drop)
    };
    write("uid_map", &maps.uid_map)?;
    match write("gid_map", &maps.gid_map) {
        // An ordinary user may map groups only where nobody can drop any (user_namespaces(7)).
        Err(Errno::PERM) => write("setgroups", "deny").and_then(|()| write("gid_map", &maps.gid_map)),
        result => result,
    }
}
