//! Frames on their way from a driver to the wire: segments of TCP that follow each other are put together into one.
//!
//! What the kernel does for a frame it does once for all of them then, up to 64 KiB, and for a bulk of data that is nearly
//! all that a frame costs. Only what can be taken apart again into the very same segments is put together, and only what
//! the driver has given at once, so nothing waits for anything.

use super::{
    FRAME_MAX, Wire, WireError,
    header::{Checksum, Header, Segments},
    offload::{self, Cut},
};

/// Where the checksum and the flags are in TCP's header (RFC 9293 §3.1).
const CHECKSUM: u16 = 16;
const FLAGS: usize = 13;
/// Flags: what a segment that carries nothing but data has, and what the last of several may have.
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;

/// The longest packet (RFC 791 §3.1).
const PACKET_MAX: usize = 65_535;

/// How many streams are told apart: a driver that serves many sends a little of each in turn.
const STREAMS: usize = 8;

/// Frames on their way to the wire.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Frames that are yet to be sent, the first `count` of these, and room for others.
    waiting: Vec<Waiting>,
    count: usize,
    /// Room for a header and the next frame.
    next: Vec<u8>,
}

/// A frame that is yet to be sent.
#[derive(Debug)]
struct Waiting {
    /// A header and the frame, and the length of both.
    bytes: Vec<u8>,
    len: usize,
    /// What else is known of it, if it carries a segment to which another can be added.
    run: Option<Run>,
}

/// Segments that were put together.
#[derive(Clone, Copy, Debug)]
struct Run {
    segment: Segment,
    /// The payload of each but the last.
    size: usize,
    pieces: u16,
    /// Where the next one begins, in the stream.
    sequence: u32,
    /// No other can follow.
    closed: bool,
}

/// Where the parts of a frame are that carries a segment of TCP with data, and nothing special.
#[derive(Clone, Copy, Debug)]
struct Segment {
    packet: usize,
    is_ipv4: bool,
    tcp: usize,
    payload: usize,
    checksum: Checksum,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        // Memory that no frame has come to is none.
        let room = || vec![0; Header::LEN + FRAME_MAX];
        let waiting = (0..STREAMS).map(|_| Waiting { bytes: room(), len: 0, run: None }).collect();
        Outgoing { waiting, count: 0, next: room() }
    }

    /// Forgets what is on its way.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Room for the next frame, of `len` bytes; `None` if none is so long.
    pub(super) fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        self.next.get_mut(Header::LEN..)?.get_mut(..len)
    }

    /// The next frame is in its room: it is added to others of its stream, or waits by itself.
    ///
    /// # Errors
    /// Those that wait cannot be sent now. The next has to come again.
    pub(super) fn put(&mut self, header: Header, len: usize, wire: &mut impl Wire) -> Result<(), WireError> {
        let next = self.next.get(Header::LEN..Header::LEN + len).unwrap_or_default();
        let may_join = wire.offloads() && header.segments.is_none();
        let segment = may_join.then(|| look(header, next)).flatten();
        let mut waiting = self.waiting.iter_mut().take(self.count);
        let stream = segment.and_then(|segment| waiting.find(|waiting| waiting.is_of(segment, next)));
        let is_new = stream.is_none();
        if segment.zip(stream).is_some_and(|(segment, stream)| stream.add(segment, next).is_some()) {
            return Ok(());
        }
        // Within a stream the order stays, and what is of none goes behind all that were before it.
        let has_room = segment.is_some() && is_new && self.count < self.waiting.len();
        if !has_room {
            self.send(wire)?;
        }
        if let Some(waiting) = self.waiting.get_mut(self.count) {
            std::mem::swap(&mut waiting.bytes, &mut self.next);
            waiting.begin(header, len, segment);
            self.count += 1;
        }
        match segment {
            Some(_) => Ok(()),
            // It cannot be added to: if it cannot be sent now, it waits as others do.
            None => self.send(wire).or(Ok(())),
        }
    }

    /// Sends all that wait. A frame that is lost has been sent.
    ///
    /// # Errors
    /// Not all can be sent now.
    pub(super) fn send(&mut self, wire: &mut impl Wire) -> Result<(), WireError> {
        while let Some(first) = self.waiting.get_mut(..self.count).and_then(|waiting| waiting.first_mut()) {
            first.send(wire)?;
            if let Some(waiting) = self.waiting.get_mut(..self.count) {
                waiting.rotate_left(1);
            }
            self.count -= 1;
        }
        Ok(())
    }
}

impl Waiting {
    fn begin(&mut self, header: Header, len: usize, segment: Option<Segment>) {
        self.len = Header::LEN + len;
        self.bytes.iter_mut().zip(header.bytes()).for_each(|(to, from)| *to = from);
        self.run = segment.and_then(|segment| Run::of(segment, self.frame()));
    }

    fn frame(&self) -> &[u8] {
        self.bytes.get(Header::LEN..self.len).unwrap_or_default()
    }

    /// Whether a segment is of the same stream: addresses and ports.
    fn is_of(&self, segment: Segment, next: &[u8]) -> bool {
        let Segment { packet, is_ipv4, tcp, .. } = segment;
        let addresses = if is_ipv4 { packet + 12..packet + 20 } else { packet + 8..packet + 40 };
        let mut parts = [addresses, tcp..tcp + 4].into_iter();
        self.run.is_some_and(|run| {
            let own = run.segment;
            (own.packet, own.is_ipv4, own.tcp) == (packet, is_ipv4, tcp)
                && parts.all(|part| self.frame().get(part.clone()) == next.get(part))
        })
    }

    /// Sends it, as one or apart.
    fn send(&mut self, wire: &mut impl Wire) -> Result<(), WireError> {
        let run = self.run.filter(|run| run.pieces > 1);
        if let Some(run) = run {
            self.finish(run);
        }
        let sent = wire.send(self.bytes.get(..self.len).unwrap_or_default());
        if sent == Err(WireError::Busy) {
            return sent;
        }
        if let (Err(WireError::Lost), Some(_)) = (sent, run) {
            self.send_apart(wire);
        }
        Ok(())
    }

    /// Whoever does not take many at once may take them one by one.
    fn send_apart(&self, wire: &mut impl Wire) -> Option<()> {
        let (header, frame) = self.bytes.get(..self.len)?.split_first_chunk()?;
        let mut cut = Cut::new(Header::read(*header)?, frame)?;
        let mut piece = Vec::new();
        while let Some(header) = cut.next(frame, &mut piece) {
            // As anywhere in a network, one that is lost is sent again by whoever misses the answer.
            let _ = wire.send(&[&header.bytes(), piece.as_slice()].concat());
        }
        Some(())
    }

    /// Adds the next frame's payload, if it follows.
    fn add(&mut self, segment: Segment, next: &[u8]) -> Option<()> {
        let run = self.run.filter(|run| !run.closed)?;
        let own = self.frame();
        let added = next.len() - segment.payload;
        let fits = added <= run.size && own.len() - segment.packet + added <= PACKET_MAX;
        if !fits || !follows(run, own, segment, next) {
            return None;
        }
        // A segment that is not what was sent must not become one that is.
        let first_is_right = run.pieces > 1 || is_right(run.segment, own);
        if !first_is_right || !is_right(segment, next) {
            return None;
        }
        let pushes = next.get(segment.tcp + FLAGS)? & PSH;
        let payload = next.get(segment.payload..)?;
        self.bytes.get_mut(self.len..self.len + added)?.copy_from_slice(payload);
        self.len += added;
        *self.bytes.get_mut(Header::LEN + segment.tcp + FLAGS)? |= pushes;
        self.run = Some(Run {
            pieces: run.pieces + 1,
            sequence: run.sequence.wrapping_add(u32::try_from(added).ok()?),
            closed: pushes != 0 || added < run.size,
            ..run
        });
        Some(())
    }

    /// Says of the frame what it has become.
    fn finish(&mut self, run: Run) -> Option<()> {
        let Segment { packet, is_ipv4, tcp, payload, .. } = run.segment;
        let frame = self.bytes.get_mut(Header::LEN..self.len)?;
        offload::finish_ip(frame.get_mut(packet..)?, is_ipv4, tcp - packet)?;
        offload::seed(frame.get_mut(packet..)?, is_ipv4, tcp - packet, offload::TCP)?;
        let segments = if is_ipv4 { Segments::Tcp4 } else { Segments::Tcp6 };
        let header = Header {
            checksum: Checksum::Missing { start: u16::try_from(tcp).ok()?, offset: CHECKSUM },
            segments: Some((segments, u16::try_from(run.size).ok()?)),
            headers_len: u16::try_from(payload).ok()?,
        };
        self.bytes.get_mut(..Header::LEN)?.copy_from_slice(&header.bytes());
        Some(())
    }
}

/// What a frame carries, if it is a segment that can be put together with others.
fn look(header: Header, frame: &[u8]) -> Option<Segment> {
    let (packet, kind) = offload::network_layer(frame)?;
    let is_ipv4 = kind == offload::IPV4;
    if !is_ipv4 && kind != offload::IPV6 {
        return None;
    }
    let (headers, packet_len, protocol) = offload::ip(frame.get(packet..)?, is_ipv4)?;
    let tcp = packet + headers;
    let payload = tcp + usize::from(frame.get(tcp + 12)? >> 4) * 4;
    let is_plain = protocol == offload::TCP
        && packet + packet_len == frame.len()
        && payload >= tcp + 20
        && payload < frame.len()
        && frame.get(tcp + FLAGS)? & !PSH == ACK;
    let expected = match header.checksum {
        Checksum::Missing { start, offset } => usize::from(start) == tcp && offset == CHECKSUM,
        _ => true,
    };
    let segment = Segment { packet, is_ipv4, tcp, payload, checksum: header.checksum };
    (is_plain && expected).then_some(segment)
}

impl Run {
    /// One that begins with this frame.
    fn of(segment: Segment, frame: &[u8]) -> Option<Self> {
        let size = frame.len() - segment.payload;
        let tcp = frame.get(segment.tcp..)?;
        let sequence = u32::from_be_bytes(*tcp.get(4..)?.first_chunk()?);
        let sequence = sequence.wrapping_add(u32::try_from(size).ok()?);
        Some(Run { segment, size, pieces: 1, sequence, closed: tcp.get(FLAGS)? & PSH != 0 })
    }
}

/// Whether a segment is the next after those that wait, and taking it apart from them again gives back all of its headers.
fn follows(run: Run, waiting: &[u8], segment: Segment, next: &[u8]) -> bool {
    let Segment { packet, is_ipv4, tcp, payload, .. } = segment;
    let places = |of: Segment| (of.packet, of.is_ipv4, of.tcp, of.payload);
    if places(run.segment) != places(segment) {
        return false;
    }
    // Besides addresses and ports: all of IP's header but lengths, number and checksum; all of TCP's but sequence number,
    // flags (which are looked at elsewhere) and checksum.
    let ip = match is_ipv4 {
        true => [packet..packet + 2, packet + 6..packet + 10, packet + 12..tcp],
        false => [packet..packet + 4, packet + 6..tcp, tcp..tcp],
    };
    let parts = [0..packet, tcp..tcp + 4, tcp + 8..tcp + 13, tcp + 14..tcp + 16, tcp + 18..payload];
    let same = ip.into_iter().chain(parts).all(|part| waiting.get(part.clone()) == next.get(part));
    let sequence = next.get(tcp + 4..).and_then(<[u8]>::first_chunk).map(|bytes| u32::from_be_bytes(*bytes));
    same && sequence == Some(run.sequence) && (!is_ipv4 || is_numbered(run, waiting, next, packet))
}

/// Whether a packet's number is what cutting gives it, or means nothing because it must not be broken up (RFC 6864 §4.1).
fn is_numbered(run: Run, waiting: &[u8], next: &[u8], packet: usize) -> bool {
    const DONT_FRAGMENT: u8 = 0x40;
    let number = |frame: &[u8]| offload::word(frame, packet + 4);
    let expected = number(waiting).map(|first| first.wrapping_add(run.pieces));
    next.get(packet + 6).is_some_and(|flags| flags & DONT_FRAGMENT != 0) || number(next) == expected
}

/// Whether the checksums of a frame are right; that of a segment may be left to others.
fn is_right(segment: Segment, frame: &[u8]) -> bool {
    let Segment { packet, is_ipv4, tcp, checksum, .. } = segment;
    let packet_bytes = frame.get(packet..).unwrap_or_default();
    offload::is_right(packet_bytes, is_ipv4, tcp - packet, offload::TCP, checksum)
}

#[cfg(test)]
mod tests;
