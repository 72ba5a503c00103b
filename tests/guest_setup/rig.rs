//! A bundle in the making, and `runu` as an engine calls it.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Where kraft puts the kernel and the initrd.
pub(crate) const KRAFT_KERNEL: &str = "unikraft/bin/kernel";
pub(crate) const KRAFT_INITRD: &str = "unikraft/bin/initrd";

/// The bytes of an own guest.
pub(crate) fn guest(name: &str) -> &'static [u8] {
    runu_guests::Guest::named(name).unwrap().multiboot
}

/// A bundle, an operator's file, and a root for states.
pub(crate) struct Rig {
    folder: TempDir,
    id: String,
    config: Value,
}

impl Rig {
    /// An empty bundle; none where tests cannot make containers.
    pub(crate) fn empty() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP {}: not root", std::thread::current().name().unwrap_or("?"));
            return None;
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["--"] },
            "root": { "path": "rootfs" },
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "mount" }],
                "resources": {},
            },
            "annotations": {},
        });
        let id = format!("runu-setup-{}-{number}", std::process::id());
        let rig = Rig { folder: tempfile::tempdir().unwrap(), id, config };
        fs::create_dir_all(rig.path("bundle/rootfs")).unwrap();
        rig.operator("");
        Some(rig)
    }

    /// A bundle with an own guest in kraft's place.
    pub(crate) fn kraft(name: &str) -> Option<Self> {
        Some(Self::empty()?.file(KRAFT_KERNEL, guest(name)))
    }

    /// The path of something in the rig's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the image.
    pub(crate) fn file(self, name: &str, bytes: &[u8]) -> Self {
        let path = self.path("bundle/rootfs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Puts a link into the image.
    pub(crate) fn link(self, name: &str, target: &Path) -> Self {
        let path = self.path("bundle/rootfs").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(crate) fn args(mut self, words: &[&str]) -> Self {
        self.config["process"]["args"] = json!(words);
        self
    }

    pub(crate) fn env(mut self, variables: &[&str]) -> Self {
        self.config["process"]["env"] = json!(variables);
        self
    }

    pub(crate) fn cwd(mut self, path: &str) -> Self {
        self.config["process"]["cwd"] = json!(path);
        self
    }

    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        self.config["annotations"][name] = json!(value);
        self
    }

    /// Mounts something of the host, which the guest may change.
    pub(crate) fn mount(mut self, source: &Path, place: &str) -> Self {
        let options = ["rbind", "rw"];
        self.config["mounts"] =
            json!([{ "destination": place, "type": "bind", "source": source, "options": options }]);
        self
    }

    pub(crate) fn memory_limit(mut self, bytes: i64) -> Self {
        self.config["linux"]["resources"]["memory"] = json!({ "limit": bytes });
        self
    }

    /// What the operator has decided.
    pub(crate) fn operator(&self, text: &str) {
        let path = self.path("config.toml");
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// A runtime for ordinary containers that writes down its words and nothing else; its path.
    pub(crate) fn other_runtime(&self) -> PathBuf {
        let path = self.path("other-runtime");
        let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" > {}\n", self.path("words").display());
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The words that the other runtime got, if it was run.
    pub(crate) fn handed_on(&self) -> Option<Vec<String>> {
        let text = fs::read_to_string(self.path("words")).ok()?;
        Some(text.lines().map(str::to_owned).collect())
    }

    /// A call of a verb on the container.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runu"));
        command.arg("--root").arg(self.path("root"));
        command.arg("--config").arg(self.path("config.toml"));
        command.args(words).arg(&self.id).stdin(Stdio::null());
        command
    }

    pub(crate) fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn write_config(&self) {
        fs::write(self.path("bundle/config.json"), self.config.to_string()).unwrap();
    }

    /// Runs the container from its creation to its deletion.
    pub(crate) fn run(&self) -> Output {
        self.write_config();
        self.call(&["run", "--bundle", self.path("bundle").to_str().unwrap()])
    }

    /// The console of a run that went well, without the carriage returns that guests end their lines with.
    #[track_caller]
    pub(crate) fn console(&self) -> String {
        let output = self.run();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().replace('\r', "")
    }

    /// What was told about a run that was refused, of which nothing may be left.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        let output = self.run();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(output.stdout, b"", "a guest ran");
        assert!(!self.path("root/unikernels").join(&self.id).exists());
        String::from_utf8(output.stderr).unwrap()
    }

    /// Creates the container, with its console in a file.
    #[track_caller]
    pub(crate) fn create(&self) {
        self.write_config();
        let console = File::create(self.path("console")).unwrap();
        let (bundle, pid) = (self.path("bundle"), self.path("pid"));
        let words = ["create", "--pid-file", pid.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let status =
            self.command(&words).stdout(console.try_clone().unwrap()).stderr(console).status().unwrap();
        assert!(status.success(), "{}", self.so_far());
    }

    /// What a created container has printed so far.
    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("console")).unwrap()).into_owned()
    }

    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.done(&["state"])).unwrap()
    }

    /// Whether the container's first process ends within so many milliseconds.
    pub(crate) fn ends_within(&self, milliseconds: i64) -> bool {
        let pid: i32 = fs::read_to_string(self.path("pid")).unwrap().parse().unwrap();
        match runu_sandbox::started_at(pid) {
            Some(start) => runu_sandbox::wait_for_end(pid, start, milliseconds),
            None => true,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force"]);
        if std::thread::panicking() {
            return;
        }
        let left = fs::read_dir(self.path("root/unikernels")).into_iter().flatten().count();
        assert_eq!(left, 0, "state is left");
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap() {
            let group = hierarchy.unwrap().path().join("runu").join(&self.id);
            assert!(!group.exists(), "left behind: {}", group.display());
        }
    }
}
