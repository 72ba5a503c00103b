//! The devices of a PC that unikernels use, behind its I/O ports, and the CPU's local APIC.
//!
//! No device knows a clock: every access brings the time along, as nanoseconds of one monotonic clock, and a device
//! works out what has happened since. No device knows a descriptor either: output goes to a [`Console`]. So all of
//! this is tested without a guest, without waiting, and with any sequence of times.

mod apic;
mod cmos;
mod i8042;
mod pc;
mod pic;
mod pit;
mod power;
mod serial;
mod time;
mod vga;

pub use apic::APIC_TIMER_KHZ;
pub use pc::{Foreseen, Pc, PortSize, Shortcut};
pub use power::Power;
pub use serial::Console;
pub use time::{Nanos, WallClock};
