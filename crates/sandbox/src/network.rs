//! Taking over a network interface: what the engine gave to a namespace becomes the guest's.
//!
//! ```text
//! engine ── veth, address, routes ──► namespace ── take_over() ──► Taken { what it was; sockets }
//! ```
//!
//! From then on the namespace's own kernel has no address there, so it answers nobody: what arrives is for the guest, whose
//! card has the interface's hardware address.

mod names;
mod packets;
mod routes;

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use runu_core::{Blame, Blamed};
use serde::{Deserialize, Serialize};

use crate::sys;
pub use names::Names;
use routes::Routes;

/// What an interface was before it was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// The longest packet it takes, in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Its address.
    pub address: Ipv4Addr,
    /// How many bits of that name its network.
    pub prefix: u8,
    /// Where packets to other networks go.
    pub gateway: Option<Ipv4Addr>,
}

/// An interface that was taken over.
#[derive(Debug)]
pub struct Taken {
    /// What it was.
    pub interface: Interface,
    /// A packet socket (packet(7)): whole Ethernet frames, one a datagram.
    pub frames: OwnedFd,
    /// Sockets to the name server that was asked for; none if there can be none, as where the loopback is down.
    pub names: Option<Names>,
}

/// Why an interface could not be taken over.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The namespace cannot be entered or left.
    #[error("cannot enter the network namespace")]
    Enter(#[source] io::Error),
    /// The kernel does not say what there is, or does not let us change it.
    #[error("cannot {action} of network interfaces")]
    Routes {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// There can be no socket for its frames.
    #[error("cannot open a packet socket on `{interface}`")]
    Packets {
        /// The interface.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Blamed for NetworkError {
    fn blame(&self) -> Blame {
        Blame::Host
    }
}

/// Takes over the interface of a network namespace that leads out of it: the one with the default route, else the first that
/// is up and has an IPv4 address. `None` where there is no such interface. `name_server` is one that listens on a loopback
/// address there.
///
/// # Errors
/// We may not enter the namespace or change it.
pub fn take_over(
    namespace: BorrowedFd<'_>,
    name_server: Option<Ipv4Addr>,
) -> Result<Option<Taken>, NetworkError> {
    // Sockets belong to the namespace in which they were made, wherever they are used.
    let (mut routes, frames, names) = within(namespace, || {
        Ok((Routes::open()?, packets::open()?, name_server.and_then(|server| names::open(server).ok())))
    })?;
    let Some((index, interface)) = routes.way_out()? else { return Ok(None) };
    let packets = |source| NetworkError::Packets { interface: interface.name.clone(), source };
    // First the guest's ear, then the kernel's silence: what arrives in between is heard twice, not never.
    packets::bind(frames.as_fd(), index).map_err(packets)?;
    routes.clear_addresses(index)?;
    if names.is_some() {
        // A kernel without such rules leaves the server with the names that it knows itself.
        let _ = names::lead_back(&mut routes);
    }
    Ok(Some(Taken { interface, frames, names }))
}

/// Does something in another network namespace, in a thread of its own that ends there: an ordinary user, root of a user
/// namespace, may enter one that is theirs but not come back to the host's.
fn within<T: Send>(
    namespace: BorrowedFd<'_>,
    act: impl FnOnce() -> io::Result<T> + Send,
) -> Result<T, NetworkError> {
    let enter_and_act = || {
        sys::join_namespace(namespace, libc::CLONE_NEWNET)?;
        act()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, enter_and_act)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that entered it failed")))
    })
    .map_err(NetworkError::Enter)
}
