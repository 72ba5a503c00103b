//! Docker, Podman and containerd with runu as their runtime, for unikernels and for ordinary containers.
//!
//! Each engine runs in a machine of its own (`support/machine.rs`), installed as the README says, and is used by its own
//! command line: what a user sees is what is tested. Every container is searched for leftovers when its test ends.
//! `RUNU_TEST_RUNTIME=/usr/sbin/runc` runs the ordinary containers with another runtime, to compare.

mod containerd;
mod docker_files;
mod docker_lifecycle;
mod docker_network;
mod docker_ordinary;
mod docker_run;
mod podman_files;
mod podman_network;
mod podman_root;
mod podman_rootless;
mod readme;
mod support;
