//! What is written down about a container, and where.
//!
//! ```text
//! ROOT/unikernels/ID/state.json   the record: written when the id is taken, again when the sandbox is complete
//! ROOT/unikernels/ID/life         what the supervisor saw: a line at the start, a line at the end
//! ROOT/unikernels/ID/start        the socket through which it is started
//! ROOT/containers/                state of ordinary containers: their runtime's own
//! ```

use std::{
    fmt, fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use oci_spec::runtime::Hooks;
use runu_sandbox::CgroupName;
use serde::{Deserialize, Serialize};

use crate::{ContainerError, ContainerId, Wiring, lock::Lock};

/// The directory that holds the state of all containers.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Whose a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A unikernel of ours.
    Unikernel,
    /// An ordinary container of the runtime that we hand those to.
    Ordinary,
}

impl Root {
    /// The directory at `path`, which need not exist.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Root(path)
    }

    /// Where unikernels are.
    #[must_use]
    pub fn unikernels(&self) -> PathBuf {
        self.0.join("unikernels")
    }

    /// Where ordinary containers are.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.0.join("containers")
    }

    /// The directory of one of our containers.
    #[must_use]
    pub fn directory(&self, id: &ContainerId) -> PathBuf {
        self.unikernels().join(id.as_str())
    }

    /// Whose container has that id, if there is one.
    #[must_use]
    pub fn owner(&self, id: &ContainerId) -> Option<Owner> {
        if self.directory(id).exists() {
            return Some(Owner::Unikernel);
        }
        self.containers().join(id.as_str()).exists().then_some(Owner::Ordinary)
    }

    /// Ids of all unikernels, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<ContainerId> {
        let entries = fs::read_dir(self.unikernels()).into_iter().flatten().flatten();
        let mut ids: Vec<ContainerId> =
            entries.filter_map(|entry| ContainerId::new(entry.file_name().to_str()?).ok()).collect();
        ids.sort();
        ids
    }

    /// Takes an id: makes its directory, which fails if somebody else has it, and locks it.
    pub(crate) fn take(&self, id: &ContainerId) -> Result<(PathBuf, Lock), ContainerError> {
        let exists = || ContainerError::Exists(id.to_string());
        if self.owner(id).is_some() {
            return Err(exists());
        }
        let make = |path: &Path, all| fs::DirBuilder::new().recursive(all).mode(0o700).create(path);
        make(&self.unikernels(), true).map_err(state("make", &self.unikernels()))?;
        let directory = self.directory(id);
        match make(&directory, false) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
            made => made.map_err(state("make", &directory))?,
        }
        match Lock::wait(&directory) {
            Ok(Some(lock)) => Ok((directory, lock)),
            // Somebody deleted it before it was locked.
            Ok(None) => Err(ContainerError::DoesNotExist(id.to_string())),
            Err(error) => {
                // It is empty and ours; the error to tell is the first one.
                let _ = fs::remove_dir(&directory);
                Err(error)
            }
        }
    }
}

/// What is known about a container besides what is going on in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its name.
    pub id: String,
    /// Version of the runtime-spec that its configuration was written for.
    pub oci_version: String,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
    /// When it was created, as RFC 3339.
    pub created: String,
    /// The annotations of its configuration.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// The process that makes it, and when that was started.
    pub maker: (i32, u64),
    /// Its first process, and when that was started; none before it is complete.
    pub init: Option<(i32, u64)>,
    /// Its control group; none where that turned out to be somebody else's.
    pub cgroup: Option<CgroupName>,
    /// User and group of a Linux program in it, which hooks of its start are.
    pub user: (u32, u32),
    /// Whether such a program may only read its root file system.
    pub read_only: bool,
    /// What is known of its network; none where its guest has no use for one.
    #[serde(default)]
    pub network: Option<Wiring>,
    /// Its hooks, those of its end among them.
    pub hooks: Option<Hooks>,
}

/// What a container is doing (runtime-spec, runtime.md, "State").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits for its start.
    Created,
    /// Its guest runs.
    Running,
    /// Its guest is stopped for a while.
    Paused,
    /// It has ended, or the one who made it has before it was complete.
    Stopped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        })
    }
}

/// Name of the record in a container's directory.
const RECORD: &str = "state.json";
/// Name of the file in which the supervisor writes.
pub(crate) const LIFE: &str = "life";
/// Name of the socket through which it is started.
pub(crate) const START: &str = "start";

impl Record {
    /// What can be told of a container whose maker has written nothing yet.
    pub(crate) fn unwritten(directory: &Path) -> Self {
        let id = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Record {
            id,
            oci_version: "1.0.2".to_owned(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            created: String::new(),
            annotations: std::collections::BTreeMap::new(),
            maker: (0, 0),
            init: None,
            cgroup: None,
            user: (0, 0),
            read_only: true,
            network: None,
            hooks: None,
        }
    }

    /// Writes it down; a reader finds the old one or the new one, never half of one.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), ContainerError> {
        let path = directory.join(RECORD);
        let new = directory.join("state.json.new");
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec(self)?)?;
            fs::rename(&new, &path)
        };
        write().map_err(state("write", &path))
    }

    /// Reads it; none where nothing was written yet.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, ContainerError> {
        let path = directory.join(RECORD);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).map_err(|source| state("read", &path)(source.into()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(state("read", &path)(error)),
        }
    }
}

/// The error of something done to `path`.
pub(crate) fn state(action: &'static str, path: &Path) -> impl Fn(io::Error) -> ContainerError {
    let path = path.to_path_buf();
    move |source| ContainerError::State { action, path: path.clone(), source }
}
