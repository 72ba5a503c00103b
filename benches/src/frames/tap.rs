//! Opens a tap device, which takes a request that nobody wraps.

use std::{
    fs::{File, OpenOptions},
    io::{self, Error},
    mem,
    os::fd::AsRawFd,
};

/// Makes the tap device `name`, or takes it if it is there: whole frames, a `struct virtio_net_hdr` before each.
pub(super) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: a plain structure, valid when zeroed.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // The last byte stays zero: it ends the name.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the request is of the type that this number takes, and outlives the call.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if done == 0 { Ok(file) } else { Err(Error::last_os_error()) }
}
