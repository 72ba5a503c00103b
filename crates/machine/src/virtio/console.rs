//! A console (§5.3): one port, whose output goes where the serial port's goes.
//!
//! No kernel that runs without a VM has a driver for it yet (Unikraft takes the serial port), so no monitor plugs it yet.

use std::{
    fmt,
    io::{Read, Write},
    ops::Range,
};

use runu_core::Place;

use super::{Broken, Cards, Device, Kind, Ring};
use crate::Console;

/// Queues (§5.3.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// How much is carried at once.
const PIECE: usize = 4096;

/// What is typed at a console.
pub trait Keyboard: fmt::Debug {
    /// Takes what has been typed, as far as there is room; how much it was.
    fn read(&mut self, into: &mut [u8]) -> usize;
}

/// A console as a card.
#[derive(Debug)]
pub struct Terminal<C, K> {
    console: C,
    keyboard: K,
    buffer: Vec<u8>,
}

impl<C: Console + fmt::Debug, K: Keyboard> Terminal<C, K> {
    /// A card that shows on `console` what its driver sends, and hands on what comes from `keyboard`.
    pub fn new(console: C, keyboard: K) -> Self {
        Terminal { console, keyboard, buffer: vec![0; PIECE] }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut Cards) -> Option<Place>
    where
        C: 'static,
        K: 'static,
    {
        cards.plug(Box::new(self))
    }

    fn transmit(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let mut reader = chain.reader()?;
            while reader.available_bytes() > 0 {
                let len = reader.available_bytes().min(PIECE);
                let piece = self.buffer.get_mut(..len).unwrap_or_default();
                reader.read_exact(piece).map_err(|_| Broken("a buffer that cannot be read"))?;
                self.console.write(piece);
            }
            ring.push(chain.head(), 0)?;
        }
        Ok(())
    }

    fn receive(&mut self, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let mut writer = chain.writer()?;
            let room = writer.available_bytes().min(PIECE);
            let piece = self.buffer.get_mut(..room).unwrap_or_default();
            let len = self.keyboard.read(piece).min(room);
            if len == 0 && room > 0 {
                ring.unpop();
                return Ok(());
            }
            let typed = piece.get(..len).unwrap_or_default();
            writer.write_all(typed).map_err(|_| Broken("a buffer that cannot be written"))?;
            ring.push(chain.head(), u32::try_from(len).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }
}

impl<C: Console + fmt::Debug, K: Keyboard> Device for Terminal<C, K> {
    fn kind(&self) -> Kind {
        Kind::Console
    }

    /// Neither its size, which nobody tells, nor further ports.
    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> usize {
        2
    }

    fn config(&self, _offset: usize, into: &mut [u8]) {
        into.fill(0);
    }

    fn ready(&mut self, _features: u64) {}

    fn serve(&mut self, number: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        match number {
            RECEIVE => self.receive(ring),
            TRANSMIT => self.transmit(ring),
            _ => Ok(()),
        }
    }

    fn inputs(&self) -> Range<usize> {
        RECEIVE..TRANSMIT
    }

    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::VecDeque, rc::Rc};

    use runu_core::{
        BootProtocol::{self, Linux64, Multiboot},
        GuestAddr,
    };

    use super::*;
    use crate::virtio::harness::Driver;

    /// Where the buffers lie.
    const AT: u64 = 0x20_0000;

    #[derive(Clone, Debug, Default)]
    struct Screen(Rc<RefCell<Vec<u8>>>);

    impl Console for Screen {
        fn write(&mut self, bytes: &[u8]) {
            self.0.borrow_mut().extend(bytes);
        }
    }

    #[derive(Clone, Debug, Default)]
    struct Keys(Rc<RefCell<VecDeque<u8>>>);

    impl Keyboard for Keys {
        fn read(&mut self, into: &mut [u8]) -> usize {
            let mut typed = self.0.borrow_mut();
            let len = into.len().min(typed.len());
            into.iter_mut().zip(typed.drain(..len)).for_each(|(to, from)| *to = from);
            len
        }
    }

    fn ready(boot: BootProtocol) -> Driver<(Screen, Keys)> {
        let (screen, keys) = (Screen::default(), Keys::default());
        let ends = (screen.clone(), keys.clone());
        let mut driver = Driver::with(boot, ends, |cards| Terminal::new(screen, keys).plug(cards));
        driver.set_up();
        driver
    }

    #[test]
    fn words_of_the_guest_are_shown_in_order_whatever_buffers_they_are_in() {
        for boot in [Multiboot, Linux64] {
            let mut driver = ready(boot);
            let long: Vec<u8> = (0..=250).cycle().take(10_000).collect();
            driver.memory.write(GuestAddr(AT), b"onetwo").unwrap();
            driver.memory.write(GuestAddr(AT + 0x1000), &long).unwrap();
            driver.put(1, 0, &[(AT, 3, false), (AT + 3, 3, false)]);
            driver.put(1, 5, &[(AT + 0x1000, 10_000, false)]);
            driver.kick(1);
            assert_eq!([driver.used(1), driver.used(1)], [Some((0, 0)), Some((5, 0))]);
            assert!(*driver.wire.0.0.borrow() == [b"onetwo", &long[..]].concat());
        }
    }

    #[test]
    fn keys_fill_the_buffers_that_wait_for_them_and_no_more() {
        for boot in [Multiboot, Linux64] {
            let mut driver = ready(boot);
            driver.put(0, 3, &[(AT, 4, true)]);
            driver.put(0, 4, &[(AT + 8, 4, true)]);
            driver.kick(0);
            assert_eq!(driver.used(0), None);
            driver.wire.1.0.borrow_mut().extend(b"hello");
            driver.cards.poll(&driver.memory);
            assert_eq!([driver.used(0), driver.used(0)], [Some((3, 4)), Some((4, 1))]);
            let mut bytes = [0; 10];
            driver.memory.read(GuestAddr(AT), &mut bytes).unwrap();
            assert_eq!(bytes, *b"hell\0\0\0\0o\0");
            driver.wire.1.0.borrow_mut().extend(b"more");
            driver.cards.poll(&driver.memory);
            assert_eq!(driver.wire.1.0.borrow().len(), 4);
        }
    }

    #[test]
    fn buffer_without_room_comes_back_empty_and_takes_no_keys() {
        let mut driver = ready(Linux64);
        driver.wire.1.0.borrow_mut().extend(b"x");
        driver.put(0, 0, &[(AT, 4, false)]);
        driver.kick(0);
        assert_eq!((driver.used(0), driver.wire.1.0.borrow().len()), (Some((0, 0)), 1));
    }

    #[test]
    fn card_is_known_by_its_numbers() {
        assert_eq!(ready(Linux64).read(8), 3);
        let mut pci = ready(Multiboot);
        pci.out(0xcf8, 4, 0x8000_0800);
        assert_eq!(pci.input(0xcfc, 4), 0x1003_1af4);
    }
}
