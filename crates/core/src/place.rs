//! Where the cards of a machine are: known to the machine, and to whoever tells a kernel that cannot search for them.

use crate::{BootProtocol, GuestAddr};

/// Guest-physical address of the first card's registers, where the smallest machine of QEMU (hw/i386/microvm.c,
/// `VIRTIO_MMIO_BASE`) has them too.
const MMIO_BASE: u64 = 0xfeb0_0000;

/// How many bytes of guest-physical address space a card's registers take: what Linux's and Unikraft's drivers map.
const MMIO_LEN: u64 = 512;

/// Interrupt lines in the order in which they are given away: those that no part of a PC here uses, first those that PCI
/// cards have had.
const LINES: [u8; 10] = [5, 10, 11, 9, 7, 3, 6, 12, 15, 14];

/// How a kernel finds a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It searches the PCI bus.
    Pci {
        /// The card's interrupt line.
        line: u8,
    },
    /// It has to be told of registers in memory.
    Mmio {
        /// Guest-physical address of its registers.
        base: GuestAddr,
        /// How many bytes they take.
        len: u64,
        /// Its interrupt line.
        line: u8,
    },
}

impl Place {
    /// How many cards a machine has at most.
    pub const MOST: usize = LINES.len();

    /// Where card `number` of a machine is that is entered by this boot protocol: kernels built for QEMU look on the PCI
    /// bus, those built for Firecracker want to be told. `None` if there are not so many slots.
    #[must_use]
    pub fn of(boot: BootProtocol, number: usize) -> Option<Self> {
        let line = *LINES.get(number)?;
        Some(match boot {
            BootProtocol::Multiboot => Place::Pci { line },
            BootProtocol::Linux64 => {
                let base = GuestAddr(MMIO_BASE + number as u64 * MMIO_LEN);
                Place::Mmio { base, len: MMIO_LEN, line }
            }
        })
    }

    /// The card's interrupt line.
    #[must_use]
    pub fn line(self) -> u8 {
        match self {
            Place::Pci { line } | Place::Mmio { line, .. } => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_machine_share_neither_line_nor_registers() {
        for boot in [BootProtocol::Multiboot, BootProtocol::Linux64] {
            let places: Vec<Place> = (0..).map_while(|number| Place::of(boot, number)).collect();
            assert_eq!(places.len(), Place::MOST);
            for (number, place) in places.iter().enumerate() {
                assert!(places[..number].iter().all(|other| other.line() != place.line()), "{place:?}");
            }
        }
    }

    #[test]
    fn places_in_memory_lie_one_behind_the_other() {
        let base = |number| match Place::of(BootProtocol::Linux64, number) {
            Some(Place::Mmio { base, len: 512, .. }) => base.0,
            other => panic!("{other:?}"),
        };
        assert_eq!([base(0), base(1), base(9)], [0xfeb0_0000, 0xfeb0_0200, 0xfeb0_1200]);
    }
}
