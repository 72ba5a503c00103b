//! A machine within this machine, for one engine and what it runs.
//!
//! Its processes, network, mounts and system folders are its own (`machine.sh`), so an engine is installed, configured and
//! used in it exactly as the README says, with default paths and sockets, and nothing of the host's is touched. It ends
//! with the tests, even if they are killed, and takes everything in it along.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Ran, packages};

/// What makes and unmakes the machine.
const SCRIPT: &str = include_str!("machine.sh");

/// Programs that the script needs, beside a shell.
const NEEDED: &[&str] = &["unshare", "nsenter", "ip", "timeout", "script", "setpriv", "tar"];

/// The search path inside. Nothing of the host's `/usr/local/bin` is there, only the runtime.
const SEARCH_PATH: &str = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long a command may take, in seconds. Far more than any does; a command that hangs must not hang the suite.
const TIMEOUT_S: &str = "120";

/// The exit status of timeout(1) when it had to end the command.
const TIMED_OUT: i32 = 124;

/// How long an engine may take to say that it is ready.
const READY: Duration = Duration::from_secs(60);

/// Names another runtime for the ordinary containers, to see that a test holds for that one too.
const OTHER_RUNTIME: &str = "RUNU_TEST_RUNTIME";

/// A machine. It lives as long as this value, or as the process if the value is never dropped.
pub(crate) struct Machine {
    folder: PathBuf,
    /// Number of its first process, seen from outside.
    init: String,
    /// Open as long as the machine is to live.
    lifeline: Option<ChildStdin>,
    /// The script, and the daemons, which end with the machine.
    children: Mutex<Vec<Child>>,
}

impl Machine {
    /// A new machine, or why there can be none here.
    pub(crate) fn new() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("needs root".to_owned());
        }
        packages::need(NEEDED)?;
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("runu-engines-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(&name);
        fs::create_dir(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
        let mut keeper = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(&folder)
            .args([env!("CARGO_BIN_EXE_runu"), &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run a shell: {error}"))?;
        let lifeline = keeper.stdin.take();
        let mut init = String::new();
        if let Some(stdout) = keeper.stdout.take() {
            BufReader::new(stdout).read_line(&mut init).map_err(|error| error.to_string())?;
        }
        if init.is_empty() {
            return Err("namespaces cannot be made here".to_owned());
        }
        Ok(Self { folder, init: init.trim().to_owned(), lifeline, children: Mutex::new(vec![keeper]) })
    }

    /// Its folder, which has the same path inside and outside.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The control group for engines that can be told where to make theirs. It is removed with the machine.
    pub(crate) fn control_group(&self) -> String {
        format!("/{}", self.folder.file_name().unwrap_or_default().display())
    }

    /// A command inside, without the tests' environment.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init, "--mount", "--net", "--pid", "--ipc", "--uts", "--"])
            .args(["timeout", "--foreground", "--kill-after=5", TIMEOUT_S])
            .args(words)
            .env_clear()
            .envs([("PATH", SEARCH_PATH), ("HOME", "/run"), ("LC_ALL", "C"), ("TERM", "xterm")])
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command inside to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.run_with_input(words, b"")
    }

    /// Runs a command inside with these bytes as its standard input.
    #[track_caller]
    pub(crate) fn run_with_input(&self, words: &[&str], input: &[u8]) -> Ran {
        let mut command = self.command(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("nsenter is there");
        let stdin = child.stdin.take();
        let output = thread::scope(|scope| {
            // A program that does not read all of its input is no failure.
            scope.spawn(|| stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output().expect("it was started")
        });
        let ran = Ran::new(words, output);
        assert_ne!(ran.status, TIMED_OUT, "hangs: {ran:#?}");
        ran
    }

    /// Runs a shell script inside.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Ran {
        self.run(&["sh", "-c", script])
    }

    /// Runs a command inside whose standard streams are a terminal; what it printed, with ends of line as they are there.
    #[track_caller]
    pub(crate) fn run_in_terminal(&self, command: &str) -> Ran {
        self.run(&["script", "--quiet", "--return", "--command", command, "/dev/null"])
    }

    /// Starts a command inside that is read while it runs.
    pub(crate) fn start(&self, words: &[&str]) -> Reading {
        let mut command = self.command(words);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("nsenter is there");
        let stdout = child.stdout.take().expect("it is a pipe");
        Reading { child, stdout: BufReader::new(stdout) }
    }

    /// Starts a daemon inside and waits until it says that it is ready (sd_notify(3)).
    #[track_caller]
    pub(crate) fn daemon(&self, words: &[&str]) {
        let name = words.first().expect("a program is named");
        let address = self.folder.join(format!("{name}.notify"));
        let socket = UnixDatagram::bind(&address).expect("the folder is ours");
        socket.set_read_timeout(Some(READY)).expect("it is not zero");
        let log = self.folder.join(format!("{name}.log"));
        let file = fs::File::create(&log).expect("the folder is ours");
        let daemon = Command::new("nsenter")
            .args(["--target", &self.init, "--mount", "--net", "--pid", "--ipc", "--uts", "--"])
            .args(words)
            .env_clear()
            .envs([("PATH", SEARCH_PATH), ("HOME", "/run")])
            .env("NOTIFY_SOCKET", &address)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("it is open"))
            .stderr(file)
            .spawn()
            .expect("nsenter is there");
        self.children.lock().unwrap_or_else(PoisonError::into_inner).push(daemon);
        let mut said = [0; 4096];
        let ready = socket.recv(&mut said).is_ok();
        assert!(ready, "{name} is not ready: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// Writes a file inside, with the folders above it.
    #[track_caller]
    pub(crate) fn write(&self, path: &str, text: &str) {
        let written = self.run_with_input(
            &["sh", "-c", "mkdir -p \"${1%/*}\" && cat > \"$1\"", "sh", path],
            text.as_bytes(),
        );
        written.succeeded();
    }

    /// Puts another runtime into the place of ours, if the user wants to compare.
    pub(crate) fn use_other_runtime(&self) {
        if let Ok(other) = std::env::var(OTHER_RUNTIME) {
            self.run(&["install", &other, "/usr/local/bin/runu"]).succeeded();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        let children = self.children.get_mut().unwrap_or_else(PoisonError::into_inner);
        let ended: Vec<_> = children.iter_mut().map(Child::wait).collect();
        let cleared = matches!(ended.first(), Some(Ok(status)) if status.success());
        assert!(cleared || thread::panicking(), "the machine left something");
    }
}

/// A program that runs and is read.
pub(crate) struct Reading {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Reading {
    /// Reads until a line that contains `text`; fails when the program ends before.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        loop {
            let before = all.len();
            let count = self.stdout.read_line(&mut all).expect("programs print text");
            assert_ne!(count, 0, "ended without `{text}`: {all}");
            if all[before..].contains(text) {
                return all;
            }
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        // The program may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
