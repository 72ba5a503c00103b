//! `docker run`, end to end: a daemon of our own, its client, the same image once per runtime.
//!
//! The daemon has folders and a socket of its own and touches neither the host's network nor another daemon.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};

use crate::{
    container::{HELLO, HELLO_SAYS},
    contender::{Category, Contender, Course, Field, Role},
    host::{self, word},
    run::Job,
    runu::{self, Kernel},
};

/// How long the daemon may take to say that it is ready.
const READY: Duration = Duration::from_secs(60);

/// The daemon. It ends with this value.
pub(crate) struct Daemon {
    child: Child,
    folder: PathBuf,
}

/// Enters `docker run` with every build, and with runc; the daemon has to live as long as they are run.
pub(crate) fn enter(
    field: &mut Field,
    builds: &[PathBuf],
    kernels: &[Kernel],
    folder: &Path,
) -> Option<Daemon> {
    match Daemon::start(builds, folder) {
        Ok(daemon) => {
            if let Err(reason) = daemon.enter(field, builds, kernels) {
                field.skip("docker run", reason);
            }
            Some(daemon)
        }
        Err(reason) => {
            field.skip("docker run", reason);
            None
        }
    }
}

impl Daemon {
    fn start(builds: &[PathBuf], folder: &Path) -> Result<Self, String> {
        if !host::is_root() {
            return Err("it takes root to run a daemon".to_owned());
        }
        for program in ["docker", "containerd", "runc"] {
            host::find(program).ok_or_else(|| format!("{program} is not installed"))?;
        }
        let program = host::find("dockerd").ok_or("dockerd is not installed")?;
        let folder = folder.join("docker");
        fs::create_dir(&folder).map_err(|error| format!("cannot make a folder: {error}"))?;
        let notify = folder.join("notify");
        let socket = UnixDatagram::bind(&notify).map_err(|error| format!("cannot make a socket: {error}"))?;
        socket.set_read_timeout(Some(READY)).map_err(|error| error.to_string())?;
        let at = |name: &str| word(&folder.join(name));
        let log = fs::File::create(folder.join("log")).map_err(|error| error.to_string())?;
        // In a network of its own: a daemon without a bridge removes `docker0`, which may be another daemon's.
        let mut command = Command::new("unshare");
        command
            .args([OsStr::new("--net"), program.as_os_str()])
            .args(["--data-root", &at("data"), "--exec-root", &at("exec"), "--pidfile", &at("pid")])
            .args(["--host", &format!("unix://{}", at("socket")), "--config-file", &at("daemon.json")])
            .args(["--bridge=none", "--iptables=false", "--ip-masq=false"])
            .args(["--cgroup-parent", &format!("/{}", control_group())])
            .env("NOTIFY_SOCKET", &notify);
        for (number, build) in builds.iter().enumerate() {
            command.args(["--add-runtime", &format!("{}={}", runtime(number), word(build))]);
        }
        fs::write(folder.join("daemon.json"), "{}").map_err(|error| error.to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(|error| format!("cannot run dockerd: {error}"))?;
        let daemon = Daemon { child, folder };
        let mut said = [0; 4096];
        socket.recv(&mut said).map_err(|_| format!("the daemon is not ready: {}", daemon.last_words()))?;
        Ok(daemon)
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().last().unwrap_or("it says nothing").to_owned()
    }

    fn enter(&self, field: &mut Field, builds: &[PathBuf], kernels: &[Kernel]) -> Result<(), String> {
        self.import("hello", "hello", HELLO)?;
        field.contenders.push(self.contender("runc", "hello", "runc", Role::Runc, HELLO_SAYS));
        let own = kernels.iter().find(|kernel| !kernel.unikraft);
        let unikraft = kernels.iter().find(|kernel| kernel.unikraft);
        for kernel in own.into_iter().chain(unikraft) {
            let bytes = fs::read(&kernel.path).map_err(|error| error.to_string())?;
            self.import(&kernel.name, "unikraft/bin/kernel", &bytes)?;
            let role = if kernel.unikraft { Role::RunuUnikraft } else { Role::RunuOwn };
            for (number, build) in builds.iter().enumerate() {
                let called = runu::called(build, builds);
                field.contenders.push(self.contender(
                    &called,
                    &kernel.name,
                    &runtime(number),
                    role.clone(),
                    kernel.says(),
                ));
            }
        }
        Ok(())
    }

    /// Makes an image of one executable file.
    fn import(&self, image: &str, file: &str, bytes: &[u8]) -> Result<(), String> {
        let make = || {
            let root = self.folder.join(format!("root-{image}"));
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap_or(&root))?;
            fs::write(&path, bytes)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            let archive = self.folder.join(format!("{image}.tar"));
            let tar = Command::new("tar").args(["-cf", &word(&archive), "-C", &word(&root), "."]).status()?;
            let words = self.docker(&["import", "--change", &format!("CMD [\"/{file}\"]")]);
            let words = words.into_iter().chain([word(&archive), image.to_owned()]);
            let output = crate::run::command(&words.collect::<Vec<_>>()).output()?;
            std::io::Result::Ok((tar.success() && output.status.success(), output.stderr))
        };
        match make() {
            Ok((true, _)) => Ok(()),
            Ok((false, words)) => Err(format!("cannot import: {}", String::from_utf8_lossy(&words).trim())),
            Err(error) => Err(format!("cannot import: {error}")),
        }
    }

    fn docker(&self, words: &[&str]) -> Vec<String> {
        let socket = format!("unix://{}", word(&self.folder.join("socket")));
        let words = words.iter().map(|word| (*word).to_owned());
        ["docker".to_owned(), "--host".to_owned(), socket].into_iter().chain(words).collect()
    }

    fn contender(&self, called: &str, image: &str, runtime: &str, role: Role, says: &str) -> Contender {
        let flags = ["run", "--rm", "--network=none", "--runtime", runtime, image];
        Contender {
            name: format!("docker run, {called} {image}"),
            role,
            category: Category::Docker,
            kernel: None,
            course: Course::Program(Job {
                words: self.docker(&flags),
                expected: says.to_owned(),
                undo: None,
            }),
            elsewhere: false,
        }
    }
}

/// The control group of everything that the daemon runs. It makes it and leaves it.
fn control_group() -> String {
    format!("runu-bench-{}", std::process::id())
}

/// What the daemon calls a build.
fn runtime(number: usize) -> String {
    format!("runu{number}")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its containerd and unmounts what it mounted; a daemon that is gone already has nothing to end.
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
        let top = PathBuf::from("/sys/fs/cgroup");
        let hierarchies = fs::read_dir(&top).into_iter().flatten().flatten().map(|entry| entry.path());
        for hierarchy in hierarchies.chain([top]) {
            // There is none in most of them.
            let _ = fs::remove_dir(hierarchy.join(control_group()));
        }
    }
}
