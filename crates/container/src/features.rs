//! What this runtime can do, as engines ask (runtime-spec 1.3, features.md).

use serde_json::{Map, Value, json};

/// Annotations by which an image could change how it is run, so that nobody passes on those of strangers: our own, and
/// those of tools whose images we run. One that ends in a dot stands for all that begin so.
const UNSAFE_ANNOTATIONS: [&str; 3] = ["com.urunc.unikernel.", "dev.runu.", "org.unikraft."];

/// The document. `ordinary` is that of the runtime of ordinary containers: an engine asks before it knows which kind a
/// container will be, and asks for the sake of ordinary ones.
#[must_use]
pub fn features(ordinary: Option<Value>) -> Value {
    let mut features = match ordinary {
        Some(Value::Object(features)) => features,
        _ => own(),
    };
    if let Value::Object(annotations) = features.entry("annotations").or_insert_with(|| json!({})) {
        annotations.insert("dev.runu.version".to_owned(), env!("CARGO_PKG_VERSION").into());
    }
    if let Value::Array(listed) =
        features.entry("potentiallyUnsafeConfigAnnotations").or_insert_with(|| json!([]))
    {
        let new = UNSAFE_ANNOTATIONS.iter().map(|name| Value::from(*name));
        let new: Vec<Value> = new.filter(|name| !listed.contains(name)).collect();
        listed.extend(new);
    }
    Value::Object(features)
}

/// What unikernels' containers can have.
fn own() -> Map<String, Value> {
    let document = json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": ["prestart", "createRuntime", "createContainer", "poststart", "poststop"],
        "mountOptions": [],
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"],
            "capabilities": [],
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": false },
            "seccomp": { "enabled": false },
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
            "memoryPolicy": {},
            "mountExtensions": { "idmap": { "enabled": false } },
            "netDevices": { "enabled": false }
        }
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_without_another_runtime_are_our_own() {
        let features = features(None);
        assert_eq!(features["ociVersionMax"], "1.3.0");
        assert_eq!(features["potentiallyUnsafeConfigAnnotations"], json!(UNSAFE_ANNOTATIONS));
    }

    #[test]
    fn features_of_another_runtime_stay_and_ours_are_added() {
        let other = json!({
            "ociVersionMax": "1.0.2-dev",
            "annotations": { "org.opencontainers.runc.version": "1" },
            "potentiallyUnsafeConfigAnnotations": ["bundle", "dev.runu."]
        });
        let features = features(Some(other));
        assert_eq!(features["ociVersionMax"], "1.0.2-dev");
        assert_eq!(features["annotations"]["org.opencontainers.runc.version"], "1");
        assert_eq!(
            features["potentiallyUnsafeConfigAnnotations"],
            json!(["bundle", "dev.runu.", "com.urunc.unikernel.", "org.unikraft."])
        );
    }
}
