//! Port I/O that need not leave translated code: writes that may reach their device later, and reads that are known beforehand.
//!
//! A kernel writes each character of its console to several ports, and reads others before it. So the monitor says of each port
//! whether a byte written to it may wait in a queue, and what a byte read from it will be ([`super::Places`]); it empties the
//! queue before it does anything else with devices, so that they see every write in its order.

use iced_x86::Register;

use super::{Emitter, Short};

/// What a port reads as, in the monitor's table: this much, in the lower byte, always.
const ALWAYS: u16 = 1 << 8;
/// This much, once after each write that waits.
const ONCE: u16 = 2 << 8;

/// What a byte read from a port will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRead {
    /// It has to be asked for.
    Unknown,
    /// This, until the table says otherwise.
    Always(u8),
    /// This, once after each write that waits in the queue.
    Once(u8),
}

impl PortRead {
    /// As it stands in the table.
    #[must_use]
    pub fn entry(self) -> u16 {
        match self {
            PortRead::Unknown => 0,
            PortRead::Always(value) => ALWAYS | u16::from(value),
            PortRead::Once(value) => ONCE | u16::from(value),
        }
    }
}

/// A write that waits: the port, then the byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortWrite {
    /// The port.
    pub port: u16,
    /// What was written to it.
    pub value: u8,
}

/// Entries of the queue. The first is not used: a queue whose next entry is number 0 takes no more.
pub const PORT_WRITES: usize = 256;

impl Emitter<'_> {
    /// `out dx, al` into the queue. Jumps that are taken, with nothing changed but `rcx`, if the monitor has to be asked.
    pub(in crate::translate) fn queue_port_write(&mut self) -> [Short; 2] {
        let places = self.places;
        self.load_port();
        self.copy(&[0x0f, 0xb6, 0x89]); // movzx ecx, byte [rcx+may_wait]
        self.copy(&places.may_wait.to_le_bytes());
        let must_not = self.jump_if_no_rcx();
        self.absolute(&[], &[0x0f, 0xb6], 1, places.next_write); // movzx ecx, byte [next_write]
        let full = self.jump_if_no_rcx();
        self.copy(&[0x66, 0x89, 0x14, 0x8d]); // mov [rcx*4+writes], dx
        self.copy(&places.writes.to_le_bytes());
        self.copy(&[0x88, 0x04, 0x8d]); // mov [rcx*4+writes+2], al
        self.copy(&(places.writes + 2).to_le_bytes());
        self.copy(&[0x8d, 0x49, 0x01]); // lea ecx, [rcx+1]
        self.absolute(&[], &[0xc6], 0, places.wrote); // mov byte [wrote], 1
        self.copy(&[1]);
        self.absolute(&[], &[0x88], 1, places.next_write); // mov [next_write], cl
        [must_not, full]
    }

    /// `in al, dx` from the table. Jumps that are taken, with nothing changed but `rcx`, if the monitor has to be asked.
    pub(in crate::translate) fn read_known_port(&mut self) -> [Short; 2] {
        const _: () = assert!(ALWAYS >> 8 == 1);
        let places = self.places;
        self.load_port();
        self.copy(&[0x0f, 0xb7, 0x0c, 0x4d]); // movzx ecx, word [rcx*2+reads]
        self.copy(&places.reads.to_le_bytes());
        let unknown = self.jump_if_no_rcx();
        self.store(Register::RCX, places.target);
        self.absolute(&[], &[0x0f, 0xb6], 1, places.target + 1); // movzx ecx, byte [target+1]
        self.copy(&[0x8d, 0x49, 0xff]); // lea ecx, [rcx-1]
        let always = self.jump_if_no_rcx();
        self.absolute(&[], &[0x0f, 0xb6], 1, places.wrote); // movzx ecx, byte [wrote]
        let used_up = self.jump_if_no_rcx();
        self.absolute(&[], &[0xc6], 0, places.wrote); // mov byte [wrote], 0
        self.copy(&[0]);
        self.land_short(always);
        self.absolute(&[], &[0x8a], 0, places.target); // mov al, [target]
        [unknown, used_up]
    }

    /// `movzx ecx, dx`
    fn load_port(&mut self) {
        self.copy(&[0x0f, 0xb7, 0xca]);
    }
}
