//! The port bus: which device answers at which port; and the way of interrupts to the CPU.
//!
//! A port access of more than one byte reaches a device of bytes as that many accesses to ports one after the other,
//! as on the ISA bus. Ports where nothing answers read as all ones and swallow writes. Among them, on purpose: PCI
//! configuration (0xcf8, 0xcfc: there is no PCI), POST codes and delays (0x80), the debug console of Bochs (0xe9).
//!
//! The 8259s ask the local APIC, and that asks the CPU. The local APIC alone is behind memory and MSRs.

use runu_core::GuestAddr;

use super::{
    Console, Nanos, Power, WallClock,
    apic::Apic,
    cmos::Cmos,
    i8042::I8042,
    pic::{Pic, Which},
    pit::Pit,
    power,
    serial::Serial,
    vga::Vga,
};

/// The width of a port access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PortSize {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
}

impl PortSize {
    /// All bits of such an access.
    #[must_use]
    pub fn mask(self) -> u32 {
        match self {
            PortSize::Byte => 0xff,
            PortSize::Word => 0xffff,
            PortSize::Dword => 0xffff_ffff,
        }
    }
}

/// The serial port's interrupt.
const IRQ_SERIAL: u8 = 4;
/// The interval timer's interrupt.
const IRQ_TIMER: u8 = 0;

/// How a port can be used without its device, until the device has been used otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortcut {
    /// The port.
    pub port: u16,
    /// Whether a byte that is written to it may reach the device later, if nothing overtakes it there.
    pub may_wait: bool,
    /// What a byte read from it is.
    pub reads: Foreseen,
}

/// What is known of a byte before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreseen {
    /// Nothing.
    Unknown,
    /// This.
    Always(u8),
    /// This, for who has written something since he read it last: one who only reads waits for something that comes from
    /// outside.
    Once(u8),
}

/// Port numbers (IBM PC AT technical reference, unless `power.rs` says otherwise).
mod port {
    pub(super) const PIC_1: u16 = 0x20;
    pub(super) const PIC_1_ODD: u16 = 0x21;
    pub(super) const PIT_0: u16 = 0x40;
    pub(super) const PIT_2: u16 = 0x42;
    pub(super) const PIT_CONTROL: u16 = 0x43;
    pub(super) const KEYBOARD_DATA: u16 = 0x60;
    pub(super) const SYSTEM_CONTROL_B: u16 = 0x61;
    pub(super) const KEYBOARD_COMMAND: u16 = 0x64;
    pub(super) const CMOS_INDEX: u16 = 0x70;
    pub(super) const CMOS_DATA: u16 = 0x71;
    pub(super) const SYSTEM_CONTROL_A: u16 = 0x92;
    pub(super) const PIC_2: u16 = 0xa0;
    pub(super) const PIC_2_ODD: u16 = 0xa1;
    pub(super) const EXIT: u16 = 0xf4;
    pub(super) const CRTC_MONO_INDEX: u16 = 0x3b4;
    pub(super) const CRTC_MONO_DATA: u16 = 0x3b5;
    pub(super) const VGA_MISCELLANEOUS_WRITE: u16 = 0x3c2;
    pub(super) const VGA_MISCELLANEOUS_READ: u16 = 0x3cc;
    pub(super) const CRTC_INDEX: u16 = 0x3d4;
    pub(super) const CRTC_DATA: u16 = 0x3d5;
    pub(super) const SERIAL: u16 = 0x3f8;
    pub(super) const SERIAL_LINE_STATUS: u16 = 0x3fd;
    pub(super) const SERIAL_LAST: u16 = 0x3ff;
    pub(super) const PIC_1_LEVEL: u16 = 0x4d0;
    pub(super) const PIC_2_LEVEL: u16 = 0x4d1;
    pub(super) const UNIKRAFT_EXIT: u16 = 0x501;
    pub(super) const PVPANIC: u16 = 0x505;
    pub(super) const ACPI_CONTROL: u16 = 0x604;
    pub(super) const ACPI_CONTROL_BOCHS: u16 = 0xb004;
    pub(super) const RESET_CONTROL: u16 = 0xcf9;
}

/// The devices of one guest.
///
/// Times given to one `Pc` never go back; if one does, it counts as the latest before it.
#[derive(Debug)]
pub struct Pc<C> {
    serial: Serial<C>,
    apic: Apic,
    pic: Pic,
    pit: Pit,
    cmos: Cmos,
    i8042: I8042,
    vga: Vga,
}

impl<C: Console> Pc<C> {
    /// A PC after its power-on self-test: interrupts unmasked and let through by the local APIC, no timer running.
    pub fn new(console: C, clock: WallClock) -> Self {
        Self {
            serial: Serial::new(console),
            apic: Apic::new(),
            pic: Pic::new(),
            pit: Pit::new(),
            cmos: Cmos::new(clock),
            i8042: I8042::default(),
            vga: Vga::new(),
        }
    }

    /// The guest reads a port. Bits beyond the size are zero.
    #[inline]
    pub fn read(&mut self, port: u16, size: PortSize, now: Nanos) -> u32 {
        if size == PortSize::Byte {
            return u32::from(self.read_byte(port, now));
        }
        let bytes = (0..size as u16).rev().map(|offset| self.read_byte(port.wrapping_add(offset), now));
        bytes.fold(0, |value, byte| value << 8 | u32::from(byte))
    }

    /// The guest writes a port; bits of `value` beyond the size don't count.
    ///
    /// Says so when that ends the machine. All output has reached the console then.
    #[inline]
    pub fn write(&mut self, port: u16, size: PortSize, value: u32, now: Nanos) -> Option<Power> {
        let power = if size == PortSize::Byte {
            self.write_byte(port, low_byte(value), now)
        } else {
            self.write_wide(port, size, value & size.mask(), now)
        };
        if power.is_some() {
            self.flush();
        }
        power
    }

    /// How the ports can be used to which kernels write each character of a console. It holds until one of
    /// [`Self::is_console`]'s is used otherwise, or input has come.
    pub fn shortcuts(&self) -> [Shortcut; 7] {
        let crtc = |port| Shortcut { port, may_wait: true, reads: Foreseen::Unknown };
        let status = self.serial.plain_line_status().map_or(Foreseen::Unknown, Foreseen::Once);
        let miscellaneous = Foreseen::Always(self.vga.miscellaneous());
        [
            crtc(port::CRTC_INDEX),
            crtc(port::CRTC_DATA),
            crtc(port::CRTC_MONO_INDEX),
            crtc(port::CRTC_MONO_DATA),
            Shortcut { port: port::VGA_MISCELLANEOUS_READ, may_wait: false, reads: miscellaneous },
            Shortcut { port: port::SERIAL, may_wait: self.serial.sends_plainly(), reads: Foreseen::Unknown },
            Shortcut { port: port::SERIAL_LINE_STATUS, may_wait: false, reads: status },
        ]
    }

    /// Whether a port belongs to a device that a console is written to.
    pub fn is_console(port: u16) -> bool {
        matches!(port, port::CRTC_MONO_INDEX..=port::CRTC_DATA | port::SERIAL..=port::SERIAL_LAST)
    }

    /// The guest reads device memory; whether a device is there.
    pub fn read_memory(&mut self, addr: GuestAddr, into: &mut [u8], now: Nanos) -> bool {
        self.apic.read_memory(addr, into, now)
    }

    /// The guest writes device memory; whether a device is there.
    pub fn write_memory(&mut self, addr: GuestAddr, from: &[u8], now: Nanos) -> bool {
        self.apic.write_memory(addr, from, now)
    }

    /// The CPU reads a model-specific register of the local APIC: IA32_APIC_BASE, or one of x2APIC mode. `None` if there is
    /// none to read, which is a general protection exception.
    pub fn read_msr(&mut self, msr: u32, now: Nanos) -> Option<u64> {
        self.apic.read_msr(msr, now)
    }

    /// The CPU writes a model-specific register of the local APIC. False if there is none to write or it does not take the
    /// value, which is a general protection exception.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: Nanos) -> bool {
        self.apic.write_msr(msr, value, now)
    }

    /// Whether there is a local APIC: the CPU can switch it off.
    pub fn has_apic(&self) -> bool {
        self.apic.is_on()
    }

    /// The CPU reads CR8: the task priority, 0 to 15.
    pub fn priority_class(&self) -> u8 {
        self.apic.priority_class()
    }

    /// The CPU writes CR8; bits beyond the four of a priority don't count.
    pub fn set_priority_class(&mut self, class: u8) {
        self.apic.set_priority_class(class & 0xf);
    }

    /// Timers reach `now`.
    pub fn tick(&mut self, now: Nanos) {
        self.apic.advance(now);
        self.tick_pit(now);
    }

    fn tick_pit(&mut self, now: Nanos) {
        if self.pit.advance(now) {
            // An edge, even if the output is low again already.
            self.pic.set(IRQ_TIMER, false);
            self.pic.set(IRQ_TIMER, true);
        }
        self.pic.set(IRQ_TIMER, self.pit.output());
    }

    /// Whether the interrupt controllers ask the CPU for an interrupt.
    #[inline]
    pub fn interrupt_pending(&mut self) -> bool {
        self.apic.pending(self.pic.pending())
    }

    /// The CPU takes an interrupt: its vector. It is a spurious one when none is pending.
    pub fn acknowledge(&mut self) -> u8 {
        if let Some(vector) = self.apic.acknowledge() {
            vector
        } else if self.apic.passes_8259() {
            self.pic.acknowledge()
        } else {
            self.apic.spurious_vector()
        }
    }

    /// When to call [`Self::tick`] at the latest, so that no interrupt comes late: `None` while no timer runs, or their
    /// interrupts are masked, or wait to be acknowledged.
    pub fn next_deadline(&self) -> Option<Nanos> {
        let pit = if self.pic.wants_edge(IRQ_TIMER) { self.pit.next_rise() } else { None };
        [pit, self.apic.next_deadline()].into_iter().flatten().min()
    }

    /// Hands collected output to the console.
    pub fn flush(&mut self) {
        self.serial.flush();
    }

    /// How many bytes of console input would be taken.
    #[must_use]
    pub fn input_room(&self) -> usize {
        self.serial.input_room()
    }

    /// Console input for the guest: takes the first bytes as far as there is room and says how many.
    pub fn input(&mut self, bytes: &[u8]) -> usize {
        let taken = self.serial.input(bytes);
        self.pic.set(IRQ_SERIAL, self.serial.interrupt());
        taken
    }

    /// A card drives its interrupt line.
    pub fn set_line(&mut self, line: u8, level: bool) {
        self.pic.set(line, level);
    }

    fn read_byte(&mut self, port: u16, now: Nanos) -> u8 {
        match port {
            port::SERIAL..=port::SERIAL_LAST => {
                let value = self.serial.read(port - port::SERIAL);
                self.pic.set(IRQ_SERIAL, self.serial.interrupt());
                value
            }
            port::CRTC_INDEX | port::CRTC_MONO_INDEX => self.vga.index(),
            port::CRTC_DATA | port::CRTC_MONO_DATA => self.vga.data(),
            port::VGA_MISCELLANEOUS_READ => self.vga.miscellaneous(),
            port::PIT_0..=port::PIT_2 => self.pit.read(port - port::PIT_0, now),
            port::PIC_1 | port::PIC_1_ODD | port::PIC_2 | port::PIC_2_ODD => {
                self.tick_pit(now);
                let (which, odd) = chip_of(port);
                self.pic.read(which, odd)
            }
            port::SYSTEM_CONTROL_B => self.pit.system_control_b(now),
            port::CMOS_DATA => self.cmos.data(now),
            port::KEYBOARD_DATA => self.i8042.data(),
            port::KEYBOARD_COMMAND => self.i8042.status(),
            // The A20 gate is open.
            port::SYSTEM_CONTROL_A => 0b10,
            port::PIC_1_LEVEL => self.pic.level(Which::First),
            port::PIC_2_LEVEL => self.pic.level(Which::Second),
            port::PVPANIC => power::PANICKED,
            _ => 0xff,
        }
    }

    fn write_byte(&mut self, port: u16, value: u8, now: Nanos) -> Option<Power> {
        match port {
            port::SERIAL..=port::SERIAL_LAST => {
                self.serial.write(port - port::SERIAL, value);
                self.pic.set(IRQ_SERIAL, self.serial.interrupt());
            }
            port::CRTC_INDEX | port::CRTC_MONO_INDEX => self.vga.select(value),
            port::CRTC_DATA | port::CRTC_MONO_DATA => self.vga.set_data(value),
            port::VGA_MISCELLANEOUS_WRITE => self.vga.set_miscellaneous(value),
            port::PIC_1 | port::PIC_1_ODD | port::PIC_2 | port::PIC_2_ODD => {
                // An edge of the timer from before a change belongs to the state before it.
                self.tick_pit(now);
                let (which, odd) = chip_of(port);
                self.pic.write(which, odd, value);
            }
            port::PIT_0..=port::PIT_2 => {
                self.tick_pit(now);
                self.pit.write(port - port::PIT_0, value, now);
                self.tick_pit(now);
            }
            port::PIT_CONTROL => {
                self.tick_pit(now);
                self.pit.control(value, now);
                self.tick_pit(now);
            }
            port::SYSTEM_CONTROL_B => self.pit.set_system_control_b(value, now),
            port::CMOS_INDEX => self.cmos.select(value),
            port::CMOS_DATA => self.cmos.set_data(value),
            port::KEYBOARD_DATA => return self.i8042.set_data(value),
            port::KEYBOARD_COMMAND => return self.i8042.command(value),
            port::PIC_1_LEVEL => self.pic.set_level(Which::First, value),
            port::PIC_2_LEVEL => self.pic.set_level(Which::Second, value),
            port::SYSTEM_CONTROL_A => return power::system_control_a(value),
            port::RESET_CONTROL => return power::reset_control(value),
            port::EXIT => return Some(Power::Exit(value)),
            port::UNIKRAFT_EXIT => return power::unikraft_exit(u32::from(value)),
            port::PVPANIC => return power::pvpanic(value),
            _ => {}
        }
        None
    }

    fn write_wide(&mut self, port: u16, size: PortSize, value: u32, now: Nanos) -> Option<Power> {
        match port {
            port::ACPI_CONTROL | port::ACPI_CONTROL_BOCHS => power::acpi(value),
            port::UNIKRAFT_EXIT => power::unikraft_exit(value),
            _ => value
                .to_le_bytes()
                .into_iter()
                .zip(0..size as u16)
                .find_map(|(byte, offset)| self.write_byte(port.wrapping_add(offset), byte, now)),
        }
    }
}

/// The interrupt controller behind a port, and whether it is its odd port.
fn chip_of(port: u16) -> (Which, bool) {
    let which = if port < port::PIC_2 { Which::First } else { Which::Second };
    (which, port & 1 != 0)
}

fn low_byte(value: u32) -> u8 {
    let [byte, ..] = value.to_le_bytes();
    byte
}
