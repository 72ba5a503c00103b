//! A guest's place in a network: what its container's namespace has when it is started becomes the guest's.
//!
//! ```text
//! create ── Wiring: whether the guest has a use for a network, where engines write of names ──► record
//! start ─── Wiring::take ──► the interface is taken over ──► Wired, a socket for frames ──► supervisor: the plan is made
//! ```
//!
//! Engines wire a namespace between the two, so nothing of it is known before the start.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use runu_core::{NetworkCard, WireKind};
use runu_guest::{Guest, Network, NetworkUse};
use runu_sandbox::{Interface, Namespace, Taken};
use serde::{Deserialize, Serialize};

use crate::{Bundle, ContainerError, rootfs::RootFs};

/// Where programs read of name servers (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Length of such a file at most, in bytes: real ones are below 1 KiB.
const RESOLV_CONF_MAX: u64 = 64 << 10;

/// What is known at `create` of the network that a container has at its start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wiring {
    /// Whether the guest is of no use without one.
    needed: bool,
    /// Whether the namespace was there before the container, so that others may be in it.
    joined: bool,
    /// The host's file with name servers that an engine mounts into the container; none for the image's own.
    resolv_conf: Option<PathBuf>,
    /// The guest's own name.
    host_name: Option<String>,
}

/// A guest's end of an interface that was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wired {
    /// The card.
    pub card: NetworkCard,
    /// The guest's place in the network.
    pub network: Network,
}

/// What a start tells the supervisor.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The network, if the guest has one.
    pub(crate) wired: Option<Wired>,
}

impl Wiring {
    /// What a container with that configuration has; `None` where its guest has no use for a network.
    ///
    /// # Errors
    /// The guest needs one and the namespace is the host's.
    pub(crate) fn of(
        guest: &Guest,
        bundle: &Bundle,
        namespace: &Namespace,
        host_name: Option<&str>,
    ) -> Result<Option<Self>, ContainerError> {
        let needed = match runu_guest::network_use(guest) {
            NetworkUse::None => return Ok(None),
            NetworkUse::Unknown => false,
            NetworkUse::Needed => true,
        };
        let joined = match namespace {
            Namespace::New => false,
            Namespace::Joined(_) => true,
            // The host's own interfaces are never taken.
            Namespace::Callers if needed => return Err(ContainerError::HostNetwork),
            Namespace::Callers => return Ok(None),
        };
        let resolv_conf = mounted(&bundle.spec, Path::new(RESOLV_CONF));
        Ok(Some(Wiring { needed, joined, resolv_conf, host_name: host_name.map(str::to_owned) }))
    }

    /// Takes over the interface in the namespace of the container's first process. `None` where there is none.
    ///
    /// # Errors
    /// The guest needs one and others are in the namespace, or the kernel refuses.
    pub(crate) fn take(&self, pid: i32, rootfs: &Path) -> Result<Option<(Wired, OwnedFd)>, ContainerError> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let namespace = File::open(&path).map_err(|source| ContainerError::Read { path, source })?;
        if self.joined && is_shared(&namespace, pid) {
            return if self.needed { Err(ContainerError::SharedNetwork) } else { Ok(None) };
        }
        let Some(Taken { interface, frames }) = runu_sandbox::take_over(namespace.as_fd())? else {
            return Ok(None);
        };
        Ok(Some((self.wired(&interface, &self.names(rootfs)), frames)))
    }

    fn wired(&self, interface: &Interface, names: &Names) -> Wired {
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        Wired {
            card: NetworkCard { mac: interface.mac, mtu, wire: WireKind::Packets },
            network: Network {
                address: interface.address,
                prefix: interface.prefix,
                gateway: interface.gateway,
                name_servers: names.servers.clone(),
                host_name: self.host_name.clone(),
                domain: names.domain.clone(),
            },
        }
    }

    /// What the container's file says of names. A guest can be without, so one that cannot be read says nothing.
    fn names(&self, rootfs: &Path) -> Names {
        let file = match &self.resolv_conf {
            Some(path) => crate::rootfs::regular_file(path),
            None => RootFs::open(rootfs).and_then(|root| root.file(Path::new(RESOLV_CONF))),
        };
        let read = |file: File| {
            let mut bytes = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, RESOLV_CONF_MAX), &mut bytes).map(|_| bytes)
        };
        file.and_then(read).map(|bytes| Names::parse(&bytes)).unwrap_or_default()
    }
}

/// What resolv.conf(5) says, as far as a guest can be told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    servers: Vec<Ipv4Addr>,
    domain: Option<String>,
}

impl Names {
    /// Servers with an address of the loopback are those of the host's side, where no guest gets; those with an IPv6 address
    /// no guest can be told of.
    fn parse(bytes: &[u8]) -> Self {
        let Ok(config) = resolv_conf::Config::parse(bytes) else { return Names::default() };
        let servers = config.nameservers.iter().filter_map(|server| match IpAddr::from(server) {
            IpAddr::V4(address) if !address.is_loopback() => Some(address),
            _ => None,
        });
        let domain = config.get_last_search_or_domain().next();
        Names { servers: servers.collect(), domain: domain.cloned() }
    }
}

/// The host's file that is mounted there.
fn mounted(spec: &Spec, place: &Path) -> Option<PathBuf> {
    let mut mounts = spec.mounts().iter().flatten();
    mounts.find(|mount| mount.destination() == place)?.source().clone()
}

/// Whether a process besides `pid` is in the namespace. One that we may not look at is a stranger's and cannot be where we
/// may take interfaces.
fn is_shared(namespace: &File, pid: i32) -> bool {
    let Ok(namespace) = namespace.metadata() else { return true };
    let Ok(processes) = fs::read_dir("/proc") else { return true };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|number| *number != pid).any(|number| {
        let theirs = fs::metadata(format!("/proc/{number}/ns/net"));
        theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (namespace.dev(), namespace.ino()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_no_guest_reaches_are_left_out() {
        let text =
            b"# made by an engine\nnameserver 127.0.0.11\nnameserver 1.1.1.1\nnameserver fe80::1%eth0\n\
                     nameserver 10.0.0.2\nsearch example.org other.org\noptions ndots:0\n";
        let names = Names::parse(text);
        assert_eq!(names.servers, [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        assert_eq!(names.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn file_that_is_none_says_nothing() {
        assert_eq!(Names::parse(b"\xff\xfe nameserver"), Names::default());
        assert_eq!(Names::parse(b""), Names::default());
    }

    #[test]
    fn wired_with_the_longest_names_fits_into_a_note() {
        let network = Network {
            address: Ipv4Addr::BROADCAST,
            prefix: 32,
            gateway: Some(Ipv4Addr::BROADCAST),
            name_servers: vec![Ipv4Addr::BROADCAST; 3],
            host_name: Some("h".repeat(253)),
            domain: Some("d".repeat(253)),
        };
        let wired =
            Wired { card: NetworkCard { mac: [255; 6], mtu: u16::MAX, wire: WireKind::Packets }, network };
        assert!(serde_json::to_vec(&wired).unwrap().len() < runu_sandbox::NOTE_MAX);
    }
}
