//! `runu install` and `runu uninstall` on folders of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const ENGINES: [(&str, &str); 3] = [
    ("docker", "docker/daemon.json"),
    ("podman", "containers/containers.conf.d/50-runu.conf"),
    ("containerd", "containerd/config.toml"),
];

fn runu(etc: &TempDir, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runu")).args(words).arg("--etc").arg(etc.path()).output().unwrap()
}

#[track_caller]
fn succeeds(etc: &TempDir, words: &[&str]) -> Output {
    let output = runu(etc, words);
    assert!(output.status.success(), "{output:?}");
    output
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn install_into_an_empty_folder_names_this_program() {
    for (engine, file) in ENGINES {
        let etc = tempfile::tempdir().unwrap();
        succeeds(&etc, &["install", engine]);
        let text = fs::read_to_string(etc.path().join(file)).unwrap();
        assert!(text.contains(env!("CARGO_BIN_EXE_runu")), "{text}");
        assert_eq!(files(etc.path()), [etc.path().join(file)]);
    }
}

#[test]
fn install_twice_writes_once() {
    for (engine, file) in ENGINES {
        let etc = tempfile::tempdir().unwrap();
        succeeds(&etc, &["install", engine]);
        let written = fs::metadata(etc.path().join(file)).unwrap().modified().unwrap();
        succeeds(&etc, &["install", engine]);
        assert_eq!(fs::metadata(etc.path().join(file)).unwrap().modified().unwrap(), written);
    }
}

#[test]
fn uninstall_removes_what_install_wrote() {
    for (engine, _) in ENGINES {
        let etc = tempfile::tempdir().unwrap();
        succeeds(&etc, &["install", engine]);
        succeeds(&etc, &["uninstall", engine]);
        assert_eq!(files(etc.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn install_dry_run_prints_the_file_and_writes_nothing() {
    for (engine, _) in ENGINES {
        let etc = tempfile::tempdir().unwrap();
        let told = String::from_utf8(succeeds(&etc, &["install", engine, "--dry-run"]).stdout).unwrap();
        assert!(told.contains(env!("CARGO_BIN_EXE_runu")), "{told}");
        assert_eq!(files(etc.path()), Vec::<PathBuf>::new());
    }
}

#[test]
fn uninstall_dry_run_removes_nothing() {
    for (engine, file) in ENGINES {
        let etc = tempfile::tempdir().unwrap();
        succeeds(&etc, &["install", engine]);
        succeeds(&etc, &["uninstall", engine, "--dry-run"]);
        assert_eq!(files(etc.path()), [etc.path().join(file)]);
    }
}

#[test]
fn install_into_a_broken_file_is_refused_and_leaves_it() {
    let etc = tempfile::tempdir().unwrap();
    let file = etc.path().join("docker/daemon.json");
    fs::create_dir(etc.path().join("docker")).unwrap();
    fs::write(&file, "{").unwrap();
    let output = runu(&etc, &["install", "docker"]);
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("error: ") && stderr.contains("daemon.json") && stderr.contains("hint: "),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "{");
}
