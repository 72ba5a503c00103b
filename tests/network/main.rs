//! A web server in a guest, asked by clients outside: our own guest `http` with its own driver of virtio network cards.
//!
//! What is asked is the same wherever the guest runs (`site`): under `runu run`, and under QEMU's emulator, which is the judge
//! of the guest: what fails there is no fault of ours to be sought in a monitor. [`server::Server`] is either.

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "processes and users are not looked at here")]
mod support;

mod client;
mod demo;
mod lonely;
mod publish;
mod real;
mod server;
mod site;

use std::time::Duration;

/// How long a client waits for a server: as long as a test for a program (`support::Running`).
const LIMIT: Duration = Duration::from_secs(60);
