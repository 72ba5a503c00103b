//! Frames on their way from the wire to a driver: made into what the driver takes.

use super::{
    Wire,
    header::{Checksum, Header},
    offload::{self, Cut, ETHERNET},
};

/// Frames on their way to the driver.
#[derive(Debug)]
pub(super) struct Incoming {
    /// What is left to be cut off of the frame that came last, if it has to be cut, and the piece that was cut off last.
    cut: Option<Cut>,
    piece: Vec<u8>,
    /// The longest frame that the driver takes.
    longest: usize,
    /// Whether the driver takes frames whose checksum is not there yet.
    takes_unfinished: bool,
}

impl Incoming {
    /// For a driver that takes packets of `mtu` bytes.
    pub(super) fn new(mtu: u16) -> Self {
        Incoming {
            cut: None,
            piece: Vec::new(),
            longest: ETHERNET + usize::from(mtu),
            takes_unfinished: false,
        }
    }

    /// The driver takes frames whose checksum is not there yet, or it does not.
    pub(super) fn set_takes_unfinished(&mut self, takes: bool) {
        self.takes_unfinished = takes;
    }

    /// Forgets what is on its way.
    pub(super) fn clear(&mut self) {
        self.cut = None;
    }

    /// Makes the next frame for the driver ready: it is [`Self::frame`] then. `None` if none has come, or if as many as
    /// `frames` have been taken from the wire.
    pub(super) fn next(&mut self, wire: &mut impl Wire, frames: &mut usize) -> Option<Header> {
        loop {
            if let Some(header) = self.next_piece(wire) {
                return Some(header);
            }
            *frames = frames.checked_sub(1)?;
            wire.receive().ok()?;
            if let Some(header) = self.whole(wire) {
                return Some(header);
            }
        }
    }

    /// The frame that was made ready.
    pub(super) fn frame<'a>(&'a self, wire: &'a mut impl Wire) -> &'a [u8] {
        match self.cut {
            Some(_) => &self.piece,
            None => wire.frame().get(Header::LEN..).unwrap_or_default(),
        }
    }

    /// The frame that has come, if the driver takes it whole; begins to cut it if it has to be cut. What is neither is
    /// dropped: too short to be one (which Unikraft ends its interface for), too long, or not what its header says.
    fn whole(&mut self, wire: &mut impl Wire) -> Option<Header> {
        let (header, frame) = wire.frame().split_first_chunk_mut()?;
        let header = Header::read(*header)?;
        if header.segments.is_some() {
            self.cut = Cut::new(header, frame).filter(|cut| cut.longest() <= self.longest);
            return None;
        }
        if !(ETHERNET..=self.longest).contains(&frame.len()) {
            return None;
        }
        finished(header, frame, self.takes_unfinished)
    }

    fn next_piece(&mut self, wire: &mut impl Wire) -> Option<Header> {
        let cut = self.cut.as_mut()?;
        let header = cut.next(wire.frame().get(Header::LEN..).unwrap_or_default(), &mut self.piece);
        let header = header.and_then(|header| finished(header, &mut self.piece, self.takes_unfinished));
        if header.is_none() {
            self.cut = None;
        }
        header
    }
}

/// The frame's header after the checksum has been finished, unless the driver does that.
fn finished(header: Header, frame: &mut [u8], takes_unfinished: bool) -> Option<Header> {
    match header.checksum {
        _ if takes_unfinished => Some(header),
        Checksum::Missing { start, offset } => {
            offload::finish(frame, start, offset).map(|()| Header::default())
        }
        Checksum::AsItIs | Checksum::Verified => Some(Header::default()),
    }
}
