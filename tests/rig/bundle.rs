//! A bundle inside a machine, and the calls of `runu` that engines make.

use std::{
    error::Error,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::process::{Pid, WaitOptions, waitpid};
use serde_json::{Value, json};

use crate::{Outcome, expect};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long a guest may take to end, in milliseconds.
const PATIENCE_MS: i64 = 30_000;

/// A bundle with a guest in kraft's place. Its container is deleted when this is dropped.
pub(crate) struct Bundle {
    folder: PathBuf,
    /// The container's name.
    pub(crate) id: String,
    /// Flags before the verb.
    flags: Vec<String>,
    /// Who calls `runu`.
    user: Option<u32>,
}

impl Bundle {
    /// A bundle with that guest and `linux.cgroupsPath`; `change` changes its configuration.
    pub(crate) fn new(guest: &str, cgroups_path: &str, change: impl FnOnce(&mut Value)) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new("/tmp").join(&id);
        let kernel = folder.join("bundle/rootfs/unikraft/bin/kernel");
        fs::create_dir_all(kernel.parent().unwrap_or(&folder))?;
        let guest = runu_guests::Guest::named(guest).ok_or("no such guest")?;
        fs::write(kernel, guest.multiboot)?;
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["--"] },
            "root": { "path": "rootfs" },
            "linux": {
                "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "mount" }],
                "cgroupsPath": cgroups_path,
                "resources": {},
            }
        });
        change(&mut config);
        fs::write(folder.join("bundle/config.json"), config.to_string())?;
        let root = folder.join("root").display().to_string();
        Ok(Bundle { folder, id, flags: vec!["--root".to_owned(), root], user: None })
    }

    /// The same, with an initrd of so many bytes, all of which its guest's monitor reads into memory.
    pub(crate) fn with_initrd(self, len: usize) -> Result<Self> {
        fs::write(self.folder.join("bundle/rootfs/unikraft/bin/initrd"), vec![0xaa; len])?;
        Ok(self)
    }

    /// The same, with `runu` called by that user.
    pub(crate) fn of_user(mut self, user: u32) -> Result<Self> {
        self.user = Some(user);
        let parts = ["", "bundle", "bundle/rootfs", "bundle/rootfs/unikraft/bin/kernel"];
        for path in parts.map(|part| self.folder.join(part)) {
            std::os::unix::fs::chown(path, self.user, self.user)?;
        }
        Ok(self)
    }

    /// The same, with another flag before the verb.
    pub(crate) fn with_flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// `runu VERB ID`.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("/runu");
        command.args(&self.flags).args(words).arg(&self.id).stdin(Stdio::null());
        if let Some(user) = self.user {
            command.uid(user).gid(user).env("XDG_RUNTIME_DIR", format!("/run/user/{user}"));
        }
        command
    }

    /// Calls it.
    pub(crate) fn call(&self, words: &[&str]) -> Result<Output> {
        Ok(self.command(words).output()?)
    }

    /// What a call that succeeds prints.
    pub(crate) fn done(&self, words: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.call(words)?;
        if !status.success() {
            return Err(format!("{words:?}: {status}: {}", String::from_utf8_lossy(&stderr)).into());
        }
        Ok(String::from_utf8(stdout)?)
    }

    /// The message of a call that fails.
    pub(crate) fn refused(&self, words: &[&str]) -> Result<String> {
        let Output { status, stderr, .. } = self.call(words)?;
        if status.success() {
            return Err(format!("{words:?} succeeded").into());
        }
        Ok(String::from_utf8(stderr)?)
    }

    /// Words of a `create`.
    fn words_of_create(&self) -> [String; 5] {
        let path = |name: &str| self.folder.join(name).display().to_string();
        ["create", "--pid-file", &path("pid"), "--bundle", &path("bundle")].map(str::to_owned)
    }

    /// Creates the container.
    pub(crate) fn create(&self) -> Outcome {
        let console = File::create(self.folder.join("console"))?;
        let words = self.words_of_create();
        let mut command = self.command(&words.each_ref().map(String::as_str));
        let status = command.stdout(console.try_clone()?).stderr(console).status()?;
        let console = fs::read_to_string(self.folder.join("console"))?;
        if status.success() { Ok(()) } else { Err(format!("create: {status}: {console}").into()) }
    }

    /// The message of a `create` that fails.
    pub(crate) fn create_refused(&self) -> Result<String> {
        let words = self.words_of_create();
        self.refused(&words.each_ref().map(String::as_str))
    }

    /// Creates it and starts its guest.
    pub(crate) fn run(&self) -> Outcome {
        self.create()?;
        self.done(&["start"]).map(drop)
    }

    /// Lets its guest run out of memory, having been created with a larger limit, and checks what is told of it.
    pub(crate) fn run_out_of_memory(&self) -> Outcome {
        self.create()?;
        self.update(&json!({ "memory": { "limit": 16 << 20 } }))?;
        self.done(&["start"])?;
        expect("the status", self.wait()?, 137)?;
        let state = self.state()?;
        let end = state["annotations"]["dev.runu.end"].as_str();
        // Where the kernel has taken the supervisor too only the control group can tell, and systemd's goes with its last process.
        if end.is_none() && self.flags.iter().any(|flag| flag == "--systemd-cgroup") {
            return Ok(());
        }
        expect("the end", end, Some("out of memory"))
    }

    /// Its state.
    pub(crate) fn state(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.done(&["state"])?)?)
    }

    /// The id of its first process.
    pub(crate) fn pid(&self) -> Result<i32> {
        Ok(fs::read_to_string(self.folder.join("pid"))?.parse()?)
    }

    /// Changes its limits to those of the JSON, as engines do.
    pub(crate) fn update(&self, resources: &Value) -> Outcome {
        let file = self.folder.join("resources");
        fs::write(&file, resources.to_string())?;
        self.done(&["update", "--resources", &file.display().to_string()]).map(drop)
    }

    /// Waits for its end; its status. Its first process is the child of the process that makes the checks, which adopts
    /// orphans.
    pub(crate) fn wait(&self) -> Result<i32> {
        let pid = self.pid()?;
        match runu_sandbox::started_at(pid) {
            Some(start) if !runu_sandbox::wait_for_end(pid, start, PATIENCE_MS) => {
                return Err("it does not end".into());
            }
            _ => {}
        }
        // `__WALL`: its end raises no signal, and only this finds it (wait(2)).
        let options = WaitOptions::from_bits_retain(0x4000_0000);
        let (_, status) = waitpid(Pid::from_raw(pid), options)?.ok_or("it has not ended")?;
        // As whoever reaps it tells it: a signal is 128 and its number.
        let signalled = || status.terminating_signal().map(|signal| 128 + signal);
        Ok(status.exit_status().or_else(signalled).ok_or("it has not ended")?)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let _ = self.call(&["delete", "--force"]);
    }
}
