//! Control groups of version 2, made by hand: no systemd, no version 1.

use std::process::Command;

use serde_json::{Value, json};

use crate::{Check, Outcome, bundle::Bundle, expect, group::Group, system::USER};

pub(crate) const CHECKS: &[Check] = &[
    ("container_lives_in_its_group_and_leaves_none", container_lives_in_its_group_and_leaves_none),
    ("everything_of_a_container_is_in_its_group", everything_of_a_container_is_in_its_group),
    ("limits_of_the_configuration_are_set", limits_of_the_configuration_are_set),
    ("limits_without_memory_are_set", limits_without_memory_are_set),
    ("files_of_unified_are_written_last", files_of_unified_are_written_last),
    ("limits_updated_are_set", limits_updated_are_set),
    ("controllers_are_enabled_on_the_way", controllers_are_enabled_on_the_way),
    ("limit_that_the_kernel_refuses_leaves_nothing", limit_that_the_kernel_refuses_leaves_nothing),
    ("limits_that_contradict_each_other_are_refused", limits_that_contradict_each_other_are_refused),
    ("guest_out_of_memory_ends_with_137_and_says_so", guest_out_of_memory_ends_with_137_and_says_so),
    ("guest_without_a_process_left_is_not_started", guest_without_a_process_left_is_not_started),
    ("container_paused_is_frozen_and_goes_on", container_paused_is_frozen_and_goes_on),
    ("container_paused_is_deleted_by_force", container_paused_is_deleted_by_force),
    ("numbers_are_those_of_the_group", numbers_are_those_of_the_group),
    (
        "group_of_another_container_is_refused_and_left_alone",
        group_of_another_container_is_refused_and_left_alone,
    ),
    ("group_below_processes_has_no_controllers", group_below_processes_has_no_controllers),
    ("scope_without_systemd_is_refused_with_a_hint", scope_without_systemd_is_refused_with_a_hint),
    ("kernel_run_without_a_container_is_limited", kernel_run_without_a_container_is_limited),
    ("user_has_limits_in_a_delegated_group", user_has_limits_in_a_delegated_group),
    ("user_without_delegation_has_no_limits", user_without_delegation_has_no_limits),
];

/// A change of a configuration: these limits.
fn limits(resources: Value) -> impl FnOnce(&mut Value) {
    move |config| config["linux"]["resources"] = resources
}

fn container_lives_in_its_group_and_leaves_none() -> Outcome {
    let bundle = Bundle::new("idle", "/life/a", |_| ())?;
    bundle.create()?;
    expect("the state", &bundle.state()?["status"], &json!("created"))?;
    let group = std::fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid()?))?;
    expect("the group", group.as_str(), "0::/life/a\n")?;
    bundle.done(&["start"])?;
    expect("the state", &bundle.state()?["status"], &json!("running"))?;
    bundle.done(&["kill"])?;
    expect("the status", bundle.wait()?, 143)?;
    expect("the end", &bundle.state()?["annotations"]["dev.runu.end"], &json!("ended by signal 15"))?;
    bundle.done(&["delete"])?;
    expect("the group is there", Group::at("/life/a").exists(), false)
}

fn everything_of_a_container_is_in_its_group() -> Outcome {
    let bundle = Bundle::new("idle", "/all", |_| ())?;
    bundle.run()?;
    let pids = Group::at("/all").processes()?;
    expect("the first process is in it", pids.contains(&bundle.pid()?), true)?;
    expect("processes", pids.len(), 2)?;
    let mut threads = Vec::new();
    for pid in &pids {
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            threads.push(thread?.file_name().to_string_lossy().into_owned());
        }
    }
    let inside = Group::at("/all").read("cgroup.threads")?.lines().count();
    expect("threads", inside, threads.len())?;
    let told: Vec<i32> = serde_json::from_str(&bundle.done(&["ps", "--format", "json"])?)?;
    expect("what ps tells", told, pids)
}

fn limits_of_the_configuration_are_set() -> Outcome {
    let bundle = Bundle::new(
        "idle",
        "/limits",
        limits(json!({
            "memory": { "limit": 64 << 20, "swap": 96 << 20, "reservation": 16 << 20 },
            "cpu": {
                "shares": 512, "quota": 50_000, "period": 100_000, "burst": 10_000, "cpus": "1", "mems": "0"
            },
            "pids": { "limit": 9 },
            "blockIO": { "weight": 500 },
            "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }],
        })),
    )?;
    bundle.create()?;
    let group = Group::at("/limits");
    group.expect("memory.max", "67108864")?;
    group.expect("memory.swap.max", "33554432")?;
    group.expect("memory.low", "16777216")?;
    group.expect("cpu.weight", "20")?;
    group.expect("cpu.max", "50000 100000")?;
    group.expect("cpu.max.burst", "10000")?;
    group.expect("cpuset.cpus", "1")?;
    group.expect("cpuset.mems", "0")?;
    group.expect("pids.max", "9")?;
    group.expect("io.weight", "default 4950")?;
    group.expect("hugetlb.2MB.max", "4194304")
}

fn limits_without_memory_are_set() -> Outcome {
    let bundle = Bundle::new(
        "idle",
        "/unlimited",
        limits(json!({ "memory": { "limit": -1 }, "cpu": { "period": 50_000 }, "pids": { "limit": -1 } })),
    )?;
    bundle.create()?;
    let group = Group::at("/unlimited");
    group.expect("memory.max", "max")?;
    group.expect("memory.swap.max", "max")?;
    group.expect("cpu.max", "max 50000")?;
    group.expect("pids.max", "max")
}

fn files_of_unified_are_written_last() -> Outcome {
    let bundle = Bundle::new(
        "idle",
        "/files",
        limits(json!({
            "memory": { "limit": 64 << 20 },
            "unified": { "memory.max": "96M", "memory.high": "80M", "cgroup.max.depth": "3" },
        })),
    )?;
    bundle.create()?;
    let group = Group::at("/files");
    group.expect("memory.max", "100663296")?;
    group.expect("memory.high", "83886080")?;
    group.expect("cgroup.max.depth", "3")?;
    for (file, said) in [
        ("../pids.max", "is not that of a file"),
        ("nonsense.max", "cannot limit `nonsense`"),
        ("cgroup.freeze", "not move, stop"),
    ] {
        let bundle = Bundle::new("idle", "/refused", limits(json!({ "unified": { file: "1" } })))?;
        let message = bundle.create_refused()?;
        expect(&message, message.contains(said), true)?;
        expect("the group is there", Group::at("/refused").exists(), false)?;
    }
    Ok(())
}

fn limits_updated_are_set() -> Outcome {
    let bundle = Bundle::new("idle", "/update", limits(json!({ "memory": { "limit": 64 << 20 } })))?;
    bundle.run()?;
    bundle.update(&json!({
        "memory": { "limit": 128 << 20 }, "cpu": { "shares": 2, "quota": 20_000, "cpus": "0" },
        "pids": { "limit": 7 },
    }))?;
    let group = Group::at("/update");
    group.expect("memory.max", "134217728")?;
    group.expect("cpu.weight", "1")?;
    group.expect("cpu.max", "20000 100000")?;
    group.expect("cpuset.cpus", "0")?;
    group.expect("pids.max", "7")?;
    // Memory stays as it is, and what is beyond it is swap.
    bundle.update(&json!({ "memory": { "swap": 160 << 20 } }))?;
    group.expect("memory.max", "134217728")?;
    group.expect("memory.swap.max", "33554432")
}

fn controllers_are_enabled_on_the_way() -> Outcome {
    let bundle = Bundle::new("idle", "/deep/deeper/c", limits(json!({ "memory": { "limit": 64 << 20 } })))?;
    bundle.create()?;
    for path in ["", "/deep", "/deep/deeper"] {
        let passed = Group::at(path).read("cgroup.subtree_control")?;
        for controller in ["memory", "pids", "cpu", "cpuset", "io"] {
            let passes = passed.split(' ').any(|name| name == controller);
            expect(&format!("{path} passes {controller} on"), passes, true)?;
        }
    }
    Group::at("/deep/deeper/c").expect("memory.max", "67108864")
}

fn limit_that_the_kernel_refuses_leaves_nothing() -> Outcome {
    let bundle = Bundle::new("idle", "/wrong", limits(json!({ "cpu": { "cpus": "x-y" } })))?;
    let message = bundle.create_refused()?;
    expect(&message, message.contains("cpuset.cpus"), true)?;
    expect("the group is there", Group::at("/wrong").exists(), false)?;
    let message = bundle.refused(&["state"])?;
    expect(&message, message.contains("does not exist"), true)
}

fn limits_that_contradict_each_other_are_refused() -> Outcome {
    let memory = json!({ "memory": { "limit": 64 << 20, "swap": 32 << 20 } });
    let bundle = Bundle::new("idle", "/contradiction", limits(memory))?;
    let message = bundle.create_refused()?;
    expect(&message, message.contains("memory and swap is below that of memory"), true)?;
    expect("the group is there", Group::at("/contradiction").exists(), false)
}

fn guest_out_of_memory_ends_with_137_and_says_so() -> Outcome {
    let bundle = Bundle::new("hello", "/small", limits(json!({ "memory": { "limit": 64 << 20 } })))?;
    bundle.with_initrd(32 << 20)?.run_out_of_memory()
}

fn guest_without_a_process_left_is_not_started() -> Outcome {
    let bundle = Bundle::new("idle", "/one", limits(json!({ "pids": { "limit": 1 } })))?;
    bundle.create()?;
    let message = bundle.refused(&["start"])?;
    expect(&message, message.contains("guest"), true)?;
    bundle.wait()?;
    bundle.done(&["delete"])?;
    expect("the group is there", Group::at("/one").exists(), false)
}

fn container_paused_is_frozen_and_goes_on() -> Outcome {
    let bundle = Bundle::new("idle", "/pause", |_| ())?;
    bundle.run()?;
    bundle.done(&["pause"])?;
    expect("the state", &bundle.state()?["status"], &json!("paused"))?;
    Group::at("/pause").expect("cgroup.freeze", "1")?;
    expect("frozen", Group::at("/pause").number("cgroup.events", "frozen")?, 1)?;
    bundle.done(&["resume"])?;
    expect("the state", &bundle.state()?["status"], &json!("running"))?;
    expect("frozen", Group::at("/pause").number("cgroup.events", "frozen")?, 0)
}

fn container_paused_is_deleted_by_force() -> Outcome {
    let bundle = Bundle::new("idle", "/frozen", |_| ())?;
    bundle.run()?;
    bundle.done(&["pause"])?;
    bundle.done(&["delete", "--force"])?;
    expect("the group is there", Group::at("/frozen").exists(), false)
}

fn numbers_are_those_of_the_group() -> Outcome {
    let bundle = Bundle::new("spin", "/numbers", limits(json!({ "memory": { "limit": 64 << 20 } })))?;
    bundle.run()?;
    // So that nothing changes between the file and the telling.
    bundle.done(&["pause"])?;
    let event: Value = serde_json::from_str(&bundle.done(&["events", "--stats"])?)?;
    let data = &event["data"];
    let group = Group::at("/numbers");
    let number = |file: &str| -> Result<Value, Box<dyn std::error::Error>> {
        Ok(json!(group.read(file)?.parse::<u64>()?))
    };
    expect("memory", &data["memory"]["usage"]["usage"], &number("memory.current")?)?;
    expect("the limit", &data["memory"]["usage"]["limit"], &number("memory.max")?)?;
    expect("processes", &data["pids"]["current"], &number("pids.current")?)?;
    let nanoseconds = group.number("cpu.stat", "usage_usec")? * 1000;
    expect("processor time", &data["cpu"]["usage"]["total"], &json!(nanoseconds))
}

fn group_of_another_container_is_refused_and_left_alone() -> Outcome {
    let first = Bundle::new("idle", "/taken", |_| ())?;
    first.run()?;
    let second = Bundle::new("idle", "/taken", |_| ())?;
    let message = second.create_refused()?;
    expect(&message, message.contains("is in use"), true)?;
    second.done(&["delete", "--force"])?;
    expect("the first one", &first.state()?["status"], &json!("running"))
}

fn group_below_processes_has_no_controllers() -> Outcome {
    let full = Bundle::new("idle", "/full", |_| ())?;
    full.create()?;
    let limited = Bundle::new("idle", "/full/b", limits(json!({ "memory": { "limit": 64 << 20 } })))?;
    let message = limited.create_refused()?;
    expect(&message, message.contains("cannot limit `memory`"), true)?;
    expect("the group is there", Group::at("/full/b").exists(), false)?;
    let free = Bundle::new("idle", "/full/c", |_| ())?;
    free.run()?;
    free.done(&["delete", "--force"])?;
    expect("the one above", &full.state()?["status"], &json!("created"))
}

fn scope_without_systemd_is_refused_with_a_hint() -> Outcome {
    let bundle = Bundle::new("idle", "system.slice:rig:x", |_| ())?.with_flag("--systemd-cgroup");
    let message = bundle.create_refused()?;
    expect(&message, message.contains("there is no systemd to manage control groups"), true)?;
    expect(&message, message.contains("hint: leave out --systemd-cgroup"), true)
}

fn kernel_run_without_a_container_is_limited() -> Outcome {
    let output = Command::new("/runu").arg("demo").output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    expect(&told, told.contains("a control group enforces the limits"), true)
}

/// Makes a check from a group below that of a user, and leaves it again.
fn from_group_of_user(check: impl FnOnce() -> Outcome) -> Outcome {
    Group::at("/user").delegate(USER)?;
    Group::at("/user/session").enter()?;
    let outcome = check();
    Group::at("").enter()?;
    outcome
}

fn user_has_limits_in_a_delegated_group() -> Outcome {
    from_group_of_user(|| {
        let resources = limits(json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 9 } }));
        let bundle = Bundle::new("idle", "/user/c", resources)?.of_user(USER)?;
        bundle.run()?;
        Group::at("/user/c").expect("memory.max", "67108864")?;
        Group::at("/user/c").expect("pids.max", "9")?;
        expect("processes", Group::at("/user/c").processes()?.len(), 2)?;
        bundle.done(&["delete", "--force"])?;
        expect("the group is there", Group::at("/user/c").exists(), false)
    })
}

fn user_without_delegation_has_no_limits() -> Outcome {
    from_group_of_user(|| {
        let resources = limits(json!({ "memory": { "limit": 64 << 20 } }));
        let bundle = Bundle::new("idle", "/elsewhere/c", resources)?.of_user(USER)?;
        let message = bundle.create_refused()?;
        expect(&message, message.contains("cannot limit `memory`"), true)?;
        let bundle = Bundle::new("idle", "/elsewhere/d", |_| ())?.of_user(USER)?;
        bundle.run()?;
        expect("the state", &bundle.state()?["status"], &json!("running"))
    })
}
