//! The registers of a VGA text screen that drivers touch for every character: cursor and start address in the CRT
//! controller, and the miscellaneous output register that says where the CRT controller is (IBM VGA technical
//! reference, "CRT Controller Registers"). Nothing is displayed.

/// The CRT controller's index is five bits wide.
const REGISTERS: usize = 32;
/// Miscellaneous output after a BIOS set text mode 3: colour (bit 0: CRT controller at 0x3d4), RAM enabled, 28 MHz,
/// negative vertical sync.
const MISCELLANEOUS: u8 = 0x67;

/// VGA registers.
#[derive(Debug)]
pub(super) struct Vga {
    index: u8,
    crtc: [u8; REGISTERS],
    miscellaneous: u8,
}

impl Vga {
    pub(super) fn new() -> Self {
        Self { index: 0, crtc: [0; REGISTERS], miscellaneous: MISCELLANEOUS }
    }

    pub(super) fn index(&self) -> u8 {
        self.index
    }

    pub(super) fn select(&mut self, index: u8) {
        self.index = index;
    }

    pub(super) fn data(&self) -> u8 {
        self.crtc.get(usize::from(self.index)).copied().unwrap_or(0xff)
    }

    pub(super) fn set_data(&mut self, value: u8) {
        if let Some(register) = self.crtc.get_mut(usize::from(self.index)) {
            *register = value;
        }
    }

    pub(super) fn miscellaneous(&self) -> u8 {
        self.miscellaneous
    }

    pub(super) fn set_miscellaneous(&mut self, value: u8) {
        self.miscellaneous = value;
    }
}
