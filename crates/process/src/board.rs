//! What the virtual CPU is wired to: guest memory, the devices of a PC, the console.

use std::{cell::Cell, rc::Rc};

use runu_core::GuestAddr;
use runu_deprivilege::bus::Bus;
use runu_machine::{Console, GuestMemory, Nanos, Pc, PortSize, Power, WallClock};

use crate::host;

/// The container's standard output as a console.
pub(crate) struct StandardOutput {
    first_output: Rc<Cell<u64>>,
}

/// Descriptor of the standard output.
const STDOUT: i32 = 1;

impl Console for StandardOutput {
    fn write(&mut self, mut bytes: &[u8]) {
        if self.first_output.get() == 0 {
            self.first_output.set(host::now());
        }
        while !bytes.is_empty() {
            match host::write(STDOUT, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => host::wait_writable(STDOUT),
                // Nobody reads any more, or the disk is full: a serial line loses what nobody takes.
                Err(_) => return,
            }
        }
    }
}

/// Guest memory and devices.
pub(crate) struct Board {
    pub(crate) memory: GuestMemory,
    pub(crate) pc: Pc<StandardOutput>,
    /// What the guest asked of the power switch.
    pub(crate) power: Option<Power>,
    /// Guest-physical pages that the monitor wrote for the guest since they were last taken.
    pub(crate) written: Vec<u64>,
    /// The guest used a port: timers and interrupt lines may have changed.
    pub(crate) used: bool,
    /// When the first byte of output left, in nanoseconds of `CLOCK_MONOTONIC`; 0 before.
    pub(crate) first_output: Rc<Cell<u64>>,
}

impl Board {
    pub(crate) fn new(memory: GuestMemory) -> Self {
        let unix_ns_at_zero = host::wall_clock().cast_signed() - host::now().cast_signed();
        let first_output = Rc::new(Cell::new(0));
        let console = StandardOutput { first_output: Rc::clone(&first_output) };
        Board {
            memory,
            pc: Pc::new(console, WallClock { unix_ns_at_zero }),
            power: None,
            written: Vec::new(),
            used: false,
            first_output,
        }
    }
}

impl Bus for Board {
    fn read_physical(&mut self, addr: GuestAddr, into: &mut [u8]) -> bool {
        self.memory.read(addr, into).is_ok()
    }

    fn write_physical(&mut self, addr: GuestAddr, from: &[u8]) -> bool {
        if self.memory.write(addr, from).is_err() {
            return false;
        }
        let first = addr.align_down(host::PAGE).0;
        let last = GuestAddr(addr.0 + (from.len() as u64).saturating_sub(1)).align_down(host::PAGE).0;
        for page in [first, last] {
            if self.written.last() != Some(&page) {
                self.written.push(page);
            }
        }
        true
    }

    fn read_device(&mut self, _addr: GuestAddr, _size: u8) -> u64 {
        // No device is memory-mapped: an idle bus reads as all ones.
        u64::MAX
    }

    fn write_device(&mut self, _addr: GuestAddr, _size: u8, _value: u64) {}

    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        let Some(size) = port_size(size) else { return u32::MAX };
        self.used = true;
        self.pc.read(port, size, Nanos(host::now()))
    }

    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        let Some(size) = port_size(size) else { return };
        self.used = true;
        if let Some(power) = self.pc.write(port, size, value, Nanos(host::now())) {
            self.power.get_or_insert(power);
        }
    }
}

fn port_size(bytes: u8) -> Option<PortSize> {
    match bytes {
        1 => Some(PortSize::Byte),
        2 => Some(PortSize::Word),
        4 => Some(PortSize::Dword),
        _ => None,
    }
}
