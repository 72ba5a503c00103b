//! A shared directory: the driver's 9P messages go through a [`Channel`] to a server, whose answers come back.
//!
//! The specification has no chapter on this device (§5 lists number 9 alone); its layout is that of Linux
//! (include/uapi/linux/virtio_9p.h). Messages are opaque here, but for the length that each begins with (Plan 9 manual,
//! intro(5)).
//!
//! One message is under way at a time. Its answer may take as long as a disk takes, so nobody waits for it: it is looked for
//! when something has come from outside, like a frame, and the guest's timers go on meanwhile. The driver's next message
//! stays in its queue until then, which costs nothing with a server that answers in order.

use std::{
    fmt,
    io::{Read, Write},
    ops::Range,
};

use runu_core::Place;

use super::{Broken, Cards, Device, Kind, Ring};

/// `VIRTIO_9P_MOUNT_TAG`: the configuration tells the tag.
const MOUNT_TAG: u64 = 1 << 0;

/// Buffers in the queue: Unikraft's driver lays it out for so many, whatever the device says (drivers/virtio/9p,
/// `NUM_SEGMENTS`), because it is what QEMU has.
const QUEUE_SIZE: u16 = 128;

/// Length of a message at most, in bytes: what the server agrees to, and more than what the drivers of Linux and Unikraft
/// ask for.
const MESSAGE_MAX: usize = 512 << 10;

/// Length of what every message begins with: its length, type and tag. The length alone.
const HEADER: usize = 7;
const LENGTH: usize = 4;

/// Why nothing went through a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// Not now; later it may.
    Busy,
    /// The other end is gone.
    Lost,
}

/// What leads to a 9P server: a stream of bytes in each direction.
pub trait Channel: fmt::Debug {
    /// Sends bytes; how many of them were taken, at least one.
    ///
    /// # Errors
    /// None can be sent now, or none ever.
    fn send(&mut self, bytes: &[u8]) -> Result<usize, ChannelError>;

    /// Takes bytes that have arrived; how many, at least one.
    ///
    /// # Errors
    /// None have arrived, or none will.
    fn receive(&mut self, into: &mut [u8]) -> Result<usize, ChannelError>;
}

/// How far the message is that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is none.
    Idle,
    /// It is in the buffer, of that length, and so much of it was sent.
    Sending { len: usize, sent: usize },
    /// So much of its answer is in the buffer.
    Receiving { have: usize },
}

/// A shared directory.
#[derive(Debug)]
pub struct NineP<C> {
    channel: C,
    tag: String,
    phase: Phase,
    /// The driver that sent the message is gone: nobody wants the answer.
    stale: bool,
    buffer: Vec<u8>,
}

impl<C: Channel> NineP<C> {
    /// A directory behind `channel` that the guest finds by `tag`, of which 64 KiB count.
    pub fn new(channel: C, tag: impl Into<String>) -> Self {
        NineP { channel, tag: tag.into(), phase: Phase::Idle, stale: false, buffer: vec![0; MESSAGE_MAX] }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut Cards) -> Option<Place>
    where
        C: 'static,
    {
        cards.plug(Box::new(self))
    }

    /// Goes one step further with the message that is under way; whether there was one to go.
    fn step(&mut self, ring: &mut Ring<'_>) -> Result<bool, Broken> {
        match self.phase {
            Phase::Idle => self.take(ring),
            Phase::Sending { len, sent } => {
                let rest = self.buffer.get(sent..len).unwrap_or_default();
                let Some(sent_more) = went(self.channel.send(rest))? else { return Ok(false) };
                let sent = sent + sent_more;
                self.phase =
                    if sent < len { Phase::Sending { len, sent } } else { Phase::Receiving { have: 0 } };
                Ok(true)
            }
            Phase::Receiving { have } => {
                let len = if have < LENGTH { LENGTH } else { self.length()? };
                if have == len {
                    return self.give(ring, len).map(|()| true);
                }
                let room = self.buffer.get_mut(have..len).unwrap_or_default();
                let Some(received) = went(self.channel.receive(room))? else { return Ok(false) };
                self.phase = Phase::Receiving { have: have + received };
                Ok(true)
            }
        }
    }

    /// Takes the driver's next message into the buffer. It stays in its queue until its answer is there.
    fn take(&mut self, ring: &mut Ring<'_>) -> Result<bool, Broken> {
        let Some(chain) = ring.pop()? else { return Ok(false) };
        let mut request = chain.reader()?;
        let there = request.available_bytes();
        let header = self.buffer.get_mut(..LENGTH).unwrap_or_default();
        request.read_exact(header).map_err(|_| Broken("a message without a length"))?;
        let len = self.length()?;
        if len > there {
            return Err(Broken("a message that is longer than its buffers"));
        }
        let rest = self.buffer.get_mut(LENGTH..len).unwrap_or_default();
        request.read_exact(rest).map_err(|_| Broken("a message that cannot be read"))?;
        ring.unpop();
        self.phase = Phase::Sending { len, sent: 0 };
        Ok(true)
    }

    /// Gives the driver the answer to its message.
    fn give(&mut self, ring: &mut Ring<'_>, len: usize) -> Result<(), Broken> {
        self.phase = Phase::Idle;
        if std::mem::take(&mut self.stale) {
            return Ok(());
        }
        let chain = ring.pop()?.ok_or(Broken("a message that was taken back"))?;
        let answer = self.buffer.get(..len).unwrap_or_default();
        let mut writer = chain.writer()?;
        writer.write_all(answer).map_err(|_| Broken("buffers that are too short for an answer"))?;
        ring.push(chain.head(), u32::try_from(len).unwrap_or(u32::MAX))
    }

    /// The length that the message in the buffer begins with.
    fn length(&self) -> Result<usize, Broken> {
        let len = self.buffer.first_chunk().map_or(0, |len| u32::from_le_bytes(*len));
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let possible = (HEADER..=MESSAGE_MAX).contains(&len);
        if possible { Ok(len) } else { Err(Broken("a message of an impossible length")) }
    }
}

/// How many bytes went through; `None` if none do now.
fn went(result: Result<usize, ChannelError>) -> Result<Option<usize>, Broken> {
    match result {
        Ok(len) => Ok(Some(len)),
        Err(ChannelError::Busy) => Ok(None),
        // None of the driver's fault, but there is no other way to tell it.
        Err(ChannelError::Lost) => Err(Broken("a message for a server that is gone")),
    }
}

impl<C: Channel> Device for NineP<C> {
    fn kind(&self) -> Kind {
        Kind::NineP
    }

    fn features(&self) -> u64 {
        MOUNT_TAG
    }

    fn queues(&self) -> usize {
        1
    }

    fn queue_size(&self) -> u16 {
        QUEUE_SIZE
    }

    fn config(&self, offset: usize, into: &mut [u8]) {
        // Length of the tag, and the tag, without an end of its own.
        let len = u16::try_from(self.tag.len()).unwrap_or(u16::MAX).to_le_bytes();
        let config = len.into_iter().chain(self.tag.bytes());
        into.iter_mut().zip(config.skip(offset)).for_each(|(to, from)| *to = from);
    }

    fn ready(&mut self, _features: u64) {}

    fn serve(&mut self, _number: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while self.step(ring)? {}
        Ok(())
    }

    fn inputs(&self) -> Range<usize> {
        0..1
    }

    fn reset(&mut self) {
        self.stale = self.phase != Phase::Idle;
    }
}

#[cfg(test)]
mod tests;
