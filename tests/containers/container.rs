//! One container of one test.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

/// How long anything that a test waits for may take, in milliseconds.
const PATIENCE_MS: i64 = 60_000;

/// The number of `nobody`, as user and as group.
const NOBODY: u32 = 65534;

/// A bundle with a guest in kraft's place, a root for states, and the container made of it.
///
/// Dropping it deletes the container and looks for what is left of it.
pub(crate) struct Container {
    folder: TempDir,
    id: String,
    user: Option<u32>,
}

/// One of a container's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(pub(crate) i32);

impl Container {
    /// A container of root's with the own guest `guest`, and the usual configuration as `change` changes it; none without
    /// root, after saying so.
    pub(crate) fn new(guest: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("not root");
            return None;
        }
        Some(Self::of(None, guest, change))
    }

    /// The same of an ordinary user's; none where such a user may make no user namespace.
    pub(crate) fn of_ordinary_user(guest: &str, change: impl FnOnce(&mut Value)) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return Some(Self::of(None, guest, change));
        }
        let mut probe = Command::new("unshare");
        probe.args(["--user", "--map-root-user", "--mount", "true"]).uid(NOBODY).gid(NOBODY);
        if !probe.current_dir("/").status().is_ok_and(|status| status.success()) {
            skip("this host refuses user namespaces to ordinary users");
            return None;
        }
        Some(Self::of(Some(NOBODY), guest, change))
    }

    fn of(user: Option<u32>, guest: &str, change: impl FnOnce(&mut Value)) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let container = Container {
            folder: tempfile::tempdir().unwrap(),
            id: format!("runu-containers-{}-{number}", std::process::id()),
            user,
        };
        fs::set_permissions(container.folder.path(), Permissions::from_mode(0o777)).unwrap();
        let kernel = container.path("bundle/rootfs/unikraft/bin/kernel");
        fs::create_dir_all(kernel.parent().unwrap()).unwrap();
        fs::copy(runu_guests::Guest::named(guest).unwrap().multiboot_path(), kernel).unwrap();
        let mut config = json!({
            "ociVersion": "1.0.2",
            "process": { "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["--"] },
            "root": { "path": "rootfs" },
            "linux": { "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }
            ] }
        });
        change(&mut config);
        container.configure(&config);
        container
    }

    /// Gives it another configuration.
    pub(crate) fn configure(&self, config: &Value) {
        fs::write(self.path("bundle/config.json"), config.to_string()).unwrap();
    }

    /// Its configuration.
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("bundle/config.json")).unwrap()).unwrap()
    }

    /// The path of `name` in its folder, which everyone may write to.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A call as a shim makes it; the id comes last.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.runu();
        command.arg("--root").arg(self.path("root")).arg("--log").arg(self.path("log"));
        command.args(["--log-format", "json"]).args(words).arg(&self.id).stdin(Stdio::null());
        command
    }

    /// The program, by whoever owns the container.
    fn runu(&self) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_runu"));
        let Some(user) = self.user else { return Command::new(built) };
        // The place where it was built need not be open to everyone.
        let program = self.path("runu");
        if !program.exists() && fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("XDG_RUNTIME_DIR", self.folder.path());
        command.uid(user).gid(user);
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

    /// `create` with the console in a file.
    pub(crate) fn creation(&self) -> Command {
        self.creation_with(&[])
    }

    /// The same with more flags.
    pub(crate) fn creation_with(&self, more: &[&str]) -> Command {
        let console = File::create(self.path("console")).unwrap();
        let (bundle, pid_file) = (self.path("bundle"), self.path("pid"));
        let flags =
            ["create", "--pid-file", pid_file.to_str().unwrap(), "--bundle", bundle.to_str().unwrap()];
        let mut command = self.command(&[&flags, more].concat());
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

    /// Creates and starts it, and waits until its guest says that it is ready: it is locked in by then.
    #[track_caller]
    pub(crate) fn start_and_wait_until_ready(&self) {
        self.start();
        let deadline = Instant::now() + Duration::from_millis(PATIENCE_MS.unsigned_abs());
        while !self.console().contains("ready") {
            assert!(Instant::now() < deadline, "never ready: {}", self.console());
            thread::yield_now();
        }
    }

    /// Fails to create it, for a reason that holds `named`; nothing is left then.
    #[track_caller]
    pub(crate) fn is_refused(&self, named: &str) {
        let status = self.creation().status().unwrap();
        assert_eq!(status.code(), Some(1), "{}", self.console());
        assert!(self.logged().contains(named), "`{named}` is not in: {}", self.logged());
        self.nothing_left();
    }

    /// What it and `create` said.
    pub(crate) fn console(&self) -> String {
        fs::read_to_string(self.path("console")).unwrap()
    }

    /// The one error in the log.
    #[track_caller]
    pub(crate) fn logged(&self) -> String {
        let text = fs::read_to_string(self.path("log")).unwrap();
        let object: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(object["level"], "error");
        object["msg"].as_str().unwrap().to_owned()
    }

    /// Its state.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        serde_json::from_str(&self.done(&["state"])).unwrap()
    }

    /// Its first process, that of the pid file.
    pub(crate) fn supervisor(&self) -> Process {
        Process(fs::read_to_string(self.path("pid")).unwrap().parse().unwrap())
    }

    /// The process of its guest, which runs.
    #[track_caller]
    pub(crate) fn guest(&self) -> Process {
        let supervisor = self.supervisor().0;
        let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap();
        Process(children.split_whitespace().next().expect("a child").parse().unwrap())
    }

    /// The process beside its guest's, which was started before it and is locked in by now.
    #[track_caller]
    pub(crate) fn companion(&self) -> Process {
        let first = self.guest();
        let deadline = Instant::now() + Duration::from_millis(PATIENCE_MS.unsigned_abs());
        while first.status()["Seccomp"] != "2" {
            assert!(Instant::now() < deadline, "never locked in: {:?}", first.status());
            thread::yield_now();
        }
        first
    }

    /// Waits for its end; the status that its first process ended with is whoever adopted that process's to know.
    pub(crate) fn wait(&self) {
        let Process(pid) = self.supervisor();
        if let Some(start) = runu_sandbox::started_at(pid) {
            assert!(runu_sandbox::wait_for_end(pid, start, PATIENCE_MS), "{}", self.console());
        }
    }

    /// Its directory in the hierarchy of a controller of version 1; none where this host has none.
    pub(crate) fn group(&self, controller: &str) -> Option<PathBuf> {
        let hierarchy = Path::new("/sys/fs/cgroup").join(controller);
        if !hierarchy.join("cgroup.procs").exists() {
            skip(&format!("no version-1 control group for {controller}"));
            return None;
        }
        Some(hierarchy.join("runu").join(&self.id))
    }

    /// What is left of it.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        let left = self.leftovers();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }

    fn leftovers(&self) -> Vec<String> {
        let states = fs::read_dir(self.path("root/unikernels")).into_iter().flatten().flatten();
        let mut left: Vec<String> = states.map(|state| format!("state {:?}", state.path())).collect();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let group = hierarchy.path().join("runu").join(&self.id);
            left.extend(group.exists().then(|| format!("control group {}", group.display())));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let folder = self.folder.path().to_string_lossy().into_owned();
        let ours = mounts.lines().filter(|line| line.contains(&*folder) || line.contains(" - tmpfs runu "));
        left.extend(ours.map(|line| format!("mount {line}")));
        let pid = fs::read_to_string(self.path("pid")).ok().and_then(|pid| pid.parse().ok());
        let alive = pid.filter(|pid| runu_sandbox::started_at(*pid).is_some());
        left.extend(alive.map(|pid| format!("process {pid}")));
        left
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

impl Process {
    /// A file or folder of it in /proc.
    pub(crate) fn path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// A file of it in /proc, as text.
    #[track_caller]
    pub(crate) fn read(self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The namespace of that kind that it is in.
    #[track_caller]
    pub(crate) fn namespace(self, kind: &str) -> u64 {
        namespace(&self.path(&format!("ns/{kind}")))
    }

    /// The fields of its status, by their names.
    #[track_caller]
    pub(crate) fn status(self) -> BTreeMap<String, String> {
        let text = self.read("status");
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    /// The user that it is.
    #[track_caller]
    pub(crate) fn user(self) -> u32 {
        self.status()["Uid"].split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// The number of the namespace that a file stands for.
#[track_caller]
pub(crate) fn namespace(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).ino()
}

/// Our own process.
pub(crate) fn ourselves() -> Process {
    Process(std::process::id().cast_signed())
}

/// Says that the running test cannot run here, in the form that `cargo xtask test` counts.
pub(crate) fn skip(reason: &str) {
    eprintln!("SKIP {}: {reason}", thread::current().name().unwrap_or("?"));
}
