//! Why a sandbox could not be made, and what the reader can do about it.

use std::{os::fd::RawFd, path::PathBuf};

use runu_core::{Blame, Blamed};
use rustix::io::Errno;

use crate::{cgroup::ContainerCgroupError, step::Step};

/// Why a sandbox could not be made. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The kernel refused one of the steps.
    #[error("cannot {step}")]
    Step {
        /// What was being done.
        step: Step,
        /// What the kernel said.
        source: Errno,
    },
    /// The caller is an ordinary user and this host lets none make a user namespace.
    #[error("this host does not let an ordinary user make a sandbox")]
    UserNamespaces {
        /// The setting that forbids it, where it is known.
        setting: Option<&'static str>,
        /// What the kernel said.
        source: Errno,
    },
    /// A control group could not be made, filled or removed.
    #[error("cannot {action} the control group `{}`", .path.display())]
    Cgroup {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// The control group of a container.
    #[error(transparent)]
    ContainerCgroup(#[from] ContainerCgroupError),
    /// The name of a control group is not one path component.
    #[error("`{0}` cannot name a control group")]
    CgroupName(String),
    /// A descriptor was to have a number that is taken, standard or too large.
    #[error("the guest process cannot have a descriptor with the number {0}")]
    Descriptor(RawFd),
    /// A kernel parameter could not be set.
    #[error("cannot set kernel parameter {number} of those asked for")]
    Parameter {
        /// Its place in their list, from 0.
        number: u32,
        /// What the kernel said.
        source: Errno,
    },
    /// The supervisor ended without saying why.
    #[error("the supervisor of the sandbox ended by itself with status {status}")]
    Silent {
        /// Its exit status.
        status: i32,
    },
}

impl SandboxError {
    /// The error of a step, told apart from the one refusal that has its own advice.
    pub(crate) fn new(step: Step, source: Errno, needs_user_namespace: bool) -> Self {
        let refused = matches!(source, Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS);
        // A security module may grant the namespace and refuse every privilege inside, so the first privileged steps
        // count as well (AppArmor's unprivileged_userns profile).
        let privileged = matches!(step, Step::Clone | Step::UserMap | Step::PrivateMounts | Step::MountRoot);
        if needs_user_namespace && refused && privileged {
            return SandboxError::UserNamespaces { setting: forbidding_setting(), source };
        }
        SandboxError::Step { step, source }
    }
}

/// The settings that forbid user namespaces to ordinary users, and the value with which each does.
const FORBIDDING: [(&str, &str, &str); 3] = [
    ("kernel.unprivileged_userns_clone", "/proc/sys/kernel/unprivileged_userns_clone", "0"),
    (
        "kernel.apparmor_restrict_unprivileged_userns",
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
    ),
    ("user.max_user_namespaces", "/proc/sys/user/max_user_namespaces", "0"),
];

/// The first setting that has its forbidding value.
fn forbidding_setting() -> Option<&'static str> {
    FORBIDDING.into_iter().find_map(|(name, path, forbids)| {
        let value = std::fs::read_to_string(path).ok()?;
        (value.trim() == forbids).then_some(name)
    })
}

impl Blamed for SandboxError {
    fn blame(&self) -> Blame {
        match self {
            SandboxError::ContainerCgroup(error) => error.blame(),
            SandboxError::CgroupName(_) | SandboxError::Descriptor(_) | SandboxError::Silent { .. } => {
                Blame::Bug
            }
            SandboxError::Parameter { .. } => Blame::User,
            SandboxError::Step { .. } | SandboxError::UserNamespaces { .. } | SandboxError::Cgroup { .. } => {
                Blame::Host
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            SandboxError::ContainerCgroup(error) => return error.hint(),
            SandboxError::UserNamespaces {
                setting: Some("kernel.apparmor_restrict_unprivileged_userns"),
                ..
            } => "run as root, or set the sysctl kernel.apparmor_restrict_unprivileged_userns to 0",
            SandboxError::UserNamespaces { setting: Some("kernel.unprivileged_userns_clone"), .. } => {
                "run as root, or set the sysctl kernel.unprivileged_userns_clone to 1"
            }
            SandboxError::UserNamespaces { source: Errno::NOSPC | Errno::USERS, .. }
            | SandboxError::UserNamespaces { setting: Some(_), .. } => {
                "run as root, or raise the sysctl user.max_user_namespaces"
            }
            SandboxError::UserNamespaces { .. } => {
                "run as root, or let the container or security module around this process permit user namespaces"
            }
            SandboxError::Step { step: Step::Clone, source: Errno::NOSPC } => {
                "raise the sysctls user.max_pid_namespaces, user.max_net_namespaces and their kin"
            }
            SandboxError::Step { step: Step::Clone, source: Errno::INVAL } => {
                "use a kernel with pid, mount, network, ipc and uts namespaces"
            }
            SandboxError::Step { source: Errno::NOSYS, .. } => {
                "use Linux 5.11 or later, and let the container around this process permit its system calls"
            }
            SandboxError::Step { step: Step::OwnExecutable | Step::UserMap, source: Errno::NOENT } => {
                "mount a proc file system on /proc"
            }
            SandboxError::Step { step: Step::PivotRoot, source: Errno::INVAL } => {
                "run where the root directory is that of a mount: not in a chroot and not in the initial ramfs"
            }
            SandboxError::Step { step: Step::Exec, source: Errno::ACCESS } => {
                "let everyone execute the file of this program: the guest process runs it as a user of its own"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
