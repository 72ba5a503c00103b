//! A bundle: the directory with `config.json` that engines make (runtime-spec, bundle.md).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;

use crate::ContainerError;

/// Length of a config.json at most, in bytes: real ones are below 100 KiB.
const CONFIG_MAX: u64 = 16 << 20;

/// An open bundle.
#[derive(Debug)]
pub struct Bundle {
    /// Where, absolute.
    pub path: PathBuf,
    /// The configuration.
    pub spec: Spec,
    /// The root file system, absolute.
    pub rootfs: PathBuf,
}

impl Bundle {
    /// Opens the bundle in `path`.
    ///
    /// # Errors
    /// It has no valid `config.json` with a root.
    pub fn open(path: &Path) -> Result<Self, ContainerError> {
        let read = |path: &Path, source| ContainerError::Read { path: path.to_path_buf(), source };
        let path = fs::canonicalize(path).map_err(|source| read(path, source))?;
        let config = path.join("config.json");
        let metadata = fs::metadata(&config).map_err(|source| read(&config, source))?;
        if metadata.len() > CONFIG_MAX {
            return Err(read(&config, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        let bytes = fs::read(&config).map_err(|source| read(&config, source))?;
        let spec: Spec = serde_json::from_slice(&bytes)
            .map_err(|source| ContainerError::Config { path: config.clone(), source })?;
        let root = spec.root().as_ref().ok_or(ContainerError::Missing("root"))?;
        let rootfs = path.join(root.path());
        Ok(Bundle { path, spec, rootfs })
    }
}
