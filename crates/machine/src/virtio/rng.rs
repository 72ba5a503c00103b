//! A source of random bytes (§5.4).
//!
//! No kernel that runs without a VM has a driver for it yet (Unikraft takes RDRAND), so no monitor plugs it yet.

use std::{fmt, io::Write, ops::Range};

use runu_core::Place;

use super::{Broken, Cards, Device, Kind, Ring};

/// How much is given for one buffer at most; a driver that wants more asks again (§5.4.6.1).
const PIECE: usize = 256;

/// Where random bytes come from.
pub trait Entropy: fmt::Debug {
    /// Fills `into` with bytes that nobody can foretell.
    fn fill(&mut self, into: &mut [u8]);
}

/// A source of random bytes as a card.
#[derive(Debug)]
pub struct Rng<E> {
    entropy: E,
}

impl<E: Entropy> Rng<E> {
    /// A card that hands on what `entropy` gives.
    pub fn new(entropy: E) -> Self {
        Rng { entropy }
    }

    /// Puts it into the next slot of a machine, if there is one.
    pub fn plug(self, cards: &mut Cards) -> Option<Place>
    where
        E: 'static,
    {
        cards.plug(Box::new(self))
    }
}

impl<E: Entropy> Device for Rng<E> {
    fn kind(&self) -> Kind {
        Kind::Entropy
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> usize {
        1
    }

    fn config(&self, _offset: usize, into: &mut [u8]) {
        into.fill(0);
    }

    fn ready(&mut self, _features: u64) {}

    fn serve(&mut self, _number: usize, ring: &mut Ring<'_>) -> Result<(), Broken> {
        while let Some(chain) = ring.pop()? {
            let mut writer = chain.writer()?;
            let mut bytes = [0; PIECE];
            let len = writer.available_bytes().min(PIECE);
            let bytes = bytes.get_mut(..len).unwrap_or_default();
            self.entropy.fill(bytes);
            writer.write_all(bytes).map_err(|_| Broken("a buffer that cannot be written"))?;
            ring.push(chain.head(), u32::try_from(len).unwrap_or(u32::MAX))?;
        }
        Ok(())
    }

    fn inputs(&self) -> Range<usize> {
        0..0
    }

    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use runu_core::{
        BootProtocol::{Linux64, Multiboot},
        GuestAddr,
    };

    use super::*;
    use crate::virtio::harness::Driver;

    /// Where the buffers lie.
    const AT: u64 = 0x20_0000;

    /// Bytes 1, 2, 3 and so on.
    #[derive(Debug, Default)]
    struct Counting(u8);

    impl Entropy for Counting {
        fn fill(&mut self, into: &mut [u8]) {
            for byte in into {
                self.0 = self.0.wrapping_add(1);
                *byte = self.0;
            }
        }
    }

    fn ready(boot: runu_core::BootProtocol) -> Driver<()> {
        let mut driver = Driver::with(boot, (), |cards| Rng::new(Counting::default()).plug(cards));
        driver.set_up();
        driver
    }

    fn bytes(driver: &Driver<()>, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        driver.memory.read(GuestAddr(at), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn buffers_are_filled_with_new_bytes_each() {
        for boot in [Multiboot, Linux64] {
            let mut driver = ready(boot);
            driver.put(0, 0, &[(AT, 4, true)]);
            driver.put(0, 1, &[(AT + 100, 3, true), (AT + 200, 2, true)]);
            driver.kick(0);
            assert_eq!([driver.used(0), driver.used(0)], [Some((0, 4)), Some((1, 5))]);
            assert_eq!(bytes(&driver, AT, 5), [1, 2, 3, 4, 0]);
            assert_eq!([bytes(&driver, AT + 100, 3), bytes(&driver, AT + 200, 2)].concat(), [5, 6, 7, 8, 9]);
            assert!(driver.line());
        }
    }

    #[test]
    fn buffer_larger_than_what_is_given_at_once_is_given_that() {
        let mut driver = ready(Linux64);
        driver.put(0, 0, &[(AT, 0x10_0000, true)]);
        driver.kick(0);
        assert_eq!(driver.used(0), Some((0, 256)));
        // The last of them, and what is behind it.
        assert_eq!(bytes(&driver, AT + 254, 3), [255, 0, 0]);
    }

    #[test]
    fn buffer_that_the_device_may_not_write_stays_as_it_is() {
        let mut driver = ready(Linux64);
        driver.put(0, 0, &[(AT, 16, false)]);
        driver.kick(0);
        assert_eq!(driver.used(0), Some((0, 0)));
        assert_eq!(bytes(&driver, AT, 16), [0; 16]);
    }

    #[test]
    fn card_is_known_by_its_numbers() {
        assert_eq!(ready(Linux64).read(8), 4);
        let mut pci = ready(Multiboot);
        pci.out(0xcf8, 4, 0x8000_0800);
        assert_eq!(pci.input(0xcfc, 4), 0x1005_1af4);
    }
}
