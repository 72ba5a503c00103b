//! What a configuration may hold that means nothing to a unikernel, and what engines always send.

use serde_json::json;

use crate::container::Container;

#[test]
fn unknown_properties_and_words_are_passed_over() {
    let Some(container) = Container::new("idle", |config| {
        config["x-of-the-future"] = json!({ "a": [1, 2] });
        config["process"]["newThing"] = json!(true);
        config["process"]["capabilities"] =
            json!({ "bounding": ["CAP_OF_THE_FUTURE", "CAP_SYS_ADMIN"], "effective": ["CAP_OF_THE_FUTURE"] });
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_OF_THE_FUTURE", "architectures": ["SCMP_ARCH_OF_THE_FUTURE"],
            "syscalls": [{ "names": ["no_such_call"], "action": "SCMP_ACT_ALLOW" }],
        });
        config["linux"]["newThing"] = json!([]);
        config["linux"]["resources"] = json!({ "newThing": { "limit": -1 } });
    }) else {
        return;
    };
    container.start();
    assert_eq!(container.state()["status"], "running");
}

#[test]
fn properties_of_linux_programs_are_passed_over() {
    let Some(container) = Container::new("idle", |config| {
        config["process"]["apparmorProfile"] = json!("docker-default");
        config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0:c1,c2");
        config["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH" });
        config["process"]["ioPriority"] = json!({ "class": "IOPRIO_CLASS_BE", "priority": 4 });
        config["process"]["execCPUAffinity"] = json!({ "initial": "0" });
        config["linux"]["mountLabel"] = json!("system_u:object_r:container_file_t:s0:c1,c2");
        config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/no/such"]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/no/such"]);
        config["linux"]["personality"] = json!({ "domain": "LINUX" });
        config["linux"]["devices"] = json!([
            { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0 }
        ]);
        config["linux"]["resources"] = json!({
            "devices": [
                { "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" },
            ],
        });
    }) else {
        return;
    };
    container.start();
    assert_eq!(container.state()["status"], "running");
    let guest = container.guest();
    // Labels are for hosts that have them; here there are none.
    assert_eq!(guest.status()["CapEff"], "0000000000000000");
}

#[test]
fn capabilities_that_cannot_be_had_are_no_error_and_not_told_of() {
    let Some(container) = Container::new("hello", |config| {
        let all =
            json!(["CAP_SYS_RESOURCE", "CAP_BPF", "CAP_PERFMON", "CAP_CHECKPOINT_RESTORE", "CAP_NONE_SUCH"]);
        config["process"]["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all, "inheritable": all, "ambient": all });
    }) else {
        return;
    };
    container.create();
    // Whatever `create` says stands in the container's own log; podman takes more than one line in ours for garbage.
    assert_eq!(container.console(), "");
    assert!(!container.path("log").exists());
}

#[test]
fn mounts_that_engines_always_add_are_passed_over() {
    let Some(container) = Container::new("idle", |config| {
        config["mounts"] = json!([
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue" },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["size=67108864"] },
        ]);
        config["root"]["readonly"] = json!(true);
    }) else {
        return;
    };
    container.start();
    assert_eq!(container.guest().read("mountinfo").lines().count(), 1);
}

#[test]
fn property_of_the_wrong_kind_that_matters_is_refused() {
    for (path, value) in [
        ("/process/args", json!(7)),
        ("/process/rlimits", json!([{ "type": "RLIMIT_OF_THE_FUTURE", "soft": 1, "hard": 1 }])),
        ("/linux/namespaces", json!([{ "type": "of-the-future" }])),
        ("/linux/resources", json!({ "memory": { "limit": "much" } })),
        ("/hooks", json!({ "prestart": "all" })),
    ] {
        let Some(container) = Container::new("idle", |config| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[name] = value;
        }) else {
            return;
        };
        container.is_refused("is not a valid OCI configuration");
    }
}
