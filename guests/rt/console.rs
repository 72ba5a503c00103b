//! The serial port 0x3f8, polled, as Unikraft drives it (plat/kvm/x86/serial_console.c): a line feed goes out
//! as CR LF.

use crate::port::{inb, outb};
use core::fmt;

/// 16550 registers of the first serial port.
const DATA: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = 0x3f9;
const LINE_CONTROL: u16 = 0x3fb;
const LINE_STATUS: u16 = 0x3fd;

/// Line status bits.
const DATA_READY: u8 = 1 << 0;
const TRANSMITTER_EMPTY: u8 = 1 << 5;

/// 115200 baud, 8 data bits, no parity, one stop bit, no interrupts.
pub(crate) fn init() {
    outb(INTERRUPT_ENABLE, 0);
    outb(LINE_CONTROL, 0x80);
    outb(DATA, 1);
    outb(INTERRUPT_ENABLE, 0);
    outb(LINE_CONTROL, 3);
}

fn send(byte: u8) {
    while inb(LINE_STATUS) & TRANSMITTER_EMPTY == 0 {}
    outb(DATA, byte);
}

/// Writes bytes as they are, but a line feed as CR LF.
pub fn write(bytes: &[u8]) {
    for &byte in bytes {
        if byte == b'\n' {
            send(b'\r');
        }
        send(byte);
    }
}

/// Waits for one byte of input without sleeping.
pub fn read() -> u8 {
    while inb(LINE_STATUS) & DATA_READY == 0 {}
    inb(DATA)
}

/// Writes a number in decimal; `core::fmt` does it too, in more instructions.
pub fn write_decimal(mut number: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return write(&digits[at..]);
        }
    }
}

/// The serial port as a [`fmt::Write`].
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Prints to the serial port.
#[macro_export]
macro_rules! print {
    ($($argument:tt)*) => {{
        let _ = core::fmt::Write::write_fmt(&mut $crate::console::Console, format_args!($($argument)*));
    }};
}

/// Prints a line to the serial port.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        $crate::print!($($argument)*);
        $crate::console::write(b"\n");
    }};
}
