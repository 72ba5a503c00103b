//! A queue of frames: each buffer is a header and a frame, in two descriptors, as legacy devices want it (§5.1.6.6).

use core::ptr;
use rt::cell::OneCpu;
use rt::virtio::{Ring, SIZE_MAX, WRITE};

/// The most buffers of a queue.
pub(crate) const BUFFERS_MAX: usize = SIZE_MAX as usize / 2;
/// Room for a frame: 1500 bytes behind an Ethernet header, and more.
pub(crate) const FRAME_MAX: usize = 2048;
/// Length of the header of version 1; the legacy one has no number of buffers at its end (§5.1.6).
pub(crate) const HEADER: usize = 12;
pub(crate) const LEGACY_HEADER: usize = 10;

/// The memory of a queue's buffers.
#[repr(C, align(4096))]
pub(crate) struct Memory {
    frames: [[u8; FRAME_MAX]; BUFFERS_MAX],
    headers: [[u8; HEADER]; BUFFERS_MAX],
}

impl Memory {
    pub(crate) const fn new() -> Self {
        Self { frames: [[0; FRAME_MAX]; BUFFERS_MAX], headers: [[0; HEADER]; BUFFERS_MAX] }
    }
}

/// Who writes the buffers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Device,
    Driver,
}

/// A queue. A buffer is a number below [`Frames::buffers`]; between [`Frames::offer`] and [`Frames::take`] it is the device's.
pub(crate) struct Frames {
    memory: *mut Memory,
    ring: Ring,
}

impl Frames {
    /// A queue in which no buffer has been offered; before each frame is a header of `header` bytes.
    pub(crate) fn new(memory: &'static OneCpu<Memory>, ring: Ring, header: usize, writer: Writer) -> Self {
        let queue = Self { memory: memory.as_ptr(), ring };
        let flags = if writer == Writer::Device { WRITE } else { 0 };
        for buffer in 0..queue.buffers() {
            let at = buffer * 2;
            queue.ring.describe(at, queue.header_ptr(buffer) as u64, header, flags, Some(at + 1));
            queue.ring.describe(at + 1, queue.frame_ptr(buffer) as u64, FRAME_MAX, flags, None);
        }
        queue
    }

    /// Number of buffers.
    pub(crate) fn buffers(&self) -> u16 {
        self.ring.size() / 2
    }

    /// Says how much of a buffer's frame there is to read.
    pub(crate) fn set_frame_len(&self, buffer: u16, len: usize) {
        self.ring.set_len(2 * buffer + 1, len);
    }

    /// Gives a buffer to the device, which learns of it by [`Frames::publish`].
    pub(crate) fn offer(&mut self, buffer: u16) {
        self.ring.offer(buffer * 2);
    }

    /// Tells the device of the buffers that were offered; whether it wants to be notified.
    pub(crate) fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// The buffer that the device gave back first, and how many bytes it wrote; it stays in the queue.
    pub(crate) fn peek(&self) -> Option<(u16, usize)> {
        self.ring.peek().map(|(head, len)| (head / 2, len))
    }

    /// Takes what [`Frames::peek`] showed.
    pub(crate) fn take(&mut self) -> Option<u16> {
        self.ring.take().map(|(head, _)| head / 2)
    }

    /// Wants an interrupt for the next buffer that comes back; whether one is back already.
    pub(crate) fn want_interrupt(&mut self) -> bool {
        self.ring.want_interrupt()
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
    pub(crate) fn header(&self, buffer: u16) -> [u8; HEADER] {
        // SAFETY: within the memory; nobody else has a reference to it.
        unsafe { ptr::read(self.header_ptr(buffer)) }
    }

    /// The frame of a buffer that is not the device's.
    pub(crate) fn frame(&mut self, buffer: u16) -> &mut [u8; FRAME_MAX] {
        assert!(buffer < self.buffers());
        // SAFETY: within the memory; the device leaves it alone, and `self` is borrowed as long as the reference lives.
        unsafe { &mut *self.frame_ptr(buffer) }
    }
}
