//! A bundle: the directory with `config.json` that engines make (runtime-spec, bundle.md).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use serde_json::{Map, Value};

use crate::ContainerError;

/// Length of a config.json at most, in bytes: real ones are below 100 KiB.
const CONFIG_MAX: u64 = 16 << 20;

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    /// Where, absolute.
    pub path: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
}

impl Bundle {
    /// Opens the bundle in `path`.
    ///
    /// # Errors
    /// It has no valid `config.json` with a root.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        let read = |path: &Path, source| ContainerError::Read { path: path.to_path_buf(), source };
        let path = fs::canonicalize(path).map_err(|source| read(path, source))?;
        let config = path.join("config.json");
        let metadata = fs::metadata(&config).map_err(|source| read(&config, source))?;
        if metadata.len() > CONFIG_MAX {
            return Err(read(&config, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let bytes = fs::read(&config).map_err(|source| read(&config, source))?;
        let spec = parse(&bytes).map_err(|source| ContainerError::Config { path: config.clone(), source })?;
        let root = spec.root().as_ref().ok_or(ContainerError::Missing("root"))?;
        let rootfs = path.join(root.path());
        Ok(Bundle { path, spec, rootfs })
    }
}

/// The properties that mean something for a unikernel, each list with the path of what has them.
const LOOKED_AT: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "ociVersion",
            "process",
            "root",
            "hostname",
            "domainname",
            "mounts",
            "hooks",
            "annotations",
            "linux",
        ],
    ),
    ("/process", &["terminal", "consoleSize", "user", "args", "env", "cwd", "rlimits", "oomScoreAdj"]),
    (
        "/linux",
        &["uidMappings", "gidMappings", "sysctl", "resources", "cgroupsPath", "namespaces", "timeOffsets"],
    ),
    (
        "/linux/resources",
        &["memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma", "unified"],
    ),
];

/// Reads a configuration. Its words may be newer than we are, those of capabilities and of system-call filters above all,
/// which mean nothing to a unikernel: so one that cannot be read as a whole is read with only what is looked at.
fn parse(bytes: &[u8]) -> Result<Spec, serde_json::Error> {
    serde_json::from_slice(bytes).or_else(|_| {
        let mut config: Value = serde_json::from_slice(bytes)?;
        for (path, names) in LOOKED_AT {
            if let Some(object) = config.pointer_mut(path).and_then(Value::as_object_mut) {
                keep(object, names);
            }
        }
        serde_json::from_value(config)
    })
}

fn keep(object: &mut Map<String, Value>, names: &[&str]) {
    object.retain(|name, _| names.contains(&name.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_of_the_future_in_what_is_not_looked_at_is_passed_over() {
        let config =
            br#"{"ociVersion":"1.9.0","root":{"path":"r"},"process":{"cwd":"/","user":{"uid":0,"gid":0},
            "capabilities":{"bounding":["CAP_NEW"]}},"linux":{"seccomp":{"defaultAction":"NEW"}}}"#;
        assert_eq!(parse(config).unwrap().version(), "1.9.0");
    }

    #[test]
    fn word_of_the_future_in_what_is_looked_at_is_an_error() {
        for config in [
            r#"{"ociVersion":"1.9.0","linux":{"namespaces":[{"type":"new"}]}}"#,
            r#"{"ociVersion":1}"#,
            r#"[]"#,
            r#"{"ociVersion":"#,
        ] {
            assert!(parse(config.as_bytes()).is_err(), "{config}");
        }
    }
}
