//! The ways to end a machine.

use runu_machine::{PortSize, Power};

use super::Bench;

const UNIKRAFT_CRASH: Power = Power::Crash("the kernel reported a crash at port 0x501");
const PANIC: Power = Power::Crash("the kernel reported a panic (pvpanic)");

#[test]
fn write_that_asks_for_an_end_gets_it() {
    let ends = [
        (0x604, PortSize::Word, 0x2000, Power::Off),
        (0x604, PortSize::Word, 0x3400, Power::Off),
        (0xb004, PortSize::Word, 0x2000, Power::Off),
        (0x501, PortSize::Word, 41, Power::Off),
        (0x501, PortSize::Byte, 41, Power::Off),
        (0x501, PortSize::Dword, 42, UNIKRAFT_CRASH),
        (0x501, PortSize::Word, 42, UNIKRAFT_CRASH),
        (0x505, PortSize::Byte, 1, PANIC),
        (0xf4, PortSize::Byte, 0, Power::Exit(0)),
        (0xf4, PortSize::Byte, 42, Power::Exit(42)),
        (0xf4, PortSize::Dword, 0x1ff, Power::Exit(255)),
        (0x92, PortSize::Byte, 3, Power::Off),
        (0xcf9, PortSize::Byte, 6, Power::Off),
    ];
    for (port, size, value, end) in ends {
        assert_eq!(Bench::new().out(port, size, value), Some(end), "{value:#x} to {port:#x}");
    }
}

#[test]
fn write_beside_an_end_does_nothing() {
    let writes = [
        (0x604, PortSize::Word, 0x1c00),
        (0x604, PortSize::Byte, 0xff),
        (0x604, PortSize::Word, 0x2000_0000),
        (0x501, PortSize::Word, 40),
        (0x501, PortSize::Word, 0x012a),
        (0x505, PortSize::Byte, 2),
        (0x92, PortSize::Byte, 2),
        (0xcf9, PortSize::Byte, 2),
        (0xcf8, PortSize::Dword, 0x8000_0000),
        (0xe9, PortSize::Byte, u32::from(b'x')),
        (0x80, PortSize::Byte, 0),
    ];
    for (port, size, value) in writes {
        assert_eq!(Bench::new().out(port, size, value), None, "{value:#x} to {port:#x}");
    }
}

#[test]
fn pvpanic_says_which_events_it_takes() {
    assert_eq!(Bench::new().inb(0x505), 1);
}

#[test]
fn end_flushes_the_console() {
    let mut bench = Bench::new();
    bench.outb(0x3f8, b'x');

    assert_eq!(bench.out(0xf4, PortSize::Byte, 7), Some(Power::Exit(7)));

    assert_eq!(bench.output(), b"x");
}

#[test]
fn port_without_device_reads_as_all_ones() {
    let mut bench = Bench::new();
    for port in [0x80, 0xe9, 0xcf8, 0xcfc, 0x2f8, 0xffff] {
        let read = [PortSize::Byte, PortSize::Word, PortSize::Dword]
            .map(|size| bench.pc.read(port, size, bench.now));
        assert_eq!(read, [0xff, 0xffff, 0xffff_ffff], "{port:#x}");
    }
}
