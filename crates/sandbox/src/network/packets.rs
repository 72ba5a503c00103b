//! The socket through which a guest's frames go (packet(7)).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::sys::{self, PacketOption};

/// Room for frames that wait for the guest, in bytes as the kernel counts them: some thousand.
const ROOM: usize = 4 << 20;

/// Opens one that hears nothing yet. It puts a `struct virtio_net_hdr` before each frame and wants one: between two ends on
/// one host checksums are left out and segments come uncut, of which nobody would know otherwise.
pub(super) fn open() -> io::Result<OwnedFd> {
    let family = AddressFamily::PACKET;
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    // What an ordinary user may have is enough to work.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, ROOM);
    sys::set_packet_option(socket.as_fd(), PacketOption::Headers)?;
    // What this namespace's own kernel still sends is not for the guest. Linux before 4.20 cannot leave it out.
    let _ = sys::set_packet_option(socket.as_fd(), PacketOption::IgnoreOutgoing);
    Ok(socket)
}

/// Lets it hear and speak on interface `index`, whatever the protocol.
pub(super) fn bind(socket: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    sys::bind_packets(socket, index).map_err(io::Error::from)
}
