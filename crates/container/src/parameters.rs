//! Kernel parameters of a configuration (`linux.sysctl`), in the words of the sandbox.
//!
//! Only those of a namespace that the container has to itself are set, by the rule of runc
//! (libcontainer/configs/validate, `sysctl`): everything else would be set for the host. A guest does not see them. They
//! are for what else joins the container's namespaces, as the other containers of a pod do.

use std::{fs, os::unix::fs::MetadataExt};

use oci_spec::runtime::Spec;
use runu_sandbox::{Namespace, Namespaces, Parameter};
use rustix::fs::fstat;

use crate::ContainerError;

/// Parameters that docker adds to every container with a network of its own. A host whose kernel lacks one must not keep
/// such containers from running.
const DOCKERS: [&str; 2] = ["net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range"];

/// Parameters of an IPC namespace (ipc_namespaces(7)).
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// The parameters that a configuration asks for, in the order of their names.
pub(crate) fn parameters(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<Parameter>, ContainerError> {
    let asked = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref()).into_iter().flatten();
    let mut parameters = Vec::new();
    for (name, value) in asked {
        let refuse = |why| ContainerError::Parameter { name: name.clone(), why };
        let path = path(name).ok_or_else(|| refuse("it is no name of a parameter"))?;
        check_place(&path, namespaces).map_err(refuse)?;
        let optional = DOCKERS.contains(&path.as_str());
        parameters.push(Parameter { path, value: value.clone(), optional });
    }
    parameters.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(parameters)
}

/// The file of a parameter below /proc/sys. Parts are separated by dots, or by slashes where the first separator is one;
/// then a dot is part of a name, as of a network interface's (sysctl(8)).
fn path(name: &str) -> Option<String> {
    let separator = name.find(['.', '/']).and_then(|at| name.get(at..at + 1))?;
    let parts: Vec<&str> = name.split(separator).collect();
    let other = if separator == "." { "/" } else { "." };
    // The other one stands for the separator inside of a part.
    let parts: Vec<String> = parts.iter().map(|part| part.replace(other, ".")).collect();
    let is_name =
        |part: &String| !matches!(part.as_str(), "" | "." | "..") && !part.contains(|c: char| c.is_control());
    parts.iter().all(is_name).then(|| parts.join("/"))
}

/// Whether a parameter is one of a namespace that the container has to itself, or why not.
fn check_place(path: &str, namespaces: &Namespaces) -> Result<(), &'static str> {
    if path.starts_with("net/") {
        return match is_own(&namespaces.network, "net") {
            true => Ok(()),
            false => Err("it is not allowed in the host's network namespace"),
        };
    }
    if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return match is_own(&namespaces.ipc, "ipc") {
            true => Ok(()),
            false => Err("it is not allowed in the host's IPC namespace"),
        };
    }
    match path {
        "kernel/domainname" if is_own(&namespaces.uts, "uts") => Ok(()),
        "kernel/domainname" => Err("it is not allowed in the host's UTS namespace"),
        "kernel/hostname" => Err("it conflicts with the configuration's `hostname`"),
        _ => Err("it is not in a separate kernel namespace"),
    }
}

/// Whether a namespace is not that of the host's first process.
fn is_own(namespace: &Namespace, kind: &str) -> bool {
    match namespace {
        Namespace::New => true,
        Namespace::Callers => false,
        Namespace::Joined(descriptor) => {
            let hosts = fs::metadata(format!("/proc/1/ns/{kind}"));
            // Who may not look at the host's cannot set its parameters either.
            fstat(descriptor).is_ok_and(|theirs| hosts.map_or(true, |hosts| hosts.ino() != theirs.st_ino))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_dots_or_slashes_is_a_path() {
        for (name, expected) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.100/forwarding", "net/ipv4/conf/eth0.100/forwarding"),
            ("net.ipv4.conf.eth0/100.forwarding", "net/ipv4/conf/eth0.100/forwarding"),
        ] {
            assert_eq!(path(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn name_that_leaves_its_place_is_none() {
        for name in [
            "",
            "net",
            ".",
            "/",
            "..",
            "net..x",
            "net.",
            "/net/x",
            "net/../kernel/core_pattern",
            "net.//.kernel",
            "net/./x",
            "net.a\nb",
            "net.a\0",
        ] {
            assert_eq!(path(name), None, "{name:?}");
        }
    }

    #[test]
    fn parameter_of_the_host_is_refused() {
        let hosts = Namespaces {
            network: Namespace::Callers,
            ipc: Namespace::Callers,
            uts: Namespace::Callers,
            ..Namespaces::default()
        };
        for path in ["net/ipv4/ip_forward", "kernel/shmmax", "fs/mqueue/msg_max", "kernel/domainname"] {
            assert!(check_place(path, &hosts).is_err(), "{path}");
            assert_eq!(check_place(path, &Namespaces::default()), Ok(()), "{path}");
        }
        for path in ["vm/swappiness", "kernel/core_pattern", "kernel/hostname", "kernel/shm"] {
            assert!(check_place(path, &Namespaces::default()).is_err(), "{path}");
        }
    }
}
