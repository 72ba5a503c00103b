#![expect(clippy::cast_possible_truncation, reason = "frames of tests are short")]

use proptest::prelude::*;

use super::*;

/// What a frame of these tests carries.
#[derive(Clone, Copy, Debug)]
struct Kind {
    segments: Segments,
    is_ipv4: bool,
    tags: usize,
    options: usize,
}

impl Kind {
    fn packet(self) -> usize {
        ETHERNET + TAG * self.tags
    }

    fn segment(self) -> usize {
        self.packet() + if self.is_ipv4 { 20 } else { 40 }
    }

    fn is_tcp(self) -> bool {
        self.segments != Segments::Udp
    }

    fn payload(self) -> usize {
        self.segment() + if self.is_tcp() { 20 + self.options } else { 8 }
    }

    fn header(self, size: u16) -> Header {
        let start = self.segment() as u16;
        let offset = if self.is_tcp() { TCP_CHECKSUM } else { UDP_CHECKSUM };
        let segments = Some((self.segments, size));
        Header { checksum: Checksum::Missing { start, offset }, segments, headers_len: 0 }
    }

    /// A frame as Linux hands it over: whole, with all flags of TCP set.
    fn frame(self, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        (0..self.tags).for_each(|_| frame.extend([0x81, 0, 0, 7]));
        let segment_len = (self.payload() - self.segment() + payload.len()) as u16;
        let protocol = if self.is_tcp() { 6 } else { 17 };
        if self.is_ipv4 {
            frame.extend([0x08, 0, 0x45, 0]);
            frame.extend((20 + segment_len).to_be_bytes());
            frame.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        } else {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(segment_len.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend((0..32).map(|byte| byte * 7));
        }
        if self.is_tcp() {
            frame.extend([0, 80, 0x12, 0x34, 0xff, 0xff, 0xff, 0xf0, 1, 2, 3, 4]);
            frame.extend([((20 + self.options) / 4 * 16) as u8, 0xff, 9, 9, 0, 0, 0, 0]);
            frame.extend((0..self.options).map(|_| 1));
        } else {
            frame.extend([0, 53, 0x12, 0x34]);
            frame.extend(segment_len.to_be_bytes());
            frame.extend([1, 1]);
        }
        frame.extend(payload);
        frame
    }
}

fn kinds() -> impl Strategy<Value = Kind> {
    let segments = prop_oneof![
        Just((Segments::Tcp4, true)),
        Just((Segments::Tcp6, false)),
        Just((Segments::Udp, true)),
        Just((Segments::Udp, false)),
    ];
    (segments, 0_usize..3, 0_usize..4).prop_map(|((segments, is_ipv4), tags, words)| Kind {
        segments,
        is_ipv4,
        tags,
        options: words * 4,
    })
}

/// RFC 1071 as it is written down: all ones for what is right.
fn checksum_over(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Cuts all of a frame and finishes the checksums.
fn pieces(header: Header, frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut cut = Cut::new(header, frame)?;
    let (mut pieces, mut piece) = (Vec::new(), Vec::new());
    while let Some(header) = cut.next(frame, &mut piece) {
        if let Checksum::Missing { start, offset } = header.checksum {
            finish(&mut piece, start, offset)?;
        }
        pieces.push(piece.clone());
    }
    Some(pieces)
}

proptest! {
    #[test]
    fn pieces_together_carry_what_the_frame_did(
        kind in kinds(),
        payload in prop::collection::vec(any::<u8>(), 1..5000),
        size in 1_u16..2000,
    ) {
        let pieces = pieces(kind.header(size), &kind.frame(&payload)).unwrap();
        let together: Vec<u8> = pieces.iter().flat_map(|piece| piece[kind.payload()..].to_vec()).collect();
        prop_assert_eq!(together, payload);
        let (last, others) = pieces.split_last().unwrap();
        prop_assert!(others.iter().all(|piece| piece.len() == kind.payload() + usize::from(size)));
        prop_assert!(last.len() <= kind.payload() + usize::from(size));
    }

    #[test]
    fn each_piece_is_a_right_packet_of_its_own(
        kind in kinds(),
        payload in prop::collection::vec(any::<u8>(), 1..5000),
        size in 100_u16..2000,
    ) {
        let pieces = pieces(kind.header(size), &kind.frame(&payload)).unwrap();
        for (number, piece) in pieces.iter().enumerate() {
            let (packet, segment) = (&piece[kind.packet()..], &piece[kind.segment()..]);
            let len = (segment.len() as u32).to_be_bytes();
            let addresses = if kind.is_ipv4 {
                prop_assert_eq!(usize::from(word(packet, 2).unwrap()), packet.len());
                prop_assert_eq!(word(packet, 4).unwrap(), 0xfffe_u16.wrapping_add(number as u16));
                prop_assert_eq!(checksum_over(&[&packet[..20]]), 0xffff);
                &packet[12..20]
            } else {
                prop_assert_eq!(usize::from(word(packet, 4).unwrap()), packet.len() - 40);
                &packet[8..40]
            };
            let protocol = [0, if kind.is_tcp() { TCP } else { UDP }];
            prop_assert_eq!(checksum_over(&[addresses, &len, &protocol, segment]), 0xffff);
            if kind.is_tcp() {
                let sequence = 0xffff_fff0_u32.wrapping_add(number as u32 * u32::from(size));
                prop_assert_eq!(&segment[4..8], sequence.to_be_bytes());
                let is_last = number + 1 == pieces.len();
                prop_assert_eq!(segment[13] & FIN_AND_PSH, if is_last { FIN_AND_PSH } else { 0 });
                prop_assert_eq!(segment[13] & CWR, if number == 0 { CWR } else { 0 });
            } else {
                prop_assert_eq!(usize::from(word(segment, 4).unwrap()), segment.len());
            }
        }
    }

    #[test]
    fn bytes_at_random_under_any_header_never_panic(
        header in any::<[u8; Header::LEN]>(),
        mut frame in prop::collection::vec(any::<u8>(), 0..200),
        kind in kinds(),
        at in 0_usize..200,
        byte in any::<u8>(),
    ) {
        if let Some(header) = Header::read(header) {
            pieces(header, &frame);
        }
        // Almost right reaches further than random.
        let mut almost = kind.frame(&[5; 100]);
        let len = almost.len();
        almost[at % len] = byte;
        pieces(kind.header(30), &almost);
        pieces(kind.header(30), &almost[..at % len]);
        finish(&mut frame, u16::from_be_bytes([header[0] & 1, header[1]]), u16::from(header[2]));
    }

    #[test]
    fn sum_is_that_of_the_specification(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let expected = checksum_over(&[&bytes]);
        prop_assert!(fold(sum(&bytes)) == expected || bytes.iter().all(|byte| *byte == 0));
    }
}

const TCP4: Kind = Kind { segments: Segments::Tcp4, is_ipv4: true, tags: 0, options: 12 };

#[test]
fn frame_that_is_not_what_its_header_says_is_not_cut() {
    let right = TCP4.frame(&[1; 3000]);
    let header = TCP4.header(1448);
    assert!(Cut::new(header, &right).is_some());
    let wrong = |at: usize, byte: u8| {
        let mut frame = right.clone();
        frame[at] = byte;
        Cut::new(header, &frame).is_some()
    };
    assert!(!wrong(12, 0x86), "another type");
    assert!(!wrong(14, 0x65), "another version");
    assert!(!wrong(14, 0x46), "another length of IP's header than the checksum's start tells");
    assert!(!wrong(16, 0xff), "longer than the frame");
    assert!(!wrong(20, 0x60), "a fragment");
    assert!(!wrong(23, 17), "another protocol");
    assert!(!wrong(46, 0x40), "a header of TCP that is none");
    assert!(Cut::new(TCP4.header(0), &right).is_none(), "no size");
    let inner = Header { checksum: Checksum::Missing { start: 84, offset: 16 }, ..header };
    assert!(Cut::new(inner, &right).is_none(), "a packet in a packet");
}

#[test]
fn bytes_behind_the_packet_are_not_cut() {
    let mut frame = TCP4.frame(&[1; 3000]);
    frame.extend([9; 50]);
    let together: usize =
        pieces(TCP4.header(1448), &frame).unwrap().iter().map(|piece| piece.len() - TCP4.payload()).sum();
    assert_eq!(together, 3000);
}

#[test]
fn datagram_without_a_checksum_stays_without() {
    let kind = Kind { segments: Segments::Udp, is_ipv4: true, tags: 0, options: 0 };
    let mut frame = kind.frame(&[1; 100]);
    frame[kind.segment() + 6..kind.payload()].fill(0);
    let header = Header { checksum: Checksum::AsItIs, ..kind.header(60) };
    for piece in pieces(header, &frame).unwrap() {
        assert_eq!(word(&piece, kind.segment() + 6), Some(0));
    }
}

#[test]
fn checksum_that_comes_out_as_zero_is_all_ones() {
    let mut frame = vec![0xff, 0xff, 0, 0];
    finish(&mut frame, 0, 2).unwrap();
    assert_eq!(frame, [0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn checksum_that_is_to_be_put_behind_the_frame_is_refused() {
    assert_eq!(finish(&mut [0; 20], 10, 9), None);
    assert_eq!(finish(&mut [0; 20], 21, 0), None);
    assert_eq!(finish(&mut [0; 20], u16::MAX, u16::MAX), None);
}
