//! runu: the build to measure, our own guests, and kernels of Unikraft where there are some.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use runu_guests::Guest;

use crate::{
    contender::{Category, Contender, Course, Field, Role, Waiter},
    host::word,
    memory::{Ending, Idle},
    run::Job,
};

/// Folder with kernels that Unikraft built, as the tests take it too.
pub(crate) const GUESTS_VARIABLE: &str = "RUNU_GUESTS";

/// Those that are measured, by their file's name: a release and the development branch, as built for QEMU and for
/// Firecracker.
pub(crate) const UNIKRAFT: &[&str] =
    &["hello-0.16.3-qemu", "hello-0.16.3-fc", "hello-staging-qemu", "hello-staging-fc"];

/// Guests that wait at once where it is measured what one of many holds.
const CROWD: u32 = 8;

/// What our own hello prints.
pub(crate) const OWN_HELLO: &str = "Hello from a unikernel";
/// What Unikraft's helloworld prints.
pub(crate) const UNIKRAFT_HELLO: &str = "Hello world!";

/// A kernel and its two names.
#[derive(Clone)]
pub(crate) struct Kernel {
    /// As the report calls it.
    pub(crate) name: String,
    /// Its file.
    pub(crate) path: PathBuf,
    /// Whether it is entered by the Linux boot protocol and not by multiboot.
    pub(crate) linux64: bool,
    /// Whether Unikraft built it.
    pub(crate) unikraft: bool,
}

/// Our own hello of both kinds, and those of Unikraft's that are there.
pub(crate) fn kernels(field: &mut Field) -> Vec<Kernel> {
    let mut kernels = Vec::new();
    if let Some(hello) = Guest::named("hello") {
        for (kind, path, linux64) in
            [("multiboot", hello.multiboot_path(), false), ("linux64", hello.linux64_path(), true)]
        {
            kernels.push(Kernel { name: format!("hello-{kind}"), path, linux64, unikraft: false });
        }
    }
    let Some(folder) = env::var_os(GUESTS_VARIABLE).map(PathBuf::from) else {
        field.skip("Unikraft's hello", format!("{GUESTS_VARIABLE} names no folder with such kernels"));
        return kernels;
    };
    for name in UNIKRAFT {
        let path = folder.join(name);
        if path.is_file() {
            kernels.push(Kernel {
                name: (*name).to_owned(),
                path,
                linux64: name.ends_with("-fc"),
                unikraft: true,
            });
        } else {
            field.skip(name, format!("it is not in {}", folder.display()));
        }
    }
    kernels
}

impl Kernel {
    /// What it prints.
    pub(crate) fn says(&self) -> &'static str {
        if self.unikraft { UNIKRAFT_HELLO } else { OWN_HELLO }
    }
}

/// The builds to measure: those named, or the one of this workspace as it is now.
pub(crate) fn builds(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    if !named.is_empty() {
        return Ok(named.to_vec());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "runu"])
        .current_dir(folder.parent().unwrap_or(folder))
        .status()
        .map_err(|error| format!("cannot run Cargo: {error}"))?;
    if !status.success() {
        return Err(format!("cannot build runu: {status}"));
    }
    // This program lies in the folder of its own profile, beside that of release builds.
    let built = env::current_exe().ok().and_then(|me| Some(me.parent()?.parent()?.join("release/runu")));
    match built.filter(|file| file.is_file()) {
        Some(file) => Ok(vec![file]),
        None => Err("cannot find the runu that was built: name it with --runu".to_owned()),
    }
}

/// Enters a build for every kernel.
pub(crate) fn enter(field: &mut Field, builds: &[PathBuf], kernels: &[Kernel]) {
    for build in builds {
        let called = called(build, builds);
        for kernel in kernels {
            field.contenders.push(Contender {
                name: format!("{called} run {}", kernel.name),
                role: if kernel.unikraft { Role::RunuUnikraft } else { Role::RunuOwn },
                category: Category::Run,
                kernel: Some(kernel.name.clone()),
                course: Course::Program(job(build, &[], &kernel.path, kernel.says())),
                elsewhere: false,
            });
        }
        let Some(idle) = Guest::named("idle") else { continue };
        for (beside, suffix) in [(0, ""), (CROWD - 1, ", each of eight")] {
            field.waiters.push(Waiter {
                name: format!("{called} run idle-multiboot{suffix}"),
                has_target: beside == 0,
                idle: Idle {
                    job: job(build, &[], &idle.multiboot_path(), ""),
                    guest_memory: Some("/memfd:guest-ram".to_owned()),
                    end: Ending::Terminate,
                    beside,
                },
                elsewhere: false,
            });
        }
    }
}

/// What the report calls a build: by its file where there are several.
pub(crate) fn called(build: &Path, builds: &[PathBuf]) -> String {
    if builds.len() > 1 { word(build) } else { "runu".to_owned() }
}

/// `runu run FLAGS KERNEL`.
pub(crate) fn job(runu: &Path, flags: &[&str], kernel: &Path, expected: &str) -> Job {
    let mut words = vec![word(runu), "run".to_owned()];
    words.extend(flags.iter().map(|flag| (*flag).to_owned()));
    words.push(word(kernel));
    Job { words, expected: expected.to_owned(), undo: None }
}
