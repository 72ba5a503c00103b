//! The PCI bus as a PC's ports show it (PCI Local Bus Specification 3.0, §3.2.2.3.2, "configuration mechanism #1"): one bus,
//! a bridge to the processor in slot 0, functions in the slots after it.

use crate::PortSize;

/// Port of the address register.
const ADDRESS: u16 = 0xcf8;
/// Ports of the register that it names.
const DATA: u16 = 0xcfc;

/// What the address register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigAddress(u32);

/// What a port shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Byte {
    /// This byte of the address register.
    Address(u8),
    /// A byte of the configuration space of the function in a slot.
    Register(usize, usize),
    /// Nothing.
    None,
}

/// Whether a port is one of PCI's.
pub(crate) fn is_port(port: u16) -> bool {
    (ADDRESS..DATA + 4).contains(&port)
}

impl ConfigAddress {
    /// The address register after a write; `None` for a write elsewhere. It takes 32 bits at once and nothing else.
    pub(crate) fn written(port: u16, size: PortSize, value: u32) -> Option<Self> {
        // The lowest bits are wired to zero.
        (port == ADDRESS && size == PortSize::Dword).then_some(ConfigAddress(value & !0b11))
    }

    /// What `port` shows.
    pub(crate) fn byte(self, port: u16) -> Byte {
        let [register, function, bus, enable] = self.0.to_le_bytes();
        if let Some(byte) = port.checked_sub(DATA) {
            let is_there = enable & 0x80 != 0 && bus == 0 && function & 0b111 == 0 && byte < 4;
            let register = usize::from(register) + usize::from(byte);
            return if is_there { Byte::Register(usize::from(function >> 3), register) } else { Byte::None };
        }
        let at = port.checked_sub(ADDRESS).map(usize::from);
        at.and_then(|at| self.0.to_le_bytes().get(at).copied()).map_or(Byte::None, Byte::Address)
    }
}

/// A byte of the configuration space of the bridge: Intel's 440FX, as QEMU's smallest PC has it.
pub(crate) fn bridge(register: usize) -> u8 {
    match register {
        0x00 => 0x86,
        0x01 => 0x80,
        0x02 => 0x37,
        0x03 => 0x12,
        0x0b => 0x06,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(value: u32) -> ConfigAddress {
        ConfigAddress::written(ADDRESS, PortSize::Dword, value).unwrap()
    }

    #[test]
    fn register_of_a_slot_is_named_by_address_and_port() {
        assert_eq!(address(0x8000_0810).byte(DATA + 2), Byte::Register(1, 0x12));
    }

    #[test]
    fn address_of_another_bus_or_function_or_disabled_names_nothing() {
        for value in [0x0000_0810, 0x8001_0810, 0x8000_0910] {
            assert_eq!(address(value).byte(DATA), Byte::None, "{value:#x}");
        }
    }

    #[test]
    fn address_register_reads_back_and_takes_only_whole_writes() {
        assert_eq!(address(0x8000_0813).byte(ADDRESS), Byte::Address(0x10));
        assert_eq!(ConfigAddress::written(ADDRESS, PortSize::Byte, 1), None);
        assert_eq!(ConfigAddress::written(DATA, PortSize::Dword, 1), None);
    }
}
