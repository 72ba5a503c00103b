#![expect(clippy::cast_possible_truncation, reason = "frames of tests are short")]

use proptest::prelude::*;

use super::*;

/// A wire that takes what it is given, or not.
#[derive(Debug, Default)]
struct Sink {
    sent: Vec<Vec<u8>>,
    /// What becomes of frames that are longer than one segment.
    refuses_many: bool,
    busy: bool,
}

impl Wire for Sink {
    fn offloads(&self) -> bool {
        true
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        if self.busy {
            return Err(WireError::Busy);
        }
        if self.refuses_many && frame.len() > 1600 {
            return Err(WireError::Lost);
        }
        self.sent.push(frame.to_vec());
        Ok(())
    }

    fn flush(&mut self) {}

    fn receive(&mut self) -> Result<(), WireError> {
        Err(WireError::Busy)
    }

    fn frame(&mut self) -> &mut [u8] {
        &mut []
    }
}

/// What differs between segments of these tests.
#[derive(Clone, Copy, Debug)]
struct Piece {
    port: u8,
    sequence: u32,
    number: u16,
    flags: u8,
    len: usize,
}

/// A frame with a segment, its checksums right.
fn frame(piece: Piece, is_ipv4: bool) -> Vec<u8> {
    let mut frame = vec![2; 12];
    if is_ipv4 {
        frame.extend([0x08, 0, 0x45, 0, 0, 0]);
        frame.extend(piece.number.to_be_bytes());
        frame.extend([0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 6, 64]);
        frame.extend((0..32).map(|byte| byte * 3));
    }
    let tcp = frame.len();
    frame.extend([0, piece.port, 0, 9]);
    frame.extend(piece.sequence.to_be_bytes());
    frame.extend([0, 0, 0, 5, 0x50, piece.flags, 8, 8, 0, 0, 0, 0]);
    frame.extend((0..piece.len).map(|byte| byte as u8 ^ piece.port));
    offload::finish_ip(&mut frame[14..], is_ipv4, tcp - 14).unwrap();
    offload::seed(&mut frame[14..], is_ipv4, tcp - 14, offload::TCP).unwrap();
    offload::finish(&mut frame, tcp as u16, CHECKSUM).unwrap();
    frame
}

fn put(outgoing: &mut Outgoing, wire: &mut Sink, frame: &[u8]) {
    outgoing.room(frame.len()).unwrap().copy_from_slice(frame);
    outgoing.put(Header::default(), frame.len(), wire).unwrap();
}

/// What was sent, as whoever is behind the wire sees it: every segment apart, its checksum finished.
fn apart(sent: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for packet in sent {
        let (header, frame) = packet.split_first_chunk().unwrap();
        let header = Header::read(*header).unwrap();
        if header.segments.is_none() {
            let mut frame = frame.to_vec();
            if let Checksum::Missing { start, offset } = header.checksum {
                offload::finish(&mut frame, start, offset).unwrap();
            }
            frames.push(frame);
            continue;
        }
        let (mut cut, mut piece) = (Cut::new(header, frame).unwrap(), Vec::new());
        while let Some(header) = cut.next(frame, &mut piece) {
            let Checksum::Missing { start, offset } = header.checksum else { panic!("{header:?}") };
            offload::finish(&mut piece, start, offset).unwrap();
            frames.push(piece.clone());
        }
    }
    frames
}

/// `count` segments of `len` bytes, one after the other.
fn stream(count: u32, len: usize) -> Vec<Piece> {
    let piece = |number: u32| {
        let sequence = 0xffff_f000_u32.wrapping_add(number * len as u32);
        Piece { port: 80, sequence, number: number as u16, flags: ACK, len }
    };
    (0..count).map(piece).collect()
}

proptest! {
    /// Whatever is put together comes apart again as what it was.
    #[test]
    fn segments_of_any_kind_arrive_as_they_were_sent(
        is_ipv4 in any::<bool>(),
        changes in prop::collection::vec((0_usize..40, 0_u8..8, 0_usize..200), 0..10),
        wrong in prop::collection::vec((0_usize..40, 0_usize..200), 0..3),
    ) {
        let mut pieces = stream(40, 100);
        for (at, kind, value) in changes {
            let piece = &mut pieces[at];
            match kind {
                0 => piece.port = value as u8,
                1 => piece.sequence = piece.sequence.wrapping_add(value as u32),
                2 => piece.number = value as u16,
                3 => piece.flags = value as u8,
                _ => piece.len = value,
            }
        }
        let mut frames: Vec<Vec<u8>> = pieces.into_iter().map(|piece| frame(piece, is_ipv4)).collect();
        for (at, place) in wrong {
            let len = frames[at].len();
            frames[at][place % len] ^= 4;
        }
        let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
        frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
        outgoing.send(&mut wire).unwrap();
        prop_assert_eq!(by_stream(apart(&wire.sent), is_ipv4), by_stream(frames, is_ipv4));
    }
}

/// Frames sorted by addresses and ports, in their order within.
fn by_stream(mut frames: Vec<Vec<u8>>, is_ipv4: bool) -> Vec<Vec<u8>> {
    let key = if is_ipv4 { 26..38 } else { 22..58 };
    frames.sort_by_key(|frame| frame[key.clone()].to_vec());
    frames
}

#[test]
fn segments_of_streams_in_turn_are_sent_as_one_of_each() {
    let mut frames = Vec::new();
    for piece in stream(40, 1460) {
        frames.extend((1..=4).map(|port| frame(Piece { port, ..piece }, true)));
    }
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
    frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
    outgoing.send(&mut wire).unwrap();
    assert_eq!(wire.sent.len(), 4);
    assert_eq!(apart(&wire.sent).len(), frames.len());
}

#[test]
fn frame_that_is_no_segment_goes_behind_those_before_it() {
    let [first, second] = [0, 1].map(|at| frame(stream(2, 1000)[at], true));
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
    for bytes in [&first[..], b"something else", &second] {
        put(&mut outgoing, &mut wire, bytes);
    }
    outgoing.send(&mut wire).unwrap();
    assert_eq!(apart(&wire.sent), [&first[..], b"something else", &second]);
}

#[test]
fn segments_that_follow_each_other_are_sent_as_one() {
    for is_ipv4 in [true, false] {
        let frames: Vec<_> = stream(40, 1460).into_iter().map(|piece| frame(piece, is_ipv4)).collect();
        let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
        frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
        assert!(wire.sent.is_empty());
        outgoing.send(&mut wire).unwrap();
        assert_eq!(wire.sent.len(), 1);
        assert_eq!(apart(&wire.sent), frames);
    }
}

#[test]
fn packet_never_grows_beyond_what_its_length_can_tell() {
    let frames: Vec<_> = stream(100, 1460).into_iter().map(|piece| frame(piece, true)).collect();
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
    frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
    outgoing.send(&mut wire).unwrap();
    assert_eq!(wire.sent.len(), 3);
    assert_eq!(apart(&wire.sent), frames);
}

#[test]
fn segment_with_a_wrong_checksum_stays_wrong() {
    let mut frames: Vec<_> = stream(3, 1000).into_iter().map(|piece| frame(piece, true)).collect();
    frames[1][500] ^= 1;
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink::default());
    frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
    outgoing.send(&mut wire).unwrap();
    assert_eq!(apart(&wire.sent), frames);
}

#[test]
fn segments_that_are_not_taken_as_one_are_sent_one_by_one() {
    let frames: Vec<_> = stream(5, 1000).into_iter().map(|piece| frame(piece, true)).collect();
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink { refuses_many: true, ..Sink::default() });
    frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
    outgoing.send(&mut wire).unwrap();
    assert_eq!(wire.sent.len(), 5);
    assert_eq!(apart(&wire.sent), frames);
}

#[test]
fn segments_put_together_wait_for_a_busy_wire() {
    let frames: Vec<_> = stream(5, 1000).into_iter().map(|piece| frame(piece, true)).collect();
    let (mut outgoing, mut wire) = (Outgoing::new(), Sink { busy: true, ..Sink::default() });
    frames.iter().for_each(|frame| put(&mut outgoing, &mut wire, frame));
    assert_eq!(outgoing.send(&mut wire), Err(WireError::Busy));
    wire.busy = false;
    outgoing.send(&mut wire).unwrap();
    assert_eq!(apart(&wire.sent), frames);
}
