//! `runu` as engines call it, without any engine: bundles, verbs, messages, statuses and what is left behind.
//!
//! They need root, because a container's network and control group do; without it each says so and passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must stop loudly")]

use std::{
    fs::{self, File},
    io::Read,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A bundle with a guest in kraft's place, and a root for states.
struct Rig {
    folder: TempDir,
    id: String,
}

impl Rig {
    fn new(guest: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: not root");
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let rig = Rig {
            folder: tempfile::tempdir().unwrap(),
            id: format!("runu-test-{}-{number}", std::process::id()),
        };
        let kernel = rig.path("bundle/rootfs/unikraft/bin/kernel");
        fs::create_dir_all(kernel.parent().unwrap()).unwrap();
        fs::copy(runu_guests::Guest::named(guest).unwrap().multiboot_path(), kernel).unwrap();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["--"] },
            "root": { "path": "rootfs" },
            "linux": { "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "mount" }] }
        });
        change(&mut config);
        fs::write(rig.path("bundle/config.json"), config.to_string()).unwrap();
        Some(rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A call as a shim makes it.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runu"));
        command.arg("--root").arg(self.path("root")).arg("--log").arg(self.path("log"));
        command.args(["--log-format", "json"]).args(words).arg(&self.id).stdin(Stdio::null());
        command
    }

    fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Creates the container with its console in a file.
    #[track_caller]
    fn create(&self) {
        let console = File::create(self.path("console")).unwrap();
        let bundle = self.path("bundle");
        let pid_file = self.path("pid");
        let words =
            ["create", "--pid-file", pid_file.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let status =
            self.command(&words).stdout(console.try_clone().unwrap()).stderr(console).status().unwrap();
        assert!(status.success(), "{}", self.console());
    }

    fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap()
    }

    fn state(&self) -> Value {
        serde_json::from_str(&self.done(&["state"])).unwrap()
    }

    /// Waits for the end of the container's first process.
    fn wait(&self) {
        let pid: i32 = fs::read_to_string(self.path("pid")).unwrap().parse().unwrap();
        if let Some(start) = runu_sandbox::started_at(pid) {
            assert!(runu_sandbox::wait_for_end(pid, start, 30_000));
        }
    }

    /// The one error in the log.
    fn logged(&self) -> String {
        let text = fs::read_to_string(self.path("log")).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "error");
        object["msg"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn nothing_left(&self) {
        let left: Vec<_> = fs::read_dir(self.path("root/unikernels")).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join("runu").join(&self.id);
            assert!(!group.exists(), "{}", group.display());
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force"]);
    }
}

#[test]
fn container_created_and_started_runs_its_guest_and_is_deleted_without_trace() {
    let Some(rig) = Rig::new("hello", |config| config["process"]["args"] = json!(["a", "b c"])) else {
        return;
    };
    rig.create();
    let created = rig.state();
    assert_eq!(created["status"], "created");
    assert_eq!(created["pid"].to_string(), fs::read_to_string(rig.path("pid")).unwrap());
    assert_eq!(rig.console(), "", "the guest ran before its start");

    rig.done(&["start"]);
    rig.wait();

    assert!(rig.console().contains("argv[2] = b c"), "{}", rig.console());
    let stopped = rig.state();
    assert_eq!((&stopped["status"], &stopped["pid"]), (&json!("stopped"), &json!(0)));
    assert_eq!(stopped["annotations"]["dev.runu.end"], "powered off");
    rig.done(&["delete"]);
    rig.nothing_left();
}

#[test]
fn container_run_in_the_foreground_gives_its_guests_status() {
    let Some(rig) = Rig::new("hello", |config| config["process"]["args"] = json!(["exit=42"])) else {
        return;
    };
    let bundle = rig.path("bundle");
    let output = rig.call(&["run", "--bundle", bundle.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(42), "{output:?}");
    rig.nothing_left();
}

#[test]
fn container_that_runs_is_signalled_and_not_deleted_without_force() {
    let Some(rig) = Rig::new("idle", |_| ()) else { return };
    rig.create();
    rig.done(&["start"]);
    assert_eq!(rig.state()["status"], "running");
    assert!(!rig.call(&["delete"]).status.success());
    assert!(rig.logged().contains("is not stopped: running"), "{}", rig.logged());

    let killed = Command::new(env!("CARGO_BIN_EXE_runu"))
        .arg("--root")
        .arg(rig.path("root"))
        .args(["kill", &rig.id, "15"])
        .status();
    assert!(killed.unwrap().success());
    rig.wait();

    assert_eq!(rig.state()["annotations"]["dev.runu.end"], "ended by signal 15");
    let again = rig.call(&["kill"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("container not running"), "{again:?}");
    rig.done(&["delete"]);
    rig.nothing_left();
}

#[test]
fn container_that_runs_is_paused_and_goes_on() {
    let Some(rig) = Rig::new("idle", |_| ()) else { return };
    rig.create();
    rig.done(&["start"]);
    rig.done(&["pause"]);
    assert_eq!(rig.state()["status"], "paused");
    rig.done(&["resume"]);
    assert_eq!(rig.state()["status"], "running");
    let processes: Vec<i32> = serde_json::from_str(&rig.done(&["ps", "--format", "json"])).unwrap();
    assert_eq!(processes.len(), 2);
    rig.done(&["delete", "--force"]);
    rig.nothing_left();
}

#[test]
fn container_waiting_for_its_start_can_be_ended_by_a_signal() {
    let Some(rig) = Rig::new("idle", |_| ()) else { return };
    rig.create();
    rig.done(&["kill"]);
    rig.wait();
    assert_eq!(rig.state()["status"], "stopped");
    assert!(!rig.call(&["start"]).status.success());
    assert!(rig.logged().contains("cannot start a container that has stopped"));
    rig.done(&["delete"]);
    rig.nothing_left();
}

#[test]
fn unknown_container_does_not_exist_and_is_deleted_by_force() {
    let Some(rig) = Rig::new("hello", |_| ()) else { return };
    let verbs = ["state", "start", "delete", "pause", "resume", "ps", "kill"].map(|verb| (verb, 1));
    for (verb, status) in verbs.into_iter().chain([("exec", 255)]) {
        let output = rig.call(&[verb]);
        assert_eq!(output.status.code(), Some(status), "{verb}");
        assert!(rig.logged().contains("does not exist"), "{verb}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("does not exist"), "{verb}");
        fs::remove_file(rig.path("log")).unwrap();
    }
    rig.done(&["delete", "--force"]);
}

#[test]
fn id_of_a_container_is_taken_once() {
    let Some(rig) = Rig::new("hello", |_| ()) else { return };
    rig.create();
    let bundle = rig.path("bundle");
    assert!(!rig.call(&["create", "--bundle", bundle.to_str().unwrap()]).status.success());
    assert!(rig.logged().contains("already exists"));
    assert_eq!(rig.state()["status"], "created");
}

#[test]
fn id_that_is_no_name_is_refused_before_anything_is_made() {
    let Some(mut rig) = Rig::new("hello", |_| ()) else { return };
    for id in ["..", "../x", &"a".repeat(300)] {
        rig.id = id.to_owned();
        let bundle = rig.path("bundle");
        assert!(!rig.call(&["create", "--bundle", bundle.to_str().unwrap()]).status.success());
        assert!(!rig.path("root").exists());
    }
}

#[test]
fn bundle_that_cannot_be_had_leaves_nothing() {
    /// What breaks a configuration, and a word of the error.
    type Break = (&'static str, fn(&mut Value));
    let broken: [Break; 9] = [
        ("/unikraft/bin/kernel", |_| ()),
        ("`root`", |config| config["root"] = Value::Null),
        ("`process`", |config| config["process"] = Value::Null),
        ("/data", |config| {
            config["mounts"] = json!([{"destination": "/data", "type": "bind", "source": "/tmp"}])
        }),
        ("netDevices", |config| config["linux"]["netDevices"] = json!({"eth9": {}})),
        ("memoryPolicy", |config| {
            config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"})
        }),
        ("intelRdt", |config| config["linux"]["intelRdt"] = json!({"closID": "one"})),
        ("listenerPath", |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/none"})
        }),
        ("is too little", |config| config["linux"]["resources"] = json!({"memory": {"limit": 4096}})),
    ];
    for (named, break_it) in broken {
        let Some(rig) = Rig::new("hello", break_it) else { return };
        if named.starts_with("/unikraft") {
            fs::write(rig.path("bundle/rootfs/unikraft/bin/kernel"), "not a kernel").unwrap();
        }
        let bundle = rig.path("bundle");
        let output = rig.call(&["create", "--bundle", bundle.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{named}: {output:?}");
        assert!(rig.logged().contains(named), "`{named}` is not in: {}", rig.logged());
        assert!(!rig.path("root/unikernels").join(&rig.id).exists(), "{named}");
    }
}

#[test]
fn config_that_is_no_json_is_refused() {
    let Some(rig) = Rig::new("hello", |_| ()) else { return };
    fs::write(rig.path("bundle/config.json"), "{\"ociVersion\":").unwrap();
    let bundle = rig.path("bundle");
    assert!(!rig.call(&["create", "--bundle", bundle.to_str().unwrap()]).status.success());
    assert!(rig.logged().contains("is not a valid OCI configuration"));
}

#[test]
fn hooks_run_in_order_with_the_state_and_a_failed_one_ends_the_create() {
    let Some(rig) = Rig::new("hello", |_| ()) else { return };
    let told = rig.path("told");
    let hook = |name: &str| {
        let script = format!("printf '%s ' {name} >> {0}; cat > {0}.{name}", told.display());
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
    };
    let config = rig.path("bundle/config.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    value["hooks"] = json!({
        "prestart": hook("prestart"), "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"), "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    });
    fs::write(&config, value.to_string()).unwrap();
    rig.create();
    rig.done(&["start"]);
    rig.wait();
    rig.done(&["delete"]);
    let order = "prestart createRuntime createContainer poststart poststop ";
    assert_eq!(fs::read_to_string(&told).unwrap(), order);
    let state: Value = serde_json::from_slice(&fs::read(rig.path("told.prestart")).unwrap()).unwrap();
    assert_eq!((&state["id"], &state["status"]), (&json!(rig.id), &json!("creating")));

    value["hooks"] = json!({ "createRuntime": [{ "path": "/bin/false" }] });
    fs::write(&config, value.to_string()).unwrap();
    let bundle = rig.path("bundle");
    assert!(!rig.call(&["create", "--bundle", bundle.to_str().unwrap()]).status.success());
    rig.nothing_left();
}

#[test]
fn create_killed_in_the_middle_leaves_what_delete_reaps() {
    let Some(rig) = Rig::new("hello", |config| {
        // The hook's parent is the process that creates.
        let script = json!(["sh", "-c", "kill -9 $PPID"]);
        config["hooks"] = json!({ "createRuntime": [{ "path": "/bin/sh", "args": script }] });
    }) else {
        return;
    };
    let bundle = rig.path("bundle");
    assert_eq!(rig.call(&["create", "--bundle", bundle.to_str().unwrap()]).status.code(), None);
    assert_eq!(rig.state()["status"], "stopped");
    rig.done(&["delete", "--force"]);
    rig.nothing_left();
}

#[test]
fn descriptors_that_the_caller_leaks_do_not_reach_the_container() {
    let Some(rig) = Rig::new("idle", |_| ()) else { return };
    // A pipe whose writer a container held would not end.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let leaked = rustix::io::fcntl_dupfd_cloexec(&writer, 100).unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    rig.create();
    rig.done(&["start"]);
    drop((writer, leaked));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(rig.state()["status"], "running");
}

#[test]
fn limits_are_set_and_changed() {
    let Some(rig) =
        Rig::new("idle", |config| config["linux"]["resources"] = json!({"memory": {"limit": 64 << 20}}))
    else {
        return;
    };
    rig.create();
    rig.done(&["start"]);
    let limit = |rig: &Rig| {
        let event: Value = serde_json::from_str(&rig.done(&["events", "--stats"])).unwrap();
        event["data"]["memory"]["usage"]["limit"].as_u64().unwrap()
    };
    assert_eq!(limit(&rig), 64 << 20);
    rig.done(&["update", "--memory", "128M"]);
    assert_eq!(limit(&rig), 128 << 20);
}

#[test]
fn terminal_goes_to_the_console_socket_and_its_end_to_the_guest() {
    let Some(rig) = Rig::new("hello", |config| config["process"]["terminal"] = json!(true)) else { return };
    let socket = rig.path("console.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let bundle = rig.path("bundle");
    rig.done(&["create", "--console-socket", socket.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()]);
    let (peer, _) = listener.accept().unwrap();
    let mut master = File::from(receive_descriptor(&peer));
    rig.done(&["start"]);
    let mut text = Vec::new();
    // Ends with EIO when nobody has the other end any more (pty(7) on Linux).
    let _ = master.read_to_end(&mut text);
    assert!(String::from_utf8_lossy(&text).contains("Hello from a unikernel"), "{text:?}");
}

fn receive_descriptor(peer: &std::os::unix::net::UnixStream) -> std::os::fd::OwnedFd {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut bytes = [0; 64];
    let mut iov = [std::io::IoSliceMut::new(&mut bytes)];
    rustix::net::recvmsg(peer, &mut iov, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let message = ancillary.drain().next().unwrap();
    let RecvAncillaryMessage::ScmRights(mut descriptors) = message else { panic!("no descriptor") };
    descriptors.next().unwrap()
}

#[test]
fn verb_that_a_unikernel_cannot_do_is_refused_at_once() {
    let Some(rig) = Rig::new("idle", |_| ()) else { return };
    rig.create();
    for (verb, status) in [("exec", 255), ("checkpoint", 1)] {
        let _ = fs::remove_file(rig.path("log"));
        assert_eq!(rig.call(&[verb, "--detach"]).status.code(), Some(status));
        assert!(rig.logged().contains("not supported for a unikernel"), "{verb}: {}", rig.logged());
    }
}

/// What a runtime of ordinary containers is told when we are called with these words; all it does is to tell it.
#[track_caller]
fn handed_on(rig: &Rig, words: &[&str]) -> String {
    let runtime = rig.path("path/runc");
    fs::create_dir_all(runtime.parent().unwrap()).unwrap();
    fs::write(&runtime, "#!/bin/sh\necho \"$@\"\nexit 9\n").unwrap();
    Command::new("chmod").arg("+x").arg(&runtime).status().unwrap();
    let path = format!("{}:/usr/bin:/bin", rig.path("path").display());
    let output = rig.command(words).env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn ordinary_container_that_asks_for_what_we_do_not_know_is_handed_on() {
    let Some(rig) = Rig::new("hello", |config| {
        config["process"]["args"] = json!(["/bin/true"]);
        config["process"]["capabilities"] = json!({ "bounding": ["CAP_OF_TOMORROW"] });
        config["linux"]["namespaces"] = json!([{ "type": "of-tomorrow" }]);
    }) else {
        return;
    };
    fs::remove_dir_all(rig.path("bundle/rootfs/unikraft")).unwrap();
    let bundle = rig.path("bundle");
    let told = handed_on(&rig, &["create", "--bundle", bundle.to_str().unwrap()]);
    assert!(told.contains(" create --bundle "), "{told}");
}

#[test]
fn flag_that_we_do_not_know_is_handed_on_for_an_ordinary_container_alone() {
    let Some(rig) = Rig::new("hello", |_| ()) else { return };
    assert_eq!(rig.call(&["state", "--of-tomorrow"]).status.code(), Some(1));
    let ordinary = rig.path("root/containers").join(&rig.id);
    fs::create_dir_all(&ordinary).unwrap();
    assert!(handed_on(&rig, &["state", "--of-tomorrow"]).contains(" state --of-tomorrow "));
    fs::remove_dir(ordinary).unwrap();
}

#[test]
fn ordinary_container_is_handed_on_with_a_root_of_its_own() {
    let Some(rig) = Rig::new("hello", |config| config["process"]["args"] = json!(["/bin/true"])) else {
        return;
    };
    fs::remove_dir_all(rig.path("bundle/rootfs/unikraft")).unwrap();
    let bundle = rig.path("bundle");
    let told = handed_on(&rig, &["create", "--bundle", bundle.to_str().unwrap()]);
    let root = rig.path("root/containers");
    assert!(told.starts_with(&format!("--root {} --log", root.display())), "{told}");
    assert!(told.trim_end().ends_with(&format!("create --bundle {} {}", bundle.display(), rig.id)), "{told}");
    assert!(!Path::new(&rig.path("root/unikernels")).exists());
}
