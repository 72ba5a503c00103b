//! Which hierarchies of control groups this host has, and where.

use std::{fs, path::PathBuf, sync::OnceLock};

/// The two kinds of hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// One for a controller, or for a few (version 1).
    Separate,
    /// One for all (version 2).
    Unified,
}

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Which kind.
    pub(crate) version: Version,
    /// Its controllers; none for one that only names groups, nor for that of version 2, where each group has its own.
    pub(crate) controllers: Vec<String>,
    /// Where.
    pub(crate) mount: PathBuf,
}

/// Those in which containers have groups: all of version 1; that of version 2 only where version 1 does not exist, as a
/// hybrid host has nothing but names in it. Looked for once: whoever uses this does not mount any.
pub(crate) fn hierarchies() -> &'static [Hierarchy] {
    static FOUND: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    FOUND.get_or_init(find)
}

fn find() -> Vec<Hierarchy> {
    let mut found = parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    if found.iter().any(|hierarchy| hierarchy.version == Version::Separate) {
        found.retain(|hierarchy| hierarchy.version == Version::Separate);
        // The group that everything is asked of comes first.
        found.sort_by_key(|hierarchy| !hierarchy.controllers.iter().any(|name| name == "memory"));
        return found;
    }
    found
}

/// What a mount of version 1 has among its options besides controllers (cgroups(7); Documentation/filesystems/sharedsubtree).
const NO_CONTROLLERS: &[&str] =
    &["rw", "ro", "clone_children", "noprefix", "release_agent", "xattr", "all", "none", "cpuset_v2_mode"];

/// Reads lines of /proc/PID/mountinfo (proc(5)).
fn parse(text: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in text.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let Some(mount) = left.split(' ').nth(4) else { continue };
        let mut right = right.split(' ');
        let (Some(kind), _, Some(options)) = (right.next(), right.next(), right.next()) else { continue };
        let version = match kind {
            "cgroup" => Version::Separate,
            "cgroup2" => Version::Unified,
            _ => continue,
        };
        let controllers: Vec<String> = match version {
            Version::Separate => options
                .split(',')
                .filter(|option| !NO_CONTROLLERS.contains(option) && !option.starts_with("name="))
                .filter(|option| !option.contains('='))
                .map(str::to_owned)
                .collect(),
            Version::Unified => Vec::new(),
        };
        let known = found.iter().any(|other| {
            other.version == version && (version == Version::Unified || other.controllers == controllers)
        });
        if !known {
            found.push(Hierarchy { version, controllers, mount: PathBuf::from(mount) });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[test]
    fn hierarchies_of_a_hybrid_host_are_told_apart() {
        let found = parse(HYBRID);
        let mounts: Vec<_> = found.iter().map(|h| (h.version, h.controllers.join("+"))).collect();
        let separate = Version::Separate;
        assert_eq!(
            mounts,
            [
                (separate, "cpu+cpuacct".to_owned()),
                (separate, "memory".to_owned()),
                (separate, String::new()),
                (Version::Unified, String::new()),
            ]
        );
    }

    #[test]
    fn hierarchies_in_malformed_text_are_none() {
        assert_eq!(parse("\n - \n1 2 3 - cgroup\nx - cgroup2 y z\n"), []);
    }
}
