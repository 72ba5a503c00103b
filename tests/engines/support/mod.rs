//! What the engine suites share: a machine of their own for each engine, images, and the search for leftovers.

mod containerd;
mod docker;
mod image;
mod leaks;
mod machine;
mod packages;
mod podman;
mod ran;

pub(crate) use containerd::Containerd;
pub(crate) use docker::Docker;
pub(crate) use image::Image;
pub(crate) use machine::Machine;
use packages::need;
pub(crate) use podman::Podman;
pub(crate) use ran::Ran;

/// A unikernel that tells its arguments and ends.
pub(crate) const UNIKERNEL: &str = "unikernel";
/// A unikernel that says `ready` and goes on until it is ended.
pub(crate) const IDLE: &str = "idle";
/// A web server that is a unikernel, built for QEMU.
pub(crate) const WEB: &str = "web";
/// A unikernel that works on a directory that it shares.
pub(crate) const SHARE: &str = "share";
/// The server, built for Firecracker.
pub(crate) const WEB_FC: &str = "web-fc";
/// [`UNIKERNEL`] with an initrd of 20 bytes.
pub(crate) const INITRD: &str = "with-initrd";
/// A shell and the programs around it.
pub(crate) const ORDINARY: &str = "ordinary";

/// Says that the running test cannot run here, in the form that `cargo xtask test` counts.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP {}: {reason}", std::thread::current().name().unwrap_or("?"));
}
