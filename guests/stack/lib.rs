//! The TCP/IP stack of the guests that talk to a network.
//!
//! It is a package of its own so that the workspace's lock file names its version and one `cargo fetch` brings it. The
//! guests' build script builds it a second time, with Cargo as well, in the guests' own code generation.

#![no_std]

pub use smoltcp::*;
