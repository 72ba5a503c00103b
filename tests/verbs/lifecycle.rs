//! From `create` to `delete`: which verb is possible when, and two of them at once.

use std::{
    fs,
    process::{Child, Stdio},
};

use serde_json::json;

use crate::container::Container;

#[test]
fn container_passes_through_its_statuses() {
    let Some(container) = Container::new("idle", |config| config["annotations"] = json!({ "a": "b" })) else {
        return;
    };
    container.create();
    let created = container.state();
    assert_eq!(created["status"], "created");
    assert_eq!(created["annotations"], json!({ "a": "b" }));
    assert_eq!(created["bundle"], json!(fs::canonicalize(container.path("bundle")).unwrap()));
    assert_eq!(container.console(), "", "the guest ran before its start");
    container.done(&["start"]);
    assert_eq!(container.state()["status"], "running");
    container.done(&["pause"]);
    assert_eq!(container.state()["status"], "paused");
    container.fails(&["pause"], "container not running");
    container.fails(&["start"], "cannot start a container in the paused state");
    container.done(&["resume"]);
    assert_eq!(container.state()["status"], "running");
    container.done_with_signal("TERM");
    container.wait();
    let stopped = container.state();
    assert_eq!((&stopped["status"], &stopped["pid"]), (&json!("stopped"), &json!(0)));
    assert_eq!(stopped["annotations"]["dev.runu.end"], "ended by signal 15");
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn paused_container_is_killed_and_deleted() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    container.done(&["pause"]);
    container.done_with_signal("KILL");
    assert_eq!(container.wait(), 137);
    container.done(&["delete"]);

    container.start();
    container.done(&["pause"]);
    container.fails(&["delete"], "is not stopped: paused");
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn container_that_waits_for_its_start_can_be_paused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.create();
    container.done(&["pause"]);
    assert_eq!(container.state()["status"], "paused");
    container.done(&["resume"]);
    assert_eq!(container.state()["status"], "created");
}

#[test]
fn configuration_changed_after_create_is_not_read_again() {
    let Some(container) = Container::new("hello", |config| config["process"]["args"] = json!(["first"]))
    else {
        return;
    };
    container.create();
    container.configure("{");
    fs::remove_file(container.kernel()).unwrap();
    container.done(&["start"]);
    assert_eq!(container.wait(), 0);
    assert!(container.console().contains("argv[1] = first"), "{}", container.console());
}

#[test]
fn name_that_is_none_is_refused_by_every_verb() {
    let Some(mut container) = Container::new("idle", |_| ()) else { return };
    let mine = container.id.clone();
    let bundle = container.path("bundle");
    let long = "a".repeat(300);
    for id in ["..", ".", "../x", "a/b", "/", "", "a b", "a\nb", "\u{e4}", "\u{1f984}", "a;b", long.as_str()]
    {
        container.id = id.to_owned();
        for words in
            [&["create", "--bundle", bundle.to_str().unwrap()][..], &["state"], &["start"], &["delete"]]
        {
            container.fails(words, "invalid container ID");
        }
        container.done(&["delete", "--force"]);
        assert!(!container.root().exists(), "{id:?}");
    }
    container.id = mine;
}

/// Children that all do the same at the same time; how they end.
fn at_once(container: &Container, count: usize, words: &[&str]) -> Vec<Option<i32>> {
    let start = |_| container.command(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let children: Vec<Child> = (0..count).map(start).collect();
    children.into_iter().map(|mut child| child.wait().unwrap().code()).collect()
}

#[test]
fn of_two_starts_at_once_one_succeeds() {
    for _ in 0..5 {
        let Some(container) = Container::new("idle", |_| ()) else { return };
        container.create();
        let mut ends = at_once(&container, 4, &["start"]);
        ends.sort_unstable();
        assert_eq!(ends, [Some(0), Some(1), Some(1), Some(1)]);
        let log = fs::read_to_string(container.path("log")).unwrap();
        assert!(log.lines().all(|line| line.contains("cannot start an already running container")), "{log}");
        assert_eq!(container.state()["status"], "running");
    }
}

#[test]
fn of_two_creates_at_once_one_succeeds() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let bundle = container.path("bundle");
    let mut ends = at_once(&container, 4, &["create", "--bundle", bundle.to_str().unwrap()]);
    ends.sort_unstable();
    assert_eq!(ends, [Some(0), Some(1), Some(1), Some(1)]);
    let log = fs::read_to_string(container.path("log")).unwrap();
    assert!(log.lines().all(|line| line.contains("already exists")), "{log}");
    assert_eq!(container.state()["status"], "created");
}

#[test]
fn deletions_at_once_all_succeed_and_run_hooks_once() {
    for _ in 0..5 {
        let Some(container) = Container::new("idle", |_| ()) else { return };
        let told = container.path("told");
        let script = format!("echo once >> {}", told.display());
        let config = container.path("bundle/config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
        config["hooks"] = json!({ "poststop": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
        container.configure(&config.to_string());
        container.start();
        assert_eq!(at_once(&container, 4, &["delete", "--force"]), [Some(0); 4]);
        assert_eq!(fs::read_to_string(told).unwrap(), "once\n");
        container.nothing_left();
    }
}

#[test]
fn deletion_beside_a_start_leaves_nothing() {
    for _ in 0..10 {
        let Some(container) = Container::new("hello", |_| ()) else { return };
        container.create();
        let mut starting = container.command(&["start"]).stderr(Stdio::null()).spawn().unwrap();
        container.done(&["delete", "--force"]);
        // It came first or it came too late.
        assert!(matches!(starting.wait().unwrap().code(), Some(0 | 1)));
        container.nothing_left();
    }
}

#[test]
fn deletion_beside_a_create_leaves_nothing_or_the_container() {
    for _ in 0..20 {
        let Some(container) = Container::new("hello", |_| ()) else { return };
        let mut creating = container.creation().spawn().unwrap();
        container.done(&["delete", "--force"]);
        let created = creating.wait().unwrap().success();
        if created {
            container.done(&["delete", "--force"]);
        }
        container.nothing_left();
    }
}

/// A hook that never ends must not keep a container from being deleted.
#[test]
fn create_that_hangs_in_a_hook_is_deleted_by_force() {
    let Some(container) = Container::new("hello", |_| ()) else { return };
    let fifo = container.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let (started, script) = (container.path("started"), "echo > \"$0\"; exec cat \"$1\"");
    rustix::fs::mkfifoat(rustix::fs::CWD, &started, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let config = container.path("bundle/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    config["hooks"] =
        json!({ "prestart": [{ "path": "/bin/sh", "args": ["sh", "-c", script, started, fifo] }] });
    container.configure(&config.to_string());
    let mut creating = container.creation().spawn().unwrap();
    assert_eq!(fs::read_to_string(&started).unwrap(), "\n");

    assert_eq!(container.state()["status"], "creating");
    container.fails(&["delete"], "is not stopped: creating");
    container.fails(&["start"], "cannot start a container in the creating state");
    container.done(&["delete", "--force"]);
    assert!(!creating.wait().unwrap().success());
    container.nothing_left();
    // The hook is nobody's now; it ends with its pipe.
    drop(fs::OpenOptions::new().write(true).open(&fifo).unwrap());
}
