//! A client of a 9P server behind a virtio device (Linux include/uapi/linux/virtio_9p.h): one message at a time, and sleep
//! until its answer is there.

use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::cpu;
use rt::virtio::{Device, EVENT_IDX, Kind, Ring, RingMemory, WRITE};

/// The longest message.
pub(crate) const SIZE: usize = 512 << 10;
/// Size, type, tag.
const HEADER: usize = 7;
/// The device's only feature: it has a tag.
const MOUNT_TAG: u64 = 1;
/// The only queue.
const REQUESTS: u16 = 0;

/// Types of messages (Plan 9 manual, section 5; diod's protocol.md).
pub(crate) mod kind {
    pub(crate) const LERROR: u8 = 6;
    pub(crate) const LOPEN: u8 = 12;
    pub(crate) const LCREATE: u8 = 14;
    pub(crate) const READDIR: u8 = 40;
    pub(crate) const VERSION: u8 = 100;
    pub(crate) const ATTACH: u8 = 104;
    pub(crate) const ERROR: u8 = 106;
    pub(crate) const WALK: u8 = 110;
    pub(crate) const OPEN: u8 = 112;
    pub(crate) const CREATE: u8 = 114;
    pub(crate) const READ: u8 = 116;
    pub(crate) const WRITE: u8 = 118;
    pub(crate) const CLUNK: u8 = 120;
    pub(crate) const REMOVE: u8 = 122;
}

static RING: OneCpu<RingMemory> = OneCpu::new(RingMemory::new());
static OUT: OneCpu<[u8; SIZE]> = OneCpu::new([0; SIZE]);
static IN: OneCpu<[u8; SIZE]> = OneCpu::new([0; SIZE]);

/// A device and what is said through it.
pub(crate) struct Client {
    device: Device,
    ring: Ring,
    out: &'static mut [u8; SIZE],
    answer: &'static mut [u8; SIZE],
    len: usize,
    /// Whether errors come with a text (9P2000.u).
    pub(crate) unix: bool,
}

impl Client {
    /// Sets up the first device. To be called once, with interrupts off.
    pub(crate) fn find(boot: &Boot) -> Option<Self> {
        let mut device = Device::find(boot, Kind::NineP, 0)?;
        if !device.begin(MOUNT_TAG | EVENT_IDX) || !device.has(MOUNT_TAG) {
            return None;
        }
        let ring = device.queue(REQUESTS, &RING);
        device.listen();
        device.ready();
        // SAFETY: these are the only uses, and this is called once.
        let (out, answer) = unsafe { (OUT.get(), IN.get()) };
        Some(Self { device, ring, out, answer, len: HEADER, unix: false })
    }

    /// Whether the device's tag is this.
    pub(crate) fn has_tag<const N: usize>(&self, tag: &[u8; N]) -> bool {
        let len = u16::from_le_bytes(self.device.config(0));
        usize::from(len) == N && self.device.config::<N>(2) == *tag
    }

    /// Begins a message.
    pub(crate) fn begin(&mut self, kind: u8) -> &mut Self {
        self.out[4..HEADER].copy_from_slice(&[kind, 1, 0]);
        self.len = HEADER;
        self
    }

    /// Adds bytes to the message.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
        self
    }

    /// Adds a number of one byte.
    pub(crate) fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Adds a number of two bytes.
    pub(crate) fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Adds a number of four bytes.
    pub(crate) fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Adds a number of eight bytes.
    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Adds a string.
    pub(crate) fn string(&mut self, text: &[u8]) -> &mut Self {
        self.u16(text.len() as u16).bytes(text)
    }

    /// Sends the message; the answer, or the number of the error.
    pub(crate) fn ask(&mut self) -> Result<&[u8], u32> {
        self.out[..4].copy_from_slice(&(self.len as u32).to_le_bytes());
        self.ring.describe(0, self.out.as_mut_ptr() as u64, self.len, 0, Some(1));
        self.ring.describe(1, self.answer.as_mut_ptr() as u64, SIZE, WRITE, None);
        self.ring.offer(0);
        if self.ring.publish() {
            self.device.notify(REQUESTS);
        }
        while !self.ring.want_interrupt() {
            cpu::wait();
        }
        let len = self.ring.take().map_or(0, |(_, len)| len);
        let (header, body) = self.answer[..len].split_at(HEADER);
        let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert_eq!(number(header) as usize, len, "an answer of another length");
        match header[4] - 1 {
            kind::LERROR => Err(number(body)),
            kind::ERROR => Err(number(&body[2 + usize::from(u16::from_le_bytes([body[0], body[1]]))..])),
            kind => {
                assert_eq!(kind, self.out[4], "an answer to something else");
                Ok(body)
            }
        }
    }
}
