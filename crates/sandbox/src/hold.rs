//! The life of a supervisor whose sandbox is made by one process and started by another.
//!
//! Between its steps it waits for words from the process that makes it; when that one ends without the last word, the
//! supervisor ends too, so that a maker that is killed leaves nothing running. From then on it lives on its own, as the
//! child of whoever adopts the maker's orphans, and listens on a socket for its start.
//!
//! Architecture invariant: nothing can fail between the acknowledgement of the start and the guest process's first
//! instruction: the executable has been entered when the acknowledgement is sent.

use std::{
    cell::Cell,
    ffi::c_int,
    os::fd::{AsFd, AsRawFd, OwnedFd, RawFd},
};

use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
    io::Errno,
    net::SocketFlags,
    process::Pid,
};

use crate::{
    init::{self, At, CANNOT_EXECUTE, NOT_MADE},
    namespaces::{Namespaces, set_oom_score_adj},
    parcel::lift,
    report::{End, Message, Stage},
    signals::ENDING,
    spec::{How, Parameter, Witness},
    start::Asked,
    step::Step,
    sys::{self, Disposition, SignalSet},
};

/// What a held supervisor needs besides the [`init::Plan`].
pub(crate) struct Hold<'a> {
    /// Where the maker's words come from.
    pub(crate) words: OwnedFd,
    /// The namespaces.
    pub(crate) namespaces: &'a Namespaces,
    /// Kernel parameters of the namespaces.
    pub(crate) parameters: &'a [Parameter],
    /// The terminal that becomes standard input, output and error.
    pub(crate) terminal: Option<OwnedFd>,
    /// How readily the kernel kills what is inside when memory runs out.
    pub(crate) oom_score_adj: Option<i32>,
    /// Where the start is asked for.
    pub(crate) listener: OwnedFd,
    /// Where ending signals can be polled for.
    pub(crate) signals: OwnedFd,
    /// Descriptors that the witness uses.
    pub(crate) kept: Vec<RawFd>,
    /// Numbers of what the guest process is handed at its start, ascending.
    pub(crate) handed_at_start: Vec<RawFd>,
    /// The first number above all that the guest process has.
    pub(crate) above: RawFd,
    /// Who is told what happens.
    pub(crate) witness: &'a dyn Witness,
}

/// Lives the life; `left` are the kinds of namespaces that it has still to enter.
pub(crate) fn live(plan: &init::Plan<'_>, hold: &Hold<'_>, left: c_int) -> ! {
    if let Err((step, errno)) = set_up(plan, hold, left) {
        Message::Failed { step, errno }.send(plan.report.as_fd());
        sys::exit_now(NOT_MADE);
    }
    let how = match wait_for_start(plan, hold) {
        Ok(guest) => match init::wait_for(guest, plan) {
            End::Exited(status) => How::Exited(status),
            End::Signalled(signal) => How::Signalled(signal),
            End::Requested(signal) => How::Requested(signal),
        },
        Err(signal) => {
            release(hold);
            How::Requested(signal)
        }
    };
    sys::exit_now(c_int::from(hold.witness.ended(how)));
}

fn set_up(plan: &init::Plan<'_>, hold: &Hold<'_>, left: c_int) -> Result<(), (Step, Errno)> {
    SignalSet::all().set_mask().at(Step::Signals)?;
    sys::set_disposition(libc::SIGCHLD, Disposition::Default);
    let mut keep = descriptors(plan, hold);
    sys::close_all_but(&mut keep).at(Step::Descriptors)?;
    // The first word also says that the maps of a new user namespace are there.
    let id = next_word(hold)?;
    if let Some(score) = hold.oom_score_adj {
        set_oom_score_adj(score).at(Step::Limits)?;
    }
    init::enter_cgroups(plan.cgroups)?;
    hold.witness.entered();
    plan.identity.map()?;
    if hold.namespaces.join(left).at(Step::JoinNamespaces)? != 0 {
        return Err((Step::JoinNamespaces, Errno::PERM));
    }
    hold.namespaces.make_cgroup().at(Step::Clone)?;
    Message::Reached(Stage::Placed).send(plan.report.as_fd());
    next_word(hold)?;
    set_parameters(plan, hold);
    let identity = plan.identity.settled(id).at(Step::Privileges)?;
    open_session(hold).at(Step::Session)?;
    init::furnish(plan, &identity)?;
    Message::Reached(Stage::Ready).send(plan.report.as_fd());
    next_word(hold).map(drop)
}

/// Every descriptor that this process needs; all others are strangers' and are closed.
fn descriptors(plan: &init::Plan<'_>, hold: &Hold<'_>) -> Vec<RawFd> {
    let own = [&plan.report, &plan.program, &hold.words, &hold.listener, &hold.signals];
    let mut keep: Vec<RawFd> = own.into_iter().map(AsRawFd::as_raw_fd).collect();
    keep.extend([0, 1, 2]);
    keep.extend(plan.cgroups.iter().chain(&hold.terminal).map(AsRawFd::as_raw_fd));
    keep.extend(plan.descriptors.iter().map(|(descriptor, _)| descriptor.as_raw_fd()));
    keep.extend(plan.companion.iter().flat_map(|companion| companion.descriptors()).map(AsRawFd::as_raw_fd));
    keep.extend(hold.namespaces.descriptors().map(AsRawFd::as_raw_fd));
    keep.extend(&hold.kept);
    keep
}

/// Waits for the maker to say that we may go on; what it says.
fn next_word(hold: &Hold<'_>) -> Result<u32, (Step, Errno)> {
    let mut bytes = [0; 4];
    loop {
        match rustix::io::read(&hold.words, &mut bytes) {
            Ok(4) => return Ok(u32::from_ne_bytes(bytes)),
            // The maker is gone.
            Ok(_) => return Err((Step::Channel, Errno::PIPE)),
            Err(Errno::INTR) => {}
            Err(errno) => return Err((Step::Channel, errno)),
        }
    }
}

/// Sets the parameters of the namespaces that this process is in: the kernel shows each process its own under /proc/sys.
fn set_parameters(plan: &init::Plan<'_>, hold: &Hold<'_>) {
    for (number, parameter) in (0..).zip(hold.parameters) {
        let path = format!("/proc/sys/{}", parameter.path);
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let written = rustix::fs::open(path, flags, Mode::empty())
            .and_then(|file| rustix::io::write(file, parameter.value.as_bytes()));
        if let (Err(errno), false) = (written, parameter.optional) {
            Message::ParameterRefused { number, errno }.send(plan.report.as_fd());
            sys::exit_now(NOT_MADE);
        }
    }
}

/// Leads a session of its own, with the terminal if there is one.
fn open_session(hold: &Hold<'_>) -> Result<(), Errno> {
    rustix::process::setsid()?;
    let Some(terminal) = &hold.terminal else { return Ok(()) };
    for number in 0..init::FIRST_GIVEN {
        sys::duplicate_onto(terminal.as_raw_fd(), number)?;
    }
    sys::take_terminal()
}

/// Waits until someone starts the guest, and does so; or the signal that ended the wait.
fn wait_for_start(plan: &init::Plan<'_>, hold: &Hold<'_>) -> Result<Pid, c_int> {
    loop {
        let mut ready =
            [PollFd::new(&hold.listener, PollFlags::IN), PollFd::new(&hold.signals, PollFlags::IN)];
        if rustix::event::poll(&mut ready, None).is_err() {
            continue;
        }
        let [asked, signalled] = ready.map(|fd| !fd.revents().is_empty());
        if signalled && let Some(signal) = crate::signals::read(&hold.signals).filter(|s| ENDING.contains(s))
        {
            return Err(signal);
        }
        if asked && let Ok(peer) = rustix::net::accept_with(&hold.listener, SocketFlags::CLOEXEC) {
            // A peer that only looked whether we are here asks for nothing.
            let Some(Asked { note, handed }) = crate::start::asked(peer.as_fd()) else { continue };
            if let Err(reason) = hold.witness.starting(&note) {
                crate::start::refuse(peer.as_fd(), &reason);
                sys::exit_now(NOT_MADE);
            }
            match start(plan, hold, handed) {
                Ok(guest) => {
                    hold.witness.started();
                    Message::Reached(Stage::Ready).send_to_peer(peer.as_fd());
                    // `release` closes every number that is not kept; this one must have no owner by then.
                    drop(peer);
                    release(hold);
                    return Ok(guest);
                }
                Err((step, errno)) => {
                    Message::Failed { step, errno }.send_to_peer(peer.as_fd());
                    sys::exit_now(NOT_MADE);
                }
            }
        }
    }
}

/// Runs the guest process, with what it is handed besides what it was given when the sandbox was made.
fn start(plan: &init::Plan<'_>, hold: &Hold<'_>, handed: Vec<OwnedFd>) -> Result<Pid, (Step, Errno)> {
    if handed.len() > hold.handed_at_start.len() {
        return Err((Step::Descriptors, Errno::INVAL));
    }
    let mut numbered = Vec::with_capacity(handed.len());
    for (mut descriptor, number) in handed.into_iter().zip(&hold.handed_at_start) {
        lift(&mut descriptor, hold.above).at(Step::Descriptors)?;
        numbered.push((descriptor, *number));
    }
    let failed = Cell::new(None);
    let guest = sys::spawn_shared(0, &|| {
        failed.set(Some(init::become_guest(plan, &numbered)));
        CANNOT_EXECUTE
    })
    .at(Step::CloneGuest)?;
    // The guest process shares this memory until its exec, which has succeeded or failed by now.
    failed.take().map_or(Ok(guest), Err)
}

/// Lets go of everything but what the witness needs: what the guest process holds must end with it.
fn release(hold: &Hold<'_>) {
    let mut keep = hold.kept.clone();
    keep.push(libc::STDERR_FILENO);
    // Fails only for a range that is none.
    let _ = sys::close_all_but(&mut keep);
}
