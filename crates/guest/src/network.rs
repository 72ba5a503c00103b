//! How a guest is told its place in a network.

use core::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Guest, Kind, Variable, unikraft};

/// A guest's place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its address.
    pub address: Ipv4Addr,
    /// How many bits of that name the network.
    pub prefix: u8,
    /// Where packets to other networks go.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers, the first to ask first.
    pub name_servers: Vec<Ipv4Addr>,
    /// The guest's own name.
    pub host_name: Option<String>,
    /// The domain in which names are looked up first.
    pub domain: Option<String>,
}

/// First release that takes `netdev.ip` (commit 6e34af6e, which took the three parameters of before away).
const NETDEV_IP: unikraft::Version = unikraft::Version::new(0, 16, 1);

/// Whether a guest has a use for a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkUse {
    /// None: it has no drivers for a card.
    None,
    /// It does not say.
    Unknown,
    /// It is made for one.
    Needed,
}

/// Whether `guest` has a use for a network.
#[must_use]
pub fn network_use(guest: &Guest) -> NetworkUse {
    let known = |uses| if uses { NetworkUse::Needed } else { NetworkUse::None };
    match &guest.kind {
        Kind::Unikraft(facts) => facts.has_library("libuknetdev").map_or(NetworkUse::Unknown, known),
        Kind::Runu(facts) => known(facts.uses.iter().any(|used| used == "network")),
        _ => NetworkUse::Unknown,
    }
}

/// Adds the parameters that tell `guest` its place in a network, unless there are such already: who gives them knows better.
pub fn add_network_parameters(guest: &Guest, network: &Network, parameters: &mut Vec<Variable>) {
    let told = parameters.iter().any(|parameter| parameter.name.starts_with(b"netdev."));
    if !told {
        parameters.extend(network_parameters(guest, network));
    }
}

fn network_parameters(guest: &Guest, network: &Network) -> Vec<Variable> {
    match &guest.kind {
        Kind::Unikraft(facts) => {
            let listed = |name| facts.parameter(name).map(|found| found.is_some());
            let is_new = || facts.version.as_ref().is_none_or(|version| *version >= NETDEV_IP);
            if listed("netdev.ip").unwrap_or_else(is_new) {
                vec![network.netdev_ip()]
            } else if listed("netdev.ipv4_addr").unwrap_or(true) {
                network.netdev_ipv4()
            } else {
                // It has a stack, and its own way to an address.
                Vec::new()
            }
        }
        Kind::Runu(_) => vec![network.netdev_ip()],
        // Whoever made it knows where it is.
        _ => Vec::new(),
    }
}

impl Network {
    /// `netdev.ip=CIDR:GATEWAY:DNS0:DNS1:HOSTNAME:DOMAIN`, fields that are not known empty (Unikraft `lib/uknetdev/netdev.c`).
    fn netdev_ip(&self) -> Variable {
        let text = |address: Option<&Ipv4Addr>| address.map(Ipv4Addr::to_string).unwrap_or_default();
        let name = |name: &Option<String>| name.clone().filter(|name| is_name(name)).unwrap_or_default();
        let fields = [
            format!("{}/{}", self.address, self.prefix),
            text(self.gateway.as_ref()),
            text(self.name_servers.first()),
            text(self.name_servers.get(1)),
            name(&self.host_name),
            name(&self.domain),
        ];
        Variable::new("netdev.ip", fields.join(":"))
    }

    /// The three parameters of releases up to 0.16.0.
    fn netdev_ipv4(&self) -> Vec<Variable> {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        let mut parameters = vec![
            Variable::new("netdev.ipv4_addr", self.address.to_string()),
            Variable::new("netdev.ipv4_subnet_mask", Ipv4Addr::from_bits(mask).to_string()),
        ];
        let gateway = self.gateway.map(|gateway| Variable::new("netdev.ipv4_gw_addr", gateway.to_string()));
        parameters.extend(gateway);
        parameters
    }
}

/// Whether a text is a host or domain name (RFC 1123 §2.1), which no field of a parameter can be confused with.
fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network() -> Network {
        Network {
            address: Ipv4Addr::new(172, 17, 0, 2),
            prefix: 16,
            gateway: Some(Ipv4Addr::new(172, 17, 0, 1)),
            name_servers: vec![Ipv4Addr::new(1, 1, 1, 1)],
            host_name: Some("web".to_owned()),
            domain: None,
        }
    }

    #[test]
    fn all_fields_are_told_in_order_and_unknown_ones_are_empty() {
        assert_eq!(
            network().netdev_ip(),
            Variable::new("netdev.ip", "172.17.0.2/16:172.17.0.1:1.1.1.1::web:")
        );
        let alone = Network { gateway: None, name_servers: Vec::new(), host_name: None, ..network() };
        assert_eq!(alone.netdev_ip(), Variable::new("netdev.ip", "172.17.0.2/16:::::"));
    }

    #[test]
    fn name_that_would_be_taken_for_other_fields_is_left_out() {
        for name in ["a:b", "", "a b", "ä"] {
            let network = Network { host_name: Some(name.to_owned()), ..network() };
            assert_eq!(network.netdev_ip().value, b"172.17.0.2/16:172.17.0.1:1.1.1.1:::", "{name}");
        }
    }

    #[test]
    fn old_releases_are_told_a_mask() {
        let told: Vec<String> = network()
            .netdev_ipv4()
            .iter()
            .map(|variable| String::from_utf8_lossy(&variable.value).into_owned())
            .collect();
        assert_eq!(told, ["172.17.0.2", "255.255.0.0", "172.17.0.1"]);
        let masks =
            [0, 1, 32, 99].map(|prefix| Network { prefix, ..network() }.netdev_ipv4()[1].value.clone());
        assert_eq!(masks, [&b"0.0.0.0"[..], b"128.0.0.0", b"255.255.255.255", b"255.255.255.255"]);
    }
}
