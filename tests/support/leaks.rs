//! What programs can leave behind, and where to look for it.
//!
//! Processes are found by their process group, control groups by the number of the `runu` that made them: both are of one
//! test, whatever else runs meanwhile. A group that was there before the test is someone else's, of a number that was used
//! before. Mounts and links are found by `runu`'s name. Descriptors belong to the process of all tests, which run side by
//! side, so they are counted when no test is running.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};

use super::process::Process;
use super::running::wait_for_end;

/// How long something that was killed from outside may take to disappear.
const GRACE: Duration = Duration::from_secs(2);

/// All that is left of the programs in these process groups that worked in this folder, but for control groups that were
/// there before. It is cleared away.
pub(crate) fn of_programs(groups: &[Pid], folder: &Path, before: &BTreeSet<PathBuf>) -> Vec<String> {
    let mut left = Vec::new();
    for process in
        groups.iter().flat_map(|group| Process::group(*group)).filter(|process| !is_ending(process))
    {
        left.push(format!("process {process:?}"));
        // Fails only if it has ended meanwhile.
        let _ = rustix::process::kill_process(process.pid, Signal::KILL);
    }
    for path in own_control_groups(groups).difference(before) {
        left.push(format!("control group {}", path.display()));
        // What cannot be removed has been told of.
        let _ = fs::remove_dir(path);
    }
    left.extend(mounts(folder));
    left.extend(links());
    left
}

/// Whether a process, which nobody waits for, is over within the grace. What it leaves is its parent's to clear away.
fn is_ending(process: &Process) -> bool {
    let ended = |pidfd| wait_for_end(&pidfd, GRACE);
    // Without a descriptor there is no process any more.
    let orphan = process.parent != std::process::id().cast_signed();
    orphan && rustix::process::pidfd_open(process.pid, PidfdFlags::empty()).map_or(true, ended)
}

/// The control groups of every `runu`, in every hierarchy.
pub(crate) fn control_groups() -> BTreeSet<PathBuf> {
    fn search(folder: &Path, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().as_encoded_bytes().starts_with(b"runu-") {
                    found.insert(entry.path());
                }
                search(&entry.path(), found);
            }
        }
    }
    let mut found = BTreeSet::new();
    search(Path::new("/sys/fs/cgroup"), &mut found);
    found
}

/// The control groups of these `runu`s.
fn own_control_groups(programs: &[Pid]) -> BTreeSet<PathBuf> {
    let names: Vec<String> = programs.iter().map(|pid| format!("runu-{}", pid.as_raw_nonzero())).collect();
    let mut groups = control_groups();
    groups.retain(|path| names.iter().any(|name| path.ends_with(name)));
    groups
}

/// Removes the control groups of these `runu`s when the processes in them have ended.
pub(crate) fn remove_control_groups(programs: &[Pid]) {
    for process in programs.iter().flat_map(|pid| Process::group(*pid)) {
        assert!(is_ending(&process), "{process:?} goes on");
    }
    for path in own_control_groups(programs) {
        fs::remove_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Mounts of `runu`'s, which have its name as their source, and mounts in this folder.
fn mounts(folder: &Path) -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the tests need /proc");
    let folder = folder.to_string_lossy();
    // Behind a lone dash: type, source, options (proc_pid_mountinfo(5)).
    let source = |line: &str| Some(line.split_once(" - ")?.1.split(' ').nth(1)?.to_owned());
    let ours = |line: &&str| source(line).as_deref() == Some("runu") || line.contains(&*folder);
    mounts.lines().filter(ours).map(|line| format!("mount {line}")).collect()
}

/// Network interfaces of `runu`'s.
fn links() -> Vec<String> {
    let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = links.map(|link| link.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("runu")).map(|name| format!("link {name}")).collect()
}

/// What the tests' own process holds when no test runs.
struct Quiet {
    running: usize,
    held: BTreeSet<String>,
}

static QUIET: Mutex<Quiet> = Mutex::new(Quiet { running: 0, held: BTreeSet::new() });

/// A test that runs. The one that ends last looks for descriptors that were not there before the first began.
pub(crate) struct Watch(());

impl Watch {
    pub(crate) fn begin() -> Self {
        let mut quiet = quiet();
        if quiet.running == 0 {
            quiet.held = descriptors();
        }
        quiet.running += 1;
        Self(())
    }

    /// Ends it; says what is left of it and of all tests that ran with it.
    pub(crate) fn end(self) -> Vec<String> {
        let mut quiet = quiet();
        quiet.running -= 1;
        if quiet.running > 0 {
            return Vec::new();
        }
        descriptors()
            .difference(&quiet.held)
            .map(|one| format!("{one}, of this test or one beside it"))
            .collect()
    }
}

/// Also after a test failed while it looked.
fn quiet() -> MutexGuard<'static, Quiet> {
    QUIET.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> BTreeSet<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("the tests need /proc").flatten();
    // The descriptor that reads the folder is gone when its link is read.
    entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some(format!("descriptor {} on {}", entry.file_name().display(), target.display()))
        })
        .collect()
}
