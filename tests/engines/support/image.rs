//! Images, made from nothing but what is built or installed here: no registry is asked.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use runu_guests::Guest;

/// Where kraft puts the kernel into an image.
const KERNEL: &str = "unikraft/bin/kernel";

/// Where kraft puts the initrd.
const INITRD: &str = "unikraft/bin/initrd";

/// What busybox is called by in the ordinary image.
const APPLETS: &[&str] = &[
    "sh", "cat", "echo", "false", "hostname", "id", "ip", "kill", "ls", "mount", "nslookup", "ps", "sleep",
    "stty", "true", "tty", "wget",
];

/// The root file system of an image.
pub(crate) struct Image {
    root: PathBuf,
}

impl Image {
    /// kraft's layout around an own guest.
    pub(crate) fn unikernel(folder: &Path, name: &str, guest: &str) -> Self {
        let image = Self { root: folder.join(format!("root-{name}")) };
        let guest = Guest::named(guest).expect("tests name guests that are there");
        image.write(KERNEL, guest.multiboot);
        image
    }

    /// The same, of the kind that Firecracker boots.
    pub(crate) fn unikernel_for_firecracker(folder: &Path, name: &str, guest: &str) -> Self {
        let image = Self { root: folder.join(format!("root-{name}")) };
        let guest = Guest::named(guest).expect("tests name guests that are there");
        image.write(KERNEL, guest.linux64);
        image
    }

    /// kraft's layout around a file that is no kernel.
    pub(crate) fn broken(folder: &Path) -> Self {
        let image = Self { root: folder.join("root-broken") };
        image.write(KERNEL, b"#!/bin/sh\n");
        image
    }

    /// Adds an initrd.
    pub(crate) fn with_initrd(self, bytes: &[u8]) -> Self {
        self.write(INITRD, bytes);
        self
    }

    /// An ordinary image: a shell and the programs around it.
    pub(crate) fn ordinary(folder: &Path) -> Self {
        let image = Self { root: folder.join("root-ordinary") };
        let busybox = fs::read("/bin/busybox").or_else(|_| fs::read("/usr/bin/busybox"));
        image.write("bin/busybox", &busybox.expect("the suite looked for it"));
        let bin = image.root.join("bin");
        set_executable(&bin.join("busybox"));
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).expect("the folder is ours");
        }
        image.write("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n");
        fs::create_dir(image.root.join("tmp")).expect("the folder is ours");
        image
    }

    /// It as an archive such as `docker save` writes (Docker Image Specification 1.2, "Combined Image JSON +
    /// Filesystem Changeset Format").
    pub(crate) fn docker_archive(&self, name: &str, command: &str) -> Vec<u8> {
        let archive = Self { root: self.root.with_extension("archive") };
        archive.write("layer.tar", &self.archive());
        let sum = Command::new("sha256sum").arg(archive.root.join("layer.tar")).output();
        let sum = String::from_utf8_lossy(&sum.expect("coreutils are there").stdout).into_owned();
        let digest = sum.split(' ').next().unwrap_or_default();
        let config = serde_json::json!({
            "os": "linux",
            "architecture": "amd64",
            "config": { "Cmd": [command] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
        });
        let manifest = serde_json::json!([
            { "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] },
        ]);
        archive.write("config.json", config.to_string().as_bytes());
        archive.write("manifest.json", manifest.to_string().as_bytes());
        archive.archive_of(&["manifest.json", "config.json", "layer.tar"])
    }

    /// It as a tar archive.
    pub(crate) fn archive(&self) -> Vec<u8> {
        self.archive_of(&["."])
    }

    fn archive_of(&self, paths: &[&str]) -> Vec<u8> {
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-c"]).args(paths).current_dir(&self.root);
        tar.output().expect("the suite looked for tar").stdout
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        let written = fs::create_dir_all(path.parent().expect("it is in a folder"))
            .and_then(|()| fs::write(&path, bytes));
        written.expect("the folder is ours");
    }
}

fn set_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
}
