//! Packages of Debian: fetched with apt, unpacked into a folder of the build and not installed.
//!
//! What is unpacked is kept and used again as long as apt offers the same files. Where there is no apt, no list of
//! packages or no network, there is no rig, and the reason is told.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Mutex,
};

/// Debian's name for the newest kernel of its release that is made for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";

/// Why something cannot be had here.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

type Result<T> = std::result::Result<T, Unavailable>;

/// A folder with the kernel's package.
pub(crate) fn kernel() -> Result<PathBuf> {
    let depends = said(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let package = package.ok_or_else(|| Unavailable(format!("apt knows no package {KERNEL}")))?;
    let uris = said(apt().args(["download", "--print-uris", "-qq", package]))?;
    unpacked("kernel", &uris)
}

/// A folder with these packages and all that they need, as if nothing were installed.
pub(crate) fn system(packages: &[&str]) -> Result<PathBuf> {
    let resolve = ["-o", "Dir::State::status=/dev/null", "--no-install-recommends", "--print-uris", "-qq"];
    let uris = said(apt().arg("install").args(resolve).args(packages))?;
    unpacked("system", &uris)
}

/// The folder with the packages of lines `'URI' FILE SIZE HASH`.
fn unpacked(name: &str, uris: &str) -> Result<PathBuf> {
    let packages: Vec<&str> =
        uris.lines().filter_map(|line| line.split(' ').nth(1)?.split('_').next()).collect();
    if packages.is_empty() {
        return Err(Unavailable(format!("apt names no files for the {name}")));
    }
    let mut hasher = DefaultHasher::new();
    uris.hash(&mut hasher);
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rig");
    let folder = home.join(format!("{name}-{:016x}", hasher.finish()));
    // Suites run beside each other, and what one fetches the next need not.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock();
    if folder.is_dir() {
        return Ok(folder);
    }
    let failed = |error: std::io::Error| Unavailable(format!("cannot write to {}: {error}", home.display()));
    fs::create_dir_all(&home).map_err(failed)?;
    let work = tempfile::tempdir_in(&home).map_err(failed)?;
    said(apt().args(["download", "-qq"]).args(packages).current_dir(work.path()))?;
    let root = work.path().join("root");
    for file in fs::read_dir(work.path()).map_err(failed)?.flatten() {
        said(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(&root))?;
    }
    // Whole or not at all; one that another run has finished meanwhile is as good.
    match fs::rename(&root, &folder) {
        Err(error) if !folder.is_dir() => Err(failed(error)),
        _ => Ok(folder),
    }
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // Nothing of the host's state is written, so nobody need be kept away from it; and files of the build belong to
    // whoever builds.
    command.args(["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]);
    command
}

/// What a command that succeeds prints.
fn said(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let run = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    match run {
        Err(error) => Err(Unavailable(format!("cannot run {program}: {error}"))),
        Ok(Output { status, stdout, .. }) if status.success() => {
            Ok(String::from_utf8_lossy(&stdout).into_owned())
        }
        Ok(Output { stderr, .. }) => {
            let stderr = String::from_utf8_lossy(&stderr);
            let last = stderr.trim().lines().last().unwrap_or("it failed").to_owned();
            Err(Unavailable(format!("{program}: {last}")))
        }
    }
}
