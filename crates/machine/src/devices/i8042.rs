//! The keyboard controller, Intel 8042 as in the IBM PC AT: no keyboard, no mouse, but the reset line that half of the
//! world uses to restart a PC. Probing drivers get answers, so that they don't wait for time-outs.

use super::Power;

/// Status: the output buffer holds a byte for the CPU.
const OUTPUT_FULL: u8 = 1 << 0;
/// Status: the controller passed its self-test.
const SYSTEM: u8 = 1 << 2;
/// Status: the last write went to the command port.
const COMMAND: u8 = 1 << 3;
/// Status: the keyboard is not locked.
const UNLOCKED: u8 = 1 << 4;

/// Bit 0 of the output port is the CPU's reset line, low active; bit 1 is the A20 gate.
const OUTPUT_PORT: u8 = 0b11;

/// A command whose parameter comes through the data port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    CommandByte,
    OutputPort,
    Ignored,
}

/// The keyboard controller.
#[derive(Debug, Default)]
pub(super) struct I8042 {
    command_byte: u8,
    output: Option<u8>,
    awaits: Option<Awaits>,
    last_was_command: bool,
}

impl I8042 {
    /// Port 0x64, read.
    pub(super) fn status(&self) -> u8 {
        let full = if self.output.is_some() { OUTPUT_FULL } else { 0 };
        let command = if self.last_was_command { COMMAND } else { 0 };
        full | command | SYSTEM | UNLOCKED
    }

    /// Port 0x60, read.
    pub(super) fn data(&mut self) -> u8 {
        self.output.take().unwrap_or(0)
    }

    /// Port 0x64, write.
    pub(super) fn command(&mut self, command: u8) -> Option<Power> {
        self.last_was_command = true;
        self.awaits = None;
        match command {
            // Read and write the command byte.
            0x20 => self.output = Some(self.command_byte),
            0x60 => self.awaits = Some(Awaits::CommandByte),
            // Test of the mouse port, of the controller, of the keyboard port: no error, passed, no error.
            0xa9 | 0xab => self.output = Some(0x00),
            0xaa => self.output = Some(0x55),
            // Read and write the output port.
            0xd0 => self.output = Some(OUTPUT_PORT),
            0xd1 => self.awaits = Some(Awaits::OutputPort),
            // Write to an output buffer or to the mouse.
            0xd2..=0xd4 => self.awaits = Some(Awaits::Ignored),
            // Pulse the output port's bits that are zero here; bit 0 is reset.
            0xf0..=0xff if command & 1 == 0 => return Some(Power::Off),
            _ => {}
        }
        None
    }

    /// Port 0x60, write.
    pub(super) fn set_data(&mut self, value: u8) -> Option<Power> {
        self.last_was_command = false;
        match self.awaits.take() {
            Some(Awaits::CommandByte) => self.command_byte = value,
            Some(Awaits::OutputPort) if value & 1 == 0 => return Some(Power::Off),
            // No keyboard answers a byte that is not the controller's.
            Some(Awaits::OutputPort | Awaits::Ignored) | None => {}
        }
        None
    }
}
