//! Why something cannot be done with a container.
//!
//! Some of these sentences are matched by engines and are therefore part of the interface: `does not exist`,
//! `container not running`, `executable file not found`, `permission denied` (containerd `process/utils.go`, moby
//! `daemon/errors.go`, podman `libpod/oci_util.go`).

use std::{io, path::PathBuf};

use runu_core::{Blame, Blamed, Bytes, Printable};
use runu_guest::{CommandLineError, DetectError, PlanError};
use runu_sandbox::{ContainerCgroupError, NetworkError, SandboxError, StartError, TerminalError};
use runu_volumes::VolumeError;
use rustix::io::Errno;

use crate::{AnnotationError, MemoryError, UruncError, record::Status};

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
    /// The files of the guest.
    #[error(transparent)]
    Volumes(#[from] VolumeError),
    /// A file that an image or an annotation names is not there.
    #[error("`{}` of the image cannot be opened", Printable(.path.as_os_str().as_encoded_bytes()))]
    NoFile {
        /// Where, in the image.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file that an image names as its kernel is none.
    #[error("`{}` of the image is not a kernel that runu can run", Printable(.path.as_os_str().as_encoded_bytes()))]
    Kernel {
        /// Where, in the image.
        path: PathBuf,
        /// Why not.
        source: DetectError,
    },
    /// No monitor runs it.
    #[error("no monitor runs this kernel: {0}")]
    Monitor(String),
    /// What urunc's tools wrote about the image is malformed.
    #[error("the image is badly described by {path}")]
    Urunc {
        /// Where it stands.
        path: &'static str,
        /// What is wrong with it.
        source: UruncError,
    },
    /// An annotation of ours.
    #[error("the annotation `{name}` cannot be obeyed")]
    Annotation {
        /// Its name, safe to print.
        name: String,
        /// Why not.
        source: AnnotationError,
    },
    /// A text of the environment is no variable.
    #[error("the environment holds `{}`, which has no `=`", Printable(.0.as_bytes()))]
    Variable(String),
    /// The words do not fit into the guest's command line.
    #[error("the guest cannot be given its arguments")]
    CommandLine(#[source] CommandLineError),
    /// The memory that was asked for cannot be had.
    #[error("the guest cannot be given its memory")]
    Memory(#[from] MemoryError),
    /// The limit leaves too little.
    #[error("the container's memory limit of {limit} leaves too little to the guest: {memory}")]
    Limit {
        /// The limit.
        limit: Bytes,
        /// What it leaves.
        memory: Bytes,
        /// What that is too little for.
        source: PlanError,
    },
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
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A guest with a network of its own in the host's.
    #[error("the guest cannot have the host's network: it brings its own")]
    HostNetwork,
    /// A guest with a network of its own where others are.
    #[error(
        "the guest cannot share a network namespace: it brings its own network, and other processes use this one"
    )]
    SharedNetwork,
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
    /// A kernel parameter.
    #[error("cannot set sysctl `{}`: {why}", Printable(.name.as_bytes()))]
    Parameter {
        /// Its name.
        name: String,
        /// Why not.
        why: &'static str,
    },
    /// A kernel parameter that the kernel refuses.
    #[error("cannot set sysctl `{}`", Printable(.name.as_bytes()))]
    ParameterRefused {
        /// Its name, as a path.
        name: String,
        /// What the kernel said.
        source: Errno,
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
            ContainerError::NoFile { .. }
            | ContainerError::Kernel { .. }
            | ContainerError::Urunc { .. }
            | ContainerError::Monitor(_) => Blame::Image,
            ContainerError::CommandLine(error) => error.blame(),
            ContainerError::Plan(error) => error.blame(),
            ContainerError::Cgroup(error) => error.blame(),
            ContainerError::Sandbox(error) => error.blame(),
            ContainerError::Terminal(error) => error.blame(),
            ContainerError::Network(error) => error.blame(),
            ContainerError::Volumes(error) => error.blame(),
            ContainerError::State { .. } | ContainerError::Channel { .. } | ContainerError::WillNotEnd(_) => {
                Blame::Host
            }
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ContainerError::CommandLine(error) => error.hint(),
            ContainerError::Limit { .. } => {
                Some("raise the container's memory limit (docker run --memory)".to_owned())
            }
            ContainerError::Memory(MemoryError::BeyondLimit { .. }) => {
                Some("raise the container's memory limit, or ask for less".to_owned())
            }
            ContainerError::Plan(
                PlanError::KernelTooLarge { .. }
                | PlanError::TooLittleMemory { .. }
                | PlanError::InitrdTooLarge { .. },
            ) => Some(
                "ask for more with the annotation `dev.runu.memory`, or give the container a memory limit"
                    .to_owned(),
            ),
            ContainerError::Plan(PlanError::MemoryNotPages { .. }) => {
                Some("give the memory in whole MiB, such as 64M".to_owned())
            }
            ContainerError::Plan(error) => error.hint(),
            ContainerError::Annotation { source, .. } => source.hint(),
            ContainerError::Kernel { source, .. } => source.hint(),
            ContainerError::Cgroup(error) => error.hint(),
            ContainerError::Sandbox(error) => error.hint(),
            ContainerError::Volumes(error) => error.hint(),
            ContainerError::HostNetwork | ContainerError::SharedNetwork => {
                Some("give it a network of its own, and publish its ports".to_owned())
            }
            ContainerError::Exists(_) => Some("delete it, or choose another ID".to_owned()),
            _ => None,
        }
    }
}
