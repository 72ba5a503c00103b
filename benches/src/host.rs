//! The host: what is installed, and what it is, for whoever reads the numbers elsewhere.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Serialize;

/// What the numbers were taken on.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    /// The processor's name, as it gives it.
    pub(crate) processor: String,
    /// How many of them there are.
    pub(crate) processors: usize,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// Versions of what runu is compared with.
    pub(crate) tools: Vec<String>,
    /// How many processes wanted to run in the last minute, before the first run: more than there are processors makes
    /// for noise.
    pub(crate) load: String,
}

impl Host {
    /// This one.
    pub(crate) fn look() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find(|line| line.starts_with("model name"));
        let processor = processor.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown").to_owned();
        let tools = ["runc", "crun", "qemu-system-x86_64"].into_iter().filter_map(version).collect();
        Host {
            processor,
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            tools,
            load: first_word("/proc/loadavg"),
        }
    }
}

fn first_word(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_ascii_whitespace()
        .next()
        .unwrap_or("unknown")
        .to_owned()
}

/// The first line of what `TOOL --version` says.
fn version(tool: &str) -> Option<String> {
    let output = Command::new(find(tool)?).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned())
}

/// Where a program is: in the search path, or where Debian keeps what only root needs.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A path as a word of a command line.
pub(crate) fn word(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
