//! The devices as a guest's drivers know them: through their ports, at times of the test's choice.

mod apic;
mod cmos;
mod hostile;
mod keyboard;
mod pic;
mod pit;
mod pit_by_clock;
mod power;
mod serial;
mod shortcuts;
mod vga;

use std::{cell::RefCell, rc::Rc};

use runu_machine::{Console, Nanos, Pc, PortSize, Power, WallClock};

/// The interval timer's clock.
const PIT_HZ: u64 = 1_193_182;

/// A console that remembers each piece of output.
#[derive(Clone, Debug, Default)]
struct Pieces(Rc<RefCell<Vec<Vec<u8>>>>);

impl Console for Pieces {
    fn write(&mut self, bytes: &[u8]) {
        self.0.borrow_mut().push(bytes.to_vec());
    }
}

/// A PC, its console and its time.
struct Bench {
    pc: Pc<Pieces>,
    pieces: Pieces,
    now: Nanos,
}

impl Bench {
    fn new() -> Self {
        Self::with_clock(WallClock::default())
    }

    fn with_clock(clock: WallClock) -> Self {
        let pieces = Pieces::default();
        Self { pc: Pc::new(pieces.clone(), clock), pieces, now: Nanos(0) }
    }

    /// A PC whose interrupt controllers a kernel has set up as Unikraft does: vectors 32 and 40.
    fn with_interrupts() -> Self {
        let mut bench = Self::new();
        bench.init_pic(&[0x11, 32, 4, 1], &[0x11, 40, 2, 1]);
        bench
    }

    /// Writes initialization command words to both controllers.
    fn init_pic(&mut self, first: &[u8], second: &[u8]) {
        for (even, words) in [(0x20, first), (0xa0, second)] {
            let (icw1, others) = words.split_first().expect("at least ICW1");
            self.outb(even, *icw1);
            others.iter().for_each(|word| self.outb(even + 1, *word));
        }
    }

    fn inb(&mut self, port: u16) -> u8 {
        u8::try_from(self.pc.read(port, PortSize::Byte, self.now)).expect("a byte")
    }

    /// A write that does not end the machine.
    fn outb(&mut self, port: u16, value: u8) {
        assert_eq!(self.out(port, PortSize::Byte, u32::from(value)), None);
    }

    fn out(&mut self, port: u16, size: PortSize, value: u32) -> Option<Power> {
        self.pc.write(port, size, value, self.now)
    }

    /// Time moves to so many periods of the interval timer's clock since zero; timers follow.
    fn at_tick(&mut self, tick: u64) {
        self.now = Nanos((tick * 1_000_000_000).div_ceil(PIT_HZ));
        self.pc.tick(self.now);
    }

    /// The vector of the interrupt that is pending, if one is.
    fn interrupt(&mut self) -> Option<u8> {
        self.pc.interrupt_pending().then(|| self.pc.acknowledge())
    }

    /// The console's output so far, joined.
    fn output(&self) -> Vec<u8> {
        self.pieces.0.borrow().concat()
    }

    /// How many pieces the output came in.
    fn writes(&self) -> usize {
        self.pieces.0.borrow().len()
    }
}
