//! Namespaces: made, shared with the caller, joined by path.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::container::{Container, Process, namespace, ourselves, skip};

/// Kinds of namespaces in the words of a configuration and of /proc.
const KINDS: [(&str, &str); 5] =
    [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")];

/// A process in namespaces of its own. Dropping it ends it.
struct Holder {
    unshare: Child,
    process: Process,
}

impl Holder {
    /// A process in new namespaces as unshare(1)'s flags ask for them; none where this host refuses them.
    fn new(flags: &[&str]) -> Option<Self> {
        let mut command = Command::new("unshare");
        command.args(flags).args(["--fork", "sh", "-c", "echo ready; exec cat"]);
        let mut unshare = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(unshare.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            skip(&format!("this host refuses unshare {flags:?}"));
            unshare.wait().unwrap();
            return None;
        }
        let pid = unshare.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let process = Process(children.trim().parse().unwrap());
        Some(Holder { unshare, process })
    }

    /// A namespace of it, as a configuration asks for it.
    fn listed(&self, name: &str, kind: &str) -> Value {
        json!({ "type": name, "path": self.process.path(&format!("ns/{kind}")) })
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.unshare.stdin.take());
        self.unshare.wait().unwrap();
    }
}

fn ask_for(config: &mut Value, namespaces: Vec<Value>) {
    config["linux"]["namespaces"] = Value::Array(namespaces);
}

#[test]
fn namespaces_asked_for_are_new_and_of_both_processes() {
    let Some(container) = Container::new("idle", |config| {
        ask_for(config, KINDS.iter().map(|(name, _)| json!({ "type": name })).collect());
    }) else {
        return;
    };
    container.start();
    for kind in ["pid", "net", "ipc", "uts", "cgroup", "mnt"] {
        let own = container.supervisor().namespace(kind);
        assert_ne!(own, ourselves().namespace(kind), "{kind}");
        assert_eq!(own, container.guest().namespace(kind), "{kind}");
    }
    // First of its namespace, and the guest second.
    assert_eq!(container.supervisor().status()["NSpid"].split_whitespace().last(), Some("1"));
    assert_eq!(container.guest().status()["NSpid"].split_whitespace().last(), Some("2"));
}

#[test]
fn namespaces_not_asked_for_are_the_callers_but_for_the_mounts() {
    let Some(container) = Container::new("idle", |config| ask_for(config, Vec::new())) else { return };
    container.start();
    for kind in ["pid", "net", "ipc", "uts", "cgroup", "user", "time"] {
        assert_eq!(container.guest().namespace(kind), ourselves().namespace(kind), "{kind}");
    }
    assert_ne!(container.guest().namespace("mnt"), ourselves().namespace("mnt"));
}

#[test]
fn guest_in_the_hosts_process_namespace_dies_with_its_supervisor() {
    let Some(container) = Container::new("idle", |config| ask_for(config, Vec::new())) else { return };
    container.start();
    let Process(guest) = container.guest();
    let start = runu_sandbox::started_at(guest).unwrap();
    runu_sandbox::signal(
        container.supervisor().0,
        runu_sandbox::started_at(container.supervisor().0).unwrap(),
        9,
    )
    .unwrap();
    assert!(runu_sandbox::wait_for_end(guest, start, 30_000));
}

#[test]
fn namespaces_given_by_path_are_joined() {
    let flags = ["--pid", "--net", "--ipc", "--uts", "--cgroup"];
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(holder) = Holder::new(&flags) else { return };
    let mut config = container.config();
    ask_for(&mut config, KINDS.iter().map(|(name, kind)| holder.listed(name, kind)).collect());
    container.configure(&config);
    container.start();
    for (_, kind) in KINDS {
        let joined = holder.process.namespace(kind);
        assert_eq!(container.supervisor().namespace(kind), joined, "{kind}");
        assert_eq!(container.guest().namespace(kind), joined, "{kind}");
    }
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn namespace_of_processes_joined_is_not_that_of_hooks_of_the_host() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(holder) = Holder::new(&["--pid"]) else { return };
    let told = container.path("told");
    let mut config = container.config();
    ask_for(&mut config, vec![holder.listed("pid", "pid")]);
    let script = format!("readlink /proc/self/ns/pid > {}", told.display());
    config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    container.configure(&config);
    container.create();
    let hooks = fs::read_to_string(told).unwrap();
    assert_eq!(hooks.trim(), format!("pid:[{}]", ourselves().namespace("pid")));
    assert_eq!(container.supervisor().namespace("pid"), holder.process.namespace("pid"));
}

#[test]
fn mount_namespace_given_by_path_is_copied_and_left_as_it_is() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(holder) = Holder::new(&["--mount"]) else { return };
    let before = holder.process.read("mountinfo");
    let mut config = container.config();
    ask_for(&mut config, vec![holder.listed("mount", "mnt")]);
    container.configure(&config);
    container.start();
    let own = container.guest().namespace("mnt");
    assert_ne!(own, holder.process.namespace("mnt"));
    assert_ne!(own, ourselves().namespace("mnt"));
    assert_eq!(holder.process.read("mountinfo"), before);
}

#[test]
fn user_namespace_with_maps_is_new_and_its_guest_owns_nothing_in_it() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 300_000, "size": 65536 }]);
        config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 400_000, "size": 65536 }]);
    }) else {
        return;
    };
    container.start();
    for process in [container.supervisor(), container.guest()] {
        assert_ne!(process.namespace("user"), ourselves().namespace("user"));
        let map = process.read("uid_map");
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "300000", "65536"]);
        let status = process.status();
        assert_eq!(status["Uid"].split_whitespace().next(), Some("365534"));
        assert_eq!(status["Gid"].split_whitespace().next(), Some("465534"));
        assert_eq!(status["CapEff"], "0000000000000000");
    }
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn user_namespace_without_maps_is_refused() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    }) else {
        return;
    };
    container.is_refused("uidMappings");
}

#[test]
fn user_namespace_given_by_path_is_joined_with_what_it_owns() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let flags = ["--user", "--map-root-user", "--net", "--ipc", "--uts"];
    let Some(holder) = Holder::new(&flags) else { return };
    let mut config = container.config();
    // The process namespace is new and belongs to the user namespace that is joined.
    let joined = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
    let mut asked: Vec<Value> = joined.iter().map(|(name, kind)| holder.listed(name, kind)).collect();
    asked.extend([json!({ "type": "pid" }), json!({ "type": "mount" }), json!({ "type": "cgroup" })]);
    ask_for(&mut config, asked);
    container.configure(&config);
    container.start();
    for (_, kind) in joined {
        assert_eq!(container.supervisor().namespace(kind), holder.process.namespace(kind), "{kind}");
        assert_eq!(container.guest().namespace(kind), holder.process.namespace(kind), "{kind}");
    }
    assert_eq!(container.supervisor().status()["NSpid"].split_whitespace().last(), Some("1"));
    assert_eq!(container.guest().status()["CapEff"], "0000000000000000");
    container.done(&["delete", "--force"]);
    container.nothing_left();
}

#[test]
fn network_of_the_host_is_kept_in_a_user_namespace_given_by_path() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(holder) = Holder::new(&["--user", "--map-root-user"]) else { return };
    let Some(network) = Holder::new(&["--net"]) else { return };
    let mut config = container.config();
    // Neither can be entered with the privileges that the other one takes.
    let asked =
        vec![holder.listed("user", "user"), network.listed("network", "net"), json!({ "type": "pid" })];
    ask_for(&mut config, asked);
    container.configure(&config);
    container.start();
    assert_eq!(container.guest().namespace("user"), holder.process.namespace("user"));
    assert_eq!(container.guest().namespace("net"), network.process.namespace("net"));
}

#[test]
fn namespace_path_that_is_none_is_refused() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let mut config = container.config();
    ask_for(&mut config, vec![json!({ "type": "network", "path": "/nonexistent/netns" })]);
    container.configure(&config);
    container.is_refused("/nonexistent/netns");

    let _ = fs::remove_file(container.path("log"));
    ask_for(&mut config, vec![json!({ "type": "network", "path": "/etc/passwd" })]);
    container.configure(&config);
    container.is_refused("enter a namespace");

    let _ = fs::remove_file(container.path("log"));
    // Of another kind than it is listed as.
    let Some(holder) = Holder::new(&["--uts"]) else { return };
    ask_for(&mut config, vec![holder.listed("network", "uts")]);
    container.configure(&config);
    container.is_refused("enter a namespace");
}

#[test]
fn namespace_listed_twice_is_refused() {
    let Some(container) = Container::new("idle", |config| {
        ask_for(config, vec![json!({ "type": "pid" }), json!({ "type": "pid" })]);
    }) else {
        return;
    };
    container.is_refused("listed twice");
}

#[test]
fn path_of_the_callers_own_namespace_changes_nothing() {
    let Some(container) = Container::new("idle", |config| {
        let own =
            |name: &str, kind: &str| json!({ "type": name, "path": ourselves().path(&format!("ns/{kind}")) });
        ask_for(config, vec![own("network", "net"), own("user", "user"), own("pid", "pid")]);
    }) else {
        return;
    };
    container.start();
    for kind in ["net", "user", "pid"] {
        assert_eq!(container.guest().namespace(kind), ourselves().namespace(kind), "{kind}");
    }
}

#[test]
fn control_groups_are_seen_from_the_containers_own_down() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "cgroup" }));
    }) else {
        return;
    };
    if container.group("memory").is_none() {
        return;
    }
    container.start();
    let guest = container.guest();
    let seen = Command::new("nsenter")
        .arg(format!("--cgroup={}", guest.path("ns/cgroup").display()))
        .arg("cat")
        .arg(guest.path("cgroup"))
        .output()
        .unwrap();
    let seen = String::from_utf8(seen.stdout).unwrap();
    let memory = seen.lines().find(|line| line.contains(":memory:"));
    assert!(memory.is_some_and(|line| line.ends_with(":/")), "{seen}");
}

#[test]
fn time_namespace_has_its_offsets_and_is_joined_by_path() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] =
            json!({ "monotonic": { "secs": 1000, "nanosecs": 5 }, "boottime": { "secs": 2000 } });
    }) else {
        return;
    };
    container.start();
    let own = container.guest().namespace("time");
    assert_ne!(own, ourselves().namespace("time"));
    let offsets = container.guest().read("timens_offsets");
    let offsets: Vec<Vec<&str>> = offsets.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(offsets, [["monotonic", "1000", "5"], ["boottime", "2000", "0"]]);

    let path = container.guest().path("ns/time");
    let Some(other) = Container::new("idle", |config| {
        let joined = json!({ "type": "time", "path": path });
        config["linux"]["namespaces"].as_array_mut().unwrap().push(joined);
    }) else {
        return;
    };
    other.start();
    assert_eq!(namespace(&other.guest().path("ns/time")), own);
}

#[test]
fn time_offset_of_another_clock_is_refused() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        config["linux"]["timeOffsets"] = json!({ "realtime\n0": { "secs": 1 } });
    }) else {
        return;
    };
    container.is_refused("have offsets");
}
