//! A kernel that does anything to the devices behind a PC's ports (serial line, clocks, timer, interrupt controllers, keyboard
//! controller, screen), while time passes and somebody types.
//!
//! What must hold: no panic; no deadline has passed when it is told; no more input is taken than there is room for; what is said
//! of a port beforehand is what it reads as.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runu_machine::{Console, Foreseen, Nanos, Pc, PortSize, WallClock};

/// Steps of one run at most.
const STEPS: usize = 500;

/// Ports with something behind them.
const PORTS: [u16; 38] = [
    0x20, 0x21, 0x40, 0x41, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xa0, 0xa1, 0xf4, 0x3b4, 0x3b5,
    0x3c2, 0x3cc, 0x3d4, 0x3d5, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fe, 0x3ff, 0x4d0, 0x4d1, 0x501,
    0x505, 0x604, 0xcf8, 0xcf9, 0xcfc, 0xb004,
];

/// What a kernel and its world do.
#[derive(Arbitrary, Debug)]
enum Step {
    Read {
        port: Port,
        size: Size,
    },
    Write {
        port: Port,
        size: Size,
        value: u32,
    },
    /// Somebody types.
    Input {
        bytes: Vec<u8>,
    },
    /// A card's line goes high or low.
    Line {
        line: u8,
        level: bool,
    },
    /// Time passes.
    Wait {
        ns: u32,
        shift: u8,
    },
    /// Takes an interrupt, if it is asked for one.
    Take,
    Flush,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Port {
    Device(u8),
    Any(u16),
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Port::Device(number) => PORTS[usize::from(number) % PORTS.len()],
            Port::Any(number) => number,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Byte,
    Word,
    Dword,
}

impl Size {
    fn ports(self) -> PortSize {
        match self {
            Size::Byte => PortSize::Byte,
            Size::Word => PortSize::Word,
            Size::Dword => PortSize::Dword,
        }
    }
}

struct Nowhere;

impl Console for Nowhere {
    fn write(&mut self, bytes: &[u8]) {
        assert!(!bytes.is_empty());
    }
}

/// Reads the ports of which something is said beforehand.
fn check_shortcuts(pc: &mut Pc<Nowhere>, now: Nanos) {
    for shortcut in pc.shortcuts() {
        if let Foreseen::Always(value) | Foreseen::Once(value) = shortcut.reads {
            assert_eq!(pc.read(shortcut.port, PortSize::Byte, now), u32::from(value), "{shortcut:x?}");
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut pc, mut now) = (Pc::new(Nowhere, WallClock::default()), Nanos(0));
    for step in steps.into_iter().take(STEPS) {
        match step {
            Step::Read { port, size } => {
                let size = size.ports();
                let value = pc.read(port.number(), size, now);
                assert_eq!(value & !size.mask(), 0);
            }
            Step::Write { port, size, value } => {
                pc.write(port.number(), size.ports(), value, now);
            }
            Step::Input { bytes } => {
                let room = pc.input_room();
                assert_eq!(pc.input(&bytes), bytes.len().min(room));
            }
            Step::Line { line, level } => pc.set_line(line & 0xf, level),
            Step::Wait { ns, shift } => now = Nanos(now.0.saturating_add(u64::from(ns) << (shift % 20))),
            Step::Take if pc.interrupt_pending() => {
                pc.acknowledge();
            }
            Step::Take => {}
            Step::Flush => pc.flush(),
        }
        pc.tick(now);
        assert!(pc.next_deadline().is_none_or(|deadline| deadline > now));
        check_shortcuts(&mut pc, now);
    }
});
