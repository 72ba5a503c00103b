//! A disk (§5.2): requests of the driver become reads and writes of a [`Medium`].
//!
//! Where the buffers of a request end means nothing (§2.7.4.1): its readable bytes are a header and what is to be written,
//! its writable ones what is read and, last, one byte that says how it went.

use std::{
    fmt,
    io::{self, Read, Write},
    ops::Range,
};

use runu_core::{Bytes, Place};
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_BLK_SIZE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_F_RO, VIRTIO_BLK_F_SEG_MAX, VIRTIO_BLK_ID_BYTES,
    VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK, VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT,
};
use virtio_queue::{Reader, Writer};
use vm_memory::{Le32, Le64};

use super::{Broken, Cards, Device, Kind, Ring, function::QUEUE_SIZE, ring::Chain};

/// Bytes of a sector, in which everything about a disk is told (§5.2).
pub const SECTOR: u64 = BLOCK_SIZE as u64;

/// The same, as its driver is told it.
const BLOCK_SIZE: u32 = 512;

/// Pieces of data in a request: as many as a queue has room for besides header and status.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// How much is carried at once between medium and guest.
const PIECE: usize = 64 << 10;

/// What a disk keeps its bytes in.
pub trait Medium: fmt::Debug {
    /// Reads the bytes from `offset` on.
    ///
    /// # Errors
    /// Not all of them can be read.
    fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), MediumError>;

    /// Writes the bytes from `offset` on.
    ///
    /// # Errors
    /// Not all of them could be written.
    fn write(&mut self, offset: u64, from: &[u8]) -> Result<(), MediumError>;

    /// Returns when all that was written will survive a power failure.
    ///
    /// # Errors
    /// Some of it may not.
    fn flush(&mut self) -> Result<(), MediumError>;
}

/// A medium failed. The driver is told that it did, and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumError;

/// A disk.
#[derive(Debug)]
pub struct Disk<M> {
    medium: M,
    sectors: u64,
    read_only: bool,
    name: String,
    /// The driver flushes when it wants to be sure; otherwise every write has to be.
    driver_flushes: bool,
    buffer: Vec<u8>,
}

/// How a request went: the status of one that failed.
type Outcome = Result<(), u32>;

impl<M: Medium> Disk<M> {
    /// A disk of `size` bytes, of which the last that fill no sector are out of reach; it says that its serial number is
    /// `name`, of which 20 bytes count.
    pub fn new(medium: M, size: Bytes, read_only: bool, name: impl Into<String>) -> Self {
        let (sectors, buffer) = (size.0 / SECTOR, vec![0; PIECE]);
        Disk { medium, sectors, read_only, name: name.into(), driver_flushes: false, buffer }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut Cards) -> Option<Place>
    where
        M: 'static,
    {
        cards.plug(Box::new(self))
    }

    /// Carries out a request; how many bytes of its buffers are written.
    fn answer(&mut self, chain: &Chain<'_>) -> Result<u32, Broken> {
        let (mut request, mut answer) = (chain.reader()?, chain.writer()?);
        let room = answer.available_bytes().checked_sub(1).ok_or(Broken("a request without a status"))?;
        let mut status = answer.split_at(room).map_err(|_| Broken("a request without a status"))?;
        let (kind, sector) = header(&mut request).map_err(|_| Broken("a request without a header"))?;
        let outcome = match kind {
            VIRTIO_BLK_T_IN => self.read(sector, &mut answer),
            VIRTIO_BLK_T_OUT => self.write(sector, &mut request),
            VIRTIO_BLK_T_FLUSH => self.flush(),
            VIRTIO_BLK_T_GET_ID => self.tell_name(&mut answer),
            _ => Err(VIRTIO_BLK_S_UNSUPP),
        };
        let [code, ..] = outcome.err().unwrap_or(VIRTIO_BLK_S_OK).to_le_bytes();
        status.write_all(&[code]).map_err(|_| Broken("a status that cannot be written"))?;
        // The count is of bytes without a gap (§2.7.8.2), and the status comes last.
        let written = answer.bytes_written();
        Ok(if written == room { u32::try_from(written + 1).unwrap_or(u32::MAX) } else { 0 })
    }

    /// Where on the medium a request is that begins with `sector`, if all of it is there.
    fn place(&self, sector: u64, len: usize) -> Result<u64, u32> {
        let len = len as u64;
        let end = sector.checked_add(len / SECTOR).filter(|end| *end <= self.sectors);
        let fits = len.is_multiple_of(SECTOR) && end.is_some();
        // No product of a number of sectors that a size in bytes was divided into overflows.
        fits.then(|| sector * SECTOR).ok_or(VIRTIO_BLK_S_IOERR)
    }

    fn read(&mut self, sector: u64, answer: &mut Writer<'_>) -> Outcome {
        let mut offset = self.place(sector, answer.available_bytes())?;
        while answer.available_bytes() > 0 {
            let len = answer.available_bytes().min(PIECE);
            let piece = self.buffer.get_mut(..len).ok_or(VIRTIO_BLK_S_IOERR)?;
            self.medium.read(offset, piece).map_err(failed)?;
            answer.write_all(piece).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            offset += len as u64;
        }
        Ok(())
    }

    fn write(&mut self, sector: u64, request: &mut Reader<'_>) -> Outcome {
        if self.read_only {
            return Err(VIRTIO_BLK_S_IOERR);
        }
        let mut offset = self.place(sector, request.available_bytes())?;
        while request.available_bytes() > 0 {
            let len = request.available_bytes().min(PIECE);
            let piece = self.buffer.get_mut(..len).ok_or(VIRTIO_BLK_S_IOERR)?;
            request.read_exact(piece).map_err(|_| VIRTIO_BLK_S_IOERR)?;
            self.medium.write(offset, piece).map_err(failed)?;
            offset += len as u64;
        }
        if self.driver_flushes { Ok(()) } else { self.flush() }
    }

    /// What is never written need not be flushed, and may be what cannot.
    fn flush(&mut self) -> Outcome {
        if self.read_only { Ok(()) } else { self.medium.flush().map_err(failed) }
    }

    fn tell_name(&self, answer: &mut Writer<'_>) -> Outcome {
        let mut name = [0; VIRTIO_BLK_ID_BYTES as usize];
        name.iter_mut().zip(self.name.bytes()).for_each(|(to, from)| *to = from);
        let len = answer.available_bytes().min(name.len());
        answer.write_all(name.get(..len).unwrap_or_default()).map_err(|_| VIRTIO_BLK_S_IOERR)
    }
}

fn failed(_: MediumError) -> u32 {
    VIRTIO_BLK_S_IOERR
}

/// The header of a request: what it is, and the first of its sectors (§5.2.6).
fn header(request: &mut Reader<'_>) -> io::Result<(u32, u64)> {
    let kind: Le32 = request.read_obj()?;
    let _reserved: Le32 = request.read_obj()?;
    let sector: Le64 = request.read_obj()?;
    Ok((kind.to_native(), sector.to_native()))
}

impl<M: Medium> Device for Disk<M> {
    fn kind(&self) -> Kind {
        Kind::Disk
    }

    fn features(&self) -> u64 {
        let read_only = u64::from(self.read_only) << VIRTIO_BLK_F_RO;
        1 << VIRTIO_BLK_F_SEG_MAX | 1 << VIRTIO_BLK_F_BLK_SIZE | 1 << VIRTIO_BLK_F_FLUSH | read_only
    }

    fn queues(&self) -> usize {
        1
    }

    fn config(&self, offset: usize, into: &mut [u8]) {
        // Capacity, largest segment, segments, geometry, size of a block (§5.2.4).
        let mut config = [0; 24];
        let fields = self
            .sectors
            .to_le_bytes()
            .into_iter()
            .chain([0; 4])
            .chain(SEGMENTS_MAX.to_le_bytes())
            .chain([0; 4])
            .chain(BLOCK_SIZE.to_le_bytes());
        config.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        let rest = config.get(offset..).unwrap_or_default();
        into.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    }

    fn ready(&mut self, features: u64) {
        self.driver_flushes = features & 1 << VIRTIO_BLK_F_FLUSH != 0;
    }

    fn serve(&mut self, _number: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let written = self.answer(&chain)?;
            ring.push(chain.head(), written)?;
        }
        Ok(())
    }

    fn inputs(&self) -> Range<usize> {
        0..0
    }

    fn reset(&mut self) {
        self.driver_flushes = false;
    }
}

#[cfg(test)]
mod tests;
