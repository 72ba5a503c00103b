//! What `runu install` and `runu uninstall` make of an engine's configuration: text in, text out, no I/O.
//!
//! Doing it twice is doing it once, undoing it gives the text that was there before, and whatever else is in a file stays
//! as it is. A file that is not understood is not touched.

mod containerd;
mod docker;
mod podman;

use std::path::{Path, PathBuf};

use runu_core::{Blame, Blamed, Printable};

/// An engine that can be told of runu.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Engine {
    /// Docker: `runtimes` in daemon.json
    Docker,
    /// Podman: a file of our own in containers.conf.d
    Podman,
    /// containerd: a block at the end of config.toml
    Containerd,
}

/// Whether an engine is to know the runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish<'a> {
    /// The runtime is this program.
    Known(&'a str),
    /// There is no such runtime.
    Unknown,
}

/// Why a configuration is left alone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// Not what the engine itself would read.
    #[error("`{}` is not valid JSON", Printable(path.as_os_str().as_encoded_bytes()))]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        source: serde_json::Error,
    },
    /// JSON, but of another shape.
    #[error("`{place}` in `{}` is not a JSON object", Printable(path.as_os_str().as_encoded_bytes()))]
    NotAnObject {
        /// The file.
        path: PathBuf,
        /// What should be an object.
        place: &'static str,
    },
    /// containerd's plugins have other names in other versions of its configuration.
    #[error("`{}` is not of version 2 or 3", Printable(path.as_os_str().as_encoded_bytes()))]
    Version {
        /// The file.
        path: PathBuf,
    },
    /// Somebody wrote it by hand, or our block was cut.
    #[error("`{}` names a runtime `runu` outside our block", Printable(path.as_os_str().as_encoded_bytes()))]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The program's path cannot be written into a text file.
    #[error("the path of this program, `{}`, is not UTF-8", Printable(path.as_os_str().as_encoded_bytes()))]
    Name {
        /// The program.
        path: PathBuf,
    },
}

impl Blamed for InstallError {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            InstallError::NotJson { .. } | InstallError::NotAnObject { .. } => {
                "repair the file, which the engine cannot read either".to_owned()
            }
            InstallError::Version { .. } => {
                "`containerd config migrate` prints it in the newest version".to_owned()
            }
            InstallError::Foreign { .. } => "remove that entry, or keep it and install nothing".to_owned(),
            InstallError::Name { .. } => "put the program into /usr/local/bin".to_owned(),
        })
    }
}

impl Engine {
    /// Its file below the folder of configurations, `/etc`.
    pub(crate) fn file(self) -> &'static Path {
        Path::new(match self {
            Engine::Docker => "docker/daemon.json",
            Engine::Podman => "containers/containers.conf.d/50-runu.conf",
            Engine::Containerd => "containerd/config.toml",
        })
    }

    /// What the user does next, so that the engine reads its configuration.
    pub(crate) fn next_step(self) -> &'static str {
        match self {
            Engine::Docker => "`systemctl reload docker` makes Docker read it",
            Engine::Podman => "Podman reads it at its next command",
            Engine::Containerd => {
                "`systemctl restart containerd` makes containerd read it; `ctr` needs none of it"
            }
        }
    }

    /// The text of the engine's file as wished for; none if there should be no file. `path` is for errors.
    pub(crate) fn configured(
        self,
        text: Option<&str>,
        wish: Wish<'_>,
        path: &Path,
    ) -> Result<Option<String>, InstallError> {
        match self {
            Engine::Docker => docker::configured(text, wish, path),
            Engine::Podman => Ok(podman::configured(wish)),
            Engine::Containerd => containerd::configured(text, wish, path),
        }
    }
}

/// A TOML basic string (TOML 1.0, "String").
fn toml_string(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENGINES: [Engine; 3] = [Engine::Docker, Engine::Podman, Engine::Containerd];

    fn configured(engine: Engine, text: Option<&str>, wish: Wish<'_>) -> Option<String> {
        engine.configured(text, wish, Path::new("f")).expect("it is understood")
    }

    #[test]
    fn install_into_nothing_and_uninstall_leaves_nothing() {
        for engine in ENGINES {
            let installed = configured(engine, None, Wish::Known("/bin/runu"));
            assert!(installed.as_deref().is_some_and(|text| text.contains("/bin/runu")));
            assert_eq!(configured(engine, installed.as_deref(), Wish::Unknown), None);
        }
    }

    #[test]
    fn install_of_a_moved_program_replaces_the_old_path() {
        for engine in ENGINES {
            let old = configured(engine, None, Wish::Known("/old/runu"));
            let moved = configured(engine, old.as_deref(), Wish::Known("/new/runu"));
            assert_eq!(moved, configured(engine, None, Wish::Known("/new/runu")));
        }
    }

    #[test]
    fn uninstall_of_nothing_makes_no_file() {
        for engine in ENGINES {
            assert_eq!(configured(engine, None, Wish::Unknown), None);
        }
    }

    proptest! {
        #[test]
        fn install_twice_is_install_once(program in "/.{0,40}") {
            for engine in ENGINES {
                let once = configured(engine, None, Wish::Known(&program));
                prop_assert_eq!(&configured(engine, once.as_deref(), Wish::Known(&program)), &once);
            }
        }

        #[test]
        fn hostile_text_is_never_cause_of_a_panic(text in ".{0,200}") {
            for engine in ENGINES {
                let _ = engine.configured(Some(&text), Wish::Known("/bin/runu"), Path::new("f"));
                let _ = engine.configured(Some(&text), Wish::Unknown, Path::new("f"));
            }
        }
    }
}
