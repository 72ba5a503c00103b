//! The descriptor that the guest's frames go through: a packet socket, a tap, or a stream.

use std::{cell::Cell, io, ops::Range, rc::Rc};

use runu_core::WireKind;
use runu_machine::{FRAME_MAX, HEADER_LEN, Wire, WireError};

use crate::{descriptor, host};

/// Bytes before each frame on a stream: its length, the highest byte first (passt(1)).
const LENGTH: usize = 4;

/// Errors in a row after which a packet socket is left alone for now: one tells of an interface that was down, others of
/// single frames.
const ERRORS_MAX: usize = 4;

/// Room for a header and a frame.
const SLOT: usize = HEADER_LEN + FRAME_MAX;

/// The network card's end of it.
#[derive(Debug)]
pub(crate) struct Plug {
    kind: Kind,
    /// Room for frames, one behind the other; memory that none has come to is none.
    slots: Vec<u8>,
    /// Lengths of those that have come, which of them are next, and where the last one is that was given away.
    lens: [usize; host::RECEIVED_MAX],
    waiting: Range<usize>,
    last: Range<usize>,
    /// A frame waits for room on the other side.
    blocked: Rc<Cell<bool>>,
}

#[derive(Debug)]
enum Kind {
    /// Several are received at once: looking whether there is another costs as much as taking it.
    Packets,
    Tap,
    Stream(Stream),
}

impl Plug {
    /// For the descriptor that was handed over; `blocked` will tell whether a frame waits for room on the other side.
    pub(crate) fn new(kind: WireKind, blocked: Rc<Cell<bool>>) -> Self {
        let (kind, slots) = match kind {
            WireKind::Packets => (Kind::Packets, host::RECEIVED_MAX),
            WireKind::Tap => (Kind::Tap, 1),
            WireKind::Stream => (Kind::Stream(Stream::default()), 1),
        };
        let slots = vec![0; slots * SLOT];
        Plug { kind, slots, lens: [0; host::RECEIVED_MAX], waiting: 0..0, last: 0..0, blocked }
    }

    /// Receives into all slots that there are, or as many as it can.
    fn fill(&mut self) -> io::Result<usize> {
        const WIRE: i32 = descriptor::NETWORK;
        let (slots, lens) = (&mut self.slots, &mut self.lens);
        let [first, ..] = lens;
        let one = match &mut self.kind {
            Kind::Packets => return receive_packets(|| host::receive_many(WIRE, slots, SLOT, lens)),
            Kind::Tap => host::read(WIRE, slots),
            Kind::Stream(stream) => stream.receive(slots, |bytes| host::receive(WIRE, bytes)),
        };
        *first = one?;
        Ok(1)
    }
}

impl Plug {
    /// A frame could not be sent, or it could.
    fn note_blocked(&self, busy: bool) {
        let unsent = matches!(&self.kind, Kind::Stream(stream) if !stream.unsent.is_empty());
        self.blocked.set(busy || unsent);
    }
}

impl Wire for Plug {
    fn offloads(&self) -> bool {
        !matches!(self.kind, Kind::Stream(_))
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), WireError> {
        const WIRE: i32 = descriptor::NETWORK;
        let sent = match &mut self.kind {
            Kind::Packets => host::send(WIRE, frame).map(drop),
            Kind::Tap => host::write(WIRE, frame).map(drop),
            Kind::Stream(stream) => {
                stream.send(frame.get(HEADER_LEN..).unwrap_or_default(), |bytes| host::send(WIRE, bytes))
            }
        };
        let sent = sent.map_err(|error| wire_error(&error));
        self.note_blocked(sent == Err(WireError::Busy));
        sent
    }

    fn flush(&mut self) {
        if let Kind::Stream(stream) = &mut self.kind {
            // It is tried again when there is room, or the stream has ended.
            let _ = stream.flush(|bytes| host::send(descriptor::NETWORK, bytes));
        }
        self.note_blocked(false);
    }

    fn receive(&mut self) -> Result<(), WireError> {
        if self.waiting.is_empty() {
            self.waiting = 0..self.fill().map_err(|error| wire_error(&error))?;
        }
        let slot = self.waiting.next().ok_or(WireError::Busy)?;
        let len = self.lens.get(slot).copied().unwrap_or_default().min(SLOT);
        self.last = slot * SLOT..slot * SLOT + len;
        Ok(())
    }

    fn frame(&mut self) -> &mut [u8] {
        self.slots.get_mut(self.last.clone()).unwrap_or_default()
    }
}

fn wire_error(error: &io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => WireError::Busy,
        _ => WireError::Lost,
    }
}

/// Takes packets; one that cannot be had does not stand in the way of those behind it (a frame that Linux cannot describe to
/// anybody is reported as an error and gone).
fn receive_packets(mut receive: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    let mut last = receive();
    for _ in 1..ERRORS_MAX {
        match &last {
            Err(error) if wire_error(error) == WireError::Lost => last = receive(),
            _ => break,
        }
    }
    last
}

/// A stream of frames. Reads and writes may stop within one.
#[derive(Debug, Default)]
struct Stream {
    /// What has been read: frames, the last of them perhaps not whole; those before `taken` have been given away.
    read: Vec<u8>,
    taken: usize,
    /// What is left of the frame that was sent last.
    unsent: Vec<u8>,
    /// The stream has ended, or has brought what is no frame: nothing more comes.
    ended: bool,
}

impl Stream {
    /// Sends a frame behind what is left of the last one, for which there must be room first.
    fn send(&mut self, frame: &[u8], mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        self.flush(&mut write)?;
        let len = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.unsent.extend_from_slice(&len.to_be_bytes());
        self.unsent.extend_from_slice(frame);
        match self.flush(write) {
            // It counts as sent: the rest goes before whatever is sent next.
            Err(error) if wire_error(&error) == WireError::Busy => Ok(()),
            sent => sent,
        }
    }

    /// Sends what is left. After an error that is for good nothing is.
    fn flush(&mut self, mut write: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written.min(self.unsent.len()))),
                Err(error) => {
                    if wire_error(&error) == WireError::Lost {
                        self.unsent.clear();
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Takes a frame, with a header before it that says nothing.
    fn receive(
        &mut self,
        into: &mut [u8],
        mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            if let Some(frame) = self.next()? {
                let (header, rest) =
                    into.split_at_mut_checked(HEADER_LEN).ok_or(io::ErrorKind::InvalidInput)?;
                header.fill(0);
                let len = frame.len().min(rest.len());
                rest.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
                return Ok(HEADER_LEN + len);
            }
            self.fill(&mut read)?;
        }
    }

    /// The next frame, if all of it has been read.
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let Some((len, rest)) = self.read.get(self.taken..).and_then(<[u8]>::split_first_chunk) else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
        if len > FRAME_MAX {
            // Where the next frame begins cannot be known.
            self.ended = true;
            self.taken = self.read.len();
            return Err(io::ErrorKind::InvalidData.into());
        }
        let Some(frame) = rest.get(..len) else { return Ok(None) };
        self.taken += LENGTH + len;
        Ok(Some(frame))
    }

    /// Reads more.
    fn fill(&mut self, read: &mut impl FnMut(&mut [u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read.drain(..self.taken.min(self.read.len()));
        self.taken = 0;
        let had = self.read.len();
        // A frame fits, whole, and some more with it.
        self.read.resize(LENGTH + FRAME_MAX, 0);
        let got = read(self.read.get_mut(had..).unwrap_or_default());
        self.read.truncate(had + got.as_ref().copied().unwrap_or(0));
        self.ended = matches!(got, Ok(0));
        got.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// What a stream of these frames looks like.
    fn stream(frames: &[&[u8]]) -> Vec<u8> {
        let len = |frame: &[u8]| u32::try_from(frame.len()).unwrap().to_be_bytes();
        frames.iter().flat_map(|frame| [&len(frame)[..], frame].concat()).collect()
    }

    /// Receives all that comes when the bytes arrive in pieces of this length, nothing in between.
    fn receive_in_pieces(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
        let mut wire = Stream::default();
        let mut pieces: VecDeque<&[u8]> = bytes.chunks(piece).collect();
        let mut frames = Vec::new();
        let mut into = vec![1; 200];
        while !pieces.is_empty() || wire.taken < wire.read.len() {
            let mut may_read = true;
            let received = wire.receive(&mut into, |room| {
                if !std::mem::take(&mut may_read) {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let piece = pieces.pop_front().unwrap_or_default();
                room[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            });
            if let Ok(len) = received {
                assert_eq!(into[..HEADER_LEN], [0; HEADER_LEN]);
                frames.push(into[HEADER_LEN..len].to_vec());
            }
        }
        frames
    }

    #[test]
    fn frames_of_a_stream_are_whole_wherever_it_was_broken() {
        let frames: [&[u8]; 4] = [b"first", b"", &[7; 150], b"last"];
        let bytes = stream(&frames);
        for piece in 1..=bytes.len() {
            assert_eq!(receive_in_pieces(&bytes, piece), frames);
        }
    }

    #[test]
    fn frame_of_a_stream_that_claims_too_much_ends_it() {
        let mut wire = Stream::default();
        let bytes = [0xff; 20];
        let mut into = [0; 100];
        let read = |room: &mut [u8]| {
            room[..20].copy_from_slice(&bytes);
            Ok(20)
        };
        assert_eq!(wire.receive(&mut into, read).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(wire.receive(&mut into, read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn frames_sent_into_a_stream_with_little_room_come_out_whole_and_in_order() {
        let mut wire = Stream::default();
        let mut out = Vec::new();
        let mut room = 0_usize;
        let frames: [&[u8]; 3] = [b"first", &[7; 150], b"last"];
        let mut frames_left = frames.as_slice();
        while !frames_left.is_empty() || !wire.unsent.is_empty() {
            room += 3;
            let mut write = |bytes: &[u8]| {
                if room == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let len = bytes.len().min(std::mem::take(&mut room));
                out.extend_from_slice(&bytes[..len]);
                Ok(len)
            };
            match frames_left.split_first() {
                Some((frame, rest)) if wire.send(frame, &mut write).is_ok() => frames_left = rest,
                Some(_) => {}
                None => drop(wire.flush(&mut write)),
            }
        }
        assert_eq!(out, stream(&frames));
    }

    #[test]
    fn packet_that_cannot_be_had_does_not_hide_the_next() {
        let mut results = VecDeque::from([Err(io::ErrorKind::InvalidInput.into()), Ok(5)]);
        assert_eq!(receive_packets(|| results.pop_front().unwrap()).unwrap(), 5);
        let mut calls = 0;
        let always = receive_packets(|| {
            calls += 1;
            Err(io::ErrorKind::NetworkDown.into())
        });
        assert!(always.is_err() && calls == ERRORS_MAX);
    }
}
