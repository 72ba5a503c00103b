//! What the other end of a wire leaves to the card: checksums to be finished, frames to be cut into segments.
//!
//! Between two ends on one host nobody computes checksums, and TCP hands over up to 64 KiB at once. A driver that does not
//! take that must never see it, so the card does here what a network's hardware would have done. All of it is arithmetic on
//! bytes; nothing that a frame says is believed before it is checked against the frame's length.

use std::ops::Range;

use super::header::{Checksum, Header, Segments};

/// Length of an Ethernet header without tags.
pub(super) const ETHERNET: usize = 14;

/// Where its type is, and types (IEEE 802 numbers): those of two kinds of tags, which stand before another type.
const TYPE: usize = 12;
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];
const TAG: usize = 4;
const TAGS_MAX: usize = 2;

/// Protocols (IANA protocol numbers).
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Where the checksum is in headers of TCP (RFC 9293 §3.1) and UDP (RFC 768), and UDP's header's length.
pub(super) const TCP_CHECKSUM: u16 = 16;
pub(super) const UDP_CHECKSUM: u16 = 6;
const UDP_HEADER: usize = 8;

/// Flags of TCP (RFC 9293 §3.1): what only the last and what only the first segment keeps.
const FIN_AND_PSH: u8 = 0x01 | 0x08;
const CWR: u8 = 0x80;

/// The Internet checksum's sum (RFC 1071), not yet folded.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut sum: u64 = words.iter().map(|word| u64::from(u32::from_be_bytes(*word))).sum();
    let mut last = [0; 4];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    sum += u64::from(u32::from_be_bytes(last));
    sum
}

/// Folds a sum to 16 bits.
pub(super) fn fold(mut sum: u64) -> u16 {
    loop {
        match u16::try_from(sum) {
            Ok(sum) => return sum,
            Err(_) => sum = (sum & 0xffff) + (sum >> 16),
        }
    }
}

/// Finishes the checksum of what begins at `start`, whose place is `offset` bytes further; `None` if that is not in the frame.
pub(super) fn finish(frame: &mut [u8], start: u16, offset: u16) -> Option<()> {
    let part = frame.get_mut(usize::from(start)..)?;
    let at = usize::from(offset);
    let checksum = !fold(sum(part));
    // To UDP zero means that there is none; all ones are the same number (RFC 768).
    let checksum = if checksum == 0 { 0xffff } else { checksum };
    put(part, at, &checksum.to_be_bytes())
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
    bytes.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
    Some(())
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|word| u16::from_be_bytes(*word))
}

/// Where the packet in a frame begins, and its type.
pub(super) fn network_layer(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = TYPE;
    for _ in 0..=TAGS_MAX {
        let kind = word(frame, at)?;
        if !TAGS.contains(&kind) {
            return Some((at + 2, kind));
        }
        at += TAG;
    }
    None
}

/// A frame that is being cut.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// Where the packet begins.
    packet: usize,
    is_ipv4: bool,
    /// Where the segment begins: TCP's or UDP's header.
    segment: usize,
    is_tcp: bool,
    /// A datagram may come without a checksum (RFC 768).
    has_checksum: bool,
    /// Payload that is still to be given out.
    left: Range<usize>,
    /// Where all of it began.
    payload: usize,
    /// How much of it each piece gets.
    size: usize,
    /// How many pieces there were.
    pieces: u16,
}

impl Cut {
    /// Looks at a frame that is to be cut; `None` if it is not what `header` says.
    pub(super) fn new(header: Header, frame: &[u8]) -> Option<Self> {
        let (segments, size) = header.segments?;
        let (packet, kind) = network_layer(frame)?;
        let is_ipv4 = match (segments, kind) {
            (Segments::Tcp4 | Segments::Udp, IPV4) => true,
            (Segments::Tcp6 | Segments::Udp, IPV6) => false,
            _ => return None,
        };
        let is_tcp = segments != Segments::Udp;
        let (headers_len, len, protocol) = ip(frame.get(packet..)?, is_ipv4)?;
        let segment = packet.checked_add(headers_len)?;
        // A packet in a packet has its checksum elsewhere.
        let expected = if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        if let Checksum::Missing { start, offset } = header.checksum
            && (usize::from(start) != segment || offset != expected)
        {
            return None;
        }
        let header_len = match is_tcp {
            true => usize::from(frame.get(segment.checked_add(12)?)? >> 4) * 4,
            false => UDP_HEADER,
        };
        let (payload, end) = (segment.checked_add(header_len)?, packet.checked_add(len)?);
        let is_sound = protocol == if is_tcp { TCP } else { UDP }
            && (!is_tcp || header_len >= 20)
            && size > 0
            && payload <= end
            && end <= frame.len();
        let field = word(frame, segment + usize::from(expected))?;
        let has_checksum = is_tcp || field != 0 || header.checksum != Checksum::AsItIs;
        let size = usize::from(size);
        let left = payload..end;
        is_sound.then_some(Cut {
            packet,
            is_ipv4,
            segment,
            is_tcp,
            has_checksum,
            left,
            payload,
            size,
            pieces: 0,
        })
    }

    /// The longest piece, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.payload + self.size.min(self.left.len())
    }

    /// Puts the next piece in the place of what was in `into`, its checksum missing; `None` after the last.
    pub(super) fn next(&mut self, frame: &[u8], into: &mut Vec<u8>) -> Option<Header> {
        let from = self.left.start;
        let to = from.saturating_add(self.size).min(self.left.end);
        let is_first = self.pieces == 0;
        if from >= to && !is_first {
            return None;
        }
        into.clear();
        into.extend_from_slice(frame.get(..self.payload)?);
        into.extend_from_slice(frame.get(from..to)?);
        let (packet, segment) = (into.get_mut(self.packet..)?, self.segment - self.packet);
        if self.is_tcp {
            let tcp = packet.get_mut(segment..)?;
            let sequence = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
            let sequence = sequence.wrapping_add(u32::try_from(from - self.payload).ok()?);
            put(tcp, 4, &sequence.to_be_bytes())?;
            let flags = tcp.get_mut(13)?;
            *flags &= if to < self.left.end { !FIN_AND_PSH } else { !0 };
            *flags &= if is_first { !0 } else { !CWR };
        } else {
            let len = u16::try_from(packet.len() - segment).ok()?;
            put(packet, segment + 4, &len.to_be_bytes())?;
        }
        if self.is_ipv4 {
            let number = word(packet, 4)?.wrapping_add(self.pieces);
            put(packet, 4, &number.to_be_bytes())?;
        }
        finish_ip(packet, self.is_ipv4, segment)?;
        let mut header = Header::default();
        if self.has_checksum {
            let (protocol, offset) = if self.is_tcp { (TCP, TCP_CHECKSUM) } else { (UDP, UDP_CHECKSUM) };
            seed(packet, self.is_ipv4, segment, protocol)?;
            header.checksum = Checksum::Missing { start: u16::try_from(self.segment).ok()?, offset };
        }
        self.left.start = to;
        self.pieces = self.pieces.wrapping_add(1);
        Some(header)
    }
}

/// Makes length and checksum of a packet right, whose segment begins `segment` bytes behind its start.
pub(super) fn finish_ip(packet: &mut [u8], is_ipv4: bool, segment: usize) -> Option<()> {
    let len = u16::try_from(packet.len()).ok()?;
    if !is_ipv4 {
        return put(packet, 4, &len.checked_sub(40)?.to_be_bytes());
    }
    put(packet, 2, &len.to_be_bytes())?;
    put(packet, 10, &[0, 0])?;
    let checksum = !fold(sum(packet.get(..segment)?));
    put(packet, 10, &checksum.to_be_bytes())
}

/// The sum of the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1).
pub(super) fn pseudo_sum(packet: &[u8], is_ipv4: bool, segment: usize, protocol: u8) -> Option<u64> {
    let addresses = if is_ipv4 { 12..20 } else { 8..40 };
    let len = packet.len().checked_sub(segment)?;
    Some(sum(packet.get(addresses)?) + u64::from(protocol) + len as u64)
}

/// Whether the checksums of a packet are right, whose segment begins `segment` bytes behind its start; that of the segment may
/// be left to others.
pub(super) fn is_right(
    packet: &[u8],
    is_ipv4: bool,
    segment: usize,
    protocol: u8,
    checksum: Checksum,
) -> bool {
    let is_all_ones = |sum| fold(sum) == 0xffff;
    let header = packet.get(..segment).map(sum);
    if is_ipv4 && !header.is_some_and(is_all_ones) {
        return false;
    }
    if checksum != Checksum::AsItIs {
        return true;
    }
    let pseudo = pseudo_sum(packet, is_ipv4, segment, protocol);
    pseudo.zip(packet.get(segment..)).is_some_and(|(pseudo, bytes)| is_all_ones(pseudo + sum(bytes)))
}

/// Puts that where the checksum of TCP or UDP is to be.
pub(super) fn seed(packet: &mut [u8], is_ipv4: bool, segment: usize, protocol: u8) -> Option<()> {
    let seed = fold(pseudo_sum(packet, is_ipv4, segment, protocol)?);
    let offset = if protocol == TCP { TCP_CHECKSUM } else { UDP_CHECKSUM };
    put(packet, segment + usize::from(offset), &seed.to_be_bytes())
}

/// Lengths of a packet's header and of all of it, and what it carries; `None` if it is no whole packet. Headers between
/// IPv6's own and TCP's are nothing that a frame to be cut has.
pub(super) fn ip(packet: &[u8], is_ipv4: bool) -> Option<(usize, usize, u8)> {
    let first = *packet.first()?;
    if is_ipv4 {
        let header = usize::from(first & 0xf) * 4;
        let is_fragment = word(packet, 6)? & 0x3fff != 0;
        let len = usize::from(word(packet, 2)?);
        (first >> 4 == 4 && header >= 20 && !is_fragment).then_some((header, len, *packet.get(9)?))
    } else {
        let len = 40 + usize::from(word(packet, 4)?);
        (first >> 4 == 6).then_some((40, len, *packet.get(6)?))
    }
}

#[cfg(test)]
mod tests;
