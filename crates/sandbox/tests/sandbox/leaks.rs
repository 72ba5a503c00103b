//! What a test could leave behind. Other runs of the same tests may be under way, so only what is ours counts.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::{io::Errno, process::WaitOptions};

use crate::caller;

/// What there is of everything that a sandbox is made of, but for processes.
pub(crate) struct Belongings(BTreeSet<String>);

impl Belongings {
    /// All there is now.
    pub(crate) fn now() -> Self {
        let mut found = BTreeSet::new();
        found.extend(descriptors());
        found.extend(mounts());
        control_groups(Path::new("/sys/fs/cgroup"), &mut found);
        Belongings(found)
    }

    /// Fails if there is anything now that was not there then, or a child that was not reaped.
    pub(crate) fn check_nothing_added(&self) -> Result<(), String> {
        // Orphans become children of this process (see `main`); `__WALL` finds those whose end raises no signal.
        let child = rustix::process::wait(WaitOptions::NOHANG | WaitOptions::from_bits_retain(0x4000_0000));
        if !matches!(child, Err(Errno::CHILD)) {
            return Err(format!("a child is left: {child:?}"));
        }
        let now = Self::now().0;
        let added: Vec<&String> = now.difference(&self.0).collect();
        if added.is_empty() { Ok(()) } else { Err(format!("left behind: {added:?}")) }
    }
}

fn descriptors() -> impl Iterator<Item = String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    // The descriptor that reads the directory is gone when its link is read.
    entries.filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(format!("descriptor {:?} on {target:?}", entry.file_name()))
    })
}

/// Mounts of a sandbox's root that reached this namespace.
fn mounts() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().filter(|line| line.contains(" tmpfs runu ")).map(|line| format!("mount {line}")).collect()
}

fn control_groups(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().starts_with(&caller::cgroup_name()) {
                found.insert(format!("control group {:?}", entry.path()));
            }
            control_groups(&entry.path(), found);
        }
    }
}
