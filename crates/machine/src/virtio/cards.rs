//! The slots of a machine and the cards in them: where each device's registers are, and which interrupt line it has.

use runu_core::{BootProtocol, GuestAddr, Place};

use super::{Device, Dma, Function, Mmio, Pci};
use crate::{
    GuestMemory, PortSize,
    pci::{self, ConfigAddress},
};

/// First I/O port of the first device's registers: above all that a PC has of its own.
const PORT_BASE: u16 = 0xc000;
/// Distance between devices' ports.
const PORT_STEP: u16 = 0x40;

/// A card in its slot.
#[derive(Debug)]
enum Card {
    Pci(Pci),
    Mmio(Mmio),
}

impl Card {
    fn function(&self) -> &Function {
        match self {
            Card::Pci(card) => card.function(),
            Card::Mmio(card) => card.function(),
        }
    }

    fn function_mut(&mut self) -> &mut Function {
        match self {
            Card::Pci(card) => card.function_mut(),
            Card::Mmio(card) => card.function_mut(),
        }
    }
}

/// All cards of a machine.
#[derive(Debug)]
pub struct Cards {
    boot: BootProtocol,
    cards: Vec<(Place, Card)>,
    address: ConfigAddress,
    written: Vec<u64>,
}

impl Cards {
    /// No cards, in a machine that is entered by this boot protocol.
    #[must_use]
    pub fn new(boot: BootProtocol) -> Self {
        Cards { boot, cards: Vec::new(), address: ConfigAddress::default(), written: Vec::new() }
    }

    /// Puts a card into the next slot, if there is one.
    pub(crate) fn plug(&mut self, device: Box<dyn Device>) -> Option<Place> {
        let number = self.cards.len();
        let place = Place::of(self.boot, number)?;
        let card = match place {
            Place::Pci { line } => {
                let base = PORT_BASE + PORT_STEP * u16::try_from(number).ok()?;
                Card::Pci(Pci::new(device, base, line))
            }
            Place::Mmio { .. } => Card::Mmio(Mmio::new(device)),
        };
        self.cards.push((place, card));
        Some(place)
    }

    /// The guest reads device memory; whether there is a device.
    pub fn read_memory(&mut self, addr: GuestAddr, into: &mut [u8]) -> bool {
        match self.mmio(addr) {
            Some((card, offset)) => {
                card.read(offset, into);
                true
            }
            None => false,
        }
    }

    /// The guest writes device memory; whether there is a device.
    pub fn write_memory(&mut self, addr: GuestAddr, from: &[u8], memory: &GuestMemory) -> bool {
        let dma = Dma::new(memory);
        let found = match self.mmio(addr) {
            Some((card, offset)) => {
                card.write(offset, from, &dma);
                true
            }
            None => false,
        };
        self.written.extend(dma.into_written());
        found
    }

    fn mmio(&mut self, addr: GuestAddr) -> Option<(&mut Mmio, u64)> {
        self.cards.iter_mut().find_map(|(place, card)| match (place, card) {
            (Place::Mmio { base, len, .. }, Card::Mmio(card)) => {
                let offset = addr.0.checked_sub(base.0).filter(|offset| offset < len)?;
                Some((card, offset))
            }
            _ => None,
        })
    }

    /// The guest reads a port; `None` if none of ours is there.
    pub fn read_port(&mut self, port: u16, size: PortSize) -> Option<u32> {
        if !self.has_pci() {
            return None;
        }
        let len = size as usize;
        let mut bytes = [0; 4];
        let into = bytes.get_mut(..len)?;
        if pci::is_port(port) {
            let address = self.address;
            for (byte, port) in into.iter_mut().zip(port..) {
                *byte = match address.byte(port) {
                    pci::Byte::Address(byte) => byte,
                    pci::Byte::Register(slot, register) => self.config(slot, register),
                    pci::Byte::None => 0xff,
                };
            }
        } else {
            let (card, register) = self.port(port)?;
            card.read(register, into);
        }
        Some(u32::from_le_bytes(bytes))
    }

    /// The guest writes a port; whether one of ours is there.
    pub fn write_port(&mut self, port: u16, size: PortSize, value: u32, memory: &GuestMemory) -> bool {
        if !self.has_pci() {
            return false;
        }
        if pci::is_port(port) {
            if let Some(address) = ConfigAddress::written(port, size, value) {
                self.address = address;
            } else {
                for (byte, port) in value.to_le_bytes().into_iter().zip(port..).take(size as usize) {
                    if let pci::Byte::Register(slot, register) = self.address.byte(port) {
                        self.set_config(slot, register, byte);
                    }
                }
            }
            return true;
        }
        let dma = Dma::new(memory);
        let found = match self.port(port) {
            Some((card, register)) => {
                card.write(register, value & size.mask(), &dma);
                true
            }
            None => false,
        };
        self.written.extend(dma.into_written());
        found
    }

    fn has_pci(&self) -> bool {
        matches!(self.cards.first(), Some((_, Card::Pci(_))))
    }

    /// The card whose registers are at `port`, and which of them.
    fn port(&mut self, port: u16) -> Option<(&mut Pci, u16)> {
        self.cards.iter_mut().find_map(|(_, card)| match card {
            Card::Pci(card) => card.register(port).map(|register| (card, register)),
            Card::Mmio(_) => None,
        })
    }

    /// A byte of the configuration space of the function in `slot`. Slot 0 is the bridge to the processor.
    fn config(&self, slot: usize, register: usize) -> u8 {
        match slot.checked_sub(1) {
            None => pci::bridge(register),
            Some(number) => match self.cards.get(number) {
                Some((_, Card::Pci(card))) => card.header(register),
                _ => 0xff,
            },
        }
    }

    fn set_config(&mut self, slot: usize, register: usize, value: u8) {
        let card = slot.checked_sub(1).and_then(|number| self.cards.get_mut(number));
        if let Some((_, Card::Pci(card))) = card {
            card.set_header(register, value);
        }
    }

    /// Something may have come from outside: fills the buffers that wait for it.
    pub fn poll(&mut self, memory: &GuestMemory) {
        let dma = Dma::new(memory);
        self.cards.iter_mut().for_each(|(_, card)| card.function_mut().poll(&dma));
        self.written.extend(dma.into_written());
    }

    /// Interrupt lines and their levels.
    pub fn lines(&self) -> impl Iterator<Item = (u8, bool)> + '_ {
        self.cards.iter().map(|(place, card)| (place.line(), card.function().line()))
    }

    /// Guest-physical addresses of pages that devices wrote since this was last asked.
    pub fn take_written(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.written)
    }
}
