//! What the tests need from the system, and how to get it.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

/// A program, the Debian package that brings it, and what goes without it.
struct Need {
    program: &'static str,
    package: &'static str,
    skipped_without: &'static str,
}

const NEEDS: &[Need] = &[
    Need {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        skipped_without: "the comparison of every guest with QEMU, and what needs a machine of its own",
    },
    Need { program: "runc", package: "runc", skipped_without: "ordinary containers; runc in the benchmark" },
    Need { program: "crun", package: "crun", skipped_without: "crun in the benchmark" },
    Need {
        program: "dockerd",
        package: "docker.io",
        skipped_without: "unikernels and ordinary containers in Docker",
    },
    Need { program: "docker", package: "docker-cli", skipped_without: "the same" },
    Need {
        program: "containerd",
        package: "containerd",
        skipped_without: "the same in Docker and in containerd",
    },
    Need { program: "podman", package: "podman", skipped_without: "the same in Podman" },
    Need { program: "newuidmap", package: "uidmap", skipped_without: "Podman without root" },
    Need { program: "passt", package: "passt", skipped_without: "published ports of `runu run`" },
    Need { program: "iptables", package: "iptables", skipped_without: "Docker" },
    Need {
        program: "curl",
        package: "curl",
        skipped_without: "README.md for Docker, large uploads to a guest",
    },
    Need { program: "ip", package: "iproute2", skipped_without: "all engines" },
    Need { program: "wrk", package: "wrk", skipped_without: "web servers in the benchmark" },
    Need { program: "busybox", package: "busybox-static", skipped_without: "all engines" },
];

/// Installs what is missing, if this is Debian and we are root; says what it does, and what will be skipped.
pub(crate) fn install() {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !installed(need.program)).collect();
    if missing.is_empty() {
        return;
    }
    if may_install() {
        let _ = apt_get(&["update", "-q"]);
        // One by one: a package may bring the program of the next, which not every release has by that name.
        for need in missing.iter().filter(|need| !installed(need.program)) {
            say(&format!("installing {}", need.package));
            let _ = apt_get(&["install", "-q", "-y", "--no-install-recommends", need.package]);
        }
    } else {
        say("not root on Debian: nothing is installed");
    }
    for need in missing.iter().filter(|need| !installed(need.program)) {
        say(&format!(
            "without `{}` (package {}), skipped: {}",
            need.program, need.package, need.skipped_without
        ));
    }
}

/// Whether `program` is in the search path.
pub(crate) fn installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn may_install() -> bool {
    Path::new("/etc/debian_version").exists() && installed("apt-get") && is_root()
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt_get(arguments: &[&str]) -> std::io::Result<std::process::ExitStatus> {
    Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
}

fn say(line: &str) {
    crate::out(&format!("packages: {line}\n"));
}
