//! What a container of a unikernel is, seen from outside: namespaces, root, limits, hooks, terminal, descriptors.
//!
//! Every test makes a bundle and calls the built `runu` as an engine's shim does, without any engine, looks at the
//! container's processes where the kernel shows them, and leaves nothing behind (`container`). Most of it needs root and
//! control groups of version 1; what a host lacks is skipped with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

mod container;
mod descriptors;
mod hooks;
mod inside;
mod limits;
mod namespaces;
mod parameters;
mod terminal;
mod tolerance;
mod users;
mod volumes;
