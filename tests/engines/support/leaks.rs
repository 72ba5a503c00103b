//! What a container can leave behind, and where to look for it.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::Machine;

/// How long an engine may go on clearing up after its container.
const GRACE: Duration = Duration::from_secs(10);

/// Asserts that nothing is left of the container with this id: state, processes, mounts, control groups.
#[track_caller]
pub(crate) fn has_nothing_of(machine: &Machine, id: &str) {
    assert!(!id.is_empty());
    // Engines clear up in processes of their own, some of which start only when the container has gone.
    let end = Instant::now() + GRACE;
    loop {
        let left = left_of(machine, id);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left behind: {left:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn left_of(machine: &Machine, id: &str) -> Vec<String> {
    let mut left =
        lines(machine, "ps -eo pid=,stat=,wchan=,args=; cat /proc/mounts; find /run /var/tmp /dev/shm", id);
    // Podman's own socket to slirp4netns, which Podman leaves.
    left.retain(|line| !line.ends_with(&format!("/libpod/tmp/{id}.net")));
    control_groups(Path::new("/sys/fs/cgroup"), id, &mut left);
    left
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
