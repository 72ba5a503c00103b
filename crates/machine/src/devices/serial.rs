//! The serial port, a 16550 (National Semiconductor PC16550D data sheet, *the data sheet* below): the guest's console.
//!
//! Sending takes no time, so the transmitter is always empty. What is sent is collected and handed to the console in
//! pieces: at the end of a line, when the buffer is full, when the monitor flushes. One host system call a line instead
//! of one a character.
//!
//! Received bytes wait in the chip's FIFO; the monitor leaves with the host what does not fit. No receive error
//! occurs but an overrun in loopback, and the modem lines never change: a terminal is always connected and ready.

use std::collections::VecDeque;

/// Where a guest's console output goes.
pub trait Console {
    /// Takes all of `bytes`, unchanged.
    fn write(&mut self, bytes: &[u8]);
}

impl<C: Console + ?Sized> Console for Box<C> {
    fn write(&mut self, bytes: &[u8]) {
        (**self).write(bytes);
    }
}

/// Output is handed on at the latest when so many bytes have been collected.
const BUFFER: usize = 4096;
/// Bytes in the receive FIFO.
const FIFO: usize = 16;

/// Register offsets (the data sheet, "Summary of Registers").
mod register {
    /// Receiver buffer, transmitter holding, divisor latch (least).
    pub(super) const DATA: u16 = 0;
    /// Interrupt enable, divisor latch (most).
    pub(super) const INTERRUPT_ENABLE: u16 = 1;
    /// Interrupt identification when read, FIFO control when written.
    pub(super) const FIFO_CONTROL: u16 = 2;
    pub(super) const LINE_CONTROL: u16 = 3;
    pub(super) const MODEM_CONTROL: u16 = 4;
    pub(super) const LINE_STATUS: u16 = 5;
    pub(super) const MODEM_STATUS: u16 = 6;
    pub(super) const SCRATCH: u16 = 7;
}

/// Interrupt enable: received data, transmitter empty, line status.
const ENABLE_RECEIVED: u8 = 1 << 0;
const ENABLE_EMPTY: u8 = 1 << 1;
const ENABLE_LINE_STATUS: u8 = 1 << 2;

/// Interrupt identification (the data sheet, "Interrupt Control Functions").
const NO_INTERRUPT: u8 = 0b0001;
const LINE_STATUS_CHANGED: u8 = 0b0110;
const DATA_AVAILABLE: u8 = 0b0100;
const CHARACTER_TIMEOUT: u8 = 0b1100;
const TRANSMITTER_EMPTY: u8 = 0b0010;
/// Interrupt identification: FIFOs are on.
const FIFOS_ENABLED: u8 = 0b1100_0000;

/// FIFO control: on; clear the receive FIFO.
const FIFO_ENABLE: u8 = 1 << 0;
const FIFO_CLEAR_RECEIVED: u8 = 1 << 1;

/// Line control: registers 0 and 1 are the divisor latch.
const DIVISOR_LATCH: u8 = 1 << 7;

/// Modem control: what is sent is received, modem outputs are modem inputs.
const LOOPBACK: u8 = 1 << 4;
const MODEM_CONTROL_WRITABLE: u8 = 0b0001_1111;

/// Line status: data ready, overrun, transmitter holding register and transmitter empty.
const DATA_READY: u8 = 1 << 0;
const OVERRUN: u8 = 1 << 1;
const EMPTY: u8 = 1 << 6 | 1 << 5;

/// Modem status of a connected terminal: carrier, data set ready, clear to send.
const CONNECTED: u8 = 1 << 7 | 1 << 5 | 1 << 4;

/// 9600 baud of a 1.8432 MHz clock, which a PC's BIOS sets.
const DIVISOR: [u8; 2] = [12, 0];

/// The serial port and the output that it collects.
#[derive(Debug)]
pub(super) struct Serial<C> {
    console: C,
    output: Vec<u8>,
    received: VecDeque<u8>,
    fifo_control: u8,
    interrupt_enable: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: [u8; 2],
    /// The transmitter became empty and nobody has been told.
    empty_untold: bool,
    overrun: bool,
}

impl<C: Console> Serial<C> {
    pub(super) fn new(console: C) -> Self {
        Self {
            console,
            output: Vec::with_capacity(BUFFER),
            received: VecDeque::with_capacity(FIFO),
            fifo_control: 0,
            interrupt_enable: 0,
            line_control: 0,
            modem_control: 0,
            scratch: 0,
            divisor: DIVISOR,
            empty_untold: false,
            overrun: false,
        }
    }

    /// Hands on what has been collected.
    pub(super) fn flush(&mut self) {
        if !self.output.is_empty() {
            self.console.write(&self.output);
            self.output.clear();
        }
    }

    /// How many bytes [`Self::input`] would take.
    pub(super) fn input_room(&self) -> usize {
        if self.modem_control & LOOPBACK != 0 { 0 } else { self.capacity() - self.received.len() }
    }

    /// Receives the first of `bytes` as far as they fit and says how many.
    pub(super) fn input(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(self.input_room());
        self.received.extend(bytes.iter().take(taken));
        taken
    }

    /// Whether sending does nothing but to send: nobody is told of it, and nothing comes back.
    pub(super) fn sends_plainly(&self) -> bool {
        let told = self.interrupt_enable & ENABLE_EMPTY != 0;
        !self.latch_selected() && self.modem_control & LOOPBACK == 0 && !told
    }

    /// The line status, if reading it changes nothing and sending does not change it.
    pub(super) fn plain_line_status(&self) -> Option<u8> {
        (self.received.is_empty() && !self.overrun).then_some(EMPTY)
    }

    /// Whether the chip asks for an interrupt.
    #[inline]
    pub(super) fn interrupt(&self) -> bool {
        self.interrupt_enable != 0 && self.identification() != NO_INTERRUPT
    }

    #[inline]
    pub(super) fn read(&mut self, register: u16) -> u8 {
        match register {
            register::DATA if self.latch_selected() => self.divisor[0],
            register::DATA => self.received.pop_front().unwrap_or(0),
            register::INTERRUPT_ENABLE if self.latch_selected() => self.divisor[1],
            register::INTERRUPT_ENABLE => self.interrupt_enable,
            register::FIFO_CONTROL => self.identify(),
            register::LINE_CONTROL => self.line_control,
            register::MODEM_CONTROL => self.modem_control,
            register::LINE_STATUS => self.line_status(),
            register::MODEM_STATUS => self.modem_status(),
            register::SCRATCH => self.scratch,
            _ => 0xff,
        }
    }

    #[inline]
    pub(super) fn write(&mut self, register: u16, value: u8) {
        match register {
            register::DATA if self.latch_selected() => self.divisor[0] = value,
            register::DATA => self.send(value),
            register::INTERRUPT_ENABLE if self.latch_selected() => self.divisor[1] = value,
            register::INTERRUPT_ENABLE => {
                // Enabling it while the transmitter is empty raises it at once.
                self.empty_untold |= value & !self.interrupt_enable & ENABLE_EMPTY != 0;
                self.interrupt_enable = value & 0x0f;
            }
            register::FIFO_CONTROL => self.control_fifo(value),
            register::LINE_CONTROL => self.line_control = value,
            register::MODEM_CONTROL => self.modem_control = value & MODEM_CONTROL_WRITABLE,
            register::SCRATCH => self.scratch = value,
            // Line and modem status are read-only.
            _ => {}
        }
    }

    fn latch_selected(&self) -> bool {
        self.line_control & DIVISOR_LATCH != 0
    }

    fn capacity(&self) -> usize {
        if self.fifo_control & FIFO_ENABLE != 0 { FIFO } else { 1 }
    }

    fn send(&mut self, byte: u8) {
        self.empty_untold = true;
        if self.modem_control & LOOPBACK != 0 {
            if self.received.len() < self.capacity() {
                self.received.push_back(byte);
            } else {
                // The FIFO keeps what it has, a lone receiver buffer what came last (the data sheet,
                // "Line Status Register", OE).
                if self.capacity() == 1 {
                    self.received.clear();
                    self.received.push_back(byte);
                }
                self.overrun = true;
            }
            return;
        }
        self.output.push(byte);
        if byte == b'\n' || self.output.len() >= BUFFER {
            self.flush();
        }
    }

    fn control_fifo(&mut self, value: u8) {
        // Turning FIFOs on or off empties them; the other bits count only while they are on (the data sheet,
        // "FIFO Control Register").
        if (value ^ self.fifo_control) & FIFO_ENABLE != 0 || value & FIFO_CLEAR_RECEIVED != 0 {
            self.received.clear();
        }
        self.fifo_control = if value & FIFO_ENABLE != 0 { value } else { 0 };
    }

    /// Received bytes that raise the interrupt without a pause (the data sheet, "FIFO Control Register").
    fn trigger_level(&self) -> usize {
        match self.fifo_control >> 6 {
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        }
    }

    fn identification(&self) -> u8 {
        if self.interrupt_enable & ENABLE_LINE_STATUS != 0 && self.overrun {
            LINE_STATUS_CHANGED
        } else if self.interrupt_enable & ENABLE_RECEIVED != 0 && !self.received.is_empty() {
            // Below the trigger level it comes after a pause of four characters; here the pause is nothing.
            if self.received.len() >= self.trigger_level() { DATA_AVAILABLE } else { CHARACTER_TIMEOUT }
        } else if self.interrupt_enable & ENABLE_EMPTY != 0 && self.empty_untold {
            TRANSMITTER_EMPTY
        } else {
            NO_INTERRUPT
        }
    }

    /// Reads the identification, which counts as telling that the transmitter is empty.
    fn identify(&mut self) -> u8 {
        let identification = self.identification();
        if identification == TRANSMITTER_EMPTY {
            self.empty_untold = false;
        }
        let fifos = if self.fifo_control & FIFO_ENABLE != 0 { FIFOS_ENABLED } else { 0 };
        identification | fifos
    }

    fn line_status(&mut self) -> u8 {
        let ready = if self.received.is_empty() { 0 } else { DATA_READY };
        let overrun = if std::mem::take(&mut self.overrun) { OVERRUN } else { 0 };
        EMPTY | ready | overrun
    }

    fn modem_status(&self) -> u8 {
        if self.modem_control & LOOPBACK == 0 {
            return CONNECTED;
        }
        // DTR to DSR, RTS to CTS, OUT1 to ring, OUT2 to carrier (the data sheet, "Modem Control Register").
        let control = self.modem_control;
        (control & 1) << 5 | (control & 2) << 3 | (control & 4) << 4 | (control & 8) << 4
    }
}
