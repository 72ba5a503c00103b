//! A network for a guest that no engine wires: passt(1), which stands between the guest's frames and ordinary sockets of the
//! host, so that nobody needs a privilege, a bridge or a rule of a firewall for it.
//!
//! ```text
//! guest ── card ── stream of frames ──► passt ── sockets ──► the host, and behind it the world
//! ```
//!
//! It ends when the guest's end of the stream is closed.

use std::{
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    process::{Command, Stdio},
    str::FromStr,
};

use runu_core::{Blame, Blamed, NetworkCard, Printable, WireKind};
use runu_guest::Network;
use rustix::{
    io::{Errno, FdFlags},
    net::{AddressFamily, SocketFlags, SocketType},
    process::{WaitId, WaitIdOptions},
};

/// The program.
const PROGRAM: &str = "passt";

/// The guest's network, which is its alone: the one that QEMU's user network has made usual (qemu-doc, "Using the user mode
/// network stack").
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PREFIX: u8 = 24;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Its hardware address: nobody else is on that network. The second bit says that nobody assigned it (IEEE 802, §8.2).
const MAC: [u8; 6] = [0x02, 0x72, 0x75, 0x6e, 0x75, 0x01];

/// The longest packet of an Ethernet, in bytes.
const MTU: u16 = 1500;

/// A port of the host that leads to one of the guest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// The host's address; none for all of them.
    pub(crate) address: Option<Ipv4Addr>,
    /// The host's port.
    pub(crate) host: u16,
    /// The guest's.
    pub(crate) guest: u16,
    /// What is spoken there.
    pub(crate) protocol: Protocol,
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A text that names no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ports are given as [ADDRESS:]HOST:GUEST[/udp], such as 8080:80")]
pub(crate) struct ParsePortError;

impl FromStr for Port {
    type Err = ParsePortError;

    fn from_str(text: &str) -> Result<Self, ParsePortError> {
        let (ports, protocol) = match text.rsplit_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(ParsePortError),
        };
        let (host, guest) = ports.rsplit_once(':').ok_or(ParsePortError)?;
        let (address, host) = match host.rsplit_once(':') {
            None => (None, host),
            Some((address, host)) => (Some(address.parse().map_err(|_| ParsePortError)?), host),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0).ok_or(ParsePortError);
        Ok(Port { address, host: port(host)?, guest: port(guest)?, protocol })
    }
}

impl Port {
    /// As passt has it.
    fn specification(&self) -> String {
        let address = self.address.map(|address| format!("{address}/")).unwrap_or_default();
        format!("{address}{}:{}", self.host, self.guest)
    }
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PasstError {
    /// The program is not there, or cannot be run.
    #[error("cannot run `{PROGRAM}`, which connects the guest's network to the host's")]
    Run(#[source] io::Error),
    /// It does not do what it is told.
    #[error("`{PROGRAM}` refuses: {}", Printable(.0.as_bytes()))]
    Refused(String),
    /// No pair of sockets.
    #[error("cannot make the sockets between guest and `{PROGRAM}`")]
    Sockets(#[source] io::Error),
}

impl Blamed for PasstError {
    fn blame(&self) -> Blame {
        match self {
            PasstError::Refused(_) => Blame::User,
            _ => Blame::Host,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            PasstError::Run(_) => Some(format!("install the package `{PROGRAM}`, or run without --publish")),
            _ => None,
        }
    }
}

/// passt at work.
pub(crate) struct Passt(());

/// What the guest has of it.
pub(crate) struct Connection {
    /// Its card.
    pub(crate) card: NetworkCard,
    /// Its place in the network.
    pub(crate) network: Network,
    /// The guest's end of the stream.
    pub(crate) stream: OwnedFd,
}

impl Passt {
    /// Starts it with these ports, which are open when this returns.
    ///
    /// # Errors
    /// It is not installed, or cannot have one of the ports.
    pub(crate) fn start(ports: &[Port]) -> Result<(Self, Connection), PasstError> {
        let sockets = |errno: Errno| PasstError::Sockets(errno.into());
        let (stream, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(sockets)?;
        // It leaves its parent when it is ready; then it is our child, so that we know when it has ended.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(sockets)?;
        rustix::io::fcntl_setfd(&theirs, FdFlags::empty()).map_err(sockets)?;
        let mut command = Command::new(PROGRAM);
        command.args(["--fd", &theirs.as_raw_fd().to_string(), "--quiet", "--ipv4-only", "--no-dhcp"]);
        command.args(["--address", &ADDRESS.to_string(), "--netmask", &PREFIX.to_string()]);
        command.args(["--gateway", &GATEWAY.to_string(), "--dns-forward", &NAME_SERVER.to_string()]);
        for port in ports {
            let flag = match port.protocol {
                Protocol::Tcp => "--tcp-ports",
                Protocol::Udp => "--udp-ports",
            };
            command.args([flag, &port.specification()]);
        }
        if ports.iter().all(|port| port.protocol != Protocol::Udp) {
            // Else datagrams to the same numbers would be taken as well.
            command.args(["--udp-ports", "none"]);
        }
        let output = command.stdin(Stdio::null()).output().map_err(PasstError::Run)?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr);
            return Err(PasstError::Refused(told.trim().lines().last().unwrap_or_default().to_owned()));
        }
        // Else the first frames would go nowhere: it learns a guest's hardware address from what the guest sends.
        rustix::io::write(&stream, &announcement()).map_err(sockets)?;
        let network = Network {
            address: ADDRESS,
            prefix: PREFIX,
            gateway: Some(GATEWAY),
            name_servers: vec![NAME_SERVER],
            host_name: None,
            domain: None,
        };
        let card = NetworkCard { mac: MAC, mtu: MTU, wire: WireKind::Stream, name_server: None };
        Ok((Passt(()), Connection { card, network, stream }))
    }
}

/// The guest's ARP announcement (RFC 5227 §2.3; the fields of RFC 826) as a frame in the stream.
fn announcement() -> Vec<u8> {
    const EVERYBODY: [u8; 6] = [0xff; 6];
    const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
    /// Of Ethernet and IPv4, with addresses of six and four bytes; a request.
    const REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
    let frame =
        [&EVERYBODY[..], &MAC, &ETHERTYPE_ARP, &REQUEST, &MAC, &ADDRESS.octets(), &[0; 6], &ADDRESS.octets()]
            .concat();
    let len = u32::try_from(frame.len()).unwrap_or(0);
    [&len.to_be_bytes()[..], &frame].concat()
}

impl Drop for Passt {
    /// Waits for its end, which comes with that of the guest's end of the stream.
    fn drop(&mut self) {
        while !matches!(rustix::process::waitid(WaitId::All, WaitIdOptions::EXITED), Err(Errno::CHILD)) {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_docker_reads_them() {
        let port = |address, host, guest, protocol| Ok(Port { address, host, guest, protocol });
        assert_eq!("8080:80".parse(), port(None, 8080, 80, Protocol::Tcp));
        assert_eq!("8080:80/tcp".parse(), port(None, 8080, 80, Protocol::Tcp));
        let local = Some(Ipv4Addr::LOCALHOST);
        assert_eq!("127.0.0.1:53:5353/udp".parse(), port(local, 53, 5353, Protocol::Udp));
    }

    #[test]
    fn text_that_names_no_two_ports_is_refused() {
        for text in
            ["", "80", "0:80", "80:0", "80:65536", "a:b", "80:80/sctp", "1.2.3:80:80", "::1:80:80", "80:"]
        {
            assert_eq!(text.parse::<Port>(), Err(ParsePortError), "{text}");
        }
    }

    #[test]
    fn address_of_the_host_comes_before_its_port() {
        let port: Port = "127.0.0.1:8080:80".parse().unwrap();
        assert_eq!(port.specification(), "127.0.0.1/8080:80");
    }
}
