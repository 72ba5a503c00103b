//! Containers when things go wrong: hostile bundles, a host that has nothing left, processes killed at every step, and
//! very many at once. Whatever happens, what is said is clear, `delete --force` succeeds, and nothing remains.
//!
//! They need root, because a container's network and control group do; without it each says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

#[path = "../support/container.rs"]
mod container;

mod bundles;
mod disks;
mod killed;
mod many;
mod scarce;
mod stubborn;
