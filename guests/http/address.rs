//! The guest's address, in Unikraft's grammar (lib/uknetdev/netdev.c of 0.16.3, `netdev.ip`):
//! `CIDR[:GATEWAY[:DNS0[:DNS1[:HOSTNAME[:DOMAIN]]]]]`.

use core::str::FromStr;
use smoltcp::wire::{Ipv4Address, Ipv4Cidr};

/// What the parameter says, as far as a server needs it.
pub(crate) struct Address {
    /// Address and length of the network's prefix.
    pub(crate) cidr: Ipv4Cidr,
    /// Where packets to other networks go.
    pub(crate) gateway: Option<Ipv4Address>,
    /// The name server.
    pub(crate) name_server: Option<Ipv4Address>,
    /// The guest's name.
    pub(crate) hostname: Option<&'static str>,
}

impl Address {
    /// Reads a parameter's value; `None` if it is none.
    pub(crate) fn read(text: &'static [u8]) -> Option<Self> {
        let mut fields = str::from_utf8(text).ok()?.split(':');
        let cidr = Ipv4Cidr::from_str(fields.next()?).ok()?;
        let mut address = || match fields.next() {
            None | Some("") => Some(None),
            Some(text) => Ipv4Address::from_str(text).ok().map(Some),
        };
        let (gateway, name_server) = (address()?, address()?);
        // The second name server comes before the name.
        let hostname = fields.nth(1).filter(|name| is_hostname(name));
        Some(Self { cidr, gateway, name_server, hostname })
    }
}

/// Letters, digits, hyphens and dots (RFC 1123, section 2.1), and underscores: nothing that means something in HTML.
fn is_hostname(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
}
