//! How a sandbox that waits for its start is started: one packet on its socket, which holds a note for its witness and what
//! the guest process is handed; one message back.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use runu_core::{Blame, Blamed};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    },
};

use crate::{report::Message, step::Step};

/// Why a sandbox was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Nobody waits to be started: it was started already, or has ended.
    #[error("it does not wait for its start")]
    NotWaiting(#[source] Errno),
    /// The kernel refused one of the steps; the sandbox has ended.
    #[error("cannot {step}")]
    Step {
        /// What was being done.
        step: Step,
        /// What the kernel said.
        source: Errno,
    },
    /// Its witness does not agree with what it is started with, for this reason; the sandbox has ended.
    #[error("{0}")]
    Refused(String),
    /// The sandbox ended while it was being started.
    #[error("it ended before it was started")]
    Ended,
}

impl Blamed for StartError {
    fn blame(&self) -> Blame {
        match self {
            StartError::NotWaiting(_) | StartError::Refused(_) => Blame::User,
            StartError::Step { .. } | StartError::Ended => Blame::Host,
        }
    }
}

/// Makes a socket called `name` in `directory` on which a start can be asked for.
///
/// # Errors
/// The kernel refuses, mostly because the name is taken.
pub fn listen(directory: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let socket = socket()?;
    rustix::net::bind(&socket, &address(directory, name)?)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Starts the sandbox whose socket is called `name` in `directory`. Its guest process runs when this returns, and has what
/// is handed over here under the numbers that were named when the sandbox was made
/// ([`Holding::handed_at_start`](crate::Holding)), one after the other; numbers for which nothing is handed over stay closed.
/// The note, of at most [`NOTE_MAX`] bytes, is for the witness, which may refuse ([`Witness::starting`](crate::Witness)).
///
/// # Errors
/// It does not wait for a start, it expects less than is handed over, its witness refuses, or it cannot run its guest
/// process.
pub fn start(
    directory: BorrowedFd<'_>,
    name: &str,
    note: &[u8],
    handed: &[BorrowedFd<'_>],
) -> Result<(), StartError> {
    let socket = socket().map_err(StartError::NotWaiting)?;
    address(directory, name)
        .and_then(|address| rustix::net::connect(&socket, &address))
        .map_err(StartError::NotWaiting)?;
    ask(socket.as_fd(), note, handed).map_err(|_| StartError::Ended)?;
    match Message::receive(socket.as_fd()) {
        Some(Message::Reached(_)) => Ok(()),
        Some(Message::Failed { step, errno }) => Err(StartError::Step { step, source: errno }),
        Some(Message::Refused) => Err(StartError::Refused(reason(socket.as_fd()))),
        _ => Err(StartError::Ended),
    }
}

/// What asks for a start, before the note.
const START: u8 = b's';

/// Length of a note at most, in bytes.
pub const NOTE_MAX: usize = 4096;

/// Length of a reason at most, in bytes.
const REASON_MAX: usize = 4096;

/// Descriptors handed over at most: more than a guest has devices, less than the kernel takes at once (unix(7),
/// `SCM_RIGHTS`: 253).
const HANDED_MAX: usize = 64;

/// Asks for a start.
fn ask(socket: BorrowedFd<'_>, note: &[u8], handed: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    if note.len() > NOTE_MAX {
        return Err(Errno::MSGSIZE);
    }
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !handed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(handed)) {
        return Err(Errno::TOOBIG);
    }
    let parts = [IoSlice::new(&[START]), IoSlice::new(note)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// Why the witness refuses.
fn reason(socket: BorrowedFd<'_>) -> String {
    let mut text = vec![0; REASON_MAX];
    let len = rustix::io::read(socket, &mut text).unwrap_or(0);
    text.truncate(len);
    String::from_utf8_lossy(&text).into_owned()
}

/// Tells a peer that asked for a start that the witness refuses, and why.
pub(crate) fn refuse(peer: BorrowedFd<'_>, reason: &str) {
    Message::Refused.send_to_peer(peer);
    let text = reason.as_bytes().get(..REASON_MAX).unwrap_or(reason.as_bytes());
    // A peer that is gone needs no reason.
    let _ = rustix::net::send(peer, text, SendFlags::NOSIGNAL);
}

/// What a peer that asks for a start brings.
pub(crate) struct Asked {
    /// The note for the witness.
    pub(crate) note: Vec<u8>,
    /// What the guest process is handed.
    pub(crate) handed: Vec<OwnedFd>,
}

/// What a peer brings that asks for a start; `None` if it asks for nothing.
pub(crate) fn asked(peer: BorrowedFd<'_>) -> Option<Asked> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut packet = vec![0; 1 + NOTE_MAX];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(peer, &mut [IoSliceMut::new(&mut packet)], &mut ancillary, flags).ok()?;
    let handed = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let handed = handed.collect();
    let note = packet.get(..received.bytes)?.strip_prefix(&[START])?.to_vec();
    Some(Asked { note, handed })
}

fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// The address of a socket in a directory whose path may be longer than an address can be (unix(7), `sun_path`).
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    use std::os::fd::AsRawFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
