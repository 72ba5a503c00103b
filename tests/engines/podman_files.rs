//! Files of guests that have their root from the host, as Podman gives them: for root, and for an ordinary user, whose images
//! belong to users of a user namespace.

use super::support::{Podman, SHARE};

/// A guest reads and writes what Podman puts together.
#[track_caller]
fn guest_has_root_memory_and_files(podman: &Podman) {
    podman
        .machine()
        .sh("mkdir -p /run/key; printf 'the key' > /run/key/it; chmod 644 /run/key/it")
        .succeeded();
    let container = podman.container();
    let flags = ["--hostname", "named", "--tmpfs", "/cache:size=128k", "--volume", "/run/key/it:/etc/key:ro"];
    let words = [SHARE, "--", "write=/made", "fill=/cache/file", "read=/etc/key", "read=/etc/hostname"];
    let ran = container.run(&[&flags[..], &words].concat());
    ran.ended_with(0);
    for line in ["fill=/cache/file: 131072 bytes", "read=/etc/key: the key", "read=/etc/hostname: named"] {
        assert!(ran.stdout.contains(line), "{ran:#?}");
    }
    let diff = container.verb(&["diff"]).succeeded().to_owned();
    assert!(diff.lines().any(|line| line == "A /made"), "{diff}");

    // Podman mounts memory there, since the root is read-only.
    let words = ["--read-only", SHARE, "--", "write=/new", "write=/tmp/new"];
    podman.container().run(&words).ended_with(1).printed("write=/tmp/new: done");
}

#[test]
fn podman_run_gives_a_guest_of_root_its_root_memory_and_files() {
    let Some(podman) = Podman::of_root() else { return };
    guest_has_root_memory_and_files(podman);
}

#[test]
fn podman_run_gives_a_guest_of_a_user_its_root_memory_and_files() {
    let Some(podman) = Podman::of_a_user() else { return };
    guest_has_root_memory_and_files(podman);
}
