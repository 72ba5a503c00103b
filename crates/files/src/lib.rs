//! Directories of the host as 9P file servers, for guests that share them.
//!
//! ```text
//! process.rs            the process that serves a guest's shares
//! server.rs             whole messages off a stream, answers onto it
//! session.rs            one client: its fids, and which request is answered by what
//! session/*.rs          the answers: data, names, attributes, directories
//! node.rs               one file or directory, and the only way to others
//! attributes.rs         what is told of a file: qid, mode, the records of both dialects
//! request.rs, wire.rs   bytes to requests, values to bytes
//! ```
//!
//! Both dialects that guests speak are served: 9P2000.L (diod's protocol.md; Linux, Unikraft since 0.10) and 9P2000.u
//! (RFC draft "9P2000 Unix Extension"). Unikraft mixes them: it makes directories with `Tcreate` in a session of .L.
//!
//! The client is hostile. What it says is bounded before anything is kept of it: a message by the size agreed on, a
//! name by what a directory entry can hold, fids by [`Limits`].
//!
//! Architecture invariant: no path is ever put together. Each file that a client knows is an open `O_PATH` descriptor and
//! a chain of those above it up to the root of the share; a client names one directory entry at a time, which is looked up by
//! `openat2` beneath its directory, without following a link. `..` is the next in the chain, and the root's is the root.
//! So neither a link, nor a rename on the host meanwhile, leads out.
//!
//! Architecture invariant: nothing but regular files and directories is ever opened; of all else a client learns what it is.

#![deny(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::panic, clippy::expect_used, clippy::unwrap_used)
)]

mod attributes;
mod node;
#[expect(unsafe_code, reason = "takes over the descriptors that the process is started with")]
mod process;
mod request;
mod server;
mod session;
mod wire;

pub use process::{descriptor, files_main};
pub use server::{ServeError, Served, Server};
pub use session::{Limits, Session};

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;
