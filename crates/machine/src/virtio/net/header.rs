//! What is told of a frame before its bytes (§5.1.6): the checksum that is not there yet, and the segments that it is to be
//! cut into.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_HDR_F_DATA_VALID, VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE,
    VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_HDR_GSO_UDP_L4,
};

/// The checksum of what a frame carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// It is what it is.
    #[default]
    AsItIs,
    /// It was found to be right.
    Verified,
    /// In its place is what it starts from, the sum of the pseudo header; to be added is all from `start` to the end.
    Missing {
        /// Where the packet begins that it is of, in bytes from the frame's start.
        start: u16,
        /// Where it belongs, in bytes from there.
        offset: u16,
    },
}

/// What a frame is to be cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segments {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// Datagrams of UDP over either.
    Udp,
}

/// What is told of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its checksum.
    pub(crate) checksum: Checksum,
    /// What it is to be cut into, and how many bytes of payload each piece gets; `None` if it stays whole.
    pub(crate) segments: Option<(Segments, u16)>,
    /// Length of all headers, as far as the sender knew: a hint.
    pub(crate) headers_len: u16,
}

impl Header {
    /// Length of it as bytes: as drivers of version 0 write it, and as Linux puts it before the frames of packet sockets
    /// and taps (linux/virtio_net.h, `struct virtio_net_hdr`).
    pub(crate) const LEN: usize = 10;

    /// Reads one; `None` if it asks for what nobody here knows.
    pub(crate) fn read(bytes: [u8; Self::LEN]) -> Option<Self> {
        let [flags, cut, h0, h1, s0, s1, c0, c1, o0, o1] = bytes;
        let flags = u32::from(flags);
        let checksum = if flags & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0 {
            Checksum::Missing { start: u16::from_le_bytes([c0, c1]), offset: u16::from_le_bytes([o0, o1]) }
        } else if flags & VIRTIO_NET_HDR_F_DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::AsItIs
        };
        let size = u16::from_le_bytes([s0, s1]);
        // The mark of explicit congestion notification changes nothing of what cutting does here.
        let segments = match u32::from(cut) & !ECN {
            VIRTIO_NET_HDR_GSO_NONE => None,
            VIRTIO_NET_HDR_GSO_TCPV4 => Some((Segments::Tcp4, size)),
            VIRTIO_NET_HDR_GSO_TCPV6 => Some((Segments::Tcp6, size)),
            VIRTIO_NET_HDR_GSO_UDP_L4 => Some((Segments::Udp, size)),
            _ => return None,
        };
        Some(Header { checksum, segments, headers_len: u16::from_le_bytes([h0, h1]) })
    }

    /// As bytes.
    pub(crate) fn bytes(self) -> [u8; Self::LEN] {
        let (flags, start, offset) = match self.checksum {
            Checksum::AsItIs => (0, 0, 0),
            Checksum::Verified => (VIRTIO_NET_HDR_F_DATA_VALID, 0, 0),
            Checksum::Missing { start, offset } => (VIRTIO_NET_HDR_F_NEEDS_CSUM, start, offset),
        };
        let (cut, size) = match self.segments {
            None => (VIRTIO_NET_HDR_GSO_NONE, 0),
            Some((Segments::Tcp4, size)) => (VIRTIO_NET_HDR_GSO_TCPV4, size),
            Some((Segments::Tcp6, size)) => (VIRTIO_NET_HDR_GSO_TCPV6, size),
            Some((Segments::Udp, size)) => (VIRTIO_NET_HDR_GSO_UDP_L4, size),
        };
        let [h0, h1] = self.headers_len.to_le_bytes();
        let [s0, s1] = size.to_le_bytes();
        let [c0, c1] = start.to_le_bytes();
        let [o0, o1] = offset.to_le_bytes();
        [low_byte(flags), low_byte(cut), h0, h1, s0, s1, c0, c1, o0, o1]
    }
}

/// `VIRTIO_NET_HDR_GSO_ECN`.
const ECN: u32 = 0x80;

fn low_byte(value: u32) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_read_from_its_bytes_is_the_same() {
        for checksum in [Checksum::AsItIs, Checksum::Verified, Checksum::Missing { start: 34, offset: 16 }] {
            for segments in
                [None, Some((Segments::Tcp4, 1460)), Some((Segments::Tcp6, 1)), Some((Segments::Udp, 9))]
            {
                let header = Header { checksum, segments, headers_len: 54 };
                assert_eq!(Header::read(header.bytes()), Some(header));
            }
        }
    }

    #[test]
    fn header_as_linux_writes_it_is_read() {
        let bytes = [1, 0x81, 66, 0, 0xa8, 5, 34, 0, 16, 0];
        let header = Header {
            checksum: Checksum::Missing { start: 34, offset: 16 },
            segments: Some((Segments::Tcp4, 1448)),
            headers_len: 66,
        };
        assert_eq!(Header::read(bytes), Some(header));
    }

    #[test]
    fn header_that_wants_unknown_segments_is_refused() {
        assert_eq!(Header::read([0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
