//! `unsafe` lives in few files, each named here with its reason.
//!
//! That every block says why it is sound is clippy's to check (`undocumented_unsafe_blocks`), given that every crate
//! takes the workspace's lints: this check makes sure of that too.

use std::{collections::BTreeSet, fs, path::Path};

use crate::source;

/// Files, or whole folders with a closing slash, that may hold `unsafe`, and why they must.
const ALLOWED: &[(&str, &str)] = &[
    ("benches/src/frames/tap.rs", "opens a tap device"),
    ("crates/deprivilege/src/cpuid/time_stamp.rs", "asks the host's processor what it is"),
    ("crates/files/src/process.rs", "takes over the descriptors that the process is started with"),
    ("crates/process/src/entry.rs", "the doors between translated code and the monitor, in assembly"),
    ("crates/process/src/host.rs", "raw system calls of the guest's process, and memory at fixed addresses"),
    ("crates/process/src/lib.rs", "takes over the descriptors that the guest's process is started with"),
    ("crates/process/src/monitor/doors.rs", "the Rust side of the doors: one context at a fixed address"),
    ("crates/process/src/tsc.rs", "reads the time-stamp counter"),
    ("crates/runu/src/main.rs", "the symbol that the C library calls"),
    ("crates/runu/src/stdio.rs", "learns which of descriptors 0, 1 and 2 are open; ignores SIGPIPE"),
    ("crates/sandbox/src/sys.rs", "system calls without a safe wrapper: clone, exec, prctl"),
    ("crates/sandbox/tests/handed.rs", "a guest process that reads from descriptors by their numbers"),
    ("crates/sandbox/tests/sandbox/", "tests that make forbidden system calls on purpose"),
    ("guests/", "programs without an operating system; they run in guests, never on the host"),
];

/// Folders that hold source.
const FOLDERS: &[&str] = &["crates", "guests", "tests", "benches", "fuzz", "xtask"];

/// Every use of `unsafe` outside the list, every entry of the list without use, every crate without the lints.
pub(crate) fn run(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut used = BTreeSet::new();
    for folder in FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir()) {
        let files = match source::files(&folder) {
            Ok(files) => files,
            Err(source) => return vec![format!("cannot list {}: {source}", folder.display())],
        };
        for file in files {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            let text = fs::read_to_string(&file).unwrap_or_default();
            let Some(line) = first_unsafe_line(&source::code(&text)) else { continue };
            match allowed(&name) {
                Some(entry) => {
                    used.insert(entry);
                }
                None => {
                    found.push(format!("{name}:{line} holds `unsafe` and is not in xtask/src/unsafety.rs"))
                }
            }
        }
    }
    for (entry, _) in ALLOWED {
        if !used.contains(entry) {
            found.push(format!(
                "{entry} may hold `unsafe` by xtask/src/unsafety.rs and does not: remove the entry"
            ));
        }
    }
    found.extend(crates_without_lints(root));
    found
}

/// The entry of the list that covers `file`.
fn allowed(file: &str) -> Option<&'static str> {
    ALLOWED
        .iter()
        .map(|(entry, _)| *entry)
        .find(|entry| if entry.ends_with('/') { file.starts_with(entry) } else { file == *entry })
}

/// The number of the first line of `code` with the word `unsafe`. Lint names such as `unsafe_code` are other words.
fn first_unsafe_line(code: &str) -> Option<usize> {
    code.lines().position(|line| source::words(line).any(|word| word == "unsafe")).map(|index| index + 1)
}

/// Members of the workspace whose manifest does not take the workspace's lints.
fn crates_without_lints(root: &Path) -> Vec<String> {
    let crates = fs::read_dir(root.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path());
    crates
        .chain([root.join("guests"), root.join("xtask"), root.join("tests"), root.join("benches")])
        .map(|folder| folder.join("Cargo.toml"))
        .filter_map(|manifest| Some((fs::read_to_string(&manifest).ok()?, manifest)))
        .filter(|(text, _)| !text.contains("[lints]\nworkspace = true"))
        .map(|(_, manifest)| format!("{} does not take the workspace's lints", manifest.display()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_with_unsafe_is_found_by_number() {
        assert_eq!(first_unsafe_line("let a;\nlet b = unsafe { c };"), Some(2));
    }

    #[test]
    fn lint_with_unsafe_in_its_name_is_not_unsafe() {
        assert_eq!(first_unsafe_line("#![forbid(unsafe_code)]"), None);
    }

    #[test]
    fn file_is_allowed_by_its_name_and_not_by_a_likeness() {
        assert!(allowed("crates/runu/src/stdio.rs").is_some());
        assert!(allowed("crates/runu/src/stdio.rs.rs").is_none());
    }
}
