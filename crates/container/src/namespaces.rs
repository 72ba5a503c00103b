//! Namespaces of a configuration, in the words of the sandbox.

use std::{fs::File, path::Path};

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};
use runu_sandbox::{Namespace, Namespaces, UserMaps};

use crate::ContainerError;

/// The namespaces, and the maps of the user namespace if there is to be one.
pub(crate) fn namespaces(spec: &Spec) -> Result<(Namespaces, Option<UserMaps>), ContainerError> {
    let linux = spec.linux().as_ref();
    let find = |kind| namespace(linux, kind);
    let namespaces = Namespaces {
        pid: find(LinuxNamespaceType::Pid)?,
        network: find(LinuxNamespaceType::Network)?,
        ipc: find(LinuxNamespaceType::Ipc)?,
        uts: find(LinuxNamespaceType::Uts)?,
        cgroup: find(LinuxNamespaceType::Cgroup)?,
    };
    let maps = match find(LinuxNamespaceType::User)? {
        Namespace::Callers => None,
        Namespace::New => Some(user_maps(linux)?),
        Namespace::Joined(_) => {
            return Err(ContainerError::Unsupported {
                what: "joining a user namespace".to_owned(),
                why: "its sandbox makes its own",
            });
        }
    };
    Ok((namespaces, maps))
}

fn namespace(linux: Option<&Linux>, kind: LinuxNamespaceType) -> Result<Namespace, ContainerError> {
    let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    match listed.into_iter().find(|namespace| namespace.typ() == kind) {
        None => Ok(Namespace::Callers),
        Some(found) => match found.path().as_deref().filter(|path| *path != Path::new("")) {
            None => Ok(Namespace::New),
            Some(path) => match File::open(path) {
                Ok(file) => Ok(Namespace::Joined(file.into())),
                Err(source) => Err(ContainerError::Read { path: path.to_path_buf(), source }),
            },
        },
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
