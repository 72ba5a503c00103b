//! `update` and `events`: what a container may use, and what it does use.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::Stdio,
};

use serde_json::{Value, json};

use crate::container::{Container, skip};

/// A file of the container's control group in the hierarchy of a version-1 controller; none where there is none.
fn group_file(container: &Container, controller: &str, file: &str) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/sys/fs/cgroup/{controller}/runu/{}", container.id)).join(file);
    if !path.exists() {
        skip(&format!("no version-1 control group for {controller}"));
        return None;
    }
    Some(path)
}

fn started() -> Option<Container> {
    let container = Container::new("idle", |config| {
        config["linux"]["resources"] = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 50 } });
    })?;
    container.start();
    Some(container)
}

fn stats(container: &Container) -> Value {
    serde_json::from_str(&container.done(&["events", "--stats"])).unwrap()
}

#[test]
fn update_with_flags_sets_each_limit() {
    let Some(container) = started() else { return };
    let flags = [
        ("--memory", "96M", "memory", "memory.limit_in_bytes", "100663296"),
        ("--memory", "100663296", "memory", "memory.limit_in_bytes", "100663296"),
        ("--memory-reservation", "32M", "memory", "memory.soft_limit_in_bytes", "33554432"),
        ("--pids-limit", "77", "pids", "pids.max", "77"),
        ("--pids-limit", "-1", "pids", "pids.max", "max"),
        ("--cpu-share", "512", "cpu", "cpu.shares", "512"),
        ("--cpu-period", "50000", "cpu", "cpu.cfs_period_us", "50000"),
        ("--cpu-quota", "20000", "cpu", "cpu.cfs_quota_us", "20000"),
        ("--cpuset-cpus", "0", "cpuset", "cpuset.cpus", "0"),
        ("--cpuset-mems", "0", "cpuset", "cpuset.mems", "0"),
    ];
    for (flag, value, controller, file, expected) in flags {
        let Some(file) = group_file(&container, controller, file) else { return };
        container.done(&["update", flag, value]);
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), expected, "{flag} {value}");
    }
}

#[test]
fn update_of_nothing_and_to_zero_changes_nothing() {
    let Some(container) = started() else { return };
    let before = stats(&container)["data"]["memory"]["usage"]["limit"].clone();
    container.done(&["update"]);
    container.done(&["update", "--memory", "0", "--pids-limit", "0", "--blkio-weight", "0"]);
    container.done(&["update", "--kernel-memory", "5M", "--kernel-memory-tcp", "5M"]);
    assert_eq!(stats(&container)["data"]["memory"]["usage"]["limit"], before);
    assert_eq!(stats(&container)["data"]["pids"]["limit"], 50);
}

/// What dockerd sends.
const DOCKERS: &str = r#"{"memory":{"limit":134217728,"swap":0,"kernel":0},"cpu":{"shares":0,"cpus":""},"blockIO":{"weight":0}}"#;

#[test]
fn update_from_standard_input_and_from_a_file_sets_limits() {
    let Some(container) = started() else { return };
    let limit = |container: &Container| stats(container)["data"]["memory"]["usage"]["limit"].as_u64();
    let mut child = container.command(&["update", "--resources", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(DOCKERS.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(limit(&container), Some(128 << 20));

    let file = container.path("limits");
    fs::write(&file, r#"{"memory":{"limit":83886080},"pids":{"limit":33}}"#).unwrap();
    container.done(&["update", &format!("--resources={}", file.display())]);
    assert_eq!(limit(&container), Some(80 << 20));
    // Podman's way, and the short one; what else is said does not count then.
    container.done(&["update", "--memory", "200M", "-r", file.to_str().unwrap()]);
    assert_eq!(limit(&container), Some(80 << 20));
    assert_eq!(stats(&container)["data"]["pids"]["limit"], 33);
}

#[test]
fn update_that_cannot_be_had_is_refused_by_name() {
    let Some(container) = started() else { return };
    let flags = [
        ("--cpu-rt-period", "1000"),
        ("--cpu-rt-runtime", "1000"),
        ("--l3-cache-schema", "L3:0=f"),
        ("--mem-bw-schema", "MB:0=20"),
    ];
    for (flag, value) in flags {
        container.fails(&["update", flag, value], &format!("`{flag}` is not supported for a unikernel"));
    }
    container.fails(&["update", "--cpuset-cpus", "9999"], "cannot set a limit of");
    container.fails(&["update", "--memory", "lots"], "invalid value 'lots'");
    container.fails(&["update", "--resources", "/none"], "cannot read `/none`");
    for (text, named) in [
        ("", "not valid OCI resources"),
        ("[]", "not valid OCI resources"),
        (r#"{"memory":{"limit":"1"}}"#, "not valid OCI resources"),
        (r#"{"cpu":{"realtimeRuntime":500}}"#, "a limit on real-time scheduling is not supported"),
    ] {
        let file = container.path("limits");
        fs::write(&file, text).unwrap();
        container.fails(&["update", "-r", file.to_str().unwrap()], named);
    }
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn events_have_the_names_of_runc() {
    let Some(container) = started() else { return };
    let event = stats(&container);
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id)));
    let data = &event["data"];
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{event}");
    for key in ["kernel", "user"] {
        assert!(data["cpu"]["usage"][key].is_u64(), "{event}");
    }
    for key in ["limit", "usage", "max", "failcnt"] {
        assert!(data["memory"]["usage"][key].is_u64(), "{event}");
    }
    assert!(data["memory"]["raw"].as_object().unwrap().len() > 10, "{event}");
    assert_eq!((&data["pids"]["current"], &data["pids"]["limit"]), (&json!(2), &json!(50)));
    for key in ["blkio", "hugetlb", "intel_rdt"] {
        assert!(data[key].is_object(), "{event}");
    }
}

/// As runc does: all was told when the container ended.
#[test]
fn events_end_with_status_0_when_the_container_ends_in_between() {
    let Some(container) = started() else { return };
    let mut child =
        container.command(&["events", "--interval", "1ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(event["type"], "stats");
    }
    container.done_with_signal("KILL");
    assert!(lines.all(|line| serde_json::from_str::<Value>(&line.unwrap()).is_ok()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(!container.path("log").exists());
}

/// The same at any moment of it: with ten ends, one meets the moment between two looks.
#[test]
fn events_of_a_container_that_is_deleted_beside_them_end_with_status_0() {
    for _ in 0..10 {
        let Some(container) = started() else { return };
        let mut child =
            container.command(&["events", "--interval", "1ns"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.next().is_some());
        container.done(&["delete", "--force"]);
        assert!(lines.all(|line| line.is_ok()));
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}
