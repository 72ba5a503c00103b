//! What a device is whatever its transport: features, status, queues, the interrupt.

use virtio_bindings::{
    virtio_config::VIRTIO_F_VERSION_1,
    virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC},
};
use virtio_queue::{Queue, QueueT};

use super::{Broken, Device, Dma, Ring};

/// Buffers in a queue of most devices: what everybody has.
pub(crate) const QUEUE_SIZE: u16 = 256;

/// Bits of the status (§2.1).
const DRIVER_OK: u8 = 4;
const FEATURES_OK: u8 = 8;
const NEEDS_RESET: u8 = 64;

/// Bits of the interrupt status (§4.1.4.5, §4.2.2): buffers were used; the configuration, or the status, has changed.
const USED: u8 = 1;
const CHANGED: u8 = 2;

/// The interface that a driver speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// That of before version 1 (§2.2.3).
    Legacy,
    /// That of version 1 and later.
    Modern,
}

/// Where the three parts of a queue are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part {
    Descriptors,
    Available,
    Used,
}

/// A device and what its driver has made of it.
#[derive(Debug)]
pub(crate) struct Function {
    device: Box<dyn Device>,
    interface: Interface,
    queues: Vec<Queue>,
    status: u8,
    accepted: u64,
    interrupt: u8,
}

impl Function {
    /// A device as after power-on.
    pub(crate) fn new(device: Box<dyn Device>, interface: Interface) -> Self {
        // Sizes are powers of two within bounds, so that no queue is refused.
        let queues = (0..device.queues()).filter_map(|_| Queue::new(device.queue_size()).ok()).collect();
        Function { device, interface, queues, status: 0, accepted: 0, interrupt: 0 }
    }

    /// What the device is.
    pub(crate) fn kind(&self) -> super::Kind {
        self.device.kind()
    }

    /// Features that the driver may choose from (§2.2).
    pub(crate) fn offered(&self) -> u64 {
        let all = 1 << VIRTIO_RING_F_INDIRECT_DESC | 1 << VIRTIO_RING_F_EVENT_IDX;
        let version = match self.interface {
            Interface::Legacy => 0,
            Interface::Modern => 1 << VIRTIO_F_VERSION_1,
        };
        self.device.features() | all | version
    }

    /// The driver chooses features; half 1 are the upper 32.
    pub(crate) fn accept(&mut self, half: u32, features: u32) {
        if self.status & FEATURES_OK != 0 || self.status & DRIVER_OK != 0 {
            return;
        }
        match half {
            0 => self.accepted = self.accepted & !0xffff_ffff | u64::from(features),
            1 => self.accepted = self.accepted & 0xffff_ffff | u64::from(features) << 32,
            _ => {}
        }
    }

    /// What the driver chose, of what there is; all that a legacy driver chose that is not there does not count.
    fn features(&self) -> u64 {
        self.accepted & self.offered()
    }

    /// How far the driver is (§2.1).
    pub(crate) fn status(&self) -> u8 {
        self.status
    }

    /// The driver says how far it is; zero resets the device.
    pub(crate) fn set_status(&mut self, status: u8) {
        if status == 0 {
            self.reset();
            return;
        }
        let was_ready = self.is_ready();
        let acceptable = self.accepted & !self.offered() == 0
            && (self.interface == Interface::Legacy || self.accepted & 1 << VIRTIO_F_VERSION_1 != 0);
        // Not setting the bit is how a device refuses features (§2.2.2).
        let refused = if self.interface == Interface::Modern && !acceptable { FEATURES_OK } else { 0 };
        self.status = (status & !refused) | self.status & NEEDS_RESET;
        if !was_ready && self.is_ready() {
            let features = self.features();
            let event_idx = features & 1 << VIRTIO_RING_F_EVENT_IDX != 0;
            self.queues.iter_mut().for_each(|queue| queue.set_event_idx(event_idx));
            self.device.ready(features);
        }
    }

    fn is_ready(&self) -> bool {
        self.status & DRIVER_OK != 0 && self.status & NEEDS_RESET == 0
    }

    fn reset(&mut self) {
        self.device.reset();
        self.queues.iter_mut().for_each(QueueT::reset);
        (self.status, self.accepted, self.interrupt) = (0, 0, 0);
    }

    /// Queue `number`, if there is one.
    pub(crate) fn queue(&self, number: u32) -> Option<&Queue> {
        self.queues.get(number as usize)
    }

    /// Queue `number`, if there is one and the driver may still change it.
    pub(crate) fn queue_to_set_up(&mut self, number: u32) -> Option<&mut Queue> {
        if self.status & DRIVER_OK != 0 && self.interface == Interface::Modern {
            return None;
        }
        self.queues.get_mut(number as usize)
    }

    /// The driver says where a part of queue `number` is: half an address, or all of it.
    pub(crate) fn place(&mut self, number: u32, part: Part, low: Option<u32>, high: Option<u32>) {
        let Some(queue) = self.queue_to_set_up(number) else { return };
        match part {
            Part::Descriptors => queue.set_desc_table_address(low, high),
            Part::Available => queue.set_avail_ring_address(low, high),
            Part::Used => queue.set_used_ring_address(low, high),
        }
    }

    /// A legacy driver says in which page queue `number` starts, its parts one after the other (§2.7.2); page zero takes the
    /// queue away.
    pub(crate) fn place_legacy(&mut self, number: u32, page: u32) {
        /// Alignment of the used ring.
        const ALIGN: u64 = 4096;
        let Some(queue) = self.queues.get_mut(number as usize) else { return };
        if page == 0 {
            queue.reset();
            return;
        }
        let size = u64::from(queue.size());
        let descriptors = u64::from(page) * ALIGN;
        let available = descriptors + 16 * size;
        // Flags, index, ring and the event's index, two bytes each.
        let used = (available + 2 * (3 + size)).next_multiple_of(ALIGN);
        let halves = |addr: u64| (Some(low_half(addr)), Some(low_half(addr >> 32)));
        let ((d0, d1), (a0, a1), (u0, u1)) = (halves(descriptors), halves(available), halves(used));
        queue.set_desc_table_address(d0, d1);
        queue.set_avail_ring_address(a0, a1);
        queue.set_used_ring_address(u0, u1);
        queue.set_ready(true);
    }

    /// The page that [`Self::place_legacy`] was told.
    pub(crate) fn legacy_page(&self, number: u32) -> u32 {
        self.queue(number).map_or(0, |queue| low_half(queue.desc_table() / 4096))
    }

    /// The device's configuration from `offset` on.
    pub(crate) fn config(&self, offset: usize, into: &mut [u8]) {
        self.device.config(offset, into);
    }

    /// The driver says that there are new buffers in queue `number`.
    pub(crate) fn kick(&mut self, number: u32, dma: &Dma<'_>) {
        if self.is_ready() && self.serve(number as usize, dma).is_err() {
            self.fail();
        }
    }

    /// Something may have come from outside.
    pub(crate) fn poll(&mut self, dma: &Dma<'_>) {
        for number in self.device.inputs() {
            self.kick(u32::try_from(number).unwrap_or(u32::MAX), dma);
        }
    }

    fn serve(&mut self, number: usize, dma: &Dma<'_>) -> Result<(), Broken> {
        let Some(queue) = self.queues.get_mut(number) else { return Ok(()) };
        // A queue that is not set up is none that could have buffers.
        let Some(mut ring) = Ring::new(queue, dma) else { return Ok(()) };
        let served = self.device.serve(number, &mut ring);
        ring.want_kick();
        if ring.wants_interrupt() {
            self.interrupt |= USED;
        }
        served
    }

    fn fail(&mut self) {
        self.status |= NEEDS_RESET;
        self.interrupt |= CHANGED;
    }

    /// Why the device interrupts.
    pub(crate) fn interrupt_status(&self) -> u8 {
        self.interrupt
    }

    /// The driver knows of these reasons.
    pub(crate) fn acknowledge(&mut self, reasons: u8) {
        self.interrupt &= !reasons;
    }

    /// The level of the interrupt line.
    pub(crate) fn line(&self) -> bool {
        self.interrupt != 0
    }
}

/// The lower 32 bits.
fn low_half(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}
