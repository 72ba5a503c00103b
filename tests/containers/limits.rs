//! Limits: of the control group, on everything of the container, and of processes.

use std::{fs, io::Write, process::Stdio};

use serde_json::{Value, json};

use crate::container::Container;

/// A file of the container's group; none where the host lacks the controller.
#[track_caller]
fn setting(container: &Container, controller: &str, file: &str) -> Option<String> {
    let path = container.group(controller)?.join(file);
    Some(
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .trim()
            .to_owned(),
    )
}

fn limited(guest: &str, resources: Value) -> Option<Container> {
    Container::new(guest, |config| config["linux"]["resources"] = resources)
}

#[test]
fn every_process_is_in_the_containers_group_in_every_hierarchy() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    if container.group("memory").is_none() {
        return;
    }
    container.create();
    let group = format!("/runu/{}", container.id());
    let places = |process: crate::container::Process| -> Vec<String> {
        process
            .read("cgroup")
            .lines()
            .filter(|line| !line.starts_with("0::"))
            .map(|line| line.splitn(3, ':').nth(2).unwrap().to_owned())
            .collect()
    };
    assert!(
        places(container.supervisor()).iter().all(|place| *place == group),
        "{:?}",
        places(container.supervisor())
    );
    container.done(&["start"]);
    assert!(places(container.guest()).iter().all(|place| *place == group), "{:?}", places(container.guest()));
}

#[test]
fn memory_limits_are_those_of_the_group() {
    let Some(container) =
        limited("idle", json!({ "memory": { "limit": 96 << 20, "reservation": 48 << 20 } }))
    else {
        return;
    };
    container.start();
    let Some(limit) = setting(&container, "memory", "memory.limit_in_bytes") else { return };
    assert_eq!(limit, (96 << 20).to_string());
    let soft = setting(&container, "memory", "memory.soft_limit_in_bytes").unwrap();
    assert_eq!(soft, (48 << 20).to_string());
    // What the guest touches is charged to it.
    let used: u64 = setting(&container, "memory", "memory.usage_in_bytes").unwrap().parse().unwrap();
    assert!((64 << 10..96 << 20).contains(&used), "{used}");
}

#[test]
fn processor_limits_are_those_of_the_group() {
    let Some(container) =
        limited("idle", json!({ "cpu": { "shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0" } }))
    else {
        return;
    };
    container.start();
    let Some(shares) = setting(&container, "cpu", "cpu.shares") else { return };
    assert_eq!(shares, "512");
    assert_eq!(setting(&container, "cpu", "cpu.cfs_quota_us").unwrap(), "20000");
    assert_eq!(setting(&container, "cpu", "cpu.cfs_period_us").unwrap(), "50000");
    let Some(cpus) = setting(&container, "cpuset", "cpuset.cpus") else { return };
    assert_eq!(cpus, "0");
    for process in [container.supervisor(), container.guest()] {
        assert_eq!(process.status()["Cpus_allowed_list"], "0");
    }
}

#[test]
fn quota_holds_back_a_guest_that_never_rests() {
    let Some(container) = limited("spin", json!({ "cpu": { "quota": 5000, "period": 100_000 } })) else {
        return;
    };
    container.start();
    let throttled = || -> Option<u64> {
        let text = setting(&container, "cpu", "cpu.stat")?;
        text.lines().find_map(|line| line.strip_prefix("nr_throttled "))?.parse().ok()
    };
    if throttled().is_none() {
        return;
    }
    // It takes its share of a few periods; how many the machine's load tells.
    let start = std::time::Instant::now();
    while throttled() == Some(0) {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "never held back");
        std::thread::yield_now();
    }
}

#[test]
fn process_limit_is_that_of_the_group() {
    let Some(container) = limited("idle", json!({ "pids": { "limit": 5 } })) else { return };
    container.start();
    let Some(limit) = setting(&container, "pids", "pids.max") else { return };
    assert_eq!(limit, "5");
    assert_eq!(setting(&container, "pids", "pids.current").unwrap(), "2");
}

#[test]
fn process_limit_too_low_for_a_guest_fails_the_start_and_ends_the_container() {
    let Some(container) = limited("idle", json!({ "pids": { "limit": 1 } })) else { return };
    if container.group("pids").is_none() {
        return;
    }
    container.create();
    assert!(!container.call(&["start"]).status.success());
    assert!(container.logged().contains("clone the guest process"), "{}", container.logged());
    container.wait();
    assert_eq!(container.state()["status"], "stopped");
}

#[test]
fn limits_can_be_changed_while_the_guest_runs() {
    let Some(container) = limited("idle", json!({ "memory": { "limit": 96 << 20 } })) else { return };
    container.start();
    let resources = json!({
        "memory": { "limit": 128 << 20, "swap": 0, "kernel": 0 }, "cpu": { "shares": 300, "quota": 30_000 },
        "pids": { "limit": 9 }, "blockIO": { "weight": 0 },
    });
    let mut update = container.command(&["update", "--resources", "-"]);
    let mut child = update.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(resources.to_string().as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let Some(limit) = setting(&container, "memory", "memory.limit_in_bytes") else { return };
    assert_eq!(limit, (128 << 20).to_string());
    assert_eq!(setting(&container, "cpu", "cpu.shares").unwrap(), "300");
    assert_eq!(setting(&container, "cpu", "cpu.cfs_quota_us").unwrap(), "30000");
    assert_eq!(setting(&container, "pids", "pids.max").unwrap(), "9");
}

#[test]
fn guest_that_takes_more_memory_than_its_group_has_ends_with_137_and_the_reason() {
    let Some(container) = limited("paging", json!({ "memory": { "limit": 64 << 20 } })) else { return };
    if container.group("memory").is_none() {
        return;
    }
    container.create();
    // The guest was promised what a container of 64 MiB has room for; now there is room for the supervisor alone.
    container.done(&["update", "--memory", "1M"]);
    container.done(&["start"]);
    container.wait();
    let end = container.state()["annotations"]["dev.runu.end"].as_str().unwrap().to_owned();
    assert!(end.contains("out of memory"), "{end}");
    assert!(container.console().contains("out of memory"), "{}", container.console());
}

#[test]
fn status_of_a_guest_out_of_memory_is_137() {
    // A hook puts the limit there that is too low for what the guest was promised.
    let Some(container) = limited("paging", json!({ "memory": { "limit": 64 << 20 } })) else { return };
    let Some(group) = container.group("memory") else { return };
    let mut config = container.config();
    let script = format!("echo 1M > {}", group.join("memory.limit_in_bytes").display());
    config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    container.configure(&config);
    let bundle = container.path("bundle");
    let output = container.call(&["run", "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(137), "{output:?}");
    container.nothing_left();
}

#[test]
fn limit_that_the_kernel_calls_invalid_is_refused() {
    let Some(container) = limited("idle", json!({ "cpu": { "cpus": "9999" } })) else { return };
    if container.group("cpuset").is_none() {
        return;
    }
    container.is_refused("cpuset.cpus");
}

#[test]
fn resource_limits_are_the_guests_and_never_its_supervisors() {
    let Some(container) = Container::new("idle", |config| {
        config["process"]["rlimits"] = json!([
            { "type": "RLIMIT_CPU", "soft": 3000, "hard": 4000 },
            // More than anybody has: what we have holds.
            { "type": "RLIMIT_SIGPENDING", "soft": u64::MAX, "hard": u64::MAX },
            // Of no meaning for a guest; its monitor has limits of its own.
            { "type": "RLIMIT_NOFILE", "soft": 1 << 20, "hard": 1 << 20 },
            { "type": "RLIMIT_NPROC", "soft": 4096, "hard": 4096 },
            { "type": "RLIMIT_AS", "soft": 4096, "hard": 4096 },
            { "type": "RLIMIT_STACK", "soft": 4096, "hard": 4096 },
            { "type": "RLIMIT_FSIZE", "soft": 0, "hard": 0 },
        ]);
    }) else {
        return;
    };
    container.start_and_wait_until_ready();
    let limit = |process: crate::container::Process, name: &str| -> Vec<String> {
        let text = process.read("limits");
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(limit(container.guest(), "Max cpu time"), ["3000", "4000"]);
    assert_eq!(limit(container.supervisor(), "Max cpu time"), ["unlimited", "unlimited"]);
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn readiness_to_be_killed_is_that_of_both_processes() {
    let Some(container) = Container::new("idle", |config| config["process"]["oomScoreAdj"] = json!(321))
    else {
        return;
    };
    container.start();
    for process in [container.supervisor(), container.guest()] {
        assert_eq!(process.read("oom_score_adj").trim(), "321");
    }
}

#[test]
fn readiness_to_be_killed_that_cannot_be_had_is_no_failure() {
    let Some(container) = Container::new("idle", |config| config["process"]["oomScoreAdj"] = json!(-999))
    else {
        return;
    };
    container.start();
    assert_eq!(container.state()["status"], "running");
}
