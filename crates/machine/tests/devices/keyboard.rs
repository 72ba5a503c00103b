//! The keyboard controller.

use runu_machine::{PortSize, Power};

use super::Bench;

#[test]
fn reset_pulse_ends_the_machine() {
    for command in [0xfe, 0xf0] {
        assert_eq!(Bench::new().out(0x64, PortSize::Byte, command), Some(Power::Off));
    }
}

#[test]
fn pulse_of_other_lines_does_nothing() {
    Bench::new().outb(0x64, 0xff);
}

#[test]
fn reset_line_of_the_output_port_ends_the_machine() {
    let mut bench = Bench::new();
    bench.outb(0x64, 0xd1);
    bench.outb(0x60, 0xdf);

    bench.outb(0x64, 0xd1);
    assert_eq!(bench.out(0x60, PortSize::Byte, 0xfe), Some(Power::Off));
}

#[test]
fn input_buffer_is_always_empty() {
    let mut bench = Bench::new();
    bench.outb(0x60, 0xf4);

    assert_eq!(bench.inb(0x64) & 0b11, 0, "neither does a keyboard answer");
}

#[test]
fn probe_gets_its_answers() {
    let mut bench = Bench::new();
    for (command, answer) in [(0xaa, 0x55), (0xab, 0x00), (0xa9, 0x00), (0xd0, 0x03)] {
        bench.outb(0x64, command);
        assert_eq!((bench.inb(0x64) & 1, bench.inb(0x60), bench.inb(0x64) & 1), (1, answer, 0));
    }
}

#[test]
fn command_byte_is_kept() {
    let mut bench = Bench::new();
    bench.outb(0x64, 0x60);
    bench.outb(0x60, 0x47);

    bench.outb(0x64, 0x20);

    assert_eq!(bench.inb(0x60), 0x47);
}
