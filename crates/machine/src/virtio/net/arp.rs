//! Address resolution over Ethernet (RFC 826): questions where an IPv4 address is, and the answer.

use std::net::Ipv4Addr;

use super::{datagram::HardwareAddress, offload::ETHERNET};

/// Its Ethernet type.
pub(super) const TYPE: u16 = 0x0806;

/// Of Ethernet and IPv4, with addresses of six and four bytes; a request, a reply.
const REQUEST: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 1];
const REPLY: [u8; 8] = [0, 1, 0x08, 0, 6, 4, 0, 2];

/// Length of one behind Ethernet's header.
const LEN: usize = 28;

/// The answer to a frame that asks where `address` is: at `hardware`. `None` if it asks for nothing like that.
pub(super) fn answer(frame: &[u8], address: Ipv4Addr, hardware: HardwareAddress) -> Option<Vec<u8>> {
    let (_, request) = frame.split_at_checked(ETHERNET)?;
    let request = request.get(..LEN)?.strip_prefix(&REQUEST)?;
    let (sender, target) = request.split_at_checked(10)?;
    if target.get(6..)? != address.octets() {
        return None;
    }
    let asker = sender.get(..6)?;
    Some([asker, &hardware, &TYPE.to_be_bytes(), &REPLY, &hardware, &address.octets(), sender].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 254);
    const HARDWARE: HardwareAddress = [2, 0, 0, 0, 0, 0xfe];

    fn request(target: [u8; 4]) -> Vec<u8> {
        let guest = [2, 0, 0, 0, 0, 1];
        [&[0xff; 6][..], &guest, &[8, 6], &REQUEST, &guest, &[10, 0, 0, 1], &[0; 6], &target].concat()
    }

    #[test]
    fn question_for_the_address_is_answered_to_who_asks() {
        let answer = answer(&request(ADDRESS.octets()), ADDRESS, HARDWARE).unwrap();
        let guest = [2, 0, 0, 0, 0, 1];
        let expected =
            [&guest[..], &HARDWARE, &[8, 6], &REPLY, &HARDWARE, &[10, 0, 0, 254], &guest, &[10, 0, 0, 1]];
        assert_eq!(answer, expected.concat());
    }

    #[test]
    fn question_for_another_address_is_not_answered() {
        assert_eq!(answer(&request([10, 0, 0, 253]), ADDRESS, HARDWARE), None);
    }

    #[test]
    fn frame_that_is_no_question_is_not_answered() {
        let whole = request(ADDRESS.octets());
        for len in 0..whole.len() {
            assert_eq!(answer(&whole[..len], ADDRESS, HARDWARE), None, "{len}");
        }
        let mut reply = whole;
        reply[ETHERNET + 7] = 2;
        assert_eq!(answer(&reply, ADDRESS, HARDWARE), None);
    }
}
