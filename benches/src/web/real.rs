//! Real servers, from the folder that `RUNU_GUESTS` names: Linux programs that Unikraft's elfloader runs in a guest, and that a
//! container runs as they are.
//!
//! ```text
//! RUNU_GUESTS/web/NAME/kernel-qemu   a kernel that loads the program, as built for QEMU
//!                      kernel-fc     the same as built for Firecracker
//!                      initrd        the program and its files (cpio)
//!                      rootfs/       the same as a folder
//!                      command       its words, one a line
//! ```
//!
//! It listens on port 80, and answers `/` and `/big`. What is not there does not take part.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::runu::GUESTS_VARIABLE;

/// A server.
#[derive(Debug)]
pub(super) struct Real {
    /// As the report calls it.
    pub(super) name: String,
    /// The program and its arguments.
    pub(super) words: Vec<String>,
    folder: PathBuf,
}

impl Real {
    /// The kernel that QEMU takes as well.
    pub(super) const MULTIBOOT: &str = "kernel-qemu";
    /// Kernels.
    pub(super) const KERNELS: [&str; 2] = [Self::MULTIBOOT, "kernel-fc"];
    pub(super) const INITRD: &str = "initrd";
    pub(super) const ROOT: &str = "rootfs";

    /// What a container may hold, and memory of a guest under QEMU.
    pub(super) const CONTAINER_BYTES: u64 = 256 << 20;
    pub(super) const GUEST_MIB: u64 = 192;

    /// Those that are there.
    pub(super) fn all() -> Vec<Real> {
        let Some(folder) = env::var_os(GUESTS_VARIABLE).map(|folder| Path::new(&folder).join("web")) else {
            return Vec::new();
        };
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut servers: Vec<Real> = folders.filter_map(|entry| Self::at(entry.path())).collect();
        servers.sort_by(|one, other| one.name.cmp(&other.name));
        servers
    }

    fn at(folder: PathBuf) -> Option<Self> {
        let words = fs::read_to_string(folder.join("command")).ok()?;
        let name = folder.file_name()?.to_string_lossy().into_owned();
        Some(Real { name, words: words.lines().map(str::to_owned).collect(), folder })
    }

    /// One of its files, if it is there.
    pub(super) fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(name)).filter(|file| file.exists())
    }

    /// What is in one of its files.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        let file = self.folder.join(name);
        fs::read(&file).map_err(|error| format!("{}: cannot read `{}`: {error}", self.name, file.display()))
    }
}
