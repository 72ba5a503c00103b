//! `features` and `spec`: documents about what can be had.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::container::skip;

fn runu(folder: &Path, path: &str, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runu"))
        .args(words)
        .env("PATH", path)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn document(text: &[u8]) -> Value {
    serde_json::from_slice(text).unwrap()
}

/// runtime-spec 1.3, features.md and schema/features-schema.json.
#[test]
fn features_have_the_fields_of_the_specification() {
    let folder = tempfile::tempdir().unwrap();
    let features = document(&runu(folder.path(), "/usr/sbin:/usr/bin", &["features"]).stdout);
    for key in ["ociVersionMin", "ociVersionMax"] {
        assert!(features[key].as_str().unwrap().starts_with("1."), "{features}");
    }
    for key in ["hooks", "mountOptions", "potentiallyUnsafeConfigAnnotations"] {
        assert!(features[key].is_array(), "{features}");
    }
    for key in ["namespaces", "capabilities"] {
        assert!(features["linux"][key].is_array(), "{features}");
    }
    assert!(features["linux"]["cgroup"]["v1"].is_boolean(), "{features}");
    assert!(features["linux"]["seccomp"]["enabled"].is_boolean(), "{features}");
    assert!(features["annotations"]["dev.runu.version"].is_string(), "{features}");
    let named = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    for prefix in ["dev.runu.", "com.urunc.unikernel."] {
        assert!(named.contains(&json!(prefix)), "{features}");
    }
}

/// Engines ask before they know what a container will be, and refuse to ordinary ones what is missing here.
#[test]
fn features_hold_all_that_the_runtime_of_ordinary_containers_has() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(runc) = Command::new("runc").arg("features").output() else {
        skip("no runc");
        return;
    };
    let (theirs, ours) =
        (document(&runc.stdout), document(&runu(folder.path(), "/usr/sbin:/usr/bin", &["features"]).stdout));
    for key in ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux"] {
        assert_eq!(ours[key], theirs[key], "{key}");
    }
}

#[test]
fn spec_is_what_runc_writes() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(runcs) = Command::new("runc").args(["spec", "--bundle"]).arg(folder.path()).output() else {
        skip("no runc");
        return;
    };
    assert!(runcs.status.success());
    let path = folder.path().join("config.json");
    for flags in [&[][..], &["--rootless"]] {
        let _ = fs::remove_file(&path);
        Command::new("runc").arg("spec").args(flags).current_dir(folder.path()).status().unwrap();
        let mut theirs = document(&fs::read(&path).unwrap());
        fs::remove_file(&path).unwrap();
        let output = runu(folder.path(), "", &[&["spec"], flags].concat());
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
        let mut ours = document(&fs::read(&path).unwrap());
        // These differ between the versions of runc.
        for document in [&mut theirs, &mut ours] {
            for key in ["ociVersion", "hostname"] {
                document.as_object_mut().unwrap().remove(key);
            }
            document["process"].as_object_mut().unwrap().remove("capabilities");
            document["linux"]["namespaces"].as_array_mut().unwrap().retain(|one| one["type"] != "cgroup");
        }
        assert_eq!(ours, theirs, "{flags:?}");
    }
}

#[test]
fn spec_beside_a_config_leaves_it_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    fs::write(&path, "mine").unwrap();
    let output = runu(folder.path(), "", &["spec"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("config.json"), "{output:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let elsewhere = runu(folder.path(), "", &["spec", "-b", "/none"]);
    assert_eq!(elsewhere.status.code(), Some(1));
}
