//! Sockets to a name server that listens on a loopback address of a namespace, where no frame gets.
//!
//! What such a server does not know itself it asks of others, from within the namespace. The namespace has no address any
//! more, so these inquiries would go nowhere. A rule sends what leaves the namespace by itself (not what arrives in it) back
//! to it, whatever its destination, and a socket takes it there.

use std::{
    io,
    net::{Ipv4Addr, SocketAddrV4},
    os::fd::{AsFd, OwnedFd},
};

use netlink_packet_route::{
    AddressFamily as Family, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleHeader, RuleMessage},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::{NetworkError, routes::Routes};
use crate::sys::{self, IpOption};

/// The port of name servers (RFC 1035 §4.2).
const PORT: u16 = 53;

/// The table with the way back, and the rule's place: behind that of the namespace's own addresses (0), before all others.
const TABLE: u8 = 53;
const PRIORITY: u32 = 53;

/// The loopback interface, which is every namespace's first.
const LOOPBACK: u32 = 1;
const LOOPBACK_NAME: &str = "lo";

/// What a guest needs to be answered by a name server in its namespace.
#[derive(Debug)]
pub struct Names {
    /// A UDP socket that is connected to the server.
    pub questions: OwnedFd,
    /// A UDP socket that takes what the server asks of others, whoever that is (`IP_PKTINFO`, ip(7)), and may answer in their
    /// place (`IP_TRANSPARENT`). It hears nothing where that cannot be had.
    pub inquiries: OwnedFd,
}

/// Opens sockets to `server` from the current namespace.
pub(super) fn open(server: Ipv4Addr) -> io::Result<Names> {
    let questions = socket()?;
    rustix::net::connect(&questions, &SocketAddrV4::new(server, PORT))?;
    let inquiries = socket()?;
    sys::set_ip_option(inquiries.as_fd(), IpOption::PacketInfo)?;
    sys::set_ip_option(inquiries.as_fd(), IpOption::Transparent)?;
    // The server itself may have that port. What it knows it tells all the same.
    let _ = rustix::net::bind(&inquiries, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT));
    Ok(Names { questions, inquiries })
}

fn socket() -> io::Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(socket)
}

/// Leads what the namespace sends by itself back to it.
pub(super) fn lead_back(routes: &mut Routes) -> Result<(), NetworkError> {
    let mut way = RouteMessage::default();
    way.header = RouteHeader {
        address_family: Family::Inet,
        table: TABLE,
        protocol: RouteProtocol::Static,
        scope: RouteScope::Host,
        kind: RouteType::Local,
        ..RouteHeader::default()
    };
    way.attributes = vec![
        RouteAttribute::Oif(LOOPBACK),
        // Else each would come from where it goes to.
        RouteAttribute::PrefSource(RouteAddress::Inet(Ipv4Addr::LOCALHOST)),
    ];
    routes.add(RouteNetlinkMessage::NewRoute(way), "add a route")?;
    let mut rule = RuleMessage::default();
    rule.header = RuleHeader {
        family: Family::Inet,
        table: TABLE,
        action: RuleAction::ToTable,
        ..RuleHeader::default()
    };
    // What a namespace sends by itself has no other interface to come from (ip-rule(8)).
    rule.attributes =
        vec![RuleAttribute::Iifname(LOOPBACK_NAME.to_owned()), RuleAttribute::Priority(PRIORITY)];
    routes.add(RouteNetlinkMessage::NewRule(rule), "add a rule")
}
