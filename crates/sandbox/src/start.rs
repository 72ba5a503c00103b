//! How a sandbox that waits for its start is started: one byte on its socket, one message back.

use std::os::fd::{AsFd, BorrowedFd};

use runu_core::{Blame, Blamed};
use rustix::{
    io::Errno,
    net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType},
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
pub fn listen(directory: BorrowedFd<'_>, name: &str) -> Result<std::os::fd::OwnedFd, Errno> {
    let socket = socket()?;
    rustix::net::bind(&socket, &address(directory, name)?)?;
    rustix::net::listen(&socket, 1)?;
    Ok(socket)
}

/// Starts the sandbox whose socket is called `name` in `directory`. Its guest process runs when this returns.
///
/// # Errors
/// It does not wait for a start, or it cannot run its guest process.
pub fn start(directory: BorrowedFd<'_>, name: &str) -> Result<(), StartError> {
    let socket = socket().map_err(StartError::NotWaiting)?;
    address(directory, name)
        .and_then(|address| rustix::net::connect(&socket, &address))
        .map_err(StartError::NotWaiting)?;
    rustix::net::send(&socket, b"s", SendFlags::NOSIGNAL).map_err(|_| StartError::Ended)?;
    match Message::receive(socket.as_fd()) {
        Some(Message::Reached(_)) => Ok(()),
        Some(Message::Failed { step, errno }) => Err(StartError::Step { step, source: errno }),
        _ => Err(StartError::Ended),
    }
}

fn socket() -> Result<std::os::fd::OwnedFd, Errno> {
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// The address of a socket in a directory whose path may be longer than an address can be (unix(7), `sun_path`).
fn address(directory: BorrowedFd<'_>, name: &str) -> Result<SocketAddrUnix, Errno> {
    use std::os::fd::AsRawFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
