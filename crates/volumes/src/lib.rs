//! How a guest gets files of the host: the root of its container, and volumes.
//!
//! ```text
//! wishes: root, initrd, volumes ── furnish ──► initrd to boot with, trees to serve, what the guest is told of them
//!                                  Served::new ──► descriptors of the process that serves them, and of the guest's
//! ```
//!
//! A kernel that can share directories and unpacks no initrd has its whole root from the host: one tree, with every volume
//! mounted in it by the host ([`runu_sandbox::tree`]). One that unpacks an initrd has its root in memory: volumes that it
//! cannot share become part of the archive if it may only read them. The argument is in docs/design/files.md.
//!
//! Architecture invariant: nothing here knows containers or flags; who wishes for what is the caller's to say.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used, clippy::unwrap_used)
)]

mod cpio;
mod error;
mod furnish;
mod initrd;
mod served;
mod volume;

pub use error::{TreeFailure, VolumeError};
pub use furnish::{Furnished, LeftOut, OpenShare, Root, Wishes, furnish};
pub use initrd::InitrdError;
pub use served::{FileServer, Served, devices};
pub use volume::{Content, Volume};
