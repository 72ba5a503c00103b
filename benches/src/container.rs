//! Containers: a static hello under runc and crun in the same namespaces as a sandbox of runu's, with a control group with
//! the same kinds of limit, an unprivileged user, no capability; with and without a filter of system calls. And the lives of
//! such containers, as engines lead them, under runc, crun and runu.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process,
};

use serde_json::{Value, json};

use crate::{
    contender::{Category, Contender, Course, Field, Role, Waiter},
    elsewhere::Elsewhere,
    host::{self, word},
    life::Life,
    memory::{Ending, Idle},
    run::Job,
    runu::{self, Kernel},
};

/// The program in the container: built from `container/hello.s`.
pub(crate) const HELLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/container-hello"));

/// What it prints.
pub(crate) const HELLO_SAYS: &str = "Hello from a container";

/// What a filter allows. runc's own process, written in Go, runs behind it before it becomes the program in the container,
/// and needs most of these; runu's list has eleven, with pinned arguments.
const ALLOWED: &[&str] = &[
    "clone",
    "clone3",
    "close",
    "close_range",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "eventfd2",
    "execve",
    "exit",
    "exit_group",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getdents64",
    "getpid",
    "getppid",
    "gettid",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "nanosleep",
    "newfstatat",
    "openat",
    "pipe2",
    "prctl",
    "pread64",
    "read",
    "readlinkat",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "statx",
    "tgkill",
    "write",
];

/// What the program is to do.
#[derive(Clone, Copy)]
enum Task {
    Hello,
    Wait,
}

/// A runtime and where it is run.
struct Runtime<'a> {
    name: &'a str,
    program: PathBuf,
    folder: &'a Path,
    elsewhere: bool,
}

/// Enters runc, crun and all builds of runu, their bundles below `folder`.
pub(crate) fn enter(field: &mut Field, builds: &[PathBuf], kernels: &[Kernel], folder: &Path) {
    for name in ["runc", "crun"] {
        match runtime(name, folder, field) {
            Ok(runtime) => runtime.enter(field),
            Err(reason) => field.skip(name, reason),
        }
    }
    if !host::is_root() {
        field.skip("runu create", "it takes root to give it what the others have");
        return;
    }
    for (number, build) in builds.iter().enumerate() {
        let called = runu::called(build, builds);
        for kernel in kernels {
            if let Err(error) = enter_kernel(field, &called, number, build, kernel, folder) {
                field.skip(&called, format!("cannot make a bundle: {error}"));
            }
        }
    }
}

/// Enters the life of a container with a kernel in it.
fn enter_kernel(
    field: &mut Field,
    called: &str,
    number: usize,
    build: &Path,
    kernel: &Kernel,
    folder: &Path,
) -> io::Result<()> {
    let id = format!("runu-bench-{}-{number}-{}", process::id(), kernel.name);
    let bundle = folder.join(&id);
    make_bundle(&bundle, &config(&id, Task::Hello, false), "unikraft/bin/kernel", &fs::read(&kernel.path)?)?;
    let state = word(&folder.join(format!("runu{number}-state")));
    let runtime = vec![word(build), "--root".to_owned(), state];
    field.contenders.push(Contender {
        name: format!("{called} create start delete {}", kernel.name),
        role: if kernel.unikraft { Role::RunuUnikraft } else { Role::RunuOwn },
        category: Category::Life,
        kernel: None,
        course: Course::Life(Life { runtime, bundle, id, expected: kernel.says().to_owned() }),
        elsewhere: false,
    });
    Ok(())
}

/// A runtime that works, here or in the other mount namespace.
fn runtime<'a>(name: &'a str, folder: &'a Path, field: &mut Field) -> Result<Runtime<'a>, String> {
    let program = host::find(name).ok_or("it is not installed")?;
    if !host::is_root() {
        return Err("it takes root to give a container the same namespaces and limits".to_owned());
    }
    let mut runtime = Runtime { name, program, folder, elsewhere: false };
    let job = runtime.job(Task::Hello, false).map_err(|error| format!("cannot make a bundle: {error}"))?;
    let Err(reason) = job.time() else { return Ok(runtime) };
    if !Elsewhere::is_needed() {
        return Err(reason);
    }
    let mut elsewhere = Elsewhere::start()?;
    elsewhere
        .time(&Course::Program(job))
        .map_err(|again| format!("{reason}; with control groups of version 1 alone: {again}"))?;
    field.elsewhere = Some(elsewhere);
    runtime.elsewhere = true;
    Ok(runtime)
}

impl Runtime<'_> {
    fn enter(&self, field: &mut Field) {
        for (filter, suffix) in [(false, ""), (true, ", seccomp")] {
            let name = format!("{} run hello{suffix}", self.name);
            match self.job(Task::Hello, filter) {
                Ok(job) => self.contend(field, name, filter, Category::Run, Course::Program(job)),
                Err(error) => field.skip(&name, format!("cannot make a bundle: {error}")),
            }
        }
        let name = format!("{} create start delete hello", self.name);
        match self.life() {
            Ok(life) => self.contend(field, name, false, Category::Life, Course::Life(life)),
            Err(error) => field.skip(&name, format!("cannot make a bundle: {error}")),
        }
        let name = format!("{} run idle", self.name);
        match self.job(Task::Wait, false) {
            Ok(job) => field.waiters.push(Waiter {
                name,
                has_target: false,
                idle: Idle { job, guest_memory: None, end: Ending::EndOfInput, beside: 0 },
                elsewhere: self.elsewhere,
            }),
            Err(error) => field.skip(&name, format!("cannot make a bundle: {error}")),
        }
    }

    fn contend(&self, field: &mut Field, name: String, filter: bool, category: Category, course: Course) {
        field.contenders.push(Contender {
            name,
            role: if self.name == "runc" && !filter { Role::Runc } else { Role::Container },
            category,
            kernel: None,
            course,
            elsewhere: self.elsewhere,
        });
    }

    /// The life of a container whose bundle is made here.
    fn life(&self) -> io::Result<Life> {
        let id = format!("runu-bench-{}-{}-life", process::id(), self.name);
        let bundle = self.folder.join(&id);
        make_bundle(&bundle, &config(&id, Task::Hello, false), "hello", HELLO)?;
        Ok(Life { runtime: self.words(&[]), bundle, id, expected: HELLO_SAYS.to_owned() })
    }

    /// A call of the runtime.
    fn words(&self, rest: &[&str]) -> Vec<String> {
        let state = self.folder.join(format!("{}-state", self.name));
        let words = [word(&self.program), "--root".to_owned(), word(&state)];
        words.into_iter().chain(rest.iter().map(|word| (*word).to_owned())).collect()
    }

    /// `RUNTIME run` of a bundle that is made here.
    fn job(&self, task: Task, filter: bool) -> io::Result<Job> {
        let (what, expected) = match task {
            Task::Hello => ("hello", HELLO_SAYS),
            Task::Wait => ("idle", ""),
        };
        let id = format!(
            "runu-bench-{}-{}-{what}{}",
            process::id(),
            self.name,
            if filter { "-seccomp" } else { "" }
        );
        let bundle = self.folder.join(&id);
        make_bundle(&bundle, &config(&id, task, filter), "hello", HELLO)?;
        Ok(Job {
            words: self.words(&["run", "--bundle", &word(&bundle), &id]),
            expected: expected.to_owned(),
            undo: Some(self.words(&["delete", "--force", &id])),
        })
    }
}

/// Makes a bundle whose root holds one executable file, and the folders that the runtimes mount on.
fn make_bundle(bundle: &Path, config: &Value, file: &str, bytes: &[u8]) -> io::Result<()> {
    let root = bundle.join("rootfs");
    for folder in ["proc", "dev"] {
        fs::create_dir_all(root.join(folder))?;
    }
    let program = root.join(file);
    fs::create_dir_all(program.parent().unwrap_or(&root))?;
    fs::write(&program, bytes)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    fs::write(bundle.join("config.json"), config.to_string())
}

/// The container's configuration (OCI runtime-spec 1.0.2, config.md). /proc is there because runc itself needs it,
/// the folder for /dev because crun does.
fn config(id: &str, task: Task, filter: bool) -> Value {
    /// What a sandbox of runu's with 64 MiB for the guest may hold.
    const MEMORY: u64 = 192 << 20;
    /// More than the program's one process: the runtimes' own threads count as well while they start it.
    const PROCESSES: u64 = 64;
    const NOBODY: u32 = 65534;

    let args = match task {
        Task::Hello => json!(["/hello"]),
        Task::Wait => json!(["/hello", "wait"]),
    };
    let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind }));
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": NOBODY, "gid": NOBODY }, "args": args, "env": [], "cwd": "/",
            "capabilities": {}, "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "bench",
        "mounts": [{ "destination": "/proc", "type": "proc", "source": "proc" }],
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": { "memory": { "limit": MEMORY }, "pids": { "limit": PROCESSES } },
            "namespaces": namespaces,
        },
    });
    if filter {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ALLOWED, "action": "SCMP_ACT_ALLOW" }],
        });
    }
    config
}
