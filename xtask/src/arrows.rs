//! The arrows between crates: who may use whom (ARCHITECTURE.md, "The map").
//!
//! Siblings don't import each other, monitors know no container format, and what reads hostile bytes does no I/O. A
//! crate that is not in the table has no place in the architecture yet, so it is an error too.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::source;

/// Each crate of the workspace and the crates of the workspace it may use outside its tests.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "runu",
        &[
            "runu-container",
            "runu-core",
            "runu-files",
            "runu-guest",
            "runu-guests",
            "runu-machine",
            "runu-process",
            "runu-sandbox",
            "runu-volumes",
        ],
    ),
    ("runu-container", &["runu-core", "runu-guest", "runu-sandbox", "runu-volumes"]),
    ("runu-volumes", &["runu-core", "runu-guest", "runu-sandbox"]),
    ("runu-process", &["runu-core", "runu-machine", "runu-deprivilege", "runu-sandbox"]),
    ("runu-machine", &["runu-core"]),
    ("runu-deprivilege", &["runu-core"]),
    ("runu-sandbox", &["runu-core"]),
    ("runu-guest", &["runu-core"]),
    ("runu-files", &["runu-sandbox"]),
    ("runu-core", &[]),
    // The embedded guests are bytes, benchmark and chores are not part of the product: they stand beside the tower.
    ("runu-guests", &[]),
    ("runu-guest-stack", &[]),
    ("runu-bench", &["runu-guests", "runu-sandbox"]),
    ("xtask", &[]),
];

/// Crates that do no I/O: bytes in, facts out.
const PURE: &[&str] = &["runu-core", "runu-guest"];

/// What a pure crate may use from outside: crates that cannot do I/O either.
const PURE_MAY_USE: &[&str] = &["object", "rustc-demangle", "serde", "thiserror"];

/// Modules of `std` that a pure crate does not touch.
const IO_MODULES: &[&str] = &["env", "fs", "net", "os", "process", "thread"];

/// Macros that print.
const PRINTING: &[&str] = &["println", "print", "eprintln", "eprint", "dbg"];

/// Everything in the workspace that goes against the arrows, one sentence each.
pub(crate) fn run(root: &Path) -> Vec<String> {
    let metadata = match metadata(root) {
        Ok(metadata) => metadata,
        Err(reason) => return vec![reason],
    };
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let uses = dependencies(package);
        let name = package["name"].as_str().unwrap_or_default();
        found.extend(wrong_arrows(name, &uses));
        if PURE.contains(&name) {
            found.extend(impure_dependencies(name, &uses));
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            found.extend(manifest.parent().map(impure_source).unwrap_or_default());
        }
    }
    found
}

/// What `cargo metadata` says of the workspace's own packages.
fn metadata(root: &Path) -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .map_err(|source| format!("cannot run `cargo metadata`: {source}"))?;
    if !output.status.success() {
        return Err(format!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|source| format!("cannot read `cargo metadata`: {source}"))
}

/// A package's dependencies outside its tests: name → whether it is a crate of this workspace.
fn dependencies(package: &Value) -> BTreeMap<&str, bool> {
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
        .filter_map(|dependency| Some((dependency["name"].as_str()?, dependency["path"].is_string())))
        .collect()
}

fn wrong_arrows(name: &str, uses: &BTreeMap<&str, bool>) -> Vec<String> {
    let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| *from == name) else {
        return vec![format!("`{name}` is not in the table of arrows (xtask/src/arrows.rs)")];
    };
    uses.iter()
        .filter(|&(to, ours)| *ours && !allowed.contains(to))
        .map(|(to, _)| format!("`{name}` must not use `{to}`: no such arrow in ARCHITECTURE.md"))
        .collect()
}

fn impure_dependencies(name: &str, uses: &BTreeMap<&str, bool>) -> Vec<String> {
    uses.iter()
        .filter(|&(to, ours)| !ours && !PURE_MAY_USE.contains(to))
        .map(|(to, _)| {
            format!("`{name}` does no I/O, so it must not use `{to}` without an argument in the table")
        })
        .collect()
}

fn impure_source(package: &Path) -> Vec<String> {
    let Ok(files) = source::files(&package.join("src")) else {
        return vec![format!("cannot list {}", package.display())];
    };
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        for what in impure_names(&source::code(&text)) {
            found.push(format!("{} uses `{what}`, and its crate does no I/O", file.display()));
        }
    }
    found
}

/// Names in `code` that do I/O: `std::fs`, `std::{fmt, fs::File}`, `println!`.
fn impure_names(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("std::") {
        let rest = code.get(at + "std::".len()..).unwrap_or_default();
        for module in first_names(rest) {
            if IO_MODULES.contains(&module) {
                found.push(format!("std::{module}"));
            }
        }
    }
    for (at, _) in code.match_indices('!') {
        let word = code.get(..at).map(source::last_word).unwrap_or_default();
        if PRINTING.contains(&word) {
            found.push(format!("{word}!"));
        }
    }
    found
}

/// The first path segment of each item behind `std::`: one name, or those of a brace list at its top level.
fn first_names(text: &str) -> Vec<&str> {
    let Some(list) = text.strip_prefix('{') else {
        return source::words(text).next().into_iter().collect();
    };
    let mut depth = 0_usize;
    let mut names = Vec::new();
    let mut start = Some(0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(start.and_then(|start| source::words(list.get(start..at)?).next()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(start.and_then(|start| source::words(list.get(start..at)?).next()));
                start = Some(at + 1);
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_with_arrow_to_sibling_is_reported() {
        let uses = BTreeMap::from([("runu-machine", true), ("runu-core", true)]);
        assert_eq!(wrong_arrows("runu-sandbox", &uses).len(), 1);
    }

    #[test]
    fn crate_missing_from_the_table_is_reported() {
        assert_eq!(wrong_arrows("runu-utils", &BTreeMap::new()).len(), 1);
    }

    #[test]
    fn pure_crate_with_system_call_crate_is_reported() {
        let uses = BTreeMap::from([("libc", false), ("serde", false)]);
        assert_eq!(impure_dependencies("runu-guest", &uses).len(), 1);
    }

    #[test]
    fn io_in_any_spelling_is_found() {
        for code in [
            "std::fs::read(x)",
            "use std::{fmt, fs::File};",
            "use std::{fmt::{self, Display}, net};",
            "{ println!(x) }",
        ] {
            assert_eq!(impure_names(code).len(), 1, "{code}");
        }
    }

    #[test]
    fn harmless_names_are_not_io() {
        for code in ["use std::{fmt::{self, net}, str};", "my_fs::read()", "a != b; assert!(x)"] {
            assert_eq!(impure_names(code), Vec::<String>::new(), "{code}");
        }
    }
}
