//! What the operator of a host has decided: `/etc/runu/config.toml` (docs/configuration.md).
//!
//! All of it is optional, and so is the file. What is in it is taken exactly: an unknown key or a value of the wrong kind is
//! an error with its line, because a wish that is silently not obeyed is worse than a container that does not start.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use runu_core::{Blame, Blamed, Bytes};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::annotations;

/// Where the file is unless the caller names another.
pub const DEFAULT_PATH: &str = "/etc/runu/config.toml";

/// Length of the file at most, in bytes: a bound against a mistaken path.
const LENGTH_MAX: u64 = 1 << 20;

/// Memory of a guest in a container without a limit: as much as `runu run` gives.
const MEMORY: Bytes = Bytes::mib(64);

/// What the operator has decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What may run a guest.
    pub monitors: Monitors,
    /// What a guest gets that nobody says anything about.
    pub guest: GuestDefaults,
    /// What those who start containers may wish for.
    pub annotations: Annotations,
    /// Containers that are no unikernels.
    pub ordinary: Ordinary,
}

/// What may run a guest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Monitors {
    /// The monitors that may be used, by name; all where none is named.
    pub allowed: Option<Vec<String>>,
    /// The least isolation that a guest is to have.
    pub minimum_isolation: Isolation,
}

/// How well a monitor holds its guest, weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// A process of its own behind a system-call filter.
    #[default]
    Process,
    /// A virtual machine.
    Vm,
}

/// What a guest gets that nobody says anything about.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuestDefaults {
    /// Memory of a guest in a container without a memory limit.
    #[serde(deserialize_with = "size")]
    pub memory: Bytes,
}

impl Default for GuestDefaults {
    fn default() -> Self {
        GuestDefaults { memory: MEMORY }
    }
}

/// What those who start containers may wish for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Annotations {
    /// Names of annotations that are honoured. One that ends in `*` stands for all that begin so.
    #[serde(deserialize_with = "patterns")]
    pub allowed: Vec<String>,
}

impl Default for Annotations {
    fn default() -> Self {
        let known = annotations::OWN.iter().copied().chain([annotations::URUNC_ALL]);
        Annotations { allowed: known.map(str::to_owned).collect() }
    }
}

impl Annotations {
    /// Whether the annotation of that name is honoured.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        })
    }
}

/// Containers that are no unikernels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ordinary {
    /// The runtime that has them: a name to be looked for, or an absolute path. `runc`, else `crun`, where it is not said.
    #[serde(deserialize_with = "program")]
    pub runtime: Option<PathBuf>,
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    Bytes::from_str(&text).map_err(D::Error::custom)
}

/// Names of annotations that there are: one that stands for none is a mistake.
fn patterns<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(deserializer)?;
    for pattern in &patterns {
        let matches = |name: &str| match pattern.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        let urunc = pattern.starts_with(annotations::URUNC);
        if !urunc && !annotations::OWN.iter().any(|name| matches(name)) {
            return Err(D::Error::custom(format!("runu knows no annotation `{pattern}`")));
        }
    }
    Ok(patterns)
}

fn program<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    let is_name = path.components().count() == 1 && path.file_name().is_some();
    if !path.is_absolute() && !is_name {
        return Err(D::Error::custom("a runtime is a name, such as `crun`, or an absolute path"));
    }
    Ok(Some(path))
}

/// Why the operator's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may change it, and with it what runs as root.
    #[error("the configuration `{}` may be changed by others than its owner (mode {mode:03o})", .path.display())]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It says something that it cannot.
    #[error("the configuration `{}` is wrong in line {line}: {message}", .path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong there, on one line.
        message: String,
    },
}

impl Blamed for ConfigError {
    fn blame(&self) -> Blame {
        Blame::Host
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            ConfigError::Read { .. } => return None,
            ConfigError::Unsafe { path, .. } => format!("chmod go-w {}", path.display()),
            ConfigError::Wrong { .. } => "docs/configuration.md lists what may be there".to_owned(),
        })
    }
}

impl Config {
    /// Reads the file that the caller names, which must be there, or else the default one, which need not.
    ///
    /// # Errors
    /// It cannot be read, others may write to it, or it is not as it should be.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        let fail = |source| ConfigError::Read { path: path.to_path_buf(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {
                return Ok(Config::default());
            }
            Err(error) => return Err(fail(error)),
        };
        let metadata = file.metadata().map_err(fail)?;
        if !metadata.is_file() {
            return Err(fail(io::Error::other("it is no regular file")));
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(ConfigError::Unsafe { path: path.to_path_buf(), mode });
        }
        let mut text = String::new();
        file.take(LENGTH_MAX).read_to_string(&mut text).map_err(fail)?;
        Self::parse(&text).map_err(|Mistake { line, message }| ConfigError::Wrong {
            path: path.to_path_buf(),
            line,
            message,
        })
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            Mistake { line, message: error.message().lines().collect::<Vec<_>>().join(", ") }
        })
    }
}

/// What is wrong with the text of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, from 1.
    pub line: usize,
    /// What, on one line.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[track_caller]
    fn mistake(text: &str) -> Mistake {
        Config::parse(text).unwrap_err()
    }

    #[test]
    fn empty_file_is_the_defaults() {
        let config = Config::parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.guest.memory, Bytes::mib(64));
        assert_eq!(config.monitors.minimum_isolation, Isolation::Process);
    }

    #[test]
    fn everything_that_can_be_said_is_read() {
        let text = "
            [monitors]
            allowed = ['process']
            minimum_isolation = 'vm'
            [guest]
            memory = '32M'
            [annotations]
            allowed = ['dev.runu.memory', 'com.urunc.unikernel.*']
            [ordinary]
            runtime = 'crun'
        ";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.monitors.allowed.as_deref(), Some(&["process".to_owned()][..]));
        assert_eq!(config.monitors.minimum_isolation, Isolation::Vm);
        assert_eq!(config.guest.memory, Bytes::mib(32));
        assert!(config.annotations.allows("dev.runu.memory"));
        assert!(config.annotations.allows("com.urunc.unikernel.binary"));
        assert!(!config.annotations.allows("dev.runu.kernel"));
        assert_eq!(config.ordinary.runtime.as_deref(), Some(Path::new("crun")));
    }

    #[test]
    fn unknown_key_is_a_mistake_with_its_line() {
        let found = mistake("[guest]\nmemory = '1G'\nmemroy = '1G'\n");
        assert_eq!(found.line, 3);
        assert!(found.message.contains("memroy"), "{}", found.message);
        assert_eq!(mistake("\n\n[gest]\n").line, 3);
    }

    #[test]
    fn value_that_cannot_be_is_a_mistake_with_its_line() {
        for text in [
            "\n[guest]\nmemory = 'much'",
            "\n[guest]\nmemory = 64",
            "\n[monitors]\nminimum_isolation = 'best'",
            "\n[monitors]\nallowed = 'process'",
            "\n[annotations]\nallowed = ['dev.runu.speed']",
            "\n[ordinary]\nruntime = '../runc'",
            "\n[ordinary]\nruntime = ''",
            "\n\n= 1",
        ] {
            let found = mistake(text);
            assert_eq!(found.line, 3, "{text}: {found:?}");
            assert!(!found.message.contains('\n'), "{found:?}");
        }
    }

    #[test]
    fn file_that_others_may_write_to_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o646)).unwrap();
        let error = Config::load(Some(file.path())).unwrap_err();
        assert!(matches!(error, ConfigError::Unsafe { mode: 0o646, .. }), "{error}");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Config::load(Some(file.path())).unwrap(), Config::default());
    }

    #[test]
    fn named_file_must_be_there() {
        let error = Config::load(Some(Path::new("/nowhere/config.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    }
}
