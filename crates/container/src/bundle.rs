//! A bundle: the directory with `config.json` that engines make (runtime-spec, bundle.md).

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use serde::{Deserialize, de::Error as _};
use serde_json::{Value, json};

use crate::{ContainerError, rootfs::regular_file};

/// Length of a config.json at most, in bytes: real ones are below 100 KiB.
const CONFIG_MAX: u64 = 16 << 20;

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    /// Where, absolute.
    pub path: PathBuf,
    /// The configuration; where [`Bundle::check`] fails, no more of it than tells what is to be run.
    pub spec: Spec,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// Why not all of the configuration could be read.
    unread: Option<String>,
}

impl Bundle {
    /// Opens the bundle in `path`. A configuration with something in it that we do not know will do, because the runtime
    /// of ordinary containers may know it, or may pass over it with a warning, as it does with new capabilities.
    ///
    /// # Errors
    /// It has no `config.json` that says what is to be run.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        let read = |path: &Path, source| ContainerError::Read { path: path.to_path_buf(), source };
        let path = fs::canonicalize(path).map_err(|source| read(path, source))?;
        let config = path.join("config.json");
        let bytes = contents(&config).map_err(|source| read(&config, source))?;
        let (spec, unread) =
            read_spec(&bytes).map_err(|source| ContainerError::Config { path: config, source })?;
        let root = spec.root().as_ref().ok_or(ContainerError::Missing("root"))?;
        let rootfs = path.join(root.path());
        Ok(Bundle { path, spec, rootfs, unread })
    }

    /// Makes sure that all of the configuration was read. What is ours to run must pass.
    ///
    /// # Errors
    /// It says something that we do not know.
    pub fn check(&self) -> Result<(), ContainerError> {
        self.unread.as_ref().map_or(Ok(()), |told| {
            let path = self.path.join("config.json");
            Err(ContainerError::Config { path, source: serde_json::Error::custom(told) })
        })
    }
}

/// All of a file that somebody else made.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let file = regular_file(path)?;
    if file.metadata()?.len() > CONFIG_MAX {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(CONFIG_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
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

/// The configuration as far as it can be read, and why not all of it could.
fn read_spec(bytes: &[u8]) -> Result<(Spec, Option<String>), serde_json::Error> {
    if let Ok(spec) = serde_json::from_slice(bytes) {
        return Ok((spec, None));
    }
    let mut whole: Value = serde_json::from_slice(bytes)?;
    // Words of all else may be newer than we are: names of capabilities and system calls grow with the kernel.
    for (path, names) in LOOKED_AT {
        if let Some(object) = whole.pointer_mut(path).and_then(Value::as_object_mut) {
            object.retain(|name, _| names.contains(&name.as_str()));
        }
    }
    match (Spec::deserialize(&whole), outline(&whole)) {
        (Ok(spec), _) => Ok((spec, None)),
        (Err(error), Some(spec)) => Ok((spec, Some(error.to_string()))),
        (Err(error), None) => Err(error),
    }
}

/// What of a configuration tells what is to be run: root, words, folder and annotations.
fn outline(whole: &Value) -> Option<Spec> {
    let mut outline = json!({ "ociVersion": whole.get("ociVersion")? });
    let part = |from: &Value, names: &[&str]| {
        names.iter().filter_map(|name| Some(((*name).to_owned(), from.get(name)?.clone()))).collect()
    };
    if let Some(root) = whole.get("root") {
        outline["root"] = Value::Object(part(root, &["path"]));
    }
    if let Some(process) = whole.get("process") {
        outline["process"] = Value::Object(part(process, &["args", "cwd", "env"]));
        outline["process"]["user"] = json!({ "uid": 0, "gid": 0 });
    }
    if let Some(annotations) = whole.get("annotations") {
        outline["annotations"] = annotations.clone();
    }
    serde_json::from_value(outline).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(config: &str) -> Result<Bundle, ContainerError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.json"), config).unwrap();
        Bundle::open(folder.path())
    }

    #[test]
    fn configuration_with_an_unknown_capability_and_system_call_action_passes_the_check() {
        let bundle = open(
            r#"{ "ociVersion": "1.0.0", "root": { "path": "rootfs" }, "hostname": "h",
                 "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 },
                              "capabilities": { "bounding": ["CAP_OF_TOMORROW"] } },
                 "linux": { "seccomp": { "defaultAction": "SCMP_ACT_OF_TOMORROW" } } }"#,
        )
        .unwrap();
        bundle.check().unwrap();
        assert_eq!(bundle.spec.hostname().as_deref(), Some("h"));
    }

    #[test]
    fn configuration_with_an_unknown_namespace_tells_what_is_to_be_run() {
        let bundle = open(
            r#"{ "ociVersion": "1.9.0", "root": { "path": "rootfs" },
                 "process": { "args": ["/bin/sh"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
                 "linux": { "namespaces": [{ "type": "of-tomorrow" }] } }"#,
        )
        .unwrap();
        let process = bundle.spec.process().as_ref().unwrap();
        assert_eq!(process.args().as_ref().unwrap(), &["/bin/sh"]);
        assert!(bundle.rootfs.ends_with("rootfs"));
        let error = bundle.check().unwrap_err();
        assert!(
            matches!(&error, ContainerError::Config { source, .. } if source.to_string().contains("of-tomorrow"))
        );
    }

    #[test]
    fn configuration_that_is_all_known_passes_the_check() {
        open(r#"{ "ociVersion": "1.0.0", "root": { "path": "rootfs" } }"#).unwrap().check().unwrap();
    }

    #[test]
    fn configuration_that_does_not_tell_what_is_to_be_run_is_refused() {
        for config in ["", "{", r#"{ "ociVersion": "1.0.0", "root": { "path": 7 } }"#, r#"{ "root": 1 }"#] {
            assert!(matches!(open(config), Err(ContainerError::Config { .. })), "{config}");
        }
    }
}
