//! From wishes to what a guest is given: which way its kernel has to files, and each volume on that way.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    },
    path::Path,
};

use runu_core::Bytes;
use runu_guest::{Guest, Shared};
use runu_sandbox::{Piece, Tree, TreeError};
use rustix::fs::OFlags;

use crate::{
    Content, Volume, VolumeError,
    cpio::Archive,
    initrd::{self, Initrd},
};

/// How many directories a guest can share at most: as many as its process has numbers for.
const MOST: usize = 8;

/// Permissions of a directory that is made because something is to be in it.
const BETWEEN: u32 = 0o755;
/// Those of one in memory for which none are asked (tmpfs(5), `mode`).
const OF_MEMORY: u32 = 0o1777;

/// What a guest is to have.
#[derive(Debug, Default)]
pub struct Wishes<'a> {
    /// The root of its container, if it is in one.
    pub root: Option<Root<'a>>,
    /// The initrd that it is given.
    pub initrd: Option<File>,
    /// What it is to have beside these, in the order in which it is mounted.
    pub volumes: &'a [Volume],
}

/// Tells by its path whether a file is left out.
pub type LeftOut<'a> = &'a dyn Fn(&[u8]) -> bool;

/// The root of a container.
#[derive(Clone, Copy)]
pub struct Root<'a> {
    /// Where it is on the host.
    pub path: &'a Path,
    /// Whether the guest may only read it.
    pub read_only: bool,
    /// Which of its files, by their paths without the first `/`, are none of the guest's when they become an initrd; none if
    /// they do not become one.
    pub left_out: Option<LeftOut<'a>>,
}

impl std::fmt::Debug for Root<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Root").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What a guest is given.
#[derive(Debug, Default)]
pub struct Furnished {
    /// The initrd that it boots with, and how long that is.
    pub initrd: Option<(File, Bytes)>,
    /// What it is told of what it shares.
    pub shared: Vec<Shared>,
    /// What is served to it, in the same order.
    pub open: Vec<OpenShare>,
}

/// A tree of files that is to be served.
#[derive(Debug)]
pub struct OpenShare {
    pub(crate) tree: OwnedFd,
    pub(crate) read_only: bool,
}

/// What `guest` is given of what is wished for.
///
/// # Errors
/// Its kernel has no way to a volume, a volume is not there or has no place, or the initrd is none that can be continued.
pub fn furnish(guest: &Guest, wishes: Wishes<'_>) -> Result<Furnished, VolumeError> {
    let obstacle = runu_guest::share_obstacle(guest);
    match (obstacle, runu_guest::unpacks_initrd(guest)) {
        (obstacle, true) => unpacked(wishes, obstacle),
        (None, false) => shared(wishes),
        (Some(why), false) => match wishes.volumes.iter().find(|volume| !volume.optional) {
            Some(volume) => Err(no_way(volume, why, false)),
            None => Ok(Furnished { initrd: wishes.initrd.map(sized).transpose()?, ..Furnished::default() }),
        },
    }
}

fn no_way(volume: &Volume, why: &'static str, if_read_only: bool) -> VolumeError {
    VolumeError::NoWay { place: volume.place.clone(), why, if_read_only }
}

fn sized(file: File) -> Result<Initrd, VolumeError> {
    let len = file.metadata().map_err(initrd::InitrdError::from)?.len();
    Ok((file, Bytes(len)))
}

/// A guest whose root is shared: one tree, with every volume in it.
fn shared(wishes: Wishes<'_>) -> Result<Furnished, VolumeError> {
    let Wishes { root, initrd, volumes } = wishes;
    let initrd = initrd.map(sized).transpose()?;
    if root.is_none() && volumes.is_empty() {
        return Ok(Furnished { initrd, ..Furnished::default() });
    }
    let mode = [("mode".to_owned(), format!("{BETWEEN:o}"))];
    let root = match root {
        Some(Root { path, read_only, .. }) => {
            Piece { content: runu_sandbox::Content::Host { path, whole: true }, read_only }
        }
        None => Piece { content: runu_sandbox::Content::Memory(&mode), read_only: false },
    };
    let pieces: Vec<(&Path, Piece<'_>)> =
        volumes.iter().map(|volume| (volume.place.as_path(), volume.piece())).collect();
    let tree = Tree { root, pieces: &pieces };
    let open = runu_sandbox::tree(&tree).map_err(|error| match error.piece.and_then(|n| volumes.get(n)) {
        Some(volume) => tree_error(volume, error),
        None => VolumeError::Root(error.into()),
    })?;
    // The mounts say what may be changed; this says it once more where nothing may.
    let read_only = root.read_only && volumes.iter().all(|volume| volume.read_only);
    Ok(Furnished {
        initrd,
        shared: vec![Shared { tag: tag(0), path: b"/".to_vec() }],
        open: vec![OpenShare { tree: open, read_only }],
    })
}

fn tree_error(volume: &Volume, error: TreeError) -> VolumeError {
    VolumeError::Tree { place: volume.place.clone(), source: error.into() }
}

/// By which a guest finds what it shares: as kraft calls them.
fn tag(number: usize) -> String {
    format!("fs{number}")
}

/// A guest whose root is an archive that it unpacks; with an `obstacle` it can share nothing besides.
fn unpacked(wishes: Wishes<'_>, obstacle: Option<&'static str>) -> Result<Furnished, VolumeError> {
    let Wishes { root, initrd, volumes } = wishes;
    let (mut added, mut shares) = (Vec::new(), Vec::new());
    for volume in volumes {
        match way(volume, obstacle)? {
            Some(Way::Archive) => added.push(volume),
            Some(Way::Share) => shares.push(volume),
            None => {}
        }
    }
    let as_it_is = |given| Ok(Furnished { initrd: Some(sized(given)?), ..beside(&shares)? });
    let archive = match (initrd, root) {
        (Some(given), _) if added.is_empty() => return as_it_is(given),
        (Some(given), _) => match initrd::continued(&given) {
            Ok(archive) => Some(archive),
            Err(_) if added.iter().all(|volume| volume.optional) => return as_it_is(given),
            Err(error) => return Err(error.into()),
        },
        (None, Some(Root { path, left_out: Some(left_out), .. })) => initrd::of_directory(path, left_out)?,
        (None, _) => None,
    };
    // Without a root file system there is no place to put anything: an empty one is made of an empty archive.
    let is_needed = !shares.is_empty() || added.iter().any(|volume| !volume.optional);
    let Some(mut archive) = archive.or_else(|| is_needed.then(Archive::default)) else {
        return Ok(Furnished::default());
    };
    added.iter().try_for_each(|volume| add(&mut archive, volume))?;
    Ok(Furnished { initrd: Some(initrd::file_of(archive)?), ..beside(&shares)? })
}

/// How a guest with its root in memory gets a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It becomes part of the archive.
    Archive,
    /// It is shared, and mounted in the root.
    Share,
}

/// How it gets this one; `None` if it does without.
fn way(volume: &Volume, obstacle: Option<&'static str>) -> Result<Option<Way>, VolumeError> {
    let Content::Host { path, .. } = &volume.content else {
        // The root is in memory itself, and gone with the guest.
        let shares = obstacle.is_none() && !volume.optional;
        return Ok(Some(if shares { Way::Share } else { Way::Archive }));
    };
    if volume.optional {
        return Ok(None);
    }
    let metadata = fs::metadata(path).map_err(read_error(volume))?;
    match obstacle {
        None if metadata.is_dir() => Ok(Some(Way::Share)),
        _ if volume.read_only => Ok(Some(Way::Archive)),
        Some(why) => Err(no_way(volume, why, true)),
        None => {
            Err(no_way(volume, "its kernel shares directories alone, and its root is a copy in memory", true))
        }
    }
}

fn read_error(volume: &Volume) -> impl Fn(io::Error) -> VolumeError {
    |source| VolumeError::Read { place: volume.place.clone(), source }
}

/// Volumes that are shared one by one.
fn beside(volumes: &[&Volume]) -> Result<Furnished, VolumeError> {
    if volumes.len() > MOST {
        return Err(VolumeError::TooMany { count: volumes.len(), most: MOST });
    }
    let mut furnished = Furnished::default();
    for (number, volume) in volumes.iter().enumerate() {
        let path = volume.place.as_os_str().as_bytes().to_vec();
        furnished.shared.push(Shared { tag: tag(number), path });
        furnished.open.push(OpenShare { tree: alone(volume)?, read_only: volume.read_only });
    }
    Ok(furnished)
}

/// A volume as a tree of its own.
fn alone(volume: &Volume) -> Result<OwnedFd, VolumeError> {
    let tree = Tree { root: volume.piece(), pieces: &[] };
    runu_sandbox::tree(&tree).map_err(|error| tree_error(volume, error))
}

/// Makes a volume part of an archive.
fn add(archive: &mut Archive, volume: &Volume) -> Result<(), VolumeError> {
    let place = volume.place.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default();
    let ends = place.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    ends.for_each(|end| archive.directory(place.get(..end).unwrap_or_default(), BETWEEN));
    let path = match &volume.content {
        Content::Memory(options) => {
            archive.directory(place, mode(options));
            return Ok(());
        }
        Content::Host { path, .. } => path,
    };
    // Neither a pipe that nobody writes to nor a terminal is waited for.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let mut file = opened.map_err(read_error(volume))?;
    let metadata = file.metadata().map_err(read_error(volume))?;
    if metadata.is_dir() {
        return Ok(initrd::add_directory(archive, alone(volume)?.as_fd(), place)?);
    }
    if !metadata.is_file() {
        return Err(read_error(volume)(io::Error::other("neither a directory nor a regular file")));
    }
    Ok(initrd::add_file(archive, &mut file, place)?)
}

/// Permissions of a file system in memory.
fn mode(options: &[(String, String)]) -> u32 {
    let asked = options.iter().rev().find(|(name, _)| name == "mode");
    asked.and_then(|(_, value)| u32::from_str_radix(value, 8).ok()).unwrap_or(OF_MEMORY)
}

#[cfg(test)]
#[path = "furnish_tests.rs"]
mod tests;
