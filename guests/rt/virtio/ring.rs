//! A split queue (§2.7): descriptors that its owner fills, and the two rings that say whose they are.

use crate::cell::OneCpu;
use core::sync::atomic::{Ordering, fence};

/// The most descriptors of a queue.
pub const SIZE_MAX: u16 = 256;

/// Flags of descriptors: another follows, the device writes the buffer.
const NEXT: u16 = 1;
/// The device writes the buffer.
pub const WRITE: u16 = 2;
/// Alignment of a legacy queue's used ring (§2.7.2).
const ALIGN: usize = 4096;

/// The memory of a queue.
#[repr(C, align(4096))]
pub struct RingMemory([u8; 3 * ALIGN]);

impl RingMemory {
    /// Memory of a queue that is not used yet.
    pub const fn new() -> Self {
        Self([0; 3 * ALIGN])
    }
}

impl Default for RingMemory {
    fn default() -> Self {
        Self::new()
    }
}

/// A queue. A chain of descriptors is named by its first; between [`Ring::offer`] and [`Ring::take`] it is the device's.
pub struct Ring {
    memory: *mut RingMemory,
    size: u16,
    /// Whether indexes say when to interrupt and to notify (§2.7.7, §2.7.10).
    events: bool,
    /// Chains offered, chains of these that the device was told of, chains taken, since the start.
    offered: u16,
    told: u16,
    taken: u16,
}

impl Ring {
    /// A queue of `size` descriptors of which nothing has been offered.
    pub(super) fn new(memory: &'static OneCpu<RingMemory>, size: u16, events: bool) -> Self {
        assert!(size.is_power_of_two() && size <= SIZE_MAX, "a queue of {size} descriptors");
        let ring = Self { memory: memory.as_ptr(), size, events, offered: 0, told: 0, taken: 0 };
        // It may have been used before.
        for offset in (0..3 * ALIGN).step_by(8) {
            ring.store(offset, 0_u64);
        }
        if ring.events {
            ring.set_used_event(ring.taken.wrapping_sub(1));
        }
        ring
    }

    /// Number of descriptors.
    pub fn size(&self) -> u16 {
        self.size
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

    /// Fills a descriptor with a buffer that must stay where it is; `next` is the descriptor that follows in the chain.
    pub fn describe(&self, index: u16, address: u64, len: usize, flags: u16, next: Option<u16>) {
        assert!(index < self.size);
        let at = 16 * usize::from(index);
        self.store(at, address);
        self.store(at + 8, len as u32);
        self.store(at + 12, flags | if next.is_some() { NEXT } else { 0 });
        self.store(at + 14, next.unwrap_or(0));
    }

    /// Changes the length of a descriptor's buffer.
    pub fn set_len(&self, index: u16, len: usize) {
        assert!(index < self.size);
        self.store(16 * usize::from(index) + 8, len as u32);
    }

    fn set_used_event(&self, index: u16) {
        self.store(self.available() + 4 + 2 * usize::from(self.size), index);
    }

    /// Gives a chain to the device, which learns of it by [`Ring::publish`].
    pub fn offer(&mut self, head: u16) {
        let slot = usize::from(self.offered % self.size);
        self.store(self.available() + 4 + 2 * slot, head);
        self.offered = self.offered.wrapping_add(1);
    }

    /// Tells the device of the chains that were offered; whether it wants to be notified.
    pub fn publish(&mut self) -> bool {
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

    /// The chain that the device gave back first, and how many bytes it wrote; it stays in the queue.
    pub fn peek(&self) -> Option<(u16, usize)> {
        if self.load::<u16>(self.used() + 2) == self.taken {
            return None;
        }
        fence(Ordering::Acquire);
        let at = self.used() + 4 + 8 * usize::from(self.taken % self.size);
        let (head, len) = (self.load::<u32>(at), self.load::<u32>(at + 4));
        assert!(head < u32::from(self.size), "the device gives back what is none of its chains");
        Some((head as u16, len as usize))
    }

    /// Takes what [`Ring::peek`] showed.
    pub fn take(&mut self) -> Option<(u16, usize)> {
        let chain = self.peek()?;
        self.taken = self.taken.wrapping_add(1);
        Some(chain)
    }

    /// Wants an interrupt for the next chain that comes back; whether one is back already.
    pub fn want_interrupt(&mut self) -> bool {
        if self.events {
            self.set_used_event(self.taken);
        }
        fence(Ordering::SeqCst);
        self.peek().is_some()
    }
}
