//! A wire whose packets are shorter than an Ethernet's.
//!
//! A driver that cannot be told of that (the card offers no MTU: see `Device::features`) sends packets that do not fit, and
//! lets others send such. So both ends of a TCP connection are told of a segment length that fits, when it begins: what a
//! router does there ("MSS clamping").

use super::{
    Wire, WireError,
    header::{Checksum, Header},
    offload::{self, IPV4, IPV6, TCP, TCP_CHECKSUM},
};

/// Flags (RFC 9293 §3.1): what the first segments in both directions have.
const FLAGS: usize = 13;
const SYN: u8 = 0x02;

/// Options (RFC 9293 §3.2): where they begin, and kinds of them.
const OPTIONS: usize = 20;
const END: u8 = 0;
const NOTHING: u8 = 1;
const SEGMENT_LEN: u8 = 2;

/// Headers of IP and TCP without options, which its option does not count (RFC 9293 §3.7.1).
const HEADERS_IPV4: u16 = 20 + 20;
const HEADERS_IPV6: u16 = 40 + 20;

/// A wire whose packets are shorter than an Ethernet's.
#[derive(Debug)]
pub struct Narrow<W> {
    wire: W,
    mtu: u16,
    /// Room for a frame that is changed on its way.
    changed: Vec<u8>,
}

impl<W: Wire> Narrow<W> {
    /// A wire that takes packets of `mtu` bytes.
    pub fn new(wire: W, mtu: u16) -> Self {
        Narrow { wire, mtu, changed: Vec::new() }
    }
}

impl<W: Wire> Wire for Narrow<W> {
    fn offloads(&self) -> bool {
        self.wire.offloads()
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        if segment(frame).is_none() {
            return self.wire.send(frame);
        }
        self.changed.clear();
        self.changed.extend_from_slice(frame);
        clamp(&mut self.changed, self.mtu);
        self.wire.send(&self.changed)
    }

    fn flush(&mut self) {
        self.wire.flush();
    }

    fn receive(&mut self) -> Result<(), WireError> {
        self.wire.receive()?;
        clamp(self.wire.frame(), self.mtu);
        Ok(())
    }

    fn frame(&mut self) -> &mut [u8] {
        self.wire.frame()
    }
}

/// Where in a frame, with a header before it, the first segment of a connection begins, and whether it is in an IPv4 packet;
/// `None` if there is none.
fn segment(bytes: &[u8]) -> Option<(usize, bool)> {
    let frame = bytes.get(Header::LEN..)?;
    let (packet, kind) = offload::network_layer(frame)?;
    let is_ipv4 = kind == IPV4;
    if !is_ipv4 && kind != IPV6 {
        return None;
    }
    let (headers, _, protocol) = offload::ip(frame.get(packet..)?, is_ipv4)?;
    let segment = packet + headers;
    let flags = *frame.get(segment + FLAGS)?;
    (protocol == TCP && flags & SYN != 0).then_some((Header::LEN + segment, is_ipv4))
}

/// Makes the segment length that is told in a frame fit into packets of `mtu` bytes, if it is longer.
fn clamp(bytes: &mut [u8], mtu: u16) -> Option<()> {
    let (segment, is_ipv4) = segment(bytes)?;
    let header = Header::read(*bytes.first_chunk()?)?;
    let most = mtu.saturating_sub(if is_ipv4 { HEADERS_IPV4 } else { HEADERS_IPV6 });
    let tcp = bytes.get_mut(segment..)?;
    let headers_len = usize::from(tcp.get(12)? >> 4) * 4;
    let tcp = tcp.get_mut(..headers_len)?;
    let at = told_len(tcp)?;
    if offload::word(tcp, at)? <= most {
        return None;
    }
    let before = offload::fold(offload::sum(tcp));
    offload::put(tcp, at, &most.to_be_bytes())?;
    // One that is not there yet will be made of what is there then.
    if matches!(header.checksum, Checksum::Missing { .. }) {
        return Some(());
    }
    // Of what was right it stays right, and of what was not it does not become so (RFC 1624 §3).
    let after = offload::fold(offload::sum(tcp));
    let checksum = offload::word(tcp, TCP_CHECKSUM.into())?;
    let checksum = !offload::fold(u64::from(!checksum) + u64::from(!before) + u64::from(after));
    offload::put(tcp, TCP_CHECKSUM.into(), &checksum.to_be_bytes())
}

/// Where in a segment's header the segment length is told.
fn told_len(tcp: &[u8]) -> Option<usize> {
    let mut at = OPTIONS;
    loop {
        match *tcp.get(at)? {
            END => return None,
            NOTHING => at += 1,
            SEGMENT_LEN if *tcp.get(at + 1)? == 4 => return Some(at + 2),
            // Kind and length are part of it.
            _ => at += usize::from(*tcp.get(at + 1)?).max(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A first segment with these options, in a packet of the kind, its checksum right.
    fn frame(is_ipv4: bool, flags: u8, options: &[u8]) -> Vec<u8> {
        let (kind, ip) = if is_ipv4 { (IPV4, 20) } else { (IPV6, 40) };
        let mut packet = vec![0; ip];
        match is_ipv4 {
            true => (packet[0], packet[8], packet[9]) = (0x45, 64, TCP),
            false => (packet[0], packet[6], packet[7]) = (0x60, TCP, 64),
        }
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let mut tcp = vec![0x12, 0x34, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0, flags, 0xff, 0xff, 0, 0, 0, 0];
        tcp[12] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        packet.extend([&tcp, options].concat());
        offload::finish_ip(&mut packet, is_ipv4, ip).unwrap();
        offload::seed(&mut packet, is_ipv4, ip, TCP).unwrap();
        offload::finish(&mut packet, u16::try_from(ip).unwrap(), TCP_CHECKSUM).unwrap();
        [&[0; Header::LEN], &[2; 12][..], &kind.to_be_bytes(), &packet].concat()
    }

    fn is_right(bytes: &[u8], is_ipv4: bool) -> bool {
        let (packet, ip) = (&bytes[Header::LEN + 14..], if is_ipv4 { 20 } else { 40 });
        let pseudo = offload::pseudo_sum(packet, is_ipv4, ip, TCP).unwrap();
        offload::fold(pseudo + offload::sum(&packet[ip..])) == 0xffff
    }

    #[test]
    fn segment_length_that_does_not_fit_is_made_to() {
        for (is_ipv4, fits) in [(true, 1240_u16), (false, 1220)] {
            for before in [&[][..], &[NOTHING], &[NOTHING, NOTHING], &[4, 2], &[3, 3, 7], &[0xfe, 4, 1, 2]] {
                let told = |len: u16| {
                    let mut options = [before, &[SEGMENT_LEN, 4], &len.to_be_bytes()].concat();
                    options.resize(options.len().next_multiple_of(4), END);
                    options
                };
                for flags in [SYN, SYN | 0x10] {
                    let mut bytes = frame(is_ipv4, flags, &told(1460));
                    clamp(&mut bytes, 1280);
                    assert_eq!(bytes, frame(is_ipv4, flags, &told(fits)), "{before:?}");
                    assert!(is_right(&bytes, is_ipv4));
                }
            }
        }
    }

    #[test]
    fn segment_length_that_fits_is_left_as_it_is() {
        for options in [&[SEGMENT_LEN, 4, 4, 0xd8][..], &[SEGMENT_LEN, 4, 2, 0x18], &[], &[NOTHING; 4]] {
            let mut bytes = frame(true, SYN, options);
            clamp(&mut bytes, 1280);
            assert_eq!(bytes, frame(true, SYN, options));
        }
    }

    #[test]
    fn segment_that_begins_nothing_is_left_as_it_is() {
        let mut bytes = frame(true, 0x10, &[SEGMENT_LEN, 4, 5, 0xb4]);
        clamp(&mut bytes, 1280);
        assert_eq!(bytes, frame(true, 0x10, &[SEGMENT_LEN, 4, 5, 0xb4]));
    }

    #[test]
    fn segment_that_was_damaged_stays_so() {
        let mut bytes = frame(true, SYN, &[SEGMENT_LEN, 4, 5, 0xb4]);
        bytes[Header::LEN + 14 + 20] ^= 1;
        clamp(&mut bytes, 1280);
        assert!(!is_right(&bytes, true));
    }

    #[test]
    fn checksum_that_others_make_is_left_to_them() {
        let header = Header { checksum: Checksum::Missing { start: 34, offset: 16 }, ..Header::default() };
        let mut bytes = frame(true, SYN, &[SEGMENT_LEN, 4, 5, 0xb4]);
        bytes[..Header::LEN].copy_from_slice(&header.bytes());
        let checksum = bytes[Header::LEN + 50..][..2].to_vec();
        clamp(&mut bytes, 1280);
        assert_eq!(bytes[Header::LEN + 50..][..2], checksum);
        assert_eq!(bytes[Header::LEN + 56..][..2], 1240_u16.to_be_bytes());
    }

    #[test]
    fn options_that_are_none_are_passed_over() {
        let whole = frame(true, SYN, &[SEGMENT_LEN, 4, 5, 0xb4]);
        for len in 0..whole.len() {
            clamp(&mut whole[..len].to_vec(), 1280);
        }
        for options in [[9, 0, 9, 0], [9, 255, 0, 0], [1, 1, 1, SEGMENT_LEN], [SEGMENT_LEN, 3, 5, 0xb4]] {
            let mut bytes = frame(true, SYN, &options);
            clamp(&mut bytes, 1280);
            assert_eq!(bytes, frame(true, SYN, &options));
        }
    }
}
