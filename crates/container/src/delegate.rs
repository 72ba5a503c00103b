//! Ordinary containers, which an installed runtime runs: this process becomes it, with the same words.
//!
//! Nothing of ours may be seen by it: no thread, no output, no read of standard input, descriptors and signal mask as we
//! got them.

use std::{
    ffi::{CString, OsStr, OsString},
    fs,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed};
use runu_sandbox::Replacement;
use rustix::{fs::Access, io::Errno};

use crate::Root;

/// Why an ordinary container cannot be handed on.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// No runtime is installed.
    #[error("this is an ordinary container, and no runtime for those is installed")]
    None,
    /// The one that the operator chose is not installed.
    #[error("this is an ordinary container, and the runtime `{}` for those is not installed", .0.display())]
    Chosen(PathBuf),
    /// It cannot be run.
    #[error("cannot run `{}`", .path.display())]
    Exec {
        /// The runtime.
        path: PathBuf,
        /// What the kernel said.
        source: Errno,
    },
    /// An argument holds a NUL, which no process can be given.
    #[error("an argument holds a NUL byte")]
    Nul,
}

impl Blamed for DelegateError {
    fn blame(&self) -> Blame {
        Blame::Host
    }

    fn hint(&self) -> Option<String> {
        match self {
            DelegateError::None => Some("install runc or crun".to_owned()),
            DelegateError::Chosen(_) => Some(format!(
                "install it, or name another in {} under [ordinary] runtime",
                crate::config::DEFAULT_PATH
            )),
            DelegateError::Exec { .. } | DelegateError::Nul => None,
        }
    }
}

/// The runtime of ordinary containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime(PathBuf);

/// Where runtimes are besides PATH: shims run with one of their own.
const PLACES: &[&str] = &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

impl Runtime {
    /// The one that the operator chose, by a name to be looked for or an absolute path; else runc or crun, whichever is
    /// installed.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find(choice: Option<&Path>) -> Result<Self, DelegateError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from)).collect();
        let names = choice.map_or_else(|| vec![Path::new("runc"), Path::new("crun")], |choice| vec![choice]);
        // Joined to a folder, an absolute path stays what it is.
        let candidates = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        // Some give this program the name of the other, so that an engine takes it for it.
        let ours = fs::metadata("/proc/self/exe").map(|ours| (ours.dev(), ours.ino()));
        let is_other = |path: &PathBuf| match (fs::metadata(path), &ours) {
            (Ok(found), Ok(ours)) => (found.dev(), found.ino()) != *ours,
            _ => true,
        };
        let mut found = candidates
            .filter(|path| path.is_absolute())
            .filter(is_other)
            .filter(|path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok());
        found.next().map(Runtime).ok_or_else(|| match choice {
            None => DelegateError::None,
            Some(choice) => DelegateError::Chosen(choice.to_path_buf()),
        })
    }

    /// Its executable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// A call that is handed on.
#[derive(Clone, Copy, Debug)]
pub struct Delegate<'a> {
    /// To whom.
    pub runtime: &'a Runtime,
    /// Where its state is.
    pub root: &'a Root,
    /// Whether SIGPIPE had its default disposition when we were run.
    pub default_broken_pipe: bool,
}

impl Delegate<'_> {
    /// Becomes the runtime, for the words we were called with. Returns only on failure.
    #[must_use]
    pub fn become_runtime(&self, words: &[OsString]) -> DelegateError {
        let program = self.runtime.path();
        let argv = argv(program, &self.root.containers(), words);
        let strings: Result<Vec<CString>, _> =
            argv.into_iter().map(|word| CString::new(word.into_vec())).collect();
        let (Ok(argv), Ok(path)) = (strings, CString::new(program.as_os_str().as_bytes())) else {
            return DelegateError::Nul;
        };
        let replacement = Replacement { path, argv, default_broken_pipe: self.default_broken_pipe };
        DelegateError::Exec { path: program.to_path_buf(), source: runu_sandbox::replace(&replacement) }
    }
}

/// Global flags that take a value as the next word. The first word that is neither flag nor value is the verb.
const WITH_VALUE: &[&str] = &["--root", "--log", "--log-format", "--criu", "--rootless", "--cgroup-manager"];

/// Global flags that are for us alone.
const OURS: &[&str] = &["--root", "--config"];

/// The words for the runtime: as we got them, but with its own state directory. `words` is what follows our name.
fn argv(program: &Path, root: &Path, words: &[OsString]) -> Vec<OsString> {
    let mut argv = vec![program.as_os_str().to_owned(), "--root".into(), root.as_os_str().to_owned()];
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let text = word.as_bytes();
        if !text.starts_with(b"-") {
            argv.push(word.clone());
            break;
        }
        if OURS.iter().any(|flag| is_flag(word, flag)) {
            if !text.contains(&b'=') {
                rest.next();
            }
            continue;
        }
        argv.push(word.clone());
        if WITH_VALUE.iter().any(|flag| word == OsStr::new(flag)) {
            argv.extend(rest.next().cloned());
        }
    }
    argv.extend(rest.cloned());
    argv
}

/// Whether a word is that flag, with a value of its own or without.
fn is_flag(word: &OsStr, flag: &str) -> bool {
    let rest = word.as_bytes().strip_prefix(flag.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let argv = argv(Path::new("/runc"), Path::new("/r/containers"), &words);
        argv.join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn words_of_a_shim_are_handed_on_with_another_root() {
        assert_eq!(
            told(&["--root", "/r", "--log", "l", "--log-format=json", "create", "--bundle", "b", "id"]),
            "/runc --root /r/containers --log l --log-format=json create --bundle b id"
        );
    }

    #[test]
    fn words_behind_the_verb_are_not_ours_to_read() {
        assert_eq!(
            told(&["--root=/r", "exec", "id", "ls", "--root", "x"]),
            "/runc --root /r/containers exec id ls --root x"
        );
    }

    #[test]
    fn flag_for_us_alone_is_not_handed_on() {
        for words in [&["--config", "c.toml", "state", "id"][..], &["--config=c.toml", "state", "id"]] {
            assert_eq!(told(words), "/runc --root /r/containers state id");
        }
    }

    #[test]
    fn runtime_that_the_operator_chose_is_the_only_one() {
        let chosen = Path::new("/bin/sh");
        assert_eq!(Runtime::find(Some(chosen)).unwrap().path(), chosen);
        assert!(Runtime::find(Some(Path::new("sh"))).unwrap().path().ends_with("sh"));
        let missing = Runtime::find(Some(Path::new("no-such-runtime"))).unwrap_err();
        assert!(matches!(missing, DelegateError::Chosen(_)), "{missing}");
    }

    #[test]
    fn value_that_looks_like_a_verb_is_a_value() {
        assert_eq!(
            told(&["--log", "create", "state", "id"]),
            "/runc --root /r/containers --log create state id"
        );
    }
}
