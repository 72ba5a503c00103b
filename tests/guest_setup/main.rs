//! What a guest is given when it comes in a container: which kernel, which words, how much memory; and what the operator has
//! to say in that.
//!
//! Every test makes a bundle as an engine would and calls the built `runu` on it; each needs root, because a container's
//! control group does, and says so where it is not had.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

mod detection;
mod memory;
mod operator;
mod real;
mod real_files;
mod rig;
mod words;
