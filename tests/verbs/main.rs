//! The verbs of an OCI runtime as engines call them, without any engine: flags, messages, statuses, what is printed and
//! what is left behind.
//!
//! They need root, because a container's network and control group do; without it each says so and passes. `rules` holds
//! what engines take for granted and say nowhere.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

#[path = "../support/container.rs"]
mod container;

mod documents;
mod flags;
mod lifecycle;
mod limits;
mod refused;
mod rules;
mod run;
mod tables;
