//! `list`, `ps` and `state`, beside those of the installed runc.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::container::{Container, skip};

/// An ordinary container under the same root, made through us and so by the installed runc; none where that or a program
/// for it is missing.
struct Ordinary<'a> {
    beside: &'a Container,
    id: String,
}

impl<'a> Ordinary<'a> {
    fn new(beside: &'a Container) -> Option<Self> {
        let (runc, busybox) = (Path::new("/usr/sbin/runc"), Path::new("/bin/busybox"));
        if !runc.exists() && !Path::new("/usr/bin/runc").exists() || !busybox.exists() {
            skip("no runc or no busybox");
            return None;
        }
        let bundle = beside.path("ordinary");
        fs::create_dir_all(bundle.join("rootfs/bin")).unwrap();
        fs::copy(busybox, bundle.join("rootfs/bin/busybox")).unwrap();
        for folder in ["proc", "dev"] {
            fs::create_dir(bundle.join("rootfs").join(folder)).unwrap();
        }
        let ordinary = Ordinary { beside, id: format!("a-{}", beside.id) };
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "cwd": "/", "user": { "uid": 0, "gid": 0 },
                "args": ["/bin/busybox", "sleep", "1000"], "env": ["A=b"]
            },
            "root": { "path": "rootfs" },
            "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
            "linux": {
                "cgroupsPath": format!("/runu/{}", ordinary.id),
                "namespaces": [{ "type": "pid" }, { "type": "mount" }]
            }
        });
        fs::write(bundle.join("config.json"), config.to_string()).unwrap();
        let created = ordinary
            .beside
            .raw(&["create", "--bundle", bundle.to_str().unwrap(), &ordinary.id])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !created.unwrap().success() {
            skip(&format!("runc cannot make a container here: {}", beside.logged()));
            return None;
        }
        assert!(ordinary.beside.raw(&["start", &ordinary.id]).status().unwrap().success());
        Some(ordinary)
    }

    /// What we say of it, or of all.
    fn ours(&self, words: &[&str]) -> String {
        let output = self.beside.raw(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What runc says, asked directly.
    fn runcs(&self, words: &[&str]) -> String {
        let root: PathBuf = self.beside.root().join("containers");
        let output = Command::new("runc").arg("--root").arg(root).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Ordinary<'_> {
    fn drop(&mut self) {
        let deleted = self.beside.raw(&["delete", "--force", &self.id]).status().unwrap();
        assert!(deleted.success() || std::thread::panicking());
        let state = self.beside.root().join("containers").join(&self.id);
        assert!(!state.exists() || std::thread::panicking());
    }
}

#[test]
fn list_holds_unikernels_and_ordinary_containers_in_the_order_of_their_names() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(ordinary) = Ordinary::new(&container) else { return };
    container.create();
    let listed: Value = serde_json::from_str(&ordinary.ours(&["list", "--format", "json"])).unwrap();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [&ordinary.id, &container.id]);
    // Both say the same about themselves.
    let keys = |at: usize| listed[at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(0), keys(1));
    assert_eq!(listed[0]["owner"], listed[1]["owner"]);
    assert_eq!(listed[1]["status"], "created");
    assert_eq!(ordinary.ours(&["list", "-q"]), format!("{}\n{}\n", ordinary.id, container.id));
}

#[test]
fn table_of_an_ordinary_container_is_the_table_of_runc() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(ordinary) = Ordinary::new(&container) else { return };
    let formats = [&["list"][..], &["list", "-q"], &["list", "-f", "table"], &["list", "-f", "json"]];
    for words in formats {
        assert_eq!(ordinary.ours(words), ordinary.runcs(words), "{words:?}");
    }
}

#[test]
fn state_and_list_of_a_unikernel_have_the_shape_of_runcs() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let Some(ordinary) = Ordinary::new(&container) else { return };
    container.start();
    let keys = |text: &str| -> Vec<String> {
        // In their order, which people see.
        text.lines().filter_map(|line| Some(line.trim().split_once("\": ")?.0.to_owned())).collect()
    };
    let ours = container.done(&["state"]);
    assert_eq!(keys(&ours), keys(&ordinary.runcs(&["state", &ordinary.id])));
    let lines = |text: String| text.lines().next().unwrap().to_owned();
    assert_eq!(
        lines(
            container
                .raw(&["ps", &container.id])
                .output()
                .map(|o| String::from_utf8(o.stdout).unwrap())
                .unwrap()
        ),
        lines(ordinary.runcs(&["ps", &ordinary.id]))
    );
}

#[test]
fn list_without_containers_is_its_head_and_null() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    fs::create_dir(container.root()).unwrap();
    let said = |words: &[&str]| String::from_utf8(container.raw(words).output().unwrap().stdout).unwrap();
    assert_eq!(said(&["list"]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    assert_eq!(said(&["list", "-f", "json"]), "null\n");
    assert_eq!(said(&["list", "-q"]), "");
}

#[test]
fn list_of_a_root_that_is_not_there_is_an_error() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let output = container.raw(&["list"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(container.logged().contains("No such file or directory"), "{}", container.logged());
}

#[test]
fn ps_tells_the_processes_of_the_container_and_no_others() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    container.start();
    let pids: Vec<i32> = serde_json::from_str(&container.done(&["ps", "-f", "json"])).unwrap();
    assert!(pids.len() == 2 && pids.contains(&container.pid()), "{pids:?}");
    let table = container.done(&["ps"]);
    assert!(table.starts_with("UID") && table.contains("runu-guest"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let table = container.raw(&["ps", &container.id, "-e", "-o", "pid,comm"]).output().unwrap();
    assert_eq!(String::from_utf8(table.stdout).unwrap().lines().count(), 3);
    let failed = container.raw(&["ps", &container.id, "--no-such-flag-of-ps"]).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");

    container.done_with_signal("KILL");
    container.wait();
    assert_eq!(container.done(&["ps", "-f", "json"]), "null\n");
    assert_eq!(container.done(&["ps"]).lines().count(), 1);
}

#[test]
fn state_of_a_container_whose_maker_wrote_nothing_is_stopped() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    fs::create_dir_all(container.root().join("unikernels").join(&container.id)).unwrap();
    let state = container.state();
    assert_eq!((&state["id"], &state["status"]), (&json!(container.id), &json!("stopped")));
    container.done(&["delete"]);
    container.nothing_left();
}
