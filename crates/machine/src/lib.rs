//! What a guest sees of a machine: its memory, the state it is entered in, the devices of a PC.
//!
//! This crate knows no VM, no container, no signal and no clock. A monitor makes [`GuestMemory`], lets [`boot::load`]
//! put a kernel into it and say how to enter, and hands every access of the guest to a port, a device in memory or the
//! local APIC to [`Pc`] together with the time. Whatever a guest does to either is bounded and free of panics: both face
//! hostile code.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used, clippy::unwrap_used)
)]

pub mod boot;
mod devices;
mod memory;
mod pci;
mod virtio;

pub use devices::{APIC_TIMER_KHZ, Console, Foreseen, Nanos, Pc, PortSize, Power, Shortcut, WallClock};
pub use memory::{GuestMemory, MemoryError, OutOfRam, Region};
pub use virtio::{
    Cards, Channel, ChannelError, Disk, Entropy, FRAME_MAX, HEADER_LEN, Inquiry, Keyboard, Mac, Medium,
    MediumError, NameServer, Narrow, Net, NineP, Relay, Rng, SECTOR, Terminal, Wire, WireError,
};
