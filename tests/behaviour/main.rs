//! What a user of `runu` sees of a guest: its console, its end, its time, what signals do to it.
//!
//! Every test runs our own guests as files with the built `runu`, and leaves its room clean (`support`).

#[path = "../support/mod.rs"]
mod support;

mod bytes;
mod console;
mod disks;
mod ends;
mod initrd;
mod input;
mod loader;
mod memory;
mod output;
mod signals;
mod time;
mod users;
mod verbs;
mod volumes;
