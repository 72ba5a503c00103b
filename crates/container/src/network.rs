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
use runu_sandbox::{Interface, Namespace};
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
    pub(crate) fn take(
        &self,
        pid: i32,
        rootfs: &Path,
    ) -> Result<Option<(Wired, Vec<OwnedFd>)>, ContainerError> {
        let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let namespace = File::open(&path).map_err(|source| ContainerError::Read { path, source })?;
        if self.joined && is_shared(&namespace, pid) {
            return if self.needed { Err(ContainerError::SharedNetwork) } else { Ok(None) };
        }
        let names = self.names(rootfs);
        let Some(taken) = runu_sandbox::take_over(namespace.as_fd(), names.loopback())? else {
            return Ok(None);
        };
        let name_server = taken.names.is_some().then(|| stand_in(&taken.interface));
        let sockets = taken.names.into_iter().flat_map(|names| [names.questions, names.inquiries]);
        let handed = [taken.frames].into_iter().chain(sockets).collect();
        Ok(Some((self.wired(&taken.interface, &names, name_server), handed)))
    }

    /// `name_server` is where the card stands in for one, if it does.
    fn wired(&self, interface: &Interface, names: &Names, name_server: Option<Ipv4Addr>) -> Wired {
        let mtu = u16::try_from(interface.mtu).unwrap_or(u16::MAX);
        Wired {
            card: NetworkCard { mac: interface.mac, mtu, wire: WireKind::Packets, name_server },
            network: Network {
                address: interface.address,
                prefix: interface.prefix,
                gateway: interface.gateway,
                name_servers: names.servers(name_server),
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

/// Where a guest finds a name server for which its card stands in: an address that is nobody's (RFC 5737, TEST-NET-1), so that
/// nobody is hidden behind it, and that is sent to by way of the gateway, so that the guest tells who that is.
const STAND_IN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);

/// Where the guest behind `interface` finds a name server for which its card stands in. Without a gateway nothing but its own
/// network is reached: there the highest address is that which engines give away last.
fn stand_in(interface: &Interface) -> Ipv4Addr {
    if interface.gateway.is_some() {
        return STAND_IN;
    }
    let hosts = u32::MAX.checked_shr(interface.prefix.into()).unwrap_or(0);
    // All ones are the broadcast's (RFC 919 §7).
    let highest = (interface.address.to_bits() | hosts).saturating_sub(1);
    let taken = highest == interface.address.to_bits();
    Ipv4Addr::from_bits(highest.saturating_sub(taken.into()))
}

/// What resolv.conf(5) says, as far as a guest can be told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    servers: Vec<Ipv4Addr>,
    domain: Option<String>,
}

impl Names {
    /// The first server with a loopback address, where no frame of a guest gets.
    fn loopback(&self) -> Option<Ipv4Addr> {
        self.servers.iter().copied().find(Ipv4Addr::is_loopback)
    }

    /// The servers with `stand_in` for the one on the loopback.
    fn servers(&self, stand_in: Option<Ipv4Addr>) -> Vec<Ipv4Addr> {
        let mut stand_in = stand_in.into_iter();
        let reached = |server: &Ipv4Addr| if server.is_loopback() { stand_in.next() } else { Some(*server) };
        self.servers.iter().filter_map(reached).collect()
    }

    /// Servers with an IPv6 address no guest can be told of.
    fn parse(bytes: &[u8]) -> Self {
        let Ok(config) = resolv_conf::Config::parse(bytes) else { return Names::default() };
        let servers = config.nameservers.iter().filter_map(|server| match IpAddr::from(server) {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
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
    fn first_server_on_the_loopback_is_stood_in_for_and_others_are_left_out() {
        let text =
            b"# made by an engine\nnameserver 1.1.1.1\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\n\
                     nameserver 127.0.0.53\nnameserver 10.0.0.2\nsearch example.org other.org\noptions ndots:0\n";
        let names = Names::parse(text);
        assert_eq!(names.loopback(), Some(Ipv4Addr::new(127, 0, 0, 11)));
        let [one, ten] = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(10, 0, 0, 2)];
        assert_eq!(names.servers(Some(STAND_IN)), [one, STAND_IN, ten]);
        assert_eq!(names.servers(None), [one, ten]);
        assert_eq!(names.domain.as_deref(), Some("example.org"));
    }

    #[test]
    fn stand_in_without_a_gateway_is_in_the_guests_network() {
        let interface = |address, prefix, gateway| Interface {
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            mtu: 1500,
            address,
            prefix,
            gateway,
        };
        let at = |last| Ipv4Addr::new(172, 18, 0, last);
        assert_eq!(stand_in(&interface(at(2), 16, Some(at(1)))), STAND_IN);
        assert_eq!(stand_in(&interface(at(2), 16, None)), Ipv4Addr::new(172, 18, 255, 254));
        assert_eq!(stand_in(&interface(at(2), 29, None)), at(6));
        assert_eq!(stand_in(&interface(at(6), 29, None)), at(5));
        for prefix in [0, 31, 32, 99] {
            stand_in(&interface(Ipv4Addr::BROADCAST, prefix, None));
            stand_in(&interface(Ipv4Addr::UNSPECIFIED, prefix, None));
        }
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
        let wired = Wired {
            card: NetworkCard {
                mac: [255; 6],
                mtu: u16::MAX,
                wire: WireKind::Packets,
                name_server: Some(Ipv4Addr::BROADCAST),
            },
            network,
        };
        assert!(serde_json::to_vec(&wired).unwrap().len() < runu_sandbox::NOTE_MAX);
    }
}
