//! State directories that are full or cannot be written to.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;

use crate::container::Container;

/// A small file system in memory, mounted as long as this exists.
struct Disk(PathBuf);

impl Disk {
    fn new(path: PathBuf, options: &str) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "runu-test"]).arg(&path);
        assert!(mount.status().unwrap().success(), "{options}");
        Disk(path)
    }

    /// The same through another mount that cannot be written to: this one cannot become so while a supervisor writes.
    fn read_only(&self, path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mount = |options: &[&str]| {
            let mut mount = Command::new("mount");
            assert!(mount.args(options).arg(&path).status().unwrap().success());
        };
        mount(&["--bind", self.0.to_str().unwrap()]);
        let view = Disk(path.clone());
        mount(&["-o", "remount,bind,ro"]);
        view
    }

    /// Fills it to the last page.
    fn fill(&self) {
        let _ = fs::write(self.0.join("filler"), vec![b'x'; 1 << 20]);
        assert!(fs::write(self.0.join("more"), "x").is_err());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

/// A container whose states are on a disk of its own.
fn on_disk(guest: &str, options: &str) -> Option<(Container, Disk)> {
    let mut container = Container::new(guest, |_| ())?;
    let path = container.path("disk");
    let disk = Disk::new(path.clone(), options);
    container.root = Some(path);
    Some((container, disk))
}

/// Its life if it can be had, or a clear error and nothing left.
fn live_or_refuse(container: &Container) -> bool {
    let _ = fs::remove_file(container.path("log"));
    let created = container.creation().status().unwrap();
    if !created.success() {
        assert_eq!(created.code(), Some(1));
        assert!(container.logged().contains("No space left on device"), "{}", container.logged());
        container.done(&["delete", "--force"]);
        container.nothing_left();
        return false;
    }
    assert_eq!(container.state()["status"], "created");
    container.done(&["start"]);
    assert_eq!(container.state()["status"], "running");
    container.done_with_signal("TERM");
    assert_eq!(container.wait(), 143);
    let state = container.state();
    assert_eq!(
        (&state["status"], &state["annotations"]["dev.runu.end"]),
        (&json!("stopped"), &json!("ended by signal 15"))
    );
    container.done(&["delete"]);
    container.nothing_left();
    true
}

#[test]
fn disk_of_few_pages_holds_a_whole_life_or_none() {
    let lives: Vec<bool> = (1..=8)
        .map_while(|pages| on_disk("idle", &format!("size={}k", 4 * pages)))
        .map(|(container, _disk)| live_or_refuse(&container))
        .collect();
    // Not root: nothing was tried.
    assert!(lives.is_empty() || lives.contains(&true) && lives.contains(&false), "{lives:?}");
}

#[test]
fn disk_of_few_files_holds_a_whole_life_or_none() {
    let lives: Vec<bool> = (1..=10)
        .map_while(|files| on_disk("idle", &format!("size=1m,nr_inodes={files}")))
        .map(|(container, _disk)| live_or_refuse(&container))
        .collect();
    assert!(lives.is_empty() || lives.contains(&true) && lives.contains(&false), "{lives:?}");
}

#[test]
fn disk_that_is_full_after_create_changes_nothing() {
    let Some((container, disk)) = on_disk("idle", "size=64k") else { return };
    container.create();
    disk.fill();
    container.done(&["start"]);
    assert_eq!(container.state()["status"], "running");
    container.done_with_signal("TERM");
    assert_eq!(container.wait(), 143);
    assert_eq!(container.state()["annotations"]["dev.runu.end"], "ended by signal 15");
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn pid_file_on_a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(container) = Container::new("idle", |_| ()) else { return };
    let disk = Disk::new(container.path("full"), "size=4k");
    disk.fill();
    let (bundle, file) = (container.path("bundle"), disk.0.join("pid"));
    let words = ["create", "--bundle", bundle.to_str().unwrap(), "--pid-file", file.to_str().unwrap()];
    container.fails(&words, "No space left on device");
    container.nothing_left();
}

#[test]
fn disk_that_cannot_be_written_to_is_an_error_and_harms_no_container() {
    let Some((mut container, disk)) = on_disk("idle", "size=64k") else { return };
    let view = disk.read_only(container.path("view"));
    let read_only = "Read-only file system";
    container.root = Some(view.0.clone());
    container.fails(&["create", "--bundle", &container.path("bundle").display().to_string()], read_only);
    container.fails(&["state"], "does not exist");
    container.done(&["delete", "--force"]);
    assert!(container.raw(&["list"]).output().unwrap().status.success());

    container.root = Some(disk.0.clone());
    container.start();
    container.root = Some(view.0.clone());
    assert_eq!(container.state()["status"], "running");
    container.done(&["pause"]);
    container.done(&["resume"]);
    container.done_with_signal("KILL");
    assert_eq!(container.wait(), 137);
    assert_eq!(container.state()["status"], "stopped");
    container.fails(&["delete"], read_only);
    container.fails(&["delete", "--force"], read_only);
    container.root = Some(disk.0.clone());
    container.done(&["delete"]);
    container.nothing_left();
}

#[test]
fn root_that_is_a_file_or_lies_in_one_is_an_error() {
    for root in ["bundle/config.json", "bundle/config.json/below"] {
        let Some(mut container) = Container::new("idle", |_| ()) else { return };
        container.root = Some(container.path(root));
        container.is_refused("Not a directory");
        assert!(!container.raw(&["list"]).output().unwrap().status.success());
        // For the container's own end.
        container.root = None;
    }
}

#[test]
fn record_that_is_damaged_is_an_error_that_force_removes() {
    for text in ["", "{", "[]", "{\"id\":17}"] {
        let Some(container) = Container::new("idle", |_| ()) else { return };
        container.create();
        let directory = container.root().join("unikernels").join(&container.id);
        let record = fs::read(directory.join("state.json")).unwrap();
        fs::write(directory.join("state.json"), text).unwrap();
        for verb in ["state", "start", "kill", "delete"] {
            container.fails(&[verb], "cannot read");
        }
        assert!(container.raw(&["list"]).output().unwrap().status.success());
        // Only the record knows its processes.
        fs::write(Path::new(&directory).join("state.json"), record).unwrap();
        container.done(&["delete", "--force"]);
        container.nothing_left();
    }
}

#[test]
fn file_of_a_guest_s_disk_without_room_fails_writes_and_the_guest_goes_on() {
    let Some((container, disk)) = on_disk("disk", "size=128k") else { return };
    let image = disk.0.join("image");
    // All holes: reading them takes no room, writing does.
    fs::File::create(&image).unwrap().set_len(64 << 10).unwrap();
    disk.fill();
    let mut run = Command::new(env!("CARGO_BIN_EXE_runu"));
    let ended = run.args(["run", "--disk"]).arg(&image).arg(container.kernel()).output().unwrap();
    let console = String::from_utf8_lossy(&ended.stdout);
    let failed: Vec<&str> = console.lines().filter_map(|line| line.strip_prefix("FAIL ")).collect();
    let expected = ["write", "write-pieces", "write-many", "write-through"]
        .map(|check| format!("{check} write: got 0x1, expected 0x0"));
    assert_eq!(failed, expected, "{console}");
    assert_eq!(ended.status.code(), Some(4), "{console}");
    assert!(console.contains("ok last") && console.contains("ok flush"), "{console}");
    assert!(fs::read(&image).unwrap() == [0; 64 << 10]);
}
