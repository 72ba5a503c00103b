//! Datagrams of UDP over IPv4 in frames (RFC 768, RFC 791): read, and made.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    header::{Checksum, Header},
    offload::{self, ETHERNET, IPV4, UDP, UDP_CHECKSUM},
};

/// Length of IP's header without options, and of UDP's.
const IP_HEADER: u16 = 20;
const UDP_HEADER: usize = 8;

/// What both take of a packet.
pub(super) const HEADERS: usize = IP_HEADER as usize + UDP_HEADER;

/// Hops that a packet may take (RFC 1700, "IP TIME TO LIVE PARAMETER").
const TIME_TO_LIVE: u8 = 64;

/// A hardware address.
pub(super) type HardwareAddress = [u8; 6];

/// Where a datagram is from, or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) hardware: HardwareAddress,
    pub(super) socket: SocketAddrV4,
}

/// A datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) from: End,
    pub(super) to: End,
    pub(super) payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// The datagram in a frame with a header before it; `None` if there is none in it, or a part of one, or one that was
    /// damaged on its way.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, frame) = bytes.split_first_chunk()?;
        let header = Header::read(*header).filter(|header| header.segments.is_none())?;
        let (addresses, packet) = frame.split_at_checked(ETHERNET)?;
        let (ip_len, len, protocol) = offload::ip(packet, true)?;
        if offload::word(addresses, 12)? != IPV4 || protocol != UDP {
            return None;
        }
        let udp_len = usize::from(offload::word(packet.get(..len)?, ip_len + 4)?);
        let end = ip_len + udp_len;
        let packet = packet.get(..end).filter(|_| udp_len >= UDP_HEADER && end <= len)?;
        // There may be none (RFC 768), which is as if others had verified it.
        let has_none = offload::word(packet, ip_len + usize::from(UDP_CHECKSUM))? == 0;
        let checksum = if has_none { Checksum::Verified } else { header.checksum };
        if !offload::is_right(packet, true, ip_len, UDP, checksum) {
            return None;
        }
        let hardware = |at: usize| addresses.get(at..)?.first_chunk().copied();
        let socket = |address: usize, port: usize| {
            let address: &[u8; 4] = packet.get(address..)?.first_chunk()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(*address), offload::word(packet, ip_len + port)?))
        };
        Some(Datagram {
            from: End { hardware: hardware(6)?, socket: socket(12, 0)? },
            to: End { hardware: hardware(0)?, socket: socket(16, 2)? },
            payload: packet.get(ip_len + UDP_HEADER..)?,
        })
    }

    /// It in a frame, whole and with all checksums, with a header before it that asks for nothing; `None` if it is too long
    /// for a packet.
    pub(super) fn frame(&self) -> Option<Vec<u8>> {
        let udp_len = u16::try_from(UDP_HEADER + self.payload.len()).ok()?;
        let ip: [u8; 12] = [0x45, 0, 0, 0, 0, 0, DONT_FRAGMENT, 0, TIME_TO_LIVE, UDP, 0, 0];
        let (from, to) = (self.from.socket, self.to.socket);
        let mut bytes = [
            &[0; Header::LEN],
            &self.to.hardware[..],
            &self.from.hardware,
            &IPV4.to_be_bytes(),
            &ip,
            &from.ip().octets(),
            &to.ip().octets(),
            &from.port().to_be_bytes(),
            &to.port().to_be_bytes(),
            &udp_len.to_be_bytes(),
            &[0; 2],
            self.payload,
        ]
        .concat();
        let packet = bytes.get_mut(Header::LEN + ETHERNET..)?;
        offload::finish_ip(packet, true, IP_HEADER.into())?;
        offload::seed(packet, true, IP_HEADER.into(), UDP)?;
        offload::finish(packet, IP_HEADER, UDP_CHECKSUM)?;
        Some(bytes)
    }
}

/// In the upper byte of flags and offset.
const DONT_FRAGMENT: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    fn end(number: u8, port: u16) -> End {
        End { hardware: [2, 0, 0, 0, 0, number], socket: SocketAddrV4::new([10, 0, 0, number].into(), port) }
    }

    fn datagram(payload: &[u8]) -> Datagram<'_> {
        Datagram { from: end(1, 4000), to: end(2, 53), payload }
    }

    #[test]
    fn datagram_read_from_its_frame_is_the_same() {
        for payload in [&b""[..], b"odd", b"even", &[0xff; 1472]] {
            let frame = datagram(payload).frame().unwrap();
            assert_eq!(Datagram::read(&frame), Some(datagram(payload)));
        }
    }

    #[test]
    fn datagram_that_is_too_long_makes_no_frame() {
        assert_eq!(datagram(&[0; 65_535 - 8]).frame(), None);
        assert_eq!(datagram(&[0; 65_535]).frame(), None);
    }

    #[test]
    fn datagram_with_a_bit_changed_is_none() {
        let frame = datagram(b"payload").frame().unwrap();
        for at in Header::LEN + 12..frame.len() {
            let mut damaged = frame.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Datagram::read(&damaged), None, "{at}");
        }
    }

    #[test]
    fn datagram_that_is_cut_off_is_none() {
        let frame = datagram(b"payload").frame().unwrap();
        for len in 0..frame.len() {
            assert_eq!(Datagram::read(&frame[..len]), None, "{len}");
        }
    }

    #[test]
    fn datagram_whose_checksum_is_left_to_others_is_read() {
        let mut frame = datagram(b"payload").frame().unwrap();
        let checksum = Header::LEN + ETHERNET + 20 + 6;
        frame[checksum] ^= 1;
        assert_eq!(Datagram::read(&frame), None);
        let header = Header { checksum: Checksum::Missing { start: 34, offset: 6 }, ..Header::default() };
        frame[..Header::LEN].copy_from_slice(&header.bytes());
        assert_eq!(Datagram::read(&frame), Some(datagram(b"payload")));
    }

    #[test]
    fn datagram_without_a_checksum_is_read() {
        let mut frame = datagram(b"payload").frame().unwrap();
        let checksum = Header::LEN + ETHERNET + 20 + 6;
        frame[checksum..checksum + 2].fill(0);
        assert_eq!(Datagram::read(&frame), Some(datagram(b"payload")));
    }

    #[test]
    fn part_of_a_datagram_is_none() {
        let mut frame = datagram(b"payload").frame().unwrap();
        let packet = Header::LEN + ETHERNET;
        for flags in [[0x20, 0], [0, 1]] {
            frame[packet + 6..packet + 8].copy_from_slice(&flags);
            offload::finish_ip(&mut frame[packet..], true, IP_HEADER.into()).unwrap();
            assert_eq!(Datagram::read(&frame), None, "{flags:?}");
        }
    }
}
