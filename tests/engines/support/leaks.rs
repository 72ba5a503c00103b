//! What a container can leave behind, and where to look for it.

use std::{fs, path::Path};

use super::Machine;

/// How long a process of an engine may go on after its container, in seconds.
const GRACE_S: &str = "10";

/// Asserts that nothing is left of the container with this id: state, processes, mounts, control groups.
#[track_caller]
pub(crate) fn has_nothing_of(machine: &Machine, id: &str) {
    assert!(!id.is_empty());
    // Engines clear up in processes of their own, which may still be about to end.
    for process in lines(machine, "ps -eo pid=,args=", id) {
        let number = process.split_whitespace().next().unwrap_or_default();
        machine.run(&[
            "timeout",
            GRACE_S,
            "tail",
            "--sleep-interval=0.05",
            "--pid",
            number,
            "--follow",
            "/dev/null",
        ]);
    }
    let mut left = lines(machine, "ps -eo args=; cat /proc/mounts; find /run /var/tmp /dev/shm", id);
    // Podman's own socket to slirp4netns, which Podman leaves.
    left.retain(|line| !line.ends_with(&format!("/libpod/tmp/{id}.net")));
    control_groups(Path::new("/sys/fs/cgroup"), id, &mut left);
    assert!(left.is_empty(), "left behind: {left:#?}");
}

/// The lines with this id that a script prints. It is told nothing of the id, so it does not find itself.
fn lines(machine: &Machine, script: &str, id: &str) -> Vec<String> {
    machine.sh(script).stdout.lines().filter(|line| line.contains(id)).map(str::to_owned).collect()
}

fn control_groups(folder: &Path, id: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(id) {
                found.push(entry.path().display().to_string());
            }
            control_groups(&entry.path(), id, found);
        }
    }
}
