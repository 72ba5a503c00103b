//! The serial port, after the PC16550D data sheet.

use super::Bench;

const DATA: u16 = 0x3f8;
const INTERRUPT_ENABLE: u16 = 0x3f9;
const IDENTIFICATION: u16 = 0x3fa;
const FIFO_CONTROL: u16 = 0x3fa;
const LINE_CONTROL: u16 = 0x3fb;
const MODEM_CONTROL: u16 = 0x3fc;
const LINE_STATUS: u16 = 0x3fd;
const MODEM_STATUS: u16 = 0x3fe;
const SCRATCH: u16 = 0x3ff;

const IRQ4: Option<u8> = Some(36);

/// Prints as a polling driver does.
fn print(bench: &mut Bench, text: &[u8]) {
    for &byte in text {
        assert_eq!(bench.inb(LINE_STATUS) & 0x20, 0x20, "ready to send");
        bench.outb(DATA, byte);
    }
}

#[test]
fn output_arrives_unchanged_and_a_line_at_a_time() {
    let mut bench = Bench::new();

    print(&mut bench, b"one\r\ntwo\r\n\x00\xff");
    assert_eq!((bench.output(), bench.writes()), (b"one\r\ntwo\r\n".to_vec(), 2));

    bench.pc.flush();
    bench.pc.flush();
    assert_eq!((bench.output(), bench.writes()), (b"one\r\ntwo\r\n\x00\xff".to_vec(), 3));
}

#[test]
fn output_without_line_ends_arrives_when_4_kib_are_there() {
    let mut bench = Bench::new();

    print(&mut bench, &[b'x'; 4095]);
    assert_eq!(bench.writes(), 0);

    print(&mut bench, b"x");
    assert_eq!((bench.output(), bench.writes()), (vec![b'x'; 4096], 1));
}

#[test]
fn divisor_latch_hides_data_and_interrupt_enable() {
    let mut bench = Bench::new();
    bench.outb(INTERRUPT_ENABLE, 5);

    bench.outb(LINE_CONTROL, 0x83);
    bench.outb(DATA, 0x34);
    bench.outb(INTERRUPT_ENABLE, 0x12);
    assert_eq!((bench.inb(DATA), bench.inb(INTERRUPT_ENABLE)), (0x34, 0x12));

    bench.outb(LINE_CONTROL, 3);
    assert_eq!((bench.inb(LINE_CONTROL), bench.inb(INTERRUPT_ENABLE)), (3, 5));
    bench.pc.flush();
    assert_eq!(bench.output(), b"");
}

#[test]
fn register_bits_that_the_chip_lacks_read_as_zero() {
    let mut bench = Bench::new();
    for port in [INTERRUPT_ENABLE, MODEM_CONTROL, SCRATCH] {
        bench.outb(port, 0xff);
    }

    assert_eq!([INTERRUPT_ENABLE, MODEM_CONTROL, SCRATCH].map(|port| bench.inb(port)), [0x0f, 0x1f, 0xff]);
}

#[test]
fn terminal_is_connected_and_ready() {
    assert_eq!(Bench::new().inb(MODEM_STATUS), 0xb0);
}

#[test]
fn input_is_polled_byte_by_byte() {
    let mut bench = Bench::new();
    bench.outb(FIFO_CONTROL, 1);
    assert_eq!(bench.inb(LINE_STATUS), 0x60);

    assert_eq!(bench.pc.input(b"ok"), 2);

    assert_eq!((bench.inb(LINE_STATUS), bench.inb(DATA)), (0x61, b'o'));
    assert_eq!((bench.inb(LINE_STATUS), bench.inb(DATA)), (0x61, b'k'));
    assert_eq!((bench.inb(LINE_STATUS), bench.inb(DATA)), (0x60, 0));
}

#[test]
fn input_beyond_the_fifo_waits_outside() {
    let mut bench = Bench::new();
    assert_eq!((bench.pc.input_room(), bench.pc.input(b"abc")), (1, 1), "a 16450 without its FIFO");

    bench.outb(FIFO_CONTROL, 1);
    assert_eq!(bench.inb(LINE_STATUS) & 1, 0, "turning FIFOs on empties them");
    assert_eq!((bench.pc.input_room(), bench.pc.input(&[b'x'; 20]), bench.pc.input_room()), (16, 16, 0));

    bench.inb(DATA);
    assert_eq!(bench.pc.input(b"yz"), 1);
    assert_eq!(bench.inb(LINE_STATUS) & 2, 0, "no overrun");
}

#[test]
fn input_with_its_interrupt_enabled_raises_irq_4() {
    let mut bench = Bench::with_interrupts();
    bench.outb(FIFO_CONTROL, 0xc1);
    bench.pc.input(b"a");
    assert_eq!(bench.interrupt(), None, "not enabled yet");

    bench.outb(INTERRUPT_ENABLE, 1);
    assert_eq!(bench.interrupt(), IRQ4);
    assert_eq!(bench.inb(IDENTIFICATION), 0xcc, "below the trigger level of 14: time-out");
    bench.pc.input(&[b'b'; 13]);
    assert_eq!(bench.inb(IDENTIFICATION), 0xc4, "trigger level reached");

    for _ in 0..14 {
        bench.inb(DATA);
    }
    assert_eq!(bench.inb(IDENTIFICATION), 0xc1);
    bench.outb(0x20, 0x20);
    assert_eq!(bench.interrupt(), None);
}

#[test]
fn transmitter_interrupt_comes_once_each_time_it_empties() {
    let mut bench = Bench::with_interrupts();
    bench.outb(INTERRUPT_ENABLE, 2);
    assert_eq!(bench.interrupt(), IRQ4, "it is empty when enabled");
    assert_eq!(bench.inb(IDENTIFICATION), 2);
    assert_eq!(bench.inb(IDENTIFICATION), 1, "reading it is told once");
    bench.outb(0x20, 0x20);
    assert_eq!(bench.interrupt(), None);

    bench.outb(DATA, b'x');

    assert_eq!(bench.interrupt(), IRQ4);
    bench.outb(INTERRUPT_ENABLE, 0);
    bench.outb(0x20, 0x20);
    assert_eq!((bench.interrupt(), bench.inb(IDENTIFICATION)), (None, 1));
}

#[test]
fn received_data_comes_before_the_transmitter() {
    let mut bench = Bench::new();
    bench.outb(INTERRUPT_ENABLE, 3);
    bench.pc.input(b"x");

    assert_eq!(bench.inb(IDENTIFICATION), 4);
    bench.inb(DATA);
    assert_eq!(bench.inb(IDENTIFICATION), 2);
}

#[test]
fn loopback_returns_what_is_sent_and_shuts_the_world_out() {
    let mut bench = Bench::new();
    bench.outb(MODEM_CONTROL, 0x1a);
    assert_eq!(bench.inb(MODEM_STATUS), 0x90, "RTS is CTS, OUT2 is carrier");

    bench.outb(DATA, 0xae);

    assert_eq!((bench.pc.input(b"x"), bench.inb(DATA)), (0, 0xae));
    bench.pc.flush();
    assert_eq!(bench.output(), b"");
}

#[test]
fn loopback_beyond_the_fifo_is_an_overrun_told_once() {
    let mut bench = Bench::with_interrupts();
    bench.outb(FIFO_CONTROL, 1);
    bench.outb(MODEM_CONTROL, 0x10);
    bench.outb(INTERRUPT_ENABLE, 4);

    for byte in 1..=17 {
        bench.outb(DATA, byte);
    }

    assert_eq!((bench.interrupt(), bench.inb(IDENTIFICATION)), (IRQ4, 0xc6));
    assert_eq!((bench.inb(LINE_STATUS), bench.inb(LINE_STATUS)), (0x63, 0x61));
    let received: Vec<u8> = (0..17).map(|_| bench.inb(DATA)).collect();
    assert_eq!(received, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0]);
}

#[test]
fn loopback_overrun_without_fifo_keeps_the_last_byte() {
    let mut bench = Bench::new();
    bench.outb(MODEM_CONTROL, 0x10);

    bench.outb(DATA, 1);
    bench.outb(DATA, 2);

    assert_eq!((bench.inb(LINE_STATUS), bench.inb(DATA)), (0x63, 2));
}
