//! The answer to who wants a connection where nobody takes one (RFC 9293 §3.10.7.1).

use super::{
    header::Header,
    offload::{self, ETHERNET, IPV4, TCP, TCP_CHECKSUM},
};

/// Flags (§3.1).
const FLAGS: usize = 13;
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Lengths of the headers of IP and TCP, without options.
const IP_HEADER: u16 = 20;
const TCP_HEADER: u8 = 20;

/// The answer to a frame, with headers before both; `None` to what is no segment of TCP over IPv4, or ends a connection
/// itself.
pub(super) fn to(bytes: &[u8]) -> Option<Vec<u8>> {
    let (header, frame) = bytes.split_first_chunk()?;
    let (ethernet, packet) = frame.split_at_checked(ETHERNET)?;
    let (ip_len, len, protocol) = offload::ip(packet, true)?;
    let header = Header::read(*header).filter(|header| header.segments.is_none())?;
    let packet = packet.get(..len)?;
    let tcp = packet.get(ip_len..)?;
    let flags = *tcp.get(FLAGS)?;
    let is_segment = offload::word(ethernet, 12)? == IPV4 && protocol == TCP;
    if flags & RST != 0 || !is_segment || !offload::is_right(packet, true, ip_len, TCP, header.checksum) {
        return None;
    }
    let data = tcp.len().checked_sub(usize::from(tcp.get(12)? >> 4) * 4)?;
    let end = u32::try_from(data).ok()? + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let number = |at: usize| tcp.get(at..)?.first_chunk().map(|number| u32::from_be_bytes(*number));
    let (sequence, acknowledged, flags) = match flags & ACK {
        0 => (0, number(4)?.wrapping_add(end), RST | ACK),
        _ => (number(8)?, 0, RST),
    };
    let ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0];
    let mut answer = [
        &[0; Header::LEN],
        ethernet.get(6..12)?,
        ethernet.get(..6)?,
        &IPV4.to_be_bytes(),
        &ip,
        packet.get(16..20)?,
        packet.get(12..16)?,
        tcp.get(2..4)?,
        tcp.get(..2)?,
        &sequence.to_be_bytes(),
        &acknowledged.to_be_bytes(),
        &[(TCP_HEADER / 4) << 4, flags],
        // No window, no checksum yet, nothing urgent.
        &[0; 6],
    ]
    .concat();
    let packet = answer.get_mut(Header::LEN + ETHERNET..)?;
    offload::finish_ip(packet, true, IP_HEADER.into())?;
    offload::seed(packet, true, IP_HEADER.into(), TCP)?;
    offload::finish(packet, IP_HEADER, TCP_CHECKSUM)?;
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: [u8; 12] = [172, 18, 0, 2, 0x9c, 0x40, 2, 0, 0, 0, 0, 2];
    const SERVER: [u8; 12] = [192, 0, 2, 53, 0, 53, 2, 0, 0, 0, 0, 1];

    /// A segment, its checksums right; addresses, ports and hardware addresses are those of the two ends.
    fn segment(
        [from, to]: [[u8; 12]; 2],
        sequence: u32,
        acknowledged: u32,
        flags: u8,
        data: &[u8],
    ) -> Vec<u8> {
        let mut bytes = [
            &[0; Header::LEN],
            &to[6..],
            &from[6..],
            &[8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0],
            &from[..4],
            &to[..4],
            &from[4..6],
            &to[4..6],
            &sequence.to_be_bytes(),
            &acknowledged.to_be_bytes(),
            &[0x50, flags, 0, 0, 0, 0, 0, 0],
            data,
        ]
        .concat();
        let packet = &mut bytes[Header::LEN + ETHERNET..];
        offload::finish_ip(packet, true, 20).unwrap();
        offload::seed(packet, true, 20, TCP).unwrap();
        offload::finish(packet, 20, TCP_CHECKSUM).unwrap();
        bytes
    }

    #[test]
    fn who_begins_a_connection_is_refused() {
        let (there, back) = ([GUEST, SERVER], [SERVER, GUEST]);
        for (flags, data, acknowledged) in
            [(SYN, &b""[..], 8), (SYN, b"data", 12), (SYN | FIN, b"", 9), (0, b"data", 11)]
        {
            let refused = segment(back, 0, acknowledged, RST | ACK, b"");
            assert_eq!(to(&segment(there, 7, 0, flags, data)), Some(refused), "{flags}");
        }
        let last = segment(there, u32::MAX, 0, SYN, b"");
        assert_eq!(to(&last), Some(segment(back, 0, 0, RST | ACK, b"")));
    }

    #[test]
    fn who_goes_on_with_a_connection_is_told_that_there_is_none() {
        let refused = segment([SERVER, GUEST], 99, 0, RST, b"");
        for flags in [ACK, ACK | FIN, ACK | SYN] {
            assert_eq!(to(&segment([GUEST, SERVER], 7, 99, flags, b"data")), Some(refused.clone()));
        }
    }

    #[test]
    fn who_ends_a_connection_is_not_answered() {
        for flags in [RST, RST | ACK, RST | SYN] {
            assert_eq!(to(&segment([GUEST, SERVER], 7, 99, flags, b"")), None);
        }
    }

    #[test]
    fn frame_that_holds_no_whole_segment_is_not_answered() {
        let whole = segment([GUEST, SERVER], 7, 99, SYN, b"");
        for len in 0..whole.len() {
            assert_eq!(to(&whole[..len]), None, "{len}");
        }
        for at in Header::LEN + 12..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert_eq!(to(&damaged), None, "{at}");
        }
    }
}
