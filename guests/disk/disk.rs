//! A driver of virtio disks (§5.2): one request at a time, and sleep until it is done.

use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::cpu;
use rt::virtio::{Device, EVENT_IDX, Kind, Ring, RingMemory, WRITE};

/// Bytes of a sector.
pub(crate) const SECTOR: usize = 512;

/// Features (§5.2.3).
pub(crate) const F_RO: u64 = 1 << 5;
pub(crate) const F_FLUSH: u64 = 1 << 9;
const F_SEG_MAX: u64 = 1 << 2;
const F_BLK_SIZE: u64 = 1 << 6;

/// What a request is (§5.2.6).
pub(crate) mod kind {
    pub(crate) const IN: u32 = 0;
    pub(crate) const OUT: u32 = 1;
    pub(crate) const FLUSH: u32 = 4;
    pub(crate) const GET_ID: u32 = 8;
}

/// How it went (§5.2.6).
pub(crate) const OK: u8 = 0;
pub(crate) const IOERR: u8 = 1;
pub(crate) const UNSUPP: u8 = 2;
/// What no device says.
const NONE: u8 = 0xff;

/// The only queue.
const REQUESTS: u16 = 0;

static RINGS: [OneCpu<RingMemory>; 2] = [const { OneCpu::new(RingMemory::new()) }; 2];

/// A disk.
pub(crate) struct Disk {
    device: Device,
    memory: &'static OneCpu<RingMemory>,
    ring: Ring,
    /// How many sectors it has.
    pub(crate) sectors: u64,
    /// Bytes of a block.
    pub(crate) block_size: u32,
    /// Pieces of data in a request at most.
    pub(crate) segments: u32,
}

impl Disk {
    /// Sets up disk `number` of the machine, of two at most. To be called once for each, with interrupts off.
    pub(crate) fn find(boot: &Boot, number: usize) -> Option<Self> {
        let mut device = Device::find(boot, Kind::Disk, number)?;
        let memory = &RINGS[number];
        if !device.begin(wanted(F_FLUSH)) {
            return None;
        }
        let ring = device.queue(REQUESTS, memory);
        device.listen();
        device.ready();
        let sectors = u64::from_le_bytes(device.config(0));
        let segments = u32::from_le_bytes(device.config(12));
        let block_size = u32::from_le_bytes(device.config(20));
        Some(Self { device, memory, ring, sectors, block_size, segments })
    }

    /// Sets it up once more, with these features of its own; whether it agrees.
    pub(crate) fn set_up(&mut self, features: u64) -> bool {
        let agreed = self.device.begin(wanted(features));
        if agreed {
            self.ring = self.device.queue(REQUESTS, self.memory);
            self.device.ready();
        }
        agreed
    }

    /// Whether the disk has the feature.
    pub(crate) fn has(&self, feature: u64) -> bool {
        self.device.has(feature)
    }

    /// Reads sectors.
    pub(crate) fn read(&mut self, sector: u64, into: &mut [u8]) -> u8 {
        self.ask(kind::IN, sector, &mut [into])
    }

    /// Writes sectors.
    pub(crate) fn write(&mut self, sector: u64, from: &mut [u8]) -> u8 {
        self.ask(kind::OUT, sector, &mut [from])
    }

    /// Makes a request and waits for its end; its status.
    pub(crate) fn ask(&mut self, kind: u32, sector: u64, data: &mut [&mut [u8]]) -> u8 {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        let mut status = NONE;
        let flags = if kind == kind::OUT { 0 } else { WRITE };
        self.ring.describe(0, header.as_mut_ptr() as u64, header.len(), 0, Some(1));
        let mut next = 1;
        for piece in data {
            self.ring.describe(next, piece.as_mut_ptr() as u64, piece.len(), flags, Some(next + 1));
            next += 1;
        }
        self.ring.describe(next, (&raw mut status) as u64, 1, WRITE, None);
        self.ring.offer(0);
        if self.ring.publish() {
            self.device.notify(REQUESTS);
        }
        while !self.ring.want_interrupt() {
            cpu::wait();
        }
        let _ = self.ring.take();
        // SAFETY: it is a local variable, which the device has written.
        unsafe { (&raw const status).read_volatile() }
    }
}

fn wanted(features: u64) -> u64 {
    F_RO | F_SEG_MAX | F_BLK_SIZE | EVENT_IDX | features
}
