//! What this runtime can do, as engines ask (runtime-spec, features.md).

use serde_json::{Value, json};

/// Annotations that change what is run and how; a name that ends with a dot stands for all that begin so.
#[must_use]
pub fn annotations() -> &'static [&'static str] {
    &[crate::annotations::PREFIX, crate::annotations::URUNC]
}

/// The document. It tells of unikernels' containers only.
#[must_use]
pub fn features() -> Value {
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "poststart", "poststop"],
        "mountOptions": [],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": [],
            "cgroup": { "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": false },
            "seccomp": { "enabled": false },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false }
        },
        "annotations": {},
        "potentiallyUnsafeConfigAnnotations": annotations()
    })
}
