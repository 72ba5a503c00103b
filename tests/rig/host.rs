//! The host's side: makes the machines, boots them, tells how each check went.

use std::{
    collections::HashMap,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{First, SUITES, Suite, debian, initramfs::Initramfs, inside::Told, machine::Machine, system};

/// How many lines of a machine's console are shown when it failed.
const LINES_SHOWN: usize = 40;

/// Runs the checks whose names contain `wanted`; whether none failed.
pub(crate) fn main(wanted: &str) -> bool {
    let mut good = true;
    for suite in SUITES {
        let names: Vec<String> =
            suite.checks.iter().map(|(check, _)| format!("{}::{check}", suite.name)).collect();
        if !names.iter().any(|name| name.contains(wanted)) {
            continue;
        }
        match run(suite, wanted) {
            Ok(told) => {
                for name in names.iter().filter(|name| name.contains(wanted)) {
                    let word = told.get(name).map_or("FAILED: the machine ended before it", String::as_str);
                    good &= !word.starts_with("FAILED");
                    eprintln!("test {name} ... {word}");
                }
            }
            Err(Obstacle::Unavailable(reason)) => {
                names.iter().for_each(|name| eprintln!("test {name} ... skipped: {reason}"));
            }
            Err(Obstacle::Failed(error)) => {
                good = false;
                names.iter().for_each(|name| eprintln!("test {name} ... FAILED: {error}"));
            }
        }
    }
    good
}

/// Why a suite tells nothing.
enum Obstacle {
    /// This host cannot have it.
    Unavailable(String),
    /// It could and did not.
    Failed(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Obstacle {
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
    let mut told = HashMap::new();
    let mut console = Vec::new();
    machine.run(|line| match Told::parse(line) {
        Some(Told { name, word }) => told.insert(name.to_owned(), word.to_owned()).map_or((), drop),
        None => console.push(line.to_owned()),
    })?;
    let all = suite.checks.iter().map(|(check, _)| format!("{}::{check}", suite.name));
    if all.filter(|name| name.contains(wanted)).any(|name| told.get(&name).is_none_or(|word| word != "ok")) {
        let shown = console.len().saturating_sub(LINES_SHOWN);
        console.iter().skip(shown).for_each(|line| eprintln!("{}: {line}", suite.name));
    }
    Ok(told)
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
