//! Mounts of a bundle, as far as a unikernel is concerned: which of them are volumes of its guest's, and who serves those.

use std::path::Path;

use oci_spec::runtime::{Capability, Linux, LinuxIdMapping, Mount, Process};
use runu_sandbox::Account;
use runu_volumes::{Content, Volume};

use crate::{Bundle, ContainerError, Convention, rootfs::RootFs};

/// Options that say nothing about what is in a file system, or hold for every volume (mount(8)).
const WITHOUT_MEANING: &[&str] = &[
    "rw",
    "ro",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "diratime",
    "nodiratime",
    "lazytime",
    "nolazytime",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "defaults",
    "symfollow",
    "private",
    "rprivate",
    "slave",
    "rslave",
    "shared",
    "rshared",
    "unbindable",
    "runbindable",
    "notmpcopyup",
];

/// The volumes that a bundle asks for, in order.
///
/// # Errors
/// One of its mounts is something else, or is to be where no guest could be told of it.
pub(crate) fn volumes(bundle: &Bundle) -> Result<Vec<Volume>, ContainerError> {
    let mounts = bundle.spec.mounts().iter().flatten().filter(|mount| !is_ignored(mount));
    let linux = bundle.spec.linux().as_ref();
    mounts
        .map(|mount| {
            check_copies(mount, &bundle.rootfs)?;
            owned(volume(&bundle.path, mount)?, linux)
        })
        .collect()
}

/// Refuses memory into which files of the image are to be copied, unless there are none; podman always says that they are.
fn check_copies(mount: &Mount, rootfs: &Path) -> Result<(), ContainerError> {
    let copies = mount.options().iter().flatten().any(|option| option == "tmpcopyup");
    let has_files = || RootFs::open(rootfs).is_ok_and(|root| !root.has_nothing_at(mount.destination()));
    match copies && !is_of_the_engine(mount, true) && has_files() {
        true => Err(refused(mount, "files of the image cannot be copied into it (option `tmpcopyup`)")),
        false => Ok(()),
    }
}

/// Whether a mount means nothing to a unikernel: views of the host's kernel, which engines add to every container.
fn is_ignored(mount: &Mount) -> bool {
    const KINDS: &[&str] = &["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts"];
    mount.typ().as_deref().is_some_and(|kind| KINDS.contains(&kind))
        || ["/dev", "/proc", "/sys"].iter().any(|tree| mount.destination().starts_with(tree))
}

/// Whether engines add such a mount by themselves, so that nobody misses it who did not ask for it: a file or directory of
/// theirs, or, as podman does for read-only containers, memory where programs expect it.
fn is_of_the_engine(mount: &Mount, is_memory: bool) -> bool {
    const FILES: &[&str] = &[
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/hostname",
        "/run/.containerenv",
        "/.dockerenv",
        "/run/secrets",
        "/sbin/docker-init",
        "/run/podman-init",
    ];
    const MEMORY: &[&str] = &["/run", "/tmp", "/var/tmp"];
    let places = if is_memory { MEMORY } else { FILES };
    places.iter().any(|place| mount.destination() == Path::new(place))
}

fn volume(bundle: &Path, mount: &Mount) -> Result<Volume, ContainerError> {
    let options = mount.options().as_deref().unwrap_or_default();
    let has = |name: &str| options.iter().any(|option| option == name);
    let kind = mount.typ().as_deref();
    let is_bind = has("bind") || has("rbind") || kind == Some("bind");
    let is_memory = !is_bind && kind == Some("tmpfs");
    let content = match (is_bind, is_memory) {
        (true, _) => {
            let path = bundle.join(mount.source().clone().unwrap_or_default());
            Content::Host { path, whole: has("rbind") }
        }
        (_, true) => Content::Memory(memory_options(options)),
        _ => return Err(refused(mount, "it is neither of the host nor in memory")),
    };
    if options.iter().any(|option| option.contains("idmap")) || mount.uid_mappings().is_some() {
        return Err(refused(mount, "its users cannot be mapped to others"));
    }
    // The last one counts (mount(8)).
    let access = options.iter().rev().find(|option| ["ro", "rw"].contains(&option.as_str()));
    let read_only = access.is_some_and(|access| access == "ro");
    let mut volume = Volume::new(mount.destination().clone(), content, read_only)?;
    volume.optional = is_of_the_engine(mount, is_memory);
    Ok(volume)
}

/// Those options of a file system in memory that are its own.
fn memory_options(options: &[String]) -> Vec<(String, String)> {
    let own = options.iter().filter(|option| !WITHOUT_MEANING.contains(&option.as_str()));
    let split = |option: &String| {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        (name.to_owned(), value.to_owned())
    };
    own.filter(|option| *option != "tmpcopyup").map(split).collect()
}

/// The same, with who owns it told by numbers outside of the container's user namespace, where it is made.
fn owned(mut volume: Volume, linux: Option<&Linux>) -> Result<Volume, ContainerError> {
    let Content::Memory(options) = &mut volume.content else { return Ok(volume) };
    let maps = [
        ("uid", linux.and_then(|linux| linux.uid_mappings().as_ref())),
        ("gid", linux.and_then(|linux| linux.gid_mappings().as_ref())),
    ];
    for (name, map) in
        maps.into_iter().filter_map(|(name, map)| Some((name, map.filter(|map| !map.is_empty())?)))
    {
        let asked = options.iter().rev().find(|(option, _)| option == name).map(|(_, value)| value.as_str());
        let outside = asked.unwrap_or("0").parse().ok().and_then(|inside| outside(map, inside));
        let Some(outside) = outside else {
            let what = format!("the option `{name}` of the volume `{}`", volume.place().display());
            return Err(ContainerError::Unsupported { what, why: "nobody has that number in the container" });
        };
        options.retain(|(option, _)| option != name);
        options.push((name.to_owned(), outside.to_string()));
    }
    Ok(volume)
}

/// The number outside of a user namespace for one inside.
fn outside(map: &[LinuxIdMapping], inside: u32) -> Option<u32> {
    map.iter().find_map(|line| {
        let offset = inside.checked_sub(line.container_id()).filter(|offset| *offset < line.size())?;
        line.host_id().checked_add(offset)
    })
}

fn refused(mount: &Mount, why: &'static str) -> ContainerError {
    ContainerError::Unsupported { what: format!("the volume `{}`", mount.destination().display()), why }
}

/// What engines put into every container, and image tools beside a kernel.
const NOT_OF_THE_IMAGE: &[&[u8]] = &[
    b"dev",
    b"proc",
    b"sys",
    b"unikraft",
    b"urunc.json",
    b".dockerenv",
    b"run/.containerenv",
    b"etc/hosts",
    b"etc/hostname",
    b"etc/resolv.conf",
    b"etc/mtab",
];

/// The kernel of an image whose other files are the guest's: one in kraft's or urunc's place, for an image whose program
/// is a kernel may hold all sorts of things.
pub(crate) fn kernel_among_files(convention: &Convention) -> Option<&[u8]> {
    use std::os::unix::ffi::OsStrExt;
    let (Convention::Kraft { kernel } | Convention::Urunc { kernel, .. }) = convention else { return None };
    let kernel = kernel.as_os_str().as_bytes();
    Some(kernel.strip_prefix(b"/").unwrap_or(kernel))
}

/// Whether the file at that path of an image, without the first `/`, is none of the guest's when they become an initrd.
pub(crate) fn is_left_out(path: &[u8], kernel: &[u8]) -> bool {
    path == kernel || NOT_OF_THE_IMAGE.contains(&path)
}

/// Who serves volumes: the container's user, with what of its capabilities is about files. As whom a guest's program wants
/// to read and write is nothing that its kernel tells.
pub(crate) fn account(process: &Process) -> Account {
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

    fn in_memory(place: &str, options: &[&str]) -> Result<Volume, ContainerError> {
        volume_of(json!({ "destination": place, "type": "tmpfs", "source": "tmpfs", "options": options }))
    }

    #[test]
    fn last_word_on_access_counts() {
        assert!(!bound(&["rbind"]).unwrap().read_only);
        assert!(bound(&["rbind", "rw", "ro"]).unwrap().read_only);
        assert!(!bound(&["ro", "bind", "rw"]).unwrap().read_only);
    }

    #[test]
    fn mounts_below_come_along_only_if_asked_for() {
        for (options, expected) in [(["rbind"], true), (["bind"], false)] {
            let content = bound(&options).unwrap().content;
            assert!(matches!(content, Content::Host { whole, .. } if whole == expected));
        }
    }

    #[test]
    fn source_is_found_from_the_bundle() {
        let volume = volume_of(json!({ "destination": "/data", "source": "../srv", "options": ["bind"] }));
        let content = volume.unwrap().content;
        assert!(matches!(content, Content::Host { path, .. } if path == Path::new("/bundle/../srv")));
    }

    #[test]
    fn memory_keeps_the_options_that_are_its_own() {
        let volume = in_memory("/data", &["noexec", "size=64k", "nosuid", "mode=1770", "rprivate"]).unwrap();
        let own = [("size".to_owned(), "64k".to_owned()), ("mode".to_owned(), "1770".to_owned())];
        assert_eq!(volume.content, Content::Memory(own.to_vec()));
    }

    #[test]
    fn memory_that_would_begin_with_files_of_the_image_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("full/file")).unwrap();
        std::fs::create_dir(root.path().join("empty")).unwrap();
        let mount = |place: &str, options: &[&str]| -> Mount {
            let mount = json!({ "destination": place, "type": "tmpfs", "options": options });
            serde_json::from_value(mount).unwrap()
        };
        for place in ["/none", "/empty"] {
            assert!(check_copies(&mount(place, &["tmpcopyup"]), root.path()).is_ok(), "{place}");
        }
        assert!(check_copies(&mount("/full", &["tmpcopyup"]), root.path()).is_err());
        assert!(check_copies(&mount("/full", &["nosuid"]), root.path()).is_ok());
    }

    #[test]
    fn memory_belongs_to_the_user_outside_who_is_its_owner_inside() {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
        let linux: Linux = serde_json::from_value(json!({ "uidMappings": map, "gidMappings": map })).unwrap();
        let owner = |options: &[&str]| match owned(in_memory("/data", options)?, Some(&linux))?.content {
            Content::Memory(options) => Ok(options.into_iter().map(|(_, number)| number).collect::<Vec<_>>()),
            Content::Host { .. } => panic!("it is in memory"),
        };
        assert_eq!(owner(&[]).unwrap(), ["100000", "100000"]);
        assert_eq!(owner(&["uid=7", "gid=999"]).unwrap(), ["100007", "100999"]);
        for options in ["uid=1000", "gid=-1", "uid=root"] {
            assert!(matches!(owner(&[options]), Err(ContainerError::Unsupported { .. })), "{options}");
        }
    }

    #[test]
    fn what_engines_add_by_themselves_is_optional_and_what_users_ask_for_is_not() {
        assert!(in_memory("/tmp", &["tmpcopyup"]).unwrap().optional);
        assert!(!in_memory("/cache", &[]).unwrap().optional);
        let file = |place: &str| json!({ "destination": place, "type": "bind", "source": "/f", "options": ["bind"] });
        assert!(volume_of(file("/etc/hosts")).unwrap().optional);
        assert!(!volume_of(file("/etc/hosts.allow")).unwrap().optional);
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        for mount in [
            json!({ "destination": "/data", "type": "overlay", "source": "overlay" }),
            json!({ "destination": "/a:b", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/a/../b", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/", "type": "bind", "source": "/srv" }),
            json!({ "destination": "/data", "type": "bind", "source": "/srv", "options": ["idmap"] }),
        ] {
            assert!(volume_of(mount.clone()).is_err(), "{mount}");
        }
    }

    #[test]
    fn kernel_and_what_engines_add_are_left_out_of_an_initrd() {
        let kernel = Convention::Kraft { kernel: "/boot/kernel".into() };
        let kernel = kernel_among_files(&kernel).unwrap();
        for path in ["boot/kernel", "etc/hosts", "dev", "unikraft", ".dockerenv"] {
            assert!(is_left_out(path.as_bytes(), kernel), "{path}");
        }
        assert!(!is_left_out(b"boot", kernel) && !is_left_out(b"etc", kernel));
        assert_eq!(kernel_among_files(&Convention::Program), None);
    }
}
