//! No descriptors, no processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::container::{Container, skip};

/// `command` under util-linux' prlimit(1).
fn limited(command: &Command, limit: &str) -> Command {
    let mut limited = Command::new("prlimit");
    limited.arg(limit).arg(command.get_program()).args(command.get_args());
    limited.stdin(Stdio::null());
    limited
}

#[test]
fn verbs_without_enough_descriptors_fail_clearly_or_succeed() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let mut ends = Vec::new();
    for most in 4..48 {
        let mut command = limited(&container.creation(), &format!("--nofile={most}"));
        let console = fs::File::create(container.path("console")).unwrap();
        command.stdout(console.try_clone().unwrap()).stderr(console);
        let status = command.status().unwrap();
        ends.push(status.success());
        if status.success() {
            assert_eq!(container.state()["status"], "created", "{most}");
            continue_with(&container, most);
        } else {
            assert_eq!(status.code(), Some(1), "{most}: {}", container.console());
            let told = container.console();
            assert!(told.starts_with("error: "), "{most}: {told}");
        }
        container.done(&["delete", "--force"]);
        container.nothing_left();
    }
    assert!(ends.contains(&true) && ends.contains(&false), "{ends:?}");
}

/// Starts and deletes what was created, with as few descriptors.
fn continue_with(container: &Container, most: u32) {
    for words in [&["start"][..], &["state"], &["kill"]] {
        let mut command = limited(&container.command(words), &format!("--nofile={most}"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{most}: {words:?}: {output:?}");
    }
    container.wait();
}

#[test]
fn deletion_without_descriptors_fails_clearly_and_the_next_succeeds() {
    for most in 4..12 {
        let Some(container) = Container::new("idle", |_| ()) else { return };
        container.start();
        let output = limited(&container.command(&["delete", "--force"]), &format!("--nofile={most}"))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || told.starts_with("error: "), "{most}: {output:?}");
        container.done(&["delete", "--force"]);
        container.nothing_left();
    }
}

/// A control group of version 1 that holds few processes, for the calls of a test.
struct Narrow(PathBuf);

impl Narrow {
    fn new(container: &Container, most: u32) -> Option<Self> {
        let hierarchy = Path::new("/sys/fs/cgroup/pids");
        if !hierarchy.join("cgroup.procs").exists() {
            skip("no version-1 control group for pids");
            return None;
        }
        let narrow = Narrow(hierarchy.join(format!("narrow-{}", container.id)));
        fs::create_dir(&narrow.0).unwrap();
        fs::write(narrow.0.join("pids.max"), most.to_string()).unwrap();
        Some(narrow)
    }

    /// `command` in it.
    fn hold(&self, command: &Command) -> Command {
        let mut held = Command::new("/bin/sh");
        held.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.0.join("cgroup.procs"));
        held.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        held
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn create_where_no_process_can_be_made_fails_clearly() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(narrow) = Narrow::new(&container, 1) else { return };
    let console = fs::File::create(container.path("console")).unwrap();
    let mut command = narrow.hold(&container.creation());
    let status = command.stdout(console.try_clone().unwrap()).stderr(console).status().unwrap();
    assert_eq!(status.code(), Some(1));
    assert!(container.logged().contains("Resource temporarily unavailable"), "{}", container.logged());
    container.nothing_left();
}

#[test]
fn start_in_a_container_of_one_process_fails_clearly() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["resources"] = json!({ "pids": { "limit": 1 } });
    }) else {
        return;
    };
    container.create();
    container.fails(&["start"], "Resource temporarily unavailable");
    container.wait();
    assert_eq!(container.state()["status"], "stopped");
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn hook_that_cannot_be_run_for_want_of_processes_fails_the_create() {
    let Some(container) = Container::new("idle", |config| {
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/true" }] });
    }) else {
        return;
    };
    // The supervisor has left for its own group by then; the hook finds no room beside `create`.
    let Some(narrow) = Narrow::new(&container, 1) else { return };
    let console = fs::File::create(container.path("console")).unwrap();
    let mut command = narrow.hold(&container.creation());
    let status = command.stdout(console.try_clone().unwrap()).stderr(console).status().unwrap();
    assert_eq!(status.code(), Some(1));
    container.nothing_left();
}
