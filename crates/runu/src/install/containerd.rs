//! containerd's config.toml: a block of our own at its end.
//!
//! A file of our own beside it (`imports`) will not do: containerd 1.x lets an imported table of a plugin replace the whole
//! table. A table below others may stand anywhere in a file, so a block at the end is right wherever the others are, and
//! is found again by its first and last line.

use std::path::Path;

use super::{InstallError, Wish, toml_string};

/// First line of the block.
const BEGIN: &str = "# Written by `runu install containerd`; `runu uninstall containerd` removes it.";

/// Last line of the block.
const END: &str = "# End of what runu wrote.";

/// All that a file of ours needs beside the block.
const NEW_FILE: &str = "version = 2\n";

/// See [`super::Engine::configured`].
pub(super) fn configured(
    text: Option<&str>,
    wish: Wish<'_>,
    path: &Path,
) -> Result<Option<String>, InstallError> {
    let rest = without_block(text.unwrap_or_default(), path)?;
    match wish {
        Wish::Known(program) => {
            let rest = if rest.trim().is_empty() { NEW_FILE.to_owned() } else { rest };
            let plugin = plugin(&rest).ok_or_else(|| InstallError::Version { path: path.to_owned() })?;
            let line_end = if rest.ends_with('\n') { "" } else { "\n" };
            Ok(Some(format!("{rest}{line_end}{}", block(plugin, program))))
        }
        Wish::Unknown if text.is_none() || rest == NEW_FILE => Ok(None),
        Wish::Unknown => Ok(Some(rest)),
    }
}

/// The text without our block; an error if a runtime of our name is in what is left.
fn without_block(text: &str, path: &Path) -> Result<String, InstallError> {
    let mut inside = false;
    let mut rest = String::new();
    for line in text.split_inclusive('\n') {
        match line.trim_end() {
            BEGIN => inside = true,
            END if inside => inside = false,
            _ if !inside => rest.push_str(line),
            _ => {}
        }
    }
    let foreign =
        inside || rest.lines().any(|line| line.trim().starts_with('[') && line.contains("runtimes.runu"));
    if foreign { Err(InstallError::Foreign { path: path.to_owned() }) } else { Ok(rest) }
}

/// The name of the plugin that runs containers for Kubernetes, in this text's version.
fn plugin(text: &str) -> Option<&'static str> {
    // Keys outside any table come before the first one (TOML 1.0, "Table").
    let top = text.lines().map(str::trim).take_while(|line| !line.starts_with('['));
    let version = top.filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == "version")?.1;
    match version.split('#').next()?.trim() {
        "2" => Some("io.containerd.grpc.v1.cri"),
        "3" => Some("io.containerd.cri.v1.runtime"),
        _ => None,
    }
}

fn block(plugin: &str, program: &str) -> String {
    let table = format!("plugins.\"{plugin}\".containerd.runtimes.runu");
    let program = toml_string(program);
    format!(
        "{BEGIN}
[{table}]
  runtime_type = \"io.containerd.runc.v2\"
  [{table}.options]
    BinaryName = {program}
{END}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(text: &str) -> Result<String, InstallError> {
        configured(Some(text), Wish::Known("/bin/runu"), Path::new("f")).map(Option::unwrap)
    }

    #[test]
    fn block_is_added_at_the_end_and_removed_again() {
        let text = "# mine\nversion = 2\n[plugins]\n  [plugins.\"io.containerd.grpc.v1.cri\".cni]\n    bin_dir = \"/b\"\n";
        let installed = install(text).unwrap();
        assert!(installed.starts_with(text) && installed.ends_with(&format!("{END}\n")), "{installed}");
        assert_eq!(
            configured(Some(&installed), Wish::Unknown, Path::new("f")).unwrap().as_deref(),
            Some(text)
        );
    }

    #[test]
    fn block_in_version_3_names_its_plugin() {
        assert!(install("version = 3 # new\n").unwrap().contains("io.containerd.cri.v1.runtime"));
    }

    #[test]
    fn block_behind_a_line_without_end_starts_on_its_own() {
        assert!(install("version = 2").unwrap().starts_with("version = 2\n#"));
    }

    #[test]
    fn file_of_version_1_is_refused() {
        for text in ["version = 1\n", "[plugins]\nversion = 2\n", "root = \"/r\"\n"] {
            assert!(matches!(install(text), Err(InstallError::Version { .. })), "{text}");
        }
    }

    #[test]
    fn runtime_written_by_hand_is_refused() {
        let text = "version = 2\n[plugins.cri.containerd.runtimes.runu]\n";
        assert!(matches!(install(text), Err(InstallError::Foreign { .. })));
    }

    #[test]
    fn block_without_its_end_is_refused() {
        let text = format!("version = 2\n{BEGIN}\nroot = \"/r\"\n");
        assert!(matches!(install(&text), Err(InstallError::Foreign { .. })));
    }
}
