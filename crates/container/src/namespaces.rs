//! Namespaces of a configuration, in the words of the sandbox.

use std::{fs, fs::File, os::fd::OwnedFd, os::unix::fs::MetadataExt, path::Path};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};
use runu_sandbox::{Namespace, Namespaces, TimeNamespace, UserMaps, UserNamespace};

use crate::ContainerError;

/// The namespaces that a configuration asks for.
///
/// A path to a namespace that is our own asks for nothing: whoever may not enter any could not enter that one either.
pub(crate) fn namespaces(spec: &Spec) -> Result<Namespaces, ContainerError> {
    let linux = spec.linux().as_ref();
    let find = |kind| namespace(linux, kind);
    let namespaces = Namespaces {
        user: match find(LinuxNamespaceType::User)? {
            Namespace::Callers => UserNamespace::Callers,
            Namespace::New => UserNamespace::New(user_maps(linux)?),
            Namespace::Joined(descriptor) => UserNamespace::Joined(descriptor),
        },
        pid: find(LinuxNamespaceType::Pid)?,
        network: find(LinuxNamespaceType::Network)?,
        ipc: find(LinuxNamespaceType::Ipc)?,
        uts: find(LinuxNamespaceType::Uts)?,
        cgroup: find(LinuxNamespaceType::Cgroup)?,
        time: match find(LinuxNamespaceType::Time)? {
            Namespace::Callers => TimeNamespace::Callers,
            Namespace::New => TimeNamespace::New(time_offsets(linux)?),
            Namespace::Joined(descriptor) => TimeNamespace::Joined(descriptor),
        },
        mount: match find(LinuxNamespaceType::Mount)? {
            Namespace::Joined(descriptor) => Some(descriptor),
            Namespace::New | Namespace::Callers => None,
        },
    };
    check_names(spec, &namespaces)?;
    Ok(namespaces)
}

/// Refuses names for a host that is not the container's own, as runc does.
fn check_names(spec: &Spec, namespaces: &Namespaces) -> Result<(), ContainerError> {
    let given = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    if !matches!(namespaces.uts, Namespace::Callers) {
        return Ok(());
    }
    if given(spec.hostname()) {
        return Err(ContainerError::Usage("unable to set hostname without a private UTS namespace"));
    }
    if given(spec.domainname()) {
        return Err(ContainerError::Usage("unable to set domainname without a private UTS namespace"));
    }
    Ok(())
}

fn namespace(linux: Option<&Linux>, kind: LinuxNamespaceType) -> Result<Namespace, ContainerError> {
    let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let listed: Vec<_> = listed.filter(|namespace| namespace.typ() == kind).collect();
    match listed.as_slice() {
        [] => Ok(Namespace::Callers),
        [one] => match one.path().as_deref().filter(|path| *path != Path::new("")) {
            None => Ok(Namespace::New),
            Some(path) => existing(path, kind),
        },
        _ => Err(ContainerError::Usage("a kind of namespace is listed twice")),
    }
}

/// The namespace at `path`, if that is not our own.
fn existing(path: &Path, kind: LinuxNamespaceType) -> Result<Namespace, ContainerError> {
    let read = |source| ContainerError::Read { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(read)?;
    let theirs = file.metadata().map_err(read)?;
    // Its name in /proc is the one that the specification has for it, but for two.
    let own = fs::metadata(format!("/proc/self/ns/{kind}"));
    match own.is_ok_and(|own| (own.dev(), own.ino()) == (theirs.dev(), theirs.ino())) {
        true => Ok(Namespace::Callers),
        false => Ok(Namespace::Joined(OwnedFd::from(file))),
    }
}

/// The maps, and for the guest process a user that owns nothing if the maps have one.
fn user_maps(linux: Option<&Linux>) -> Result<UserMaps, ContainerError> {
    const NOBODY: u32 = 65534;
    let (uids, gids) =
        linux.map_or((None, None), |linux| (linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref()));
    let (uids, gids) = match (uids, gids) {
        (Some(uids), Some(gids)) if !uids.is_empty() && !gids.is_empty() => (uids, gids),
        _ => return Err(ContainerError::Missing("linux.uidMappings")),
    };
    let member = |maps: &[LinuxIdMapping]| {
        let nobody = maps
            .iter()
            .any(|map| NOBODY.checked_sub(map.container_id()).is_some_and(|offset| offset < map.size()));
        if nobody { NOBODY } else { maps.first().map_or(0, |map| map.container_id()) }
    };
    Ok(UserMaps { uid_map: lines(uids), gid_map: lines(gids), uid: member(uids), gid: member(gids) })
}

fn lines(maps: &[LinuxIdMapping]) -> String {
    maps.iter().map(|map| format!("{} {} {}\n", map.container_id(), map.host_id(), map.size())).collect()
}

/// Offsets of the clocks, as the kernel takes them.
fn time_offsets(linux: Option<&Linux>) -> Result<String, ContainerError> {
    let offsets = linux.and_then(|linux| linux.time_offsets().as_ref()).into_iter().flatten();
    offsets
        .map(|(clock, offset)| match clock.as_str() {
            "monotonic" | "boottime" => Ok(format!(
                "{clock} {} {}\n",
                offset.secs().unwrap_or_default(),
                offset.nanosecs().unwrap_or_default()
            )),
            _ => Err(ContainerError::Usage("only the clocks `monotonic` and `boottime` have offsets")),
        })
        .collect()
}
