//! Frames as a network has them, or nearly: what chance alone does not put together.

use arbitrary::Arbitrary;
use runu_machine::HEADER_LEN;

/// The ends of every frame: the guest, the name server that the card stands in for, and the one behind it.
pub const GUEST: [u8; 4] = [10, 0, 0, 2];
pub const NAMES: [u8; 4] = [192, 0, 2, 53];
pub const SERVER: [u8; 4] = [1, 1, 1, 1];

/// Ports of the guest and of the others.
const GUEST_PORT: u16 = 4000;
const PORT: u16 = 53;

/// Where its checksum is in a segment of TCP, and in a datagram of UDP.
const TCP_CHECKSUM: u16 = 16;
const UDP_CHECKSUM: u16 = 6;

/// Payload at most.
const PAYLOAD: u16 = 3000;

/// A frame.
#[derive(Arbitrary, Clone, Debug)]
pub struct Frame {
    tags: u8,
    ipv6: bool,
    /// To or from the name server, or to or from the one behind it.
    names: bool,
    carries: Carries,
    payload: Payload,
    checksum: Checksum,
    /// What it is to be cut into.
    cut: Option<(u8, u16)>,
    /// A byte of it that is another one.
    damage: Option<(u16, u8)>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Carries {
    Tcp { flags: Option<u8>, options: Vec<[u8; 4]> },
    Udp,
    Arp,
    Any(u8),
}

#[derive(Arbitrary, Clone, Debug)]
enum Payload {
    Zeros(u16),
    Bytes(Vec<u8>),
    /// A message to or from a name server.
    Message {
        number: u8,
        more: Vec<u8>,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Right,
    /// It is still to be finished.
    Missing,
    None,
}

impl Frame {
    /// A message from the name server behind the other one.
    pub fn brought(number: u8) -> Self {
        Frame {
            tags: 0,
            ipv6: false,
            names: false,
            carries: Carries::Udp,
            payload: Payload::Message { number, more: Vec::new() },
            checksum: Checksum::Right,
            cut: None,
            damage: None,
        }
    }

    /// As bytes with a header before it, on its way out or in; the segment `number` of those that follow each other.
    pub fn bytes(&self, out: bool, number: u16) -> Vec<u8> {
        let payload = self.payload.bytes();
        let other = if self.names { NAMES } else { SERVER };
        let (from, to) = if out { (GUEST, other) } else { (other, GUEST) };
        let (mut kind, mut packet) = (0x0806_u16, arp(to));
        let mut header = [0; HEADER_LEN];
        if let Some((protocol, segment, checksum)) = self.segment(&payload, out, number) {
            let (before, ip) = self.ip(from, to, protocol, segment.len(), number);
            kind = if self.ipv6 { 0x86dd } else { 0x0800 };
            packet = [before, segment].concat();
            if let Some(at) = checksum {
                let start = 14 + 4 * u16::from(self.tags % 4) + ip;
                self.finish(&mut packet, ip.into(), protocol, at.into());
                if self.checksum == Checksum::Missing {
                    header[0] = 1;
                    header[6..8].copy_from_slice(&start.to_le_bytes());
                    header[8..10].copy_from_slice(&at.to_le_bytes());
                }
            }
        }
        if let Some((cut, size)) = self.cut {
            // TCP over either protocol, datagrams, and what nobody knows.
            header[1] = [1, 4, 5, cut][usize::from(cut % 4)];
            header[4..6].copy_from_slice(&size.to_le_bytes());
        }
        let (guest, router) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 9]);
        let hardware = if out { [router, guest] } else { [guest, router] };
        let tags = [0x81, 0, 0, 7].repeat(usize::from(self.tags % 4));
        let mut bytes = [&header, hardware.as_flattened(), &tags, &kind.to_be_bytes(), &packet].concat();
        if let Some((at, value)) = self.damage {
            let at = usize::from(at) % bytes.len();
            bytes[at] ^= value;
        }
        bytes
    }

    /// The protocol, the segment without its checksum, and where in it that belongs.
    fn segment(&self, payload: &[u8], out: bool, number: u16) -> Option<(u8, Vec<u8>, Option<u16>)> {
        let ports = if out { [GUEST_PORT, PORT] } else { [PORT, GUEST_PORT] };
        let ports = ports.map(u16::to_be_bytes);
        match &self.carries {
            Carries::Tcp { flags, options } => {
                let options = &options[..options.len().min(10)];
                let sequence = (u32::from(number) * payload.len() as u32).to_be_bytes();
                let len = (20 + 4 * options.len() as u8) << 2;
                let rest = [len, flags.unwrap_or(0x10), 0xff, 0xff, 0, 0, 0, 0];
                let header = [ports.as_flattened(), &sequence, &[0, 0, 0, 9], &rest, options.as_flattened()];
                Some((6, [&header.concat(), payload].concat(), Some(TCP_CHECKSUM)))
            }
            Carries::Udp => {
                let len = (8 + payload.len() as u16).to_be_bytes();
                Some((17, [ports.as_flattened(), &len, &[0; 2], payload].concat(), Some(UDP_CHECKSUM)))
            }
            Carries::Any(protocol) => Some((*protocol, payload.to_vec(), None)),
            Carries::Arp => None,
        }
    }

    /// The packet's header, and its length.
    fn ip(&self, from: [u8; 4], to: [u8; 4], protocol: u8, len: usize, number: u16) -> (Vec<u8>, u16) {
        if self.ipv6 {
            let [high, low] = (len as u16).to_be_bytes();
            let header = [0x60, 0, 0, 0, high, low, protocol, 64];
            return ([&header[..], &[0; 12], &from, &[0; 12], &to].concat(), 40);
        }
        let [len, number] = [20 + len as u16, number].map(u16::to_be_bytes);
        let header = [&[0x45, 0], &len[..], &number, &[0, 0, 64, protocol, 0, 0], &from, &to].concat();
        let sum = (!sum(&header)).to_be_bytes();
        ([&header[..10], &sum, &header[12..]].concat(), 20)
    }

    /// Puts the checksum of the segment in its place, or what it starts from.
    fn finish(&self, packet: &mut [u8], ip: usize, protocol: u8, at: usize) {
        let addresses = if self.ipv6 { 8..40 } else { 12..20 };
        let len = (packet.len() - ip) as u16;
        let pseudo = [&packet[addresses], &[0, protocol], &len.to_be_bytes()].concat();
        let value = match self.checksum {
            Checksum::Right => !sum(&[&pseudo, &packet[ip..]].concat()),
            Checksum::Missing => sum(&pseudo),
            Checksum::None => 0,
        };
        packet[ip + at..][..2].copy_from_slice(&value.to_be_bytes());
    }
}

impl Payload {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Payload::Bytes(bytes) => bytes[..bytes.len().min(PAYLOAD.into())].to_vec(),
            Payload::Zeros(len) => vec![0; 1 + usize::from(len % PAYLOAD)],
            Payload::Message { number, more } => message(*number, &more[..more.len().min(PAYLOAD.into())]),
        }
    }
}

/// A message to or from a name server, one of few, with one question.
pub fn message(number: u8, more: &[u8]) -> Vec<u8> {
    [&[0, number % 4, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], more].concat()
}

/// Who has that address?
fn arp(address: [u8; 4]) -> Vec<u8> {
    let request = [0, 1, 8, 0, 6, 4, 0, 1];
    [&request[..], &[2, 0, 0, 0, 0, 1], &GUEST, &[0; 6], &address].concat()
}

/// The Internet checksum's sum (RFC 1071).
fn sum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let sum: u32 = bytes.chunks(2).map(word).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    (sum + (sum >> 16)) as u16
}
