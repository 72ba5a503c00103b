//! The words of runu: addresses, sizes, plans, ends and blame.
//!
//! Everything here is plain data without I/O, so that every other crate can share it and every test can build it.
//! A start flows through these words: facts about a kernel and a user's wishes become a [`Plan`]; a machine runs it;
//! how it went comes back as a [`Report`] whose [`End`] fixes the exit status.

mod addr;
mod blame;
mod bytes;
mod place;
mod plan;
mod report;
mod text;

pub use addr::{GuestAddr, VirtAddr};
pub use blame::{Blame, Blamed, causes, sentence};
pub use bytes::{Bytes, ParseBytesError};
pub use place::Place;
pub use plan::{BootProtocol, Disk, NetworkCard, Plan, Segment, Share, WireKind};
pub use report::{Counters, End, Phases, Report};
pub use text::Printable;
