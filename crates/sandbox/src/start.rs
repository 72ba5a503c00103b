//! How a sandbox that waits for its start is started: one byte on its socket, with what the guest process is handed, one
//! message back.

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
    /// The sandbox ended while it was being started.
    #[error("it ended before it was started")]
    Ended,
}

impl Blamed for StartError {
    fn blame(&self) -> Blame {
        match self {
            StartError::NotWaiting(_) => Blame::User,
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
///
/// # Errors
/// It does not wait for a start, it expects less than is handed over, or it cannot run its guest process.
pub fn start(directory: BorrowedFd<'_>, name: &str, handed: &[BorrowedFd<'_>]) -> Result<(), StartError> {
    let socket = socket().map_err(StartError::NotWaiting)?;
    address(directory, name)
        .and_then(|address| rustix::net::connect(&socket, &address))
        .map_err(StartError::NotWaiting)?;
    ask(socket.as_fd(), handed).map_err(|_| StartError::Ended)?;
    match Message::receive(socket.as_fd()) {
        Some(Message::Reached(_)) => Ok(()),
        Some(Message::Failed { step, errno }) => Err(StartError::Step { step, source: errno }),
        _ => Err(StartError::Ended),
    }
}

/// What asks for a start.
const START: u8 = b's';

/// Descriptors handed over at most: more than a guest has devices, less than the kernel takes at once (unix(7),
/// `SCM_RIGHTS`: 253).
const HANDED_MAX: usize = 64;

/// Asks for a start.
fn ask(socket: BorrowedFd<'_>, handed: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !handed.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(handed)) {
        return Err(Errno::TOOBIG);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&[START])], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// What a peer hands over that asks for a start; `None` if it asks for nothing.
pub(crate) fn asked(peer: BorrowedFd<'_>) -> Option<Vec<OwnedFd>> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::net::recvmsg(peer, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags).ok()?;
    let handed = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    let handed = handed.collect();
    (received.bytes == 1 && byte == [START]).then_some(handed)
}

fn socket() -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The address of a socket in a directory whose path may be longer than an address can be (unix(7), `sun_path`).
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    use std::os::fd::AsRawFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
