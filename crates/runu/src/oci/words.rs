//! Which word of a call names the container, for verbs whose other words are the runtime's of ordinary containers to know.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use runu_container::{ContainerId, Owner, Root};

/// A verb that only ordinary containers have, with those of its flags that can have a value in the next word.
pub(crate) struct Foreign {
    /// The verb.
    pub(crate) name: &'static str,
    /// Why a unikernel cannot do it.
    pub(crate) why: &'static str,
    with_value: &'static [&'static str],
}

/// `exec` (runc 1.3, exec.go).
pub(crate) const EXEC: Foreign = Foreign {
    name: "exec",
    why: "it is one program and runs no other",
    with_value: &[
        "--console-socket",
        "--pidfd-socket",
        "--cwd",
        "--env",
        "-e",
        "--user",
        "-u",
        "--additional-gids",
        "-g",
        "--process",
        "-p",
        "--pid-file",
        "--process-label",
        "--apparmor",
        "--cap",
        "-c",
        "--preserve-fds",
        "--cgroup",
    ],
};

/// `checkpoint` (runc 1.3, checkpoint.go).
pub(crate) const CHECKPOINT: Foreign = Foreign {
    name: "checkpoint",
    why: "its memory cannot be saved",
    with_value: &[
        "--image-path",
        "--work-path",
        "--parent-path",
        "--status-fd",
        "--page-server",
        "--manage-cgroups-mode",
        "--empty-ns",
    ],
};

/// `restore` (runc 1.3, restore.go).
pub(crate) const RESTORE: Foreign = Foreign {
    name: "restore",
    why: "its memory cannot have been saved",
    with_value: &[
        "--console-socket",
        "--image-path",
        "--work-path",
        "--manage-cgroups-mode",
        "--bundle",
        "-b",
        "--pid-file",
        "--empty-ns",
        "--lsm-profile",
        "--lsm-mount-context",
    ],
};

/// Whom a call is about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A container of that owner.
    Container(Owner),
    /// A container that does not exist.
    Nobody(ContainerId),
    /// No word can name a container.
    Nothing,
}

impl Foreign {
    /// Whom the words behind the verb are about.
    pub(crate) fn about(&self, words: &[OsString], root: &Root) -> About {
        let named = |word: &OsString| ContainerId::new(word.to_str()?).ok();
        let Some(id) = self.first_word(words).and_then(named) else { return About::Nothing };
        // A flag that is newer than our table may have its value where we looked for the container.
        let behind = || words.iter().filter_map(named).find_map(|id| root.owner(&id));
        match root.owner(&id).or_else(behind) {
            Some(owner) => About::Container(owner),
            None => About::Nobody(id),
        }
    }

    /// The first word that is neither a flag nor a flag's value.
    fn first_word<'a>(&self, words: &'a [OsString]) -> Option<&'a OsString> {
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == OsStr::new("--") {
                return rest.next();
            }
            if !word.as_encoded_bytes().starts_with(b"-") {
                return Some(word);
            }
            if self.with_value.iter().any(|flag| word == OsStr::new(flag)) {
                rest.next();
            }
        }
        None
    }

    /// The bundle that the words name, the current folder if none.
    pub(crate) fn bundle<'a>(&self, words: &'a [OsString]) -> &'a Path {
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            if word == OsStr::new("--bundle") || word == OsStr::new("-b") {
                return rest.next().map_or(Path::new("."), Path::new);
            }
            let joined = word.to_str().and_then(|word| word.strip_prefix("--bundle="));
            if let Some(path) = joined {
                return Path::new(path);
            }
        }
        Path::new(".")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    fn root() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("unikernels/uni")).unwrap();
        fs::create_dir_all(folder.path().join("containers/box")).unwrap();
        let root = Root::new(folder.path().to_path_buf());
        (folder, root)
    }

    #[test]
    fn word_of_the_command_that_names_a_unikernel_is_no_container() {
        let (_folder, root) = root();
        for text in ["box echo uni", "--cwd / -e A=b --tty box uni", "--detach -- box uni"] {
            assert_eq!(EXEC.about(&words(text), &root), About::Container(Owner::Ordinary), "{text}");
        }
    }

    #[test]
    fn unikernel_is_found_behind_the_flags_of_a_shim() {
        let (_folder, root) = root();
        for text in ["--process /tmp/p --detach --pid-file /x/box uni", "--newer value uni"] {
            assert_eq!(EXEC.about(&words(text), &root), About::Container(Owner::Unikernel), "{text}");
        }
    }

    #[test]
    fn container_that_nobody_has_is_named() {
        let (_folder, root) = root();
        let about = CHECKPOINT.about(&words("--image-path uni-2 none"), &root);
        assert_eq!(about, About::Nobody(ContainerId::new("none").unwrap()));
        assert_eq!(EXEC.about(&words("--detach"), &root), About::Nothing);
    }

    #[test]
    fn bundle_of_a_restore_is_found() {
        assert_eq!(RESTORE.bundle(&words("--detach -b /b id")), Path::new("/b"));
        assert_eq!(RESTORE.bundle(&words("--bundle=/b id")), Path::new("/b"));
        assert_eq!(RESTORE.bundle(&words("id")), Path::new("."));
    }
}
