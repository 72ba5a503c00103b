//! One container of one test, handled as an engine's shim does: this process adopts its first process and reaps it.
//!
//! It is no part of `mod.rs`: only suites about containers take it in.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::process::{Pid, WaitOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything that a test waits for may take, in milliseconds.
pub(crate) const PATIENCE_MS: i64 = 60_000;

/// A bundle with a guest in kraft's place, a root for states, and the container made of it.
///
/// Dropping it deletes the container and looks for what is left of it.
pub(crate) struct Container {
    folder: TempDir,
    /// Its name, which is in the name of no other.
    pub(crate) id: String,
    /// Where states are, unless in its folder.
    pub(crate) root: Option<PathBuf>,
}

impl Container {
    /// A container with the own guest `guest`, and the usual configuration as `change` changes it; none without root,
    /// after saying so.
    pub(crate) fn new(guest: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            skip("not root");
            return None;
        }
        // As shims and conmon do.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let container = Container {
            folder: tempfile::tempdir().unwrap(),
            id: format!("runu-test-{}-{number}-c", std::process::id()),
            root: None,
        };
        let kernel = container.kernel();
        fs::create_dir_all(kernel.parent().unwrap()).unwrap();
        fs::copy(runu_guests::Guest::named(guest).unwrap().multiboot_path(), kernel).unwrap();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["--"] },
            "root": { "path": "rootfs" },
            "linux": { "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "mount" }] }
        });
        change(&mut config);
        container.configure(&config.to_string());
        Some(container)
    }

    /// Gives it another configuration.
    pub(crate) fn configure(&self, text: &str) {
        fs::write(self.path("bundle/config.json"), text).unwrap();
    }

    /// Where its kernel is.
    pub(crate) fn kernel(&self) -> PathBuf {
        self.path("bundle/rootfs/unikraft/bin/kernel")
    }

    /// The path of `name` in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where states are.
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap_or_else(|| self.path("root"))
    }

    /// A call as a shim makes it.
    pub(crate) fn raw(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runu"));
        command.arg("--root").arg(self.root()).arg("--log").arg(self.path("log"));
        command.args(["--log-format", "json"]).args(words).stdin(Stdio::null());
        command
    }

    /// The same with the id behind the words.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.raw(words);
        command.arg(&self.id);
        command
    }

    /// What a call says and how it ends.
    pub(crate) fn call(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A call that succeeds; what it says.
    #[track_caller]
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let output = self.call(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn done_with_signal(&self, signal: &str) {
        let output = self.raw(&["kill", &self.id, signal]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// `create` with the console in a file.
    pub(crate) fn creation(&self) -> Command {
        let console = File::create(self.path("console")).unwrap();
        let (bundle, pid_file) = (self.path("bundle"), self.path("pid"));
        let flags =
            ["create", "--pid-file", pid_file.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let mut command = self.command(&flags);
        command.stdout(console.try_clone().unwrap()).stderr(console);
        command
    }

    /// Creates it.
    #[track_caller]
    pub(crate) fn create(&self) {
        assert!(self.creation().status().unwrap().success(), "{}", self.console());
    }

    /// Creates and starts it.
    #[track_caller]
    pub(crate) fn start(&self) {
        self.create();
        self.done(&["start"]);
    }

    /// Fails to create it, for a reason that holds `named`; nothing is left then.
    #[track_caller]
    pub(crate) fn is_refused(&self, named: &str) {
        let _ = fs::remove_file(self.path("log"));
        let status = self.creation().status().unwrap();
        assert_eq!(status.code(), Some(1), "{named}: {}", self.console());
        assert!(self.logged().contains(named), "`{named}` is not in: {}", self.logged());
        self.nothing_left();
    }

    /// A call that fails with the status of runc and for a reason that holds `named`.
    #[track_caller]
    pub(crate) fn fails(&self, words: &[&str], named: &str) {
        let _ = fs::remove_file(self.path("log"));
        let output = self.call(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        assert!(self.logged().contains(named), "{words:?}: `{named}` is not in: {}", self.logged());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.starts_with("error: "), "{words:?}: {told}");
    }

    /// What it and `create` said.
    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap()
    }

    /// Waits until its guest, which runs, has said `text`.
    #[track_caller]
    pub(crate) fn wait_for_console(&self, text: &str) {
        let end = std::time::Instant::now() + std::time::Duration::from_millis(PATIENCE_MS.unsigned_abs());
        while !self.console().contains(text) {
            assert!(std::time::Instant::now() < end, "`{text}` never came: {}", self.console());
            thread::yield_now();
        }
    }

    /// The one error in the log.
    #[track_caller]
    pub(crate) fn logged(&self) -> String {
        let text = fs::read_to_string(self.path("log")).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(object["level"], "error");
        object["msg"].as_str().unwrap().to_owned()
    }

    /// Its state.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.done(&["state"])).unwrap()
    }

    /// Its first process, that of the pid file.
    pub(crate) fn pid(&self) -> i32 {
        fs::read_to_string(self.path("pid")).unwrap().parse().unwrap()
    }

    /// Waits for the end of its first process and reaps it; its status, 128 and the signal if one ended it.
    #[track_caller]
    pub(crate) fn wait(&self) -> i32 {
        let pid = self.pid();
        if let Some(start) = runu_sandbox::started_at(pid) {
            assert!(runu_sandbox::wait_for_end(pid, start, PATIENCE_MS), "{}", self.console());
        }
        let (_, status) = rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
            .expect("its first process is adopted by whoever adopts orphans")
            .expect("it has ended");
        status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal)).unwrap()
    }

    /// Asserts that nothing is left of it.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    /// What is left of it: state, processes, control groups, mounts.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let states = fs::read_dir(self.root().join("unikernels")).into_iter().flatten().flatten();
        let states = states.filter(|state| *state.file_name() == *self.id);
        let mut left: Vec<String> = states.map(|state| format!("state {:?}", state.path())).collect();
        for pid in self.processes() {
            // What was killed may still be ending.
            let Some(start) = runu_sandbox::started_at(pid) else { continue };
            if !runu_sandbox::wait_for_end(pid, start, 5000) {
                left.push(format!("process {pid}"));
            }
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = hierarchy.path().join("runu").join(&self.id);
            left.extend(group.exists().then(|| format!("control group {}", group.display())));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(
            mounts.lines().filter(|line| line.contains(&self.id)).map(|line| format!("mount {line}")),
        );
        left
    }

    /// Processes that have its name: a supervisor among their words, a guest in its control group.
    fn processes(&self) -> Vec<i32> {
        let names = |file: PathBuf| {
            fs::read(file)
                .is_ok_and(|text| text.windows(self.id.len()).any(|part| part == self.id.as_bytes()))
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let folder = Path::new("/proc").join(pid.to_string());
            names(folder.join("cmdline")) || names(folder.join("cgroup"))
        })
        .collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let deleted = self.call(&["delete", "--force"]);
        let left = self.leftovers();
        // A test that failed already has said why.
        assert!(left.is_empty() && deleted.status.success() || thread::panicking(), "{left:#?} {deleted:?}");
    }
}

/// Says that the running test cannot run here, in the form that `cargo xtask test` counts.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP {}: {reason}", thread::current().name().unwrap_or("?"));
}
