//! The host's side: makes the machines, boots them, tells how each check went.

use std::{
    collections::HashMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::{First, SUITES, Suite, debian, initramfs::Initramfs, inside::Told, machine::Machine, system};

/// How many lines of a machine's console are shown when it failed.
const LINES_SHOWN: usize = 40;

/// Runs the checks whose names contain `wanted`; whether none failed.
pub(crate) fn main(wanted: &str) -> bool {
    let suites: Vec<_> = SUITES.iter().filter(|suite| names(suite, wanted).next().is_some()).collect();
    // A machine has one thread, so as many run as there are.
    thread::scope(|scope| {
        let runs: Vec<_> =
            suites.into_iter().map(|suite| (suite, scope.spawn(|| run(suite, wanted)))).collect();
        let mut good = true;
        for (suite, run) in runs {
            let told = run.join().unwrap_or_else(|_| Err(Obstacle::Failed("it panicked".into())));
            for name in names(suite, wanted) {
                let word = match &told {
                    Ok(told) => told.get(&name).map_or("FAILED: the machine ended before it", String::as_str),
                    Err(Obstacle::Unavailable(reason)) => &format!("skipped: {reason}"),
                    Err(Obstacle::Failed(error)) => &format!("FAILED: {error}"),
                };
                good &= !word.starts_with("FAILED");
                eprintln!("test {name} ... {word}");
            }
        }
        good
    })
}

/// The checks of a suite whose names contain `wanted`.
fn names(suite: &Suite, wanted: &str) -> impl Iterator<Item = String> {
    let names = suite.checks.iter().map(|(check, _)| format!("{}::{check}", suite.name));
    names.filter(move |name| name.contains(wanted))
}

/// Why a suite tells nothing.
enum Obstacle {
    /// This host cannot have it.
    Unavailable(String),
    /// It could and did not.
    Failed(Box<dyn Error + Send + Sync>),
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Obstacle {
    fn from(error: E) -> Self {
        let error = error.into();
        match error.downcast::<debian::Unavailable>() {
            Ok(unavailable) => Obstacle::Unavailable(unavailable.0),
            Err(error) => Obstacle::Failed(error),
        }
    }
}

/// Boots a suite's machine; what it told of each check.
fn run(suite: &Suite, wanted: &str) -> Result<HashMap<String, String>, Obstacle> {
    Machine::check().map_err(debian::Unavailable)?;
    let folder = tempfile::tempdir()?;
    let initramfs = folder.path().join("initramfs");
    fs::write(&initramfs, archive(suite, wanted, folder.path())?)?;
    let machine = Machine {
        kernel: kernel()?,
        initramfs,
        // The kernel hands words that it does not know to the first process, as its environment.
        words: format!(
            "{} systemd.unit=rig.target RIG_SUITE={} RIG_WANTED={wanted}",
            suite.words, suite.name
        ),
        memory_mib: suite.memory_mib,
        timeout_s: suite.timeout_s,
    };
    let (mut told, mut console) = watch(&machine)?;
    if told.is_empty() {
        // One that makes no check has not come up, which a host under load may do to it.
        (told, console) = watch(&machine)?;
    }
    if names(suite, wanted).any(|name| told.get(&name).is_none_or(|word| word != "ok")) {
        let shown = console.len().saturating_sub(LINES_SHOWN);
        console.iter().skip(shown).for_each(|line| eprintln!("{}: {line}", suite.name));
    }
    Ok(told)
}

/// Boots a machine; what it told of each check, and all else that was on its console.
fn watch(machine: &Machine) -> io::Result<(HashMap<String, String>, Vec<String>)> {
    let mut told = HashMap::new();
    let mut console = Vec::new();
    machine.run(|line| match Told::parse(line) {
        Some(Told { name, word }) => told.insert(name.to_owned(), word.to_owned()).map_or((), drop),
        None => console.push(line.to_owned()),
    })?;
    Ok((told, console))
}

/// Debian's kernel.
fn kernel() -> Result<PathBuf, Obstacle> {
    let boot = debian::kernel()?.join("boot");
    let mut files = fs::read_dir(&boot)?.flatten().map(|entry| entry.path());
    let found = files.find(|path| path.to_string_lossy().contains("/vmlinuz-"));
    found.ok_or_else(|| Obstacle::Failed(format!("no kernel in {}", boot.display()).into()))
}

/// The initramfs: this program, `runu`, places to mount on, and what the first process is.
fn archive(suite: &Suite, wanted: &str, folder: &Path) -> Result<Vec<u8>, Obstacle> {
    let mut archive = Initramfs::default();
    for path in ["dev", "proc", "sys", "run", "tmp", "new"] {
        archive.directory(path, 0o755);
    }
    // Where the first process has its standard input, output and error.
    archive.device("dev/console", 0o600, 5, 1);
    archive.file("rig", 0o755, &stripped(&std::env::current_exe()?, folder)?);
    archive.file("runu", 0o755, &stripped(Path::new(env!("CARGO_BIN_EXE_runu")), folder)?);
    archive.link("init", "rig");
    if suite.first == First::Systemd {
        system::add(&mut archive, suite, wanted)?;
    }
    Ok(archive.finish())
}

/// A program without what only debuggers read, which is most of it.
fn stripped(program: &Path, folder: &Path) -> Result<Vec<u8>, Obstacle> {
    let file = folder.join("stripped");
    // It belongs to the linker that Rust needs.
    let status = Command::new("strip").arg("-o").arg(&file).arg(program).status()?;
    if !status.success() {
        return Err(Obstacle::Failed(format!("strip of {} failed: {status}", program.display()).into()));
    }
    Ok(fs::read(&file)?)
}
