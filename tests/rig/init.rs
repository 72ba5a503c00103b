//! The first process of a machine.

use std::{env, error::Error, fs, os::unix::process::CommandExt, path::Path, process::Command, thread};

use rustix::{
    mount::{MountFlags, mount, mount_bind, mount_move},
    process::{WaitOptions, chdir, chroot, waitpid},
};

use crate::{First, inside, suite};

/// Makes a system of an unpacked initramfs, has the checks made, and ends the machine.
pub(crate) fn main() -> ! {
    if let Err(error) = live() {
        inside::say(&format!("the first process failed: {error}"));
    }
    // At once, without asking anybody.
    let _ = fs::write("/proc/sysrq-trigger", "b");
    loop {
        thread::park();
    }
}

fn live() -> Result<(), Box<dyn Error>> {
    make_root_movable()?;
    let word = |name| env::var(name).unwrap_or_default();
    let suite = suite(&word("RIG_SUITE")).ok_or("there is no such suite")?;
    if suite.first == First::Systemd {
        return Err(Command::new("/lib/systemd/systemd").env_clear().exec().into());
    }
    let file_systems = [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ];
    for (kind, place) in file_systems {
        mount(kind, place, kind, MountFlags::empty(), None)
            .map_err(|errno| format!("mount {place}: {errno}"))?;
    }
    let mut checks = Command::new(Path::new("/rig"));
    checks.args([inside::ROLE, suite.name, &word("RIG_WANTED")]);
    let pid = checks.env_clear().env("PATH", "/bin:/usr/bin").spawn()?.id();
    // Orphans are ours too.
    while let Some((ended, _)) = waitpid(None, WaitOptions::empty())? {
        if ended.as_raw_pid().cast_unsigned() == pid {
            break;
        }
    }
    Ok(())
}

/// Puts a mount over the initial ramfs, which no process can change its root away from (pivot_root(2)).
fn make_root_movable() -> rustix::io::Result<()> {
    mount_bind("/", "/new")?;
    chdir("/new")?;
    mount_move(".", "/")?;
    chroot(".")?;
    chdir("/")
}
