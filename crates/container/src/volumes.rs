//! Volumes: directories of the host that a unikernel's container is to have.
//!
//! A guest with a 9p file system shares them through a process of their own, which holds nothing else of the host
//! (runu_files); everything is opened here, at `create`, so that what is served is what was asked for.

use std::{
    ffi::CStr,
    fs::File,
    os::{
        fd::{OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Mount, Process};
use runu_core::{Bytes, Share};
use runu_guest::{Guest, Shared};
use runu_sandbox::Account;
use rustix::{
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType},
};

use crate::{
    Bundle, ContainerError, FileServer,
    initrd::{self, Initrd, InitrdError},
    mounts::is_ignored,
};

/// How many volumes a container can have at most: as many as the guest's process has numbers for.
const MOST: usize = 8;

/// A directory of the host and where it is to be in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    source: PathBuf,
    destination: PathBuf,
    read_only: bool,
    /// Whether mounts below the directory are to be there too.
    whole: bool,
}

/// An open volume.
#[derive(Debug)]
pub(crate) struct OpenVolume {
    destination: PathBuf,
    directory: OwnedFd,
    read_only: bool,
}

/// The volumes that a bundle asks for, in order.
///
/// # Errors
/// One of its mounts is something else, or is to be where no guest could be told of it.
pub(crate) fn volumes(bundle: &Bundle) -> Result<Vec<Volume>, ContainerError> {
    let mounts = bundle.spec.mounts().iter().flatten().filter(|mount| !is_ignored(mount));
    let volumes: Vec<Volume> = mounts.map(|mount| volume(&bundle.path, mount)).collect::<Result<_, _>>()?;
    match volumes.get(MOST) {
        None => Ok(volumes),
        Some(volume) => Err(refused(volume, "there can be eight volumes at most")),
    }
}

fn volume(bundle: &Path, mount: &Mount) -> Result<Volume, ContainerError> {
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option == name);
    let volume = Volume {
        source: bundle.join(mount.source().clone().unwrap_or_default()),
        destination: mount.destination().clone(),
        // The last one counts (mount(8)).
        read_only: options.iter().rev().find(|option| ["ro", "rw"].contains(&option.as_str()))
            == Some(&"ro".to_owned()),
        whole: has("rbind"),
    };
    let is_bind = has("bind") || has("rbind") || mount.typ().as_deref() == Some("bind");
    if !is_bind {
        return Err(refused(&volume, "it is no directory of the host"));
    }
    if options.iter().any(|option| option.contains("idmap")) || mount.uid_mappings().is_some() {
        return Err(refused(&volume, "its users cannot be mapped to others"));
    }
    if !runu_guest::is_mount_point(volume.destination.as_os_str().as_bytes()) {
        return Err(refused(&volume, "no kernel can be told of a place like that"));
    }
    Ok(volume)
}

/// How a guest gets its volumes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It shares them, and is told of them so.
    Shared(Vec<Shared>),
    /// They become part of its initrd.
    Unpacked,
}

impl Way {
    /// What the guest shares.
    pub(crate) fn shared(self) -> Vec<Shared> {
        match self {
            Way::Shared(shared) => shared,
            Way::Unpacked => Vec::new(),
        }
    }
}

/// How `guest` gets its volumes: what it can share it shares; what it may only read, and cannot share, becomes part of its
/// initrd.
///
/// # Errors
/// Neither can be.
pub(crate) fn way(guest: &Guest, volumes: &[Volume]) -> Result<Way, ContainerError> {
    if let (Some(first), Some(why)) = (volumes.first(), runu_guest::share_obstacle(guest)) {
        let unpacks = runu_guest::unpacks_initrd(guest);
        let written = volumes.iter().find(|volume| !volume.read_only);
        return match written {
            None if unpacks => Ok(Way::Unpacked),
            volume => {
                let path = volume.unwrap_or(first).destination.clone();
                Err(ContainerError::NoVolume { path, why, if_read_only: unpacks })
            }
        };
    }
    let path = |volume: &Volume| volume.destination.as_os_str().as_bytes().to_vec();
    let shared = (0..).zip(volumes).map(|(n, volume)| Shared { tag: tag(n), path: path(volume) });
    Ok(Way::Shared(shared.collect()))
}

/// By which a guest finds volume `number`: as kraft calls them.
fn tag(number: usize) -> String {
    format!("fs{number}")
}

/// The shared directories of a plan.
pub(crate) fn shares(shared: &[Shared]) -> Vec<Share> {
    shared.iter().map(|shared| Share { tag: shared.tag.clone() }).collect()
}

/// Opens volumes.
///
/// # Errors
/// There is no such directory, or it is a file.
pub(crate) fn open(volumes: &[Volume]) -> Result<Vec<OpenVolume>, ContainerError> {
    let open = |volume: &Volume| {
        let Volume { source, destination, read_only, whole } = volume;
        match runu_sandbox::directory(source, *read_only, *whole) {
            Ok(directory) => {
                Ok(OpenVolume { destination: destination.clone(), directory, read_only: *read_only })
            }
            Err(Errno::NOTDIR) => Err(refused(volume, "it is a file, and guests share directories")),
            Err(errno) => Err(ContainerError::Volume { path: source.clone(), source: errno }),
        }
    };
    volumes.iter().map(open).collect()
}

fn refused(volume: &Volume, why: &'static str) -> ContainerError {
    ContainerError::Unsupported { what: format!("the volume `{}`", volume.destination.display()), why }
}

/// The initrd of a guest with volumes, and those of them that are still to be served.
///
/// # Errors
/// The image's initrd is none that could be continued, or a volume is too much.
pub(crate) fn initrd(
    guest: &Guest,
    way: &Way,
    given: Option<File>,
    volumes: Vec<OpenVolume>,
) -> Result<(Option<Initrd>, Vec<OpenVolume>), ContainerError> {
    let wrong = |error: InitrdError| ContainerError::Initrd(error.into());
    let sized = |file: File| Ok::<_, InitrdError>((Bytes(file.metadata()?.len()), file));
    match way {
        Way::Unpacked => {
            let directories: Vec<_> =
                volumes.iter().map(|volume| (volume.destination.as_path(), &volume.directory)).collect();
            let made = initrd::with_directories(given, &directories).map_err(wrong)?;
            Ok((Some(made), Vec::new()))
        }
        // Without a root file system there is no place to mount anything at: an empty one is made of an empty initrd.
        Way::Shared(shared) if given.is_none() && !shared.is_empty() && runu_guest::unpacks_initrd(guest) => {
            Ok((Some(initrd::with_directories(None, &[]).map_err(wrong)?), volumes))
        }
        Way::Shared(_) => {
            let given = given.map(sized).transpose().map_err(wrong)?;
            Ok((given.map(|(size, file)| (file, size)), volumes))
        }
    }
}

/// What the process that serves volumes is given, and what the guest's process is.
pub(crate) struct Served {
    /// Arguments of the serving process.
    pub(crate) argv: Vec<&'static CStr>,
    /// Its descriptors.
    pub(crate) theirs: Vec<(OwnedFd, RawFd)>,
    /// Those of the guest's process.
    pub(crate) guests: Vec<(OwnedFd, RawFd)>,
}

impl Served {
    /// Connects both; the guest's process has its first socket at `first`.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub(crate) fn new(volumes: Vec<OpenVolume>, files: &FileServer, first: RawFd) -> Result<Self, Errno> {
        let mut served = Served { argv: vec![files.name], theirs: Vec::new(), guests: Vec::new() };
        let (mut their_next, guests_numbers) = (files.first, first..);
        for (OpenVolume { directory, read_only, .. }, guests_number) in
            volumes.into_iter().zip(guests_numbers)
        {
            let (ours, theirs) =
                rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            served.argv.push(if read_only { files.read_only } else { files.read_write });
            served.theirs.extend([(theirs, their_next), (directory, their_next + 1)]);
            served.guests.push((ours, guests_number));
            their_next += 2;
        }
        Ok(served)
    }
}

/// Who serves volumes: the container's user, with what of its capabilities is about files. As whom a guest's program wants
/// to read and write is nothing that its kernel tells.
pub(crate) fn account(process: &Process) -> Account {
    use oci_spec::runtime::Capability;
    // Their numbers: linux/capability.h.
    const OF_FILES: [(Capability, u32); 5] = [
        (Capability::Chown, 0),
        (Capability::DacOverride, 1),
        (Capability::DacReadSearch, 2),
        (Capability::Fowner, 3),
        (Capability::Fsetid, 4),
    ];
    let user = process.user();
    let held = process.capabilities().as_ref().and_then(|sets| sets.effective().as_ref());
    let has = |capability| held.is_some_and(|held| held.contains(capability));
    Account {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        capabilities: OF_FILES.iter().filter(|(capability, _)| has(capability)).map(|(_, n)| *n).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume_of(mount: Value) -> Result<Volume, ContainerError> {
        let mount: Mount = serde_json::from_value(mount).unwrap();
        volume(Path::new("/bundle"), &mount)
    }

    fn bound(options: &[&str]) -> Result<Volume, ContainerError> {
        volume_of(json!({ "destination": "/data", "type": "bind", "source": "/srv", "options": options }))
    }

    fn guest(name: &str) -> Guest {
        let path = runu_guests::Guest::named(name).unwrap().linux64_path();
        runu_guest::detect(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn last_word_on_access_counts() {
        assert!(!bound(&["rbind"]).unwrap().read_only);
        assert!(bound(&["rbind", "rw", "ro"]).unwrap().read_only);
        assert!(!bound(&["ro", "bind", "rw"]).unwrap().read_only);
    }

    #[test]
    fn mounts_below_come_along_only_if_asked_for() {
        assert!(bound(&["rbind"]).unwrap().whole && !bound(&["bind"]).unwrap().whole);
    }

    #[test]
    fn source_is_found_from_the_bundle() {
        let volume = volume_of(json!({ "destination": "/data", "source": "../srv", "options": ["bind"] }));
        assert_eq!(volume.unwrap().source, Path::new("/bundle/../srv"));
    }

    #[test]
    fn what_is_no_directory_at_a_place_that_can_be_told_is_refused() {
        for mount in [
            json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs" }),
            json!({ "destination": "/a:b", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/a/../b", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/data", "type": "bind", "source": "/srv", "options": ["idmap"] }),
        ] {
            assert!(volume_of(mount.clone()).is_err(), "{mount}");
        }
    }

    #[test]
    fn guest_that_shares_is_told_of_each_and_another_gets_none() {
        let volumes = [bound(&["rbind"]).unwrap(), bound(&["rbind", "ro"]).unwrap()];
        let Way::Shared(shared) = way(&guest("share"), &volumes).unwrap() else {
            panic!("it shares");
        };
        let tags: Vec<&str> = shared.iter().map(|shared| shared.tag.as_str()).collect();
        assert_eq!(tags, ["fs0", "fs1"]);
        let refused = way(&guest("hello"), &volumes);
        assert!(matches!(refused, Err(ContainerError::NoVolume { if_read_only: false, .. })));
        assert_eq!(way(&guest("hello"), &[]).unwrap().shared(), []);
    }

    #[test]
    fn server_and_guest_are_given_their_ends_in_order() {
        let directory = || OwnedFd::from(File::open("/").unwrap());
        let open = |read_only| OpenVolume { destination: "/data".into(), directory: directory(), read_only };
        let files = FileServer { name: c"files", read_write: c"rw", read_only: c"ro", first: 3 };
        let served = Served::new(vec![open(false), open(true)], &files, 16).unwrap();
        assert_eq!(served.argv, [c"files", c"rw", c"ro"]);
        let numbers = |given: &[(OwnedFd, RawFd)]| given.iter().map(|(_, n)| *n).collect::<Vec<_>>();
        assert_eq!((numbers(&served.theirs), numbers(&served.guests)), (vec![3, 4, 5, 6], vec![16, 17]));
    }
}
