//! Kernel parameters of the container's namespaces (`linux.sysctl`).

use std::process::Command;

use serde_json::json;

use crate::container::Container;

/// A parameter as processes in the container's network and IPC namespaces see it.
fn inside(container: &Container, name: &str) -> String {
    let guest = container.guest();
    let output = Command::new("nsenter")
        .arg(format!("--net={}", guest.path("ns/net").display()))
        .arg(format!("--ipc={}", guest.path("ns/ipc").display()))
        .args(["cat", &format!("/proc/sys/{name}")])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn ours(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/sys/{name}")).unwrap().trim().to_owned()
}

#[test]
fn parameters_of_own_namespaces_are_set_there_and_nowhere_else() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["sysctl"] = json!({
            "net.ipv4.ip_default_ttl": "33", "kernel.shmmni": "777", "fs.mqueue.queues_max": "3",
        });
    }) else {
        return;
    };
    let before = ["net/ipv4/ip_default_ttl", "kernel/shmmni"].map(ours);
    container.start();
    assert_eq!(inside(&container, "net/ipv4/ip_default_ttl"), "33");
    assert_eq!(inside(&container, "kernel/shmmni"), "777");
    assert_eq!(inside(&container, "fs/mqueue/queues_max"), "3");
    assert_eq!(["net/ipv4/ip_default_ttl", "kernel/shmmni"].map(ours), before);
}

#[test]
fn parameters_of_a_user_namespaces_own_network_are_set() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
        config["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 300_000, "size": 65536 }]);
        config["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": 300_000, "size": 65536 }]);
        config["linux"]["sysctl"] = json!({ "net.ipv4.ip_default_ttl": "34" });
    }) else {
        return;
    };
    container.start();
    assert_eq!(inside(&container, "net/ipv4/ip_default_ttl"), "34");
}

#[test]
fn parameters_that_docker_always_sends_never_fail() {
    let Some(container) = Container::new("idle", |config| {
        config["linux"]["sysctl"] = json!({
            "net.ipv4.ip_unprivileged_port_start": "0",
            // A group that no user namespace here maps could be refused.
            "net.ipv4.ping_group_range": "0 4294967295",
        });
    }) else {
        return;
    };
    container.start();
    assert_eq!(inside(&container, "net/ipv4/ip_unprivileged_port_start"), "0");
}

#[test]
fn parameter_of_the_host_or_none_is_refused() {
    for name in [
        "net.ipv4.ip_default_ttl",
        "kernel.shmmni",
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel.hostname",
        "net/../vm/swappiness",
        "",
        "net.ipv4.no such",
    ] {
        let Some(container) = Container::new("idle", |config| {
            config["linux"]["namespaces"] = json!([{ "type": "pid" }]);
            config["linux"]["sysctl"] = json!({ name: "1" });
        }) else {
            return;
        };
        container.is_refused(&format!("cannot set sysctl `{name}`"));
    }
}

#[test]
fn parameter_that_the_kernel_refuses_is_named() {
    for (name, value) in [("net.ipv4.ip_default_ttl", "no number"), ("net.ipv4.nonexistent", "1")] {
        let Some(container) =
            Container::new("idle", |config| config["linux"]["sysctl"] = json!({ name: value }))
        else {
            return;
        };
        container.is_refused(&name.replace('.', "/"));
    }
}
