//! Directories and files that a user gives to a guest.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use runu_sandbox::Account;
use runu_volumes::{Content, Volume, VolumeError};
use rustix::io::Errno;

/// Why a word is no volume.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeFlagError {
    /// It has not two or three parts, or one of them is empty.
    #[error("write HOST:GUEST, and `:ro` behind it if the guest may only read")]
    Parts,
    /// The third part says something else.
    #[error("a volume is `ro` or `rw`, and nothing else can be said of it")]
    Option,
    /// There can be none at the place.
    #[error(transparent)]
    Place(#[from] VolumeError),
}

/// What `--volume` takes: `HOST:GUEST`, as engines do, and `:ro` behind it for what the guest may only read.
pub(crate) fn parse(text: OsString) -> Result<Volume, VolumeFlagError> {
    let mut parts = text.as_bytes().split(|byte| *byte == b':');
    let (Some(host), Some(guest), option, None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(VolumeFlagError::Parts);
    };
    if host.is_empty() || guest.is_empty() {
        return Err(VolumeFlagError::Parts);
    }
    let read_only = match option {
        None | Some(b"rw") => false,
        Some(b"ro") => true,
        Some(_) => return Err(VolumeFlagError::Option),
    };
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    Ok(Volume::new(path(guest), Content::Host { path: path(host), whole: true }, read_only)?)
}

/// Who serves a user's volumes: that user, with what root may do about files.
pub(crate) fn account() -> Result<Account, Errno> {
    /// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID (linux/capability.h).
    const OF_FILES: [u32; 5] = [0, 1, 2, 3, 4];
    Ok(Account {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        groups: rustix::process::getgroups()?.into_iter().map(rustix::process::Gid::as_raw).collect(),
        capabilities: OF_FILES.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<(PathBuf, PathBuf, bool)> {
        let volume = parse(text.into()).ok()?;
        match &volume.content {
            Content::Host { path, whole: true } => {
                Some((path.clone(), volume.place().to_path_buf(), volume.read_only))
            }
            _ => None,
        }
    }

    #[test]
    fn volume_is_two_paths_and_perhaps_whether_it_is_only_read() {
        let volume = |read_only| Some(("/srv".into(), "/data".into(), read_only));
        assert_eq!(parsed("/srv:/data"), volume(false));
        assert_eq!(parsed("/srv:/data:rw"), volume(false));
        assert_eq!(parsed("/srv:/data:ro"), volume(true));
        assert_eq!(parsed("here:/data").map(|volume| volume.0), Some("here".into()));
    }

    #[test]
    fn word_of_another_form_is_no_volume() {
        for text in
            ["", "/srv", ":/data", "/srv:", "/srv:data", "/srv:/", "/srv:/data:z", "/a:/b:ro:c", "/a:/b/../c"]
        {
            assert!(parsed(text).is_none(), "{text}");
        }
    }
}
