//! A split queue (§2.7) of frames: each buffer is a header and a frame, in two descriptors, as legacy devices want it
//! (§5.1.6.6).

use core::ptr;
use core::sync::atomic::{Ordering, fence};
use rt::cell::OneCpu;

/// The most descriptors of a queue.
pub(super) const SIZE_MAX: u16 = 256;
/// The most buffers of a queue.
pub(super) const BUFFERS_MAX: usize = SIZE_MAX as usize / 2;
/// Room for a frame: 1500 bytes behind an Ethernet header, and more.
pub(super) const FRAME_MAX: usize = 2048;
/// Length of the header of version 1; the legacy one has no number of buffers at its end (§5.1.6).
pub(super) const HEADER: usize = 12;
pub(super) const LEGACY_HEADER: usize = 10;

/// Flags of descriptors.
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// Alignment of a legacy queue's used ring (§2.7.2).
const ALIGN: usize = 4096;

/// The memory of a queue and its buffers.
#[repr(C, align(4096))]
pub(super) struct Memory {
    rings: [u8; 3 * ALIGN],
    frames: [[u8; FRAME_MAX]; BUFFERS_MAX],
    headers: [[u8; HEADER]; BUFFERS_MAX],
}

impl Memory {
    pub(super) const fn new() -> Self {
        Self {
            rings: [0; 3 * ALIGN],
            frames: [[0; FRAME_MAX]; BUFFERS_MAX],
            headers: [[0; HEADER]; BUFFERS_MAX],
        }
    }
}

/// Who writes the buffers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Writer {
    Device,
    Driver,
}

/// A queue. A buffer is a number below [`Queue::buffers`]; between [`Queue::offer`] and [`Queue::take`] it is the device's.
pub(super) struct Queue {
    memory: *mut Memory,
    size: u16,
    /// Whether indexes say when to interrupt and to notify (§2.7.7, §2.7.10).
    events: bool,
    /// Buffers offered, buffers of these that the device was told of, buffers taken, since the start.
    offered: u16,
    told: u16,
    taken: u16,
}

impl Queue {
    /// A queue of `size` descriptors in which no buffer has been offered.
    pub(super) fn new(
        memory: &'static OneCpu<Memory>,
        size: u16,
        header: usize,
        writer: Writer,
        events: bool,
    ) -> Self {
        assert!(size.is_power_of_two() && size <= SIZE_MAX, "a queue of {size} descriptors");
        let queue = Self { memory: memory.as_ptr(), size, events, offered: 0, told: 0, taken: 0 };
        let flags = if writer == Writer::Device { WRITE } else { 0 };
        for buffer in 0..queue.buffers() {
            let at = usize::from(buffer) * 2;
            queue.describe(at, queue.header_ptr(buffer) as u64, header, flags | NEXT, at + 1);
            queue.describe(at + 1, queue.frame_ptr(buffer) as u64, FRAME_MAX, flags, 0);
        }
        if queue.events {
            queue.set_used_event(queue.taken.wrapping_sub(1));
        }
        queue
    }

    /// Number of buffers.
    pub(super) fn buffers(&self) -> u16 {
        self.size / 2
    }

    /// Where descriptors, available ring and used ring are.
    pub(super) fn parts(&self) -> [u64; 3] {
        [0, self.available(), self.used()].map(|offset| self.memory as u64 + offset as u64)
    }

    /// Offset of the available ring: flags, index, ring, the event's index.
    fn available(&self) -> usize {
        16 * usize::from(self.size)
    }

    /// Offset of the used ring: flags, index, ring of pairs, the event's index.
    fn used(&self) -> usize {
        (self.available() + 6 + 2 * usize::from(self.size)).next_multiple_of(ALIGN)
    }

    /// Reads a number at an offset of the rings, which the device may change at any time.
    fn load<T: Copy>(&self, offset: usize) -> T {
        assert!(offset + size_of::<T>() <= 3 * ALIGN);
        // SAFETY: within the rings, as asserted, and aligned, as every offset here is for its type.
        unsafe { self.memory.cast::<u8>().add(offset).cast::<T>().read_volatile() }
    }

    /// Writes a number at an offset of the rings.
    fn store<T: Copy>(&self, offset: usize, value: T) {
        assert!(offset + size_of::<T>() <= 3 * ALIGN);
        // SAFETY: as in `load`.
        unsafe { self.memory.cast::<u8>().add(offset).cast::<T>().write_volatile(value) };
    }

    fn describe(&self, index: usize, address: u64, len: usize, flags: u16, next: usize) {
        let at = 16 * index;
        self.store(at, address);
        self.store(at + 8, len as u32);
        self.store(at + 12, flags);
        self.store(at + 14, next as u16);
    }

    /// Says how much of a buffer's frame there is to read.
    pub(super) fn set_frame_len(&self, buffer: u16, len: usize) {
        self.store(16 * (2 * usize::from(buffer) + 1) + 8, len as u32);
    }

    fn set_used_event(&self, index: u16) {
        self.store(self.available() + 4 + 2 * usize::from(self.size), index);
    }

    /// Gives a buffer to the device, which learns of it by [`Queue::publish`].
    pub(super) fn offer(&mut self, buffer: u16) {
        let slot = usize::from(self.offered % self.size);
        self.store(self.available() + 4 + 2 * slot, buffer * 2);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Tells the device of the buffers that were offered; whether it wants to be notified.
    pub(super) fn publish(&mut self) -> bool {
        if self.offered == self.told {
            return false;
        }
        fence(Ordering::Release);
        self.store(self.available() + 2, self.offered);
        fence(Ordering::SeqCst);
        let new = self.offered.wrapping_sub(self.told);
        self.told = self.offered;
        if !self.events {
            const NO_NOTIFY: u16 = 1;
            return self.load::<u16>(self.used()) & NO_NOTIFY == 0;
        }
        let event: u16 = self.load(self.used() + 4 + 8 * usize::from(self.size));
        self.offered.wrapping_sub(event).wrapping_sub(1) < new
    }

    /// The buffer that the device gave back first, and how many bytes it wrote; it stays in the queue.
    pub(super) fn peek(&self) -> Option<(u16, usize)> {
        if self.load::<u16>(self.used() + 2) == self.taken {
            return None;
        }
        fence(Ordering::Acquire);
        let at = self.used() + 4 + 8 * usize::from(self.taken % self.size);
        let (head, len) = (self.load::<u32>(at), self.load::<u32>(at + 4));
        let buffer = head as u16 / 2;
        assert!(buffer < self.buffers(), "the card gives back a buffer that is none");
        Some((buffer, len as usize))
    }

    /// Takes what [`Queue::peek`] showed.
    pub(super) fn take(&mut self) -> Option<u16> {
        let (buffer, _) = self.peek()?;
        self.taken = self.taken.wrapping_add(1);
        Some(buffer)
    }

    /// Wants an interrupt for the next buffer that comes back; whether one is back already.
    pub(super) fn want_interrupt(&mut self) -> bool {
        if self.events {
            self.set_used_event(self.taken);
        }
        fence(Ordering::SeqCst);
        self.peek().is_some()
    }

    fn header_ptr(&self, buffer: u16) -> *mut [u8; HEADER] {
        // SAFETY: computes an address within the memory, `buffer` being below its number, as everywhere here.
        unsafe { (&raw mut (*self.memory).headers).cast::<[u8; HEADER]>().add(usize::from(buffer)) }
    }

    fn frame_ptr(&self, buffer: u16) -> *mut [u8; FRAME_MAX] {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.memory).frames).cast::<[u8; FRAME_MAX]>().add(usize::from(buffer)) }
    }

    /// The header of a buffer that is not the device's.
    pub(super) fn header(&self, buffer: u16) -> [u8; HEADER] {
        // SAFETY: within the memory; nobody else has a reference to it.
        unsafe { ptr::read(self.header_ptr(buffer)) }
    }

    /// The frame of a buffer that is not the device's.
    pub(super) fn frame(&mut self, buffer: u16) -> &mut [u8; FRAME_MAX] {
        assert!(buffer < self.buffers());
        // SAFETY: within the memory; the device leaves it alone, and `self` is borrowed as long as the reference lives.
        unsafe { &mut *self.frame_ptr(buffer) }
    }
}
