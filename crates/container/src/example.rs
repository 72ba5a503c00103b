//! The configuration that `spec` writes: what `runc spec` writes, because scripts change it and expect what is there.

use serde_json::{Value, json};

/// An example of a config.json, for root or for an ordinary user.
#[must_use]
pub fn example(rootless: bool) -> Value {
    // The version is the newest that every runtime in use takes: crun 1.8 refuses those above.
    json!({
        "ociVersion": "1.0.2",
        "process": process(),
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runu",
        "mounts": mounts(rootless),
        "linux": linux(rootless)
    })
}

fn process() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "terminal": true,
        "user": { "uid": 0, "gid": 0 },
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
        "noNewPrivileges": true
    })
}

fn mounts(rootless: bool) -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    // Neither can an ordinary user mount a sysfs of a network that is the host's, nor is there a group 5.
    let (system, terminals) = match rootless {
        true => (
            mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]),
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"][..],
        ),
        false => (
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"][..],
        ),
    };
    json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", terminals),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        system,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

fn linux(rootless: bool) -> Value {
    let kinds = match rootless {
        true => ["pid", "ipc", "uts", "mount", "user"],
        false => ["pid", "network", "ipc", "uts", "mount"],
    };
    let namespaces: Vec<Value> = kinds.iter().map(|kind| json!({ "type": kind })).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    });
    if rootless {
        let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
        linux["uidMappings"] = map(rustix::process::geteuid().as_raw());
        linux["gidMappings"] = map(rustix::process::getegid().as_raw());
    } else {
        linux["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    }
    linux
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Spec;

    use super::*;

    #[test]
    fn example_is_a_valid_configuration() {
        for rootless in [false, true] {
            let spec: Result<Spec, _> = serde_json::from_value(example(rootless));
            assert!(spec.is_ok(), "{spec:?}");
        }
    }
}
