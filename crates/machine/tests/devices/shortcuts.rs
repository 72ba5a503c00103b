//! A monitor that goes by the shortcuts shows a guest what one shows that asks the devices each time.

use proptest::prelude::*;
use runu_machine::{Foreseen, Pc, Shortcut};

use super::{Bench, Pieces};

/// Ports of the serial line and of the screen, and one of neither.
const PORTS: [u16; 16] = [
    0x3f8, 0x3f8, 0x3f8, 0x3f9, 0x3fa, 0x3fb, 0x3fc, 0x3fd, 0x3fd, 0x3d4, 0x3d5, 0x3b4, 0x3b5, 0x3c2, 0x3cc,
    0x21,
];

#[derive(Clone, Debug)]
enum Step {
    Write(u16, u8),
    Read(u16),
    /// A byte is typed.
    Input(u8),
    /// The monitor has something else to do with devices.
    Pause,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop::sample::select(PORTS.to_vec());
    // What drivers write: characters, and registers as they set them up.
    let value = prop_oneof![Just(b'\n'), Just(0), Just(0x03), Just(0x80), Just(0x10), any::<u8>()];
    prop_oneof![
        4 => (port(), value).prop_map(|(port, value)| Step::Write(port, value)),
        4 => port().prop_map(Step::Read),
        1 => any::<u8>().prop_map(Step::Input),
        1 => Just(Step::Pause),
    ]
}

/// A PC behind a monitor that goes by the shortcuts.
struct Short {
    bench: Bench,
    shortcuts: [Shortcut; 7],
    queue: Vec<(u16, u8)>,
    wrote: bool,
    /// How often the devices were not asked.
    spared: usize,
}

impl Short {
    fn new() -> Self {
        let bench = Bench::new();
        let shortcuts = bench.pc.shortcuts();
        Short { bench, shortcuts, queue: Vec::new(), wrote: false, spared: 0 }
    }

    fn shortcut(&self, port: u16) -> Option<Shortcut> {
        self.shortcuts.into_iter().find(|shortcut| shortcut.port == port)
    }

    /// Before anything else: what waits reaches its devices.
    fn pause(&mut self) {
        for (port, value) in std::mem::take(&mut self.queue) {
            self.bench.outb(port, value);
        }
        self.shortcuts = self.bench.pc.shortcuts();
    }

    fn write(&mut self, port: u16, value: u8) {
        if self.shortcut(port).is_some_and(|shortcut| shortcut.may_wait) {
            self.queue.push((port, value));
            self.wrote = true;
            self.spared += 1;
            return;
        }
        self.pause();
        self.bench.outb(port, value);
        self.look(port);
    }

    fn read(&mut self, port: u16) -> u8 {
        match self.shortcut(port).map_or(Foreseen::Unknown, |shortcut| shortcut.reads) {
            Foreseen::Always(value) => value,
            Foreseen::Once(value) if std::mem::take(&mut self.wrote) => value,
            _ => {
                self.pause();
                let value = self.bench.inb(port);
                self.look(port);
                value
            }
        }
    }

    /// A port was used: shortcuts of others hold on.
    fn look(&mut self, port: u16) {
        if Pc::<Pieces>::is_console(port) {
            self.shortcuts = self.bench.pc.shortcuts();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn guest_sees_no_shortcut(steps in prop::collection::vec(step(), 1..80)) {
        let (mut plain, mut short) = (Bench::new(), Short::new());
        for step in steps {
            match step {
                Step::Write(port, value) => {
                    plain.outb(port, value);
                    short.write(port, value);
                }
                Step::Read(port) => prop_assert_eq!(short.read(port), plain.inb(port), "port {:#x}", port),
                // A monitor takes input between instructions, when nothing waits.
                Step::Input(byte) => {
                    short.pause();
                    prop_assert_eq!(short.bench.pc.input(&[byte]), plain.pc.input(&[byte]));
                    short.shortcuts = short.bench.pc.shortcuts();
                }
                Step::Pause => short.pause(),
            }
        }
        short.pause();
        prop_assert_eq!(short.bench.output(), plain.output());
        prop_assert_eq!(short.bench.pc.interrupt_pending(), plain.pc.interrupt_pending());
    }
}

/// Unikraft's console for a character, on the screen and on the line (plat/kvm/x86/vga_console.c, serial_console.c).
#[test]
fn character_is_written_without_its_devices() {
    let mut short = Short::new();
    for byte in *b"Hello" {
        short.read(0x3cc);
        for (port, value) in [(0x3d4, 14), (0x3d5, 0), (0x3d4, 15), (0x3d5, 1)] {
            short.write(port, value);
        }
        assert_eq!(short.read(0x3fd) & 0x20, 0x20);
        short.write(0x3f8, byte);
    }
    assert_eq!((short.spared, short.bench.output().len()), (25, 0));
    short.pause();
    short.bench.pc.flush();
    assert_eq!(short.bench.output(), b"Hello");
}

#[test]
fn who_only_reads_the_line_status_sees_input() {
    let mut short = Short::new();
    short.write(0x3f8, b'?');
    assert_eq!(short.read(0x3fd) & 1, 0);
    short.bench.pc.input(b"y");
    assert_eq!(short.read(0x3fd) & 1, 1, "the second read in a row asks the device");
}
