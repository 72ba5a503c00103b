//! Why something cannot be done with a container.
//!
//! Some of these sentences are matched by engines and are therefore part of the interface: `does not exist`,
//! `container not running`, `executable file not found`, `permission denied` (containerd `process/utils.go`, moby
//! `daemon/errors.go`, podman `libpod/oci_util.go`).

use std::{io, path::PathBuf};

use runu_core::{Blame, Blamed, Printable};
use runu_guest::{CommandLineError, DetectError, PlanError};
use runu_sandbox::{ContainerCgroupError, SandboxError, StartError, TerminalError};
use rustix::io::Errno;

use crate::record::Status;

/// Why something cannot be done with a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The id is no name.
    #[error("invalid container ID `{}`", Printable(.0.as_bytes()))]
    Id(String),
    /// There is no such container.
    #[error("container `{0}` does not exist")]
    DoesNotExist(String),
    /// There is one already.
    #[error("container with ID `{0}` already exists")]
    Exists(String),
    /// The bundle has no readable config.json.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The config.json is not one.
    #[error("`{}` is not a valid OCI configuration", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        source: serde_json::Error,
    },
    /// The config.json says nothing about something that a container needs.
    #[error("the OCI configuration has no `{0}`")]
    Missing(&'static str),
    /// The configuration asks for something that a unikernel's container cannot have.
    #[error("{what} is not supported for a unikernel: {why}")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// Why it cannot be had.
        why: &'static str,
    },
    /// The file that an image names as its kernel is not there.
    #[error("the kernel `{}` of the image cannot be opened", .path.display())]
    NoKernel {
        /// Where, in the image.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file that an image names as its kernel is none.
    #[error("`{}` of the image is not a kernel that runu can run", .path.display())]
    Kernel {
        /// Where, in the image.
        path: PathBuf,
        /// Why not.
        source: DetectError,
    },
    /// No monitor runs it.
    #[error("no monitor can run this kernel: {0}")]
    Monitor(String),
    /// `/urunc.json` is malformed.
    #[error("`/urunc.json` of the image is malformed: {0}")]
    Urunc(&'static str),
    /// The words do not fit into the guest's command line.
    #[error("the guest cannot be given its arguments")]
    CommandLine(#[source] CommandLineError),
    /// The guest does not fit into its memory.
    #[error("the guest cannot be given its memory")]
    Plan(#[source] PlanError),
    /// The state directory cannot be used.
    #[error("cannot {action} `{}`", .path.display())]
    State {
        /// What was being done.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A descriptor that the guest's process needs cannot be made.
    #[error("cannot make the {what}")]
    Channel {
        /// What it is for.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The control group.
    #[error(transparent)]
    Cgroup(#[from] ContainerCgroupError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// The start.
    #[error("cannot start the container")]
    Start(#[source] StartError),
    /// `start` in another status than created.
    #[error("{}", not_created(*.0))]
    NotCreated(Status),
    /// `kill`, `pause` and so on of a container that has ended.
    #[error("container not running")]
    NotRunning,
    /// `resume` of one that is not paused.
    #[error("container not paused")]
    NotPaused,
    /// `delete` of one that has not ended.
    #[error("cannot delete container `{id}` that is not stopped: {status}")]
    NotStopped {
        /// Which.
        id: String,
        /// What it is.
        status: Status,
    },
    /// It did not end in time.
    #[error("container `{0}` did not end within ten seconds of SIGKILL")]
    WillNotEnd(String),
    /// Not the name or number of a signal.
    #[error("unknown signal `{}`", Printable(.0.as_bytes()))]
    Signal(String),
    /// A signal could not be sent.
    #[error("cannot signal the container")]
    Kill(#[source] Errno),
    /// A hook.
    #[error("error running {moment} hook #{number} `{}`: {reason}", .path.display())]
    Hook {
        /// Which list it is of.
        moment: &'static str,
        /// Its place there, from 0.
        number: usize,
        /// Its program.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// A flag does not go with the configuration.
    #[error("{0}")]
    Usage(&'static str),
}

/// Why a container in that status is not started, in runc's words.
fn not_created(status: Status) -> String {
    match status {
        Status::Running => "cannot start an already running container".to_owned(),
        Status::Stopped => "cannot start a container that has stopped".to_owned(),
        status => format!("cannot start a container in the {status} state"),
    }
}

impl Blamed for ContainerError {
    fn blame(&self) -> Blame {
        match self {
            ContainerError::NoKernel { .. } | ContainerError::Kernel { .. } | ContainerError::Urunc(_) => {
                Blame::Image
            }
            ContainerError::Monitor(_) => Blame::Image,
            ContainerError::CommandLine(error) => error.blame(),
            ContainerError::Plan(error) => error.blame(),
            ContainerError::Cgroup(error) => error.blame(),
            ContainerError::Sandbox(error) => error.blame(),
            ContainerError::Terminal(error) => error.blame(),
            ContainerError::State { .. } | ContainerError::Channel { .. } | ContainerError::WillNotEnd(_) => {
                Blame::Host
            }
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ContainerError::CommandLine(error) => error.hint(),
            ContainerError::Plan(PlanError::KernelTooLarge { .. } | PlanError::TooLittleMemory { .. }) => {
                Some("raise the container's memory limit (docker run --memory)".to_owned())
            }
            ContainerError::Plan(error) => error.hint(),
            ContainerError::Kernel { source, .. } => source.hint(),
            ContainerError::Sandbox(error) => error.hint(),
            ContainerError::Exists(_) => Some("delete it, or choose another ID".to_owned()),
            _ => None,
        }
    }
}
