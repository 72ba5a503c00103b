//! The kernel's word on interfaces, addresses and routes (rtnetlink(7)).

use std::{collections::BTreeMap, io, net::IpAddr};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::{Interface, NetworkError};

/// A conversation with the kernel of one network namespace.
pub(super) struct Routes {
    socket: Socket,
    sequence: u32,
}

/// Length of the kernel's datagrams at most (linux/netlink.h, `NLMSG_GOODSIZE`; dumps are up to 32 KiB).
const DATAGRAM_MAX: usize = 32 << 10;

impl Routes {
    /// Begins one with that of the current namespace.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Routes { socket, sequence: 0 })
    }

    /// The interface that leads out, by number, and what it is.
    pub(super) fn way_out(&mut self) -> Result<Option<(u32, Interface)>, NetworkError> {
        let links = self.links()?;
        let addresses = self.addresses(AddressFamily::Inet)?;
        let gateways = self.gateways()?;
        let mut found: Vec<(bool, u32, Interface)> = Vec::new();
        for message in &addresses {
            let index = message.header.index;
            let Some(link) = links.get(&index) else { continue };
            if found.iter().any(|(_, known, _)| *known == index) {
                continue;
            }
            let local = message.attributes.iter().find_map(|attribute| match attribute {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            let Some(address) = local else { continue };
            let gateway = gateways.get(&index).copied();
            let interface = Interface { address, prefix: message.header.prefix_len, gateway, ..link.clone() };
            found.push((gateway.is_none(), index, interface));
        }
        found.sort_by_key(|(lacks_gateway, index, _)| (*lacks_gateway, *index));
        Ok(found.into_iter().next().map(|(_, index, interface)| (index, interface)))
    }

    /// Interfaces that are up, have a hardware address and are not the loopback; their addresses are still to be found.
    fn links(&mut self) -> Result<BTreeMap<u32, Interface>, NetworkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let mut links = BTreeMap::new();
        for message in self.dump(request, "read the list")? {
            let RouteNetlinkMessage::NewLink(link) = message else { continue };
            let flags = link.header.flags;
            if !flags.contains(LinkFlags::Up) || flags.contains(LinkFlags::Loopback) {
                continue;
            }
            let (mut name, mut mac, mut mtu) = (String::new(), None, 1500);
            for attribute in &link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name.clone_from(text),
                    LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
                    LinkAttribute::Mtu(bytes) => mtu = *bytes,
                    _ => {}
                }
            }
            let Some(mac) = mac else { continue };
            let nowhere = std::net::Ipv4Addr::UNSPECIFIED;
            let interface = Interface { name, mac, mtu, address: nowhere, prefix: 0, gateway: None };
            links.insert(link.header.index, interface);
        }
        Ok(links)
    }

    fn addresses(&mut self, family: AddressFamily) -> Result<Vec<AddressMessage>, NetworkError> {
        let mut request = AddressMessage::default();
        request.header.family = family;
        let messages = self.dump(RouteNetlinkMessage::GetAddress(request), "read the addresses")?;
        let addresses = messages.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// Gateways of default routes, by interface.
    fn gateways(&mut self) -> Result<BTreeMap<u32, std::net::Ipv4Addr>, NetworkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        let mut gateways = BTreeMap::new();
        for message in self.dump(RouteNetlinkMessage::GetRoute(request), "read the routes")? {
            let RouteNetlinkMessage::NewRoute(route) = message else { continue };
            let main = route.header.table == RouteHeader::RT_TABLE_MAIN;
            if route.header.destination_prefix_length != 0 || !main {
                continue;
            }
            let (mut gateway, mut index) = (None, None);
            for attribute in &route.attributes {
                match attribute {
                    RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
                    RouteAttribute::Oif(number) => index = Some(*number),
                    _ => {}
                }
            }
            if let (Some(gateway), Some(index)) = (gateway, index) {
                gateways.entry(index).or_insert(gateway);
            }
        }
        Ok(gateways)
    }

    /// Takes all addresses from an interface, of all families. Routes over it go with them.
    pub(super) fn clear_addresses(&mut self, index: u32) -> Result<(), NetworkError> {
        let all = self.addresses(AddressFamily::Unspec)?;
        for address in all.into_iter().filter(|address| address.header.index == index) {
            match self.change(RouteNetlinkMessage::DelAddress(address), 0) {
                // Secondary addresses go with the first.
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {}
                done => {
                    done.map_err(|source| NetworkError::Routes { action: "take the addresses", source })?
                }
            }
        }
        Ok(())
    }

    fn dump(
        &mut self,
        request: RouteNetlinkMessage,
        action: &'static str,
    ) -> Result<Vec<RouteNetlinkMessage>, NetworkError> {
        self.ask(request, NLM_F_REQUEST | NLM_F_DUMP)
            .map_err(|source| NetworkError::Routes { action, source })
    }

    /// Adds what was not there.
    pub(super) fn add(&mut self, new: RouteNetlinkMessage, action: &'static str) -> Result<(), NetworkError> {
        self.change(new, NLM_F_CREATE).map_err(|source| NetworkError::Routes { action, source })
    }

    fn change(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.ask(request, NLM_F_REQUEST | NLM_F_ACK | flags).map(drop)
    }

    /// Sends a request and collects what comes until the kernel says that it is all.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(request));
        packet.header.flags = flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        let mut datagram = vec![0; DATAGRAM_MAX];
        loop {
            let len = self.socket.recv(&mut datagram.as_mut_slice(), 0)?;
            let mut rest = datagram.get(..len).unwrap_or_default();
            while !rest.is_empty() {
                let malformed = |_| io::Error::from(io::ErrorKind::InvalidData);
                let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest).map_err(malformed)?;
                let taken = usize::try_from(message.header.length).unwrap_or(usize::MAX);
                if message.header.sequence_number == self.sequence {
                    match message.payload {
                        NetlinkPayload::Done(_) => return Ok(answers),
                        // Code zero is how it says that all went well.
                        NetlinkPayload::Error(error) => {
                            return error.code.map_or(Ok(answers), |_| Err(error.to_io()));
                        }
                        NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                        _ => {}
                    }
                }
                rest = rest.get(taken.next_multiple_of(4).max(4)..).unwrap_or_default();
            }
        }
    }
}
