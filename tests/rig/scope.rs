//! Control groups as scopes of systemd, in version 2 and in version 1.

use std::{fs, process::Command};

use rustix::fs::Mode;
use serde_json::{Value, json};

use crate::{Check, Outcome, bundle::Bundle, expect, group::Group, system::USER};

/// Those on version 2.
pub(crate) const UNIFIED: &[Check] = &[
    ("container_is_a_scope_and_leaves_none", container_is_a_scope_and_leaves_none),
    ("limits_are_properties_and_files", limits_are_properties_and_files),
    ("limits_updated_outlive_a_reload_of_systemd", limits_updated_outlive_a_reload_of_systemd),
    ("scope_lies_in_the_slices_of_its_name", scope_lies_in_the_slices_of_its_name),
    ("scope_without_a_name_is_named_by_the_container", scope_without_a_name_is_named_by_the_container),
    ("scope_with_a_malformed_name_is_refused", scope_with_a_malformed_name_is_refused),
    (
        "scope_of_another_container_is_refused_and_left_alone",
        scope_of_another_container_is_refused_and_left_alone,
    ),
    ("limit_that_the_kernel_refuses_leaves_nothing", limit_that_the_kernel_refuses_leaves_nothing),
    (
        "create_killed_in_the_middle_leaves_what_delete_reaps",
        create_killed_in_the_middle_leaves_what_delete_reaps,
    ),
    ("guest_out_of_memory_ends_with_137_and_says_so", guest_out_of_memory_ends_with_137_and_says_so),
    ("container_paused_is_frozen_and_deleted", container_paused_is_frozen_and_deleted),
    ("user_has_a_scope_of_their_own_systemd", user_has_a_scope_of_their_own_systemd),
];

/// Those on version 1.
pub(crate) const SEPARATE: &[Check] = &[
    ("container_is_a_scope_and_leaves_none", container_is_a_scope_and_leaves_none),
    ("limits_are_properties_and_files_of_each_hierarchy", limits_are_properties_and_files_of_each_hierarchy),
    (
        "scope_of_another_container_is_refused_and_left_alone",
        scope_of_another_container_is_refused_and_left_alone,
    ),
    ("guest_out_of_memory_ends_with_137_and_says_so", guest_out_of_memory_ends_with_137_and_says_so),
    ("container_paused_is_frozen_and_deleted", container_paused_is_frozen_and_deleted),
];

/// What `systemctl` prints; its errors too.
fn systemctl(words: &[&str]) -> Result<String, Box<dyn std::error::Error>> {
    let output = Command::new("/bin/systemctl").args(words).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8(text)?.trim().to_owned())
}

/// A property of a unit.
fn property(unit: &str, name: &str) -> Result<String, Box<dyn std::error::Error>> {
    systemctl(&["show", "--value", "--property", name, unit])
}

/// Fails unless the unit's properties say so.
fn expect_properties(unit: &str, expected: &[(&str, &str)]) -> Outcome {
    for (name, value) in expected {
        expect(name, property(unit, name)?.as_str(), value)?;
    }
    Ok(())
}

/// A bundle whose scope is `SCOPE.scope` in the slice.
fn bundle(slice: &str, scope: &str, resources: Value) -> Result<Bundle, Box<dyn std::error::Error>> {
    let path = format!("{slice}:rig:{scope}");
    let bundle = Bundle::new("idle", &path, |config| config["linux"]["resources"] = resources)?;
    Ok(bundle.with_flag("--systemd-cgroup"))
}

/// Fails unless systemd knows no such unit.
fn expect_unknown(unit: &str) -> Outcome {
    expect_properties(unit, &[("LoadState", "not-found")])
}

fn container_is_a_scope_and_leaves_none() -> Outcome {
    let bundle = bundle("system.slice", "life", json!({}))?;
    bundle.run()?;
    let unit = "rig-life.scope";
    expect_properties(
        unit,
        &[
            ("ActiveState", "active"),
            ("Slice", "system.slice"),
            ("Delegate", "yes"),
            ("ControlGroup", "/system.slice/rig-life.scope"),
        ],
    )?;
    let told: Vec<i32> = serde_json::from_str(&bundle.done(&["ps", "--format", "json"])?)?;
    expect("processes", told.len(), 2)?;
    for pid in told {
        for line in fs::read_to_string(format!("/proc/{pid}/cgroup"))?.lines() {
            // Its version-2 hierarchy holds only names where the limits are version 1's, and is systemd's own business.
            let inside = line.ends_with(":/system.slice/rig-life.scope") || line.starts_with("0::");
            expect(line, inside, true)?;
        }
    }
    bundle.done(&["delete", "--force"])?;
    expect_unknown(unit)?;
    for place in ["", "/memory", "/systemd", "/unified"] {
        let left = Group::at(&format!("{place}/system.slice/rig-life.scope")).exists();
        expect(&format!("the group in {place:?} is there"), left, false)?;
    }
    Ok(())
}

fn limits() -> Value {
    json!({
        "memory": { "limit": 64 << 20, "swap": 96 << 20 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "1", "mems": "0" },
        "pids": { "limit": 9 },
        "hugepageLimits": [{ "pageSize": "2MB", "limit": 4 << 20 }],
    })
}

fn limits_are_properties_and_files() -> Outcome {
    let bundle = bundle("system.slice", "limits", limits())?;
    bundle.create()?;
    expect_properties(
        "rig-limits.scope",
        &[
            ("MemoryMax", "67108864"),
            ("MemorySwapMax", "33554432"),
            ("CPUWeight", "20"),
            ("CPUQuotaPerSecUSec", "500ms"),
            ("AllowedCPUs", "1"),
            ("AllowedMemoryNodes", "0"),
            ("TasksMax", "9"),
        ],
    )?;
    let group = Group::at("/system.slice/rig-limits.scope");
    group.expect("memory.max", "67108864")?;
    group.expect("memory.swap.max", "33554432")?;
    group.expect("cpu.weight", "20")?;
    group.expect("cpu.max", "50000 100000")?;
    group.expect("cpuset.cpus", "1")?;
    group.expect("cpuset.mems", "0")?;
    group.expect("pids.max", "9")?;
    // systemd knows no such limit.
    group.expect("hugetlb.2MB.max", "4194304")
}

fn limits_are_properties_and_files_of_each_hierarchy() -> Outcome {
    let bundle = bundle("system.slice", "limits", limits())?;
    bundle.create()?;
    expect_properties(
        "rig-limits.scope",
        &[("MemoryLimit", "67108864"), ("CPUShares", "512"), ("TasksMax", "9")],
    )?;
    let group = |controller: &str| Group::at(&format!("/{controller}/system.slice/rig-limits.scope"));
    group("memory").expect("memory.limit_in_bytes", "67108864")?;
    group("cpu,cpuacct").expect("cpu.shares", "512")?;
    group("cpu,cpuacct").expect("cpu.cfs_quota_us", "50000")?;
    group("cpuset").expect("cpuset.cpus", "1")?;
    group("pids").expect("pids.max", "9")?;
    group("hugetlb").expect("hugetlb.2MB.limit_in_bytes", "4194304")
}

fn limits_updated_outlive_a_reload_of_systemd() -> Outcome {
    let bundle = bundle("system.slice", "update", json!({ "memory": { "limit": 64 << 20 } }))?;
    bundle.run()?;
    bundle.update(
        &json!({ "memory": { "limit": 128 << 20 }, "cpu": { "quota": 20_000 }, "pids": { "limit": 7 } }),
    )?;
    expect_properties(
        "rig-update.scope",
        &[("MemoryMax", "134217728"), ("CPUQuotaPerSecUSec", "200ms"), ("TasksMax", "7")],
    )?;
    systemctl(&["daemon-reload"])?;
    let group = Group::at("/system.slice/rig-update.scope");
    group.expect("memory.max", "134217728")?;
    group.expect("cpu.max", "20000 100000")?;
    group.expect("pids.max", "7")
}

fn scope_lies_in_the_slices_of_its_name() -> Outcome {
    let bundle = bundle("pods-a.slice", "deep", json!({ "memory": { "limit": 64 << 20 } }))?;
    bundle.create()?;
    let path = "/pods.slice/pods-a.slice/rig-deep.scope";
    expect_properties("rig-deep.scope", &[("Slice", "pods-a.slice"), ("ControlGroup", path)])?;
    Group::at(path).expect("memory.max", "67108864")
}

fn scope_without_a_name_is_named_by_the_container() -> Outcome {
    let bundle = Bundle::new("idle", "", |_| ())?.with_flag("--systemd-cgroup");
    bundle.create()?;
    expect_properties(
        &format!("runu-{}.scope", bundle.id),
        &[("ActiveState", "active"), ("Slice", "system.slice")],
    )
}

fn scope_with_a_malformed_name_is_refused() -> Outcome {
    for path in ["/docker/17", "a--b.slice:rig:x", "system.slice:rig:a/b"] {
        let bundle = Bundle::new("idle", path, |_| ())?.with_flag("--systemd-cgroup");
        let message = bundle.create_refused()?;
        expect(&message, message.contains("expected cgroupsPath to be of format"), true)?;
    }
    Ok(())
}

fn scope_of_another_container_is_refused_and_left_alone() -> Outcome {
    let first = bundle("system.slice", "taken", json!({}))?;
    first.run()?;
    let second = bundle("system.slice", "taken", json!({}))?;
    let message = second.create_refused()?;
    expect(&message, message.contains("is in use"), true)?;
    // Of the same name and in another place: only systemd knows.
    let third = bundle("other.slice", "taken", json!({}))?;
    let message = third.create_refused()?;
    expect(&message, message.contains("is in use"), true)?;
    expect("the first one", &first.state()?["status"], &json!("running"))?;
    expect_properties("rig-taken.scope", &[("ActiveState", "active")])
}

fn limit_that_the_kernel_refuses_leaves_nothing() -> Outcome {
    let bundle = bundle("system.slice", "wrong", json!({ "cpu": { "cpus": "x-y" } }))?;
    let message = bundle.create_refused()?;
    expect(&message, message.contains("cpuset.cpus"), true)?;
    expect_unknown("rig-wrong.scope")?;
    expect("the group is there", Group::at("/system.slice/rig-wrong.scope").exists(), false)
}

fn create_killed_in_the_middle_leaves_what_delete_reaps() -> Outcome {
    let bundle = Bundle::new("idle", "system.slice:rig:half", |config| {
        // The hook's parent is the process that creates.
        let hook = json!({ "path": "/rig", "args": ["rig", crate::KILL_PARENT] });
        config["hooks"] = json!({ "createRuntime": [hook] });
    })?;
    let bundle = bundle.with_flag("--systemd-cgroup");
    bundle.create_refused()?;
    expect("the state", &bundle.state()?["status"], &json!("stopped"))?;
    bundle.done(&["delete", "--force"])?;
    expect_unknown("rig-half.scope")
}

fn guest_out_of_memory_ends_with_137_and_says_so() -> Outcome {
    let bundle = bundle("system.slice", "small", json!({ "memory": { "limit": 64 << 20 } }))?;
    let bundle = bundle.with_initrd(32 << 20)?;
    bundle.run_out_of_memory()?;
    bundle.done(&["delete"])?;
    expect_unknown("rig-small.scope")
}

fn container_paused_is_frozen_and_deleted() -> Outcome {
    let bundle = bundle("system.slice", "pause", json!({}))?;
    bundle.run()?;
    bundle.done(&["pause"])?;
    expect("the state", &bundle.state()?["status"], &json!("paused"))?;
    bundle.done(&["resume"])?;
    expect("the state", &bundle.state()?["status"], &json!("running"))?;
    bundle.done(&["pause"])?;
    bundle.done(&["delete", "--force"])?;
    expect_unknown("rig-pause.scope")
}

fn user_has_a_scope_of_their_own_systemd() -> Outcome {
    let runtime = format!("/run/user/{USER}");
    fs::create_dir_all(&runtime)?;
    std::os::unix::fs::chown(&runtime, Some(USER), Some(USER))?;
    rustix::fs::chmod(&runtime, Mode::from_raw_mode(0o700))?;
    let started = systemctl(&["start", &format!("user@{USER}.service")])?;
    expect("what systemctl says", started.as_str(), "")?;
    let resources = json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 9 } });
    let bundle = bundle("", "theirs", resources)?.of_user(USER)?;
    bundle.run()?;
    let group =
        Group::at(&format!("/user.slice/user-{USER}.slice/user@{USER}.service/user.slice/rig-theirs.scope"));
    group.expect("memory.max", "67108864")?;
    group.expect("pids.max", "9")?;
    expect("processes", group.processes()?.len(), 2)?;
    bundle.done(&["delete", "--force"])?;
    expect("the group is there", group.exists(), false)
}
