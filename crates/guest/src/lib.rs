//! What a kernel file is and what it understands: bytes in, facts out.
//!
//! A start passes through here in three steps, each a pure function over plain data:
//!
//! 1. [`detect`] reads the kernel file and says what it is: a [`Guest`].
//! 2. [`command_line`] writes down program name, arguments and environment in the grammar that this guest reads, or
//!    refuses what the grammar cannot express: a [`CommandLine`].
//! 3. [`plan`] checks that guest and initrd fit into memory, and gives the [`runu_core::Plan`] a machine carries out.
//!
//! [`symbol`] names an address for messages about a running guest.
//!
//! Nothing here does I/O, and no input makes it panic: kernel files come from strangers. Each kind of unikernel has a
//! file of its own, which recognises it, states its facts and knows its grammar; adding a kind adds a file.

#![forbid(unsafe_code)]

mod bytes;
mod cards;
mod command_line;
mod detect;
mod elf;
mod foreign;
mod guest;
mod hermit;
mod linux;
mod multiboot;
mod network;
mod osv;
mod plain;
mod plan;
pub mod runu;
mod shares;
pub mod solo5;
mod symbol;
pub mod unikraft;

pub use cards::{NoDriver, card_parameters, check_disks};
pub use command_line::{CommandLine, CommandLineError, Fault, Invocation, Variable, Word, command_line};
pub use detect::{DetectError, detect};
pub use elf::Class;
pub use foreign::Foreign;
pub use guest::{Arch, Guest, Kind};
pub use network::{Network, NetworkUse, add_network_parameters, network_use};
pub use plan::{PlanError, plan};
pub use shares::{Shared, is_mount_point, share_obstacle, unpacks_initrd};
pub use symbol::symbol;
