//! The socket through which a guest's frames go (packet(7)).

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sys;

/// Room for frames that wait for the guest, in bytes as the kernel counts them: some thousand.
const ROOM: usize = 4 << 20;

/// Opens one that hears nothing yet.
pub(super) fn open() -> io::Result<OwnedFd> {
    let family = AddressFamily::PACKET;
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // What an ordinary user may have is enough to work.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM);
    Ok(socket)
}

/// Lets it hear and speak on interface `index`, whatever the protocol.
pub(super) fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    sys::bind_packets(socket, index).map_err(io::Error::from)
}
