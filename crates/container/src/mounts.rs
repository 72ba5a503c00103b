//! Mounts of a bundle, as far as a unikernel is concerned.

use std::path::Path;

use oci_spec::runtime::Mount;

/// Whether a mount means nothing to a unikernel: those that engines add to every container.
pub(crate) fn is_ignored(mount: &Mount) -> bool {
    const KINDS: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
    const PLACES: &[&str] = &[
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/hostname",
        "/run/.containerenv",
        "/.dockerenv",
        "/run/secrets",
        "/sbin/docker-init",
        "/run/podman-init",
    ];
    let destination = mount.destination();
    mount.typ().as_deref().is_some_and(|kind| KINDS.contains(&kind))
        || PLACES.iter().any(|place| destination == Path::new(place))
        || ["/dev", "/proc", "/sys"].iter().any(|tree| destination.starts_with(tree))
        || is_engine_tmpfs(mount)
}

/// podman mounts these as tmpfs in read-only containers.
fn is_engine_tmpfs(mount: &Mount) -> bool {
    let places = ["/run", "/tmp", "/var/tmp"];
    mount.typ().as_deref() == Some("tmpfs")
        && places.iter().any(|place| mount.destination() == Path::new(place))
}
