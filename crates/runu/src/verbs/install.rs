//! `runu install` and `runu uninstall`: tell an engine of runu, or no more.
//!
//! What a file should say is known to [`crate::install`]; here it is read, and written only where it differs.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed, Printable};
use rustix::process::geteuid;

use crate::{
    cli::InstallFlags,
    failure::Failure,
    install::{InstallError, Wish},
    stdio,
};

/// Why a configuration cannot be changed.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("cannot read `{}`", Printable(path.as_os_str().as_encoded_bytes()))]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", Printable(path.as_os_str().as_encoded_bytes()))]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot find out where this program is")]
    Program(#[source] io::Error),
    #[error("cannot tell where your configuration is: neither XDG_CONFIG_HOME nor HOME is set")]
    NoHome,
}

impl Blamed for FileError {
    fn blame(&self) -> Blame {
        if matches!(self, FileError::NoHome) { Blame::User } else { Blame::Host }
    }

    fn hint(&self) -> Option<String> {
        match self {
            FileError::Read { source, .. } | FileError::Write { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root".to_owned())
            }
            FileError::NoHome => Some("say where with --etc".to_owned()),
            _ => None,
        }
    }
}

/// Makes the engine know this program as its runtime `runu`.
pub(crate) fn install(flags: &InstallFlags) -> Result<u8, Failure> {
    let program = env::current_exe().map_err(FileError::Program)?;
    let name = program.to_str().ok_or_else(|| InstallError::Name { path: program.clone() })?;
    configure(flags, Wish::Known(name))
}

/// Makes the engine forget its runtime `runu`.
pub(crate) fn uninstall(flags: &InstallFlags) -> Result<u8, Failure> {
    configure(flags, Wish::Unknown)
}

fn configure(flags: &InstallFlags, wish: Wish<'_>) -> Result<u8, Failure> {
    let path = folder(flags)?.join(flags.engine.file());
    let before = read(&path)?;
    let after = flags.engine.configured(before.as_deref(), wish, &path)?;
    let shown = Printable(path.as_os_str().as_encoded_bytes()).to_string();
    if after == before {
        stdio::words(&[format!("`{shown}` is as it should be")]);
        return Ok(0);
    }
    let done = match (&after, flags.dry_run) {
        (Some(text), true) => {
            stdio::words(&[format!("would write `{shown}`:")]);
            stdio::data(text)?;
            return Ok(0);
        }
        (None, true) => format!("would remove `{shown}`"),
        (Some(text), false) => write(&path, text).map(|()| format!("wrote `{shown}`"))?,
        (None, false) => {
            fs::remove_file(&path).map_err(|source| FileError::Write { path, source })?;
            format!("removed `{shown}`")
        }
    };
    stdio::words(&[done, format!("hint: {}", flags.engine.next_step())]);
    Ok(0)
}

/// The folder of configurations: the one named, root's, or the user's own.
fn folder(flags: &InstallFlags) -> Result<PathBuf, FileError> {
    let named = flags.etc.clone().or_else(|| geteuid().is_root().then(|| PathBuf::from("/etc")));
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named
        .or_else(|| set("XDG_CONFIG_HOME"))
        .or_else(|| Some(set("HOME")?.join(".config")))
        .ok_or(FileError::NoHome)
}

fn read(path: &Path) -> Result<Option<String>, FileError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path: path.to_owned(), source }),
    }
}

/// Writes the file whole or not at all, with the permissions it had; a link is followed.
fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let fresh = path.with_extension("runu-new");
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        fs::write(&fresh, text)?;
        if let Ok(metadata) = fs::metadata(path) {
            fs::set_permissions(&fresh, metadata.permissions())?;
        }
        fs::rename(&fresh, path)
    });
    written.map_err(|source| {
        let _ = fs::remove_file(&fresh);
        FileError::Write { path: path.clone(), source }
    })
}
