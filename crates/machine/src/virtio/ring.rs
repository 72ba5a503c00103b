//! One queue while it is served (§2.6, §2.7: split virtqueues).

use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT, Reader, Writer};
use vm_memory::{Bytes, GuestAddress};

use super::{Broken, Dma};

/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (§2.7.6).
const NO_INTERRUPT: u16 = 1;

/// One queue while it is served.
pub(crate) struct Ring<'a> {
    queue: &'a mut Queue,
    dma: &'a Dma<'a>,
    used: bool,
    /// How many more chains are taken while it is served this once.
    left: u16,
}

/// Buffers that belong together.
pub(crate) struct Chain<'a> {
    chain: DescriptorChain<&'a Dma<'a>>,
    dma: &'a Dma<'a>,
}

impl<'a> Ring<'a> {
    /// The queue, if the driver has set it up as the specification wants.
    pub(crate) fn new(queue: &'a mut Queue, dma: &'a Dma<'a>) -> Option<Self> {
        let left = queue.size();
        queue.is_valid(dma).then_some(Ring { queue, dma, used: false, left })
    }

    /// The next buffers that the driver has put into the queue. No more than the queue has room for are taken while it is
    /// served once: the driver stands still meanwhile, but what a device writes for it may be the ring itself, with ever
    /// more buffers in it.
    ///
    /// # Errors
    /// The queue says that it holds more than it can.
    pub(crate) fn pop(&mut self) -> Result<Option<Chain<'a>>, Broken> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let mut chains =
            self.queue.iter(self.dma).map_err(|_| Broken("its ring is not in RAM, or overfull"))?;
        Ok(chains.next().map(|chain| Chain { chain, dma: self.dma }))
    }

    /// Puts the buffers that were taken last back: they come next.
    pub(crate) fn unpop(&mut self) {
        self.left = self.left.saturating_add(1);
        self.queue.go_to_previous_position();
    }

    /// Gives buffers back to the driver, `len` bytes of them written.
    ///
    /// # Errors
    /// They are none of this queue's.
    pub(crate) fn push(&mut self, head: u16, len: u32) -> Result<(), Broken> {
        self.used = true;
        self.queue.add_used(self.dma, head, len).map_err(|_| Broken("a buffer that is not in its ring"))
    }

    /// Tells a driver that goes by indexes from which buffer on it has to kick (§2.7.10): otherwise it believes that the first
    /// kick was the last that is needed. No buffer can come in between, because the guest stands still while its devices work.
    pub(crate) fn want_kick(&mut self) {
        if self.queue.event_idx_enabled() {
            // A ring that is not in RAM is found when it is next looked at.
            let _ = self.queue.enable_notification(self.dma);
        }
    }

    /// Whether the driver wants to be interrupted for what was given back.
    pub(crate) fn wants_interrupt(self) -> bool {
        if !self.used {
            return false;
        }
        if self.queue.event_idx_enabled() {
            return self.queue.needs_notification(self.dma).unwrap_or(true);
        }
        let flags = self.dma.load::<u16>(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed);
        flags.is_ok_and(|flags| u16::from_le(flags) & NO_INTERRUPT == 0)
    }
}

impl<'a> Chain<'a> {
    /// By which they are given back.
    pub(crate) fn head(&self) -> u16 {
        self.chain.head_index()
    }

    /// What the driver wrote.
    ///
    /// # Errors
    /// Some of it is not RAM.
    pub(crate) fn reader(&self) -> Result<Reader<'a>, Broken> {
        self.chain.clone().reader(self.dma).map_err(|_| Broken("a buffer that is not RAM"))
    }

    /// Where the driver wants to find something.
    ///
    /// # Errors
    /// Some of it is not RAM.
    pub(crate) fn writer(&self) -> Result<Writer<'a>, Broken> {
        self.chain.clone().writer(self.dma).map_err(|_| Broken("a buffer that is not RAM"))
    }
}
