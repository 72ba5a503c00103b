//! README.md promises commands and what they print; this runs them.
//!
//! A block marked `console` holds commands behind `$ ` and, below each, what it prints on stdout. Numbers differ from
//! run to run, so each run of digits stands for any other. Lines that differ from host to host are named by their first
//! word in a comment above the block, `<!-- varies: limits -->`. Commands run in the workspace's root, with the release
//! build first in the search path.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Commands that cannot run here: the test run itself, which runs this, what leaves the machine, and what goes on until it is
/// ended (tests/network/demo.rs runs that).
const NOT_RUN: &[&str] = &["cargo xtask test", "git clone", "cd ", "runu demo http"];

/// A command and the lines that README.md shows below it.
#[derive(Debug, PartialEq, Eq)]
struct Example {
    /// First words of lines that differ from host to host.
    varies: Vec<String>,
    command: String,
    printed: Vec<String>,
}

/// Every command of README.md that fails or prints something else than README.md says.
pub(crate) fn run(root: &Path) -> Vec<String> {
    let text = match fs::read_to_string(root.join("README.md")) {
        Ok(text) => text,
        Err(source) => return vec![format!("cannot read README.md: {source}")],
    };
    let examples = examples(&text);
    if examples.is_empty() {
        return vec!["README.md shows no command".to_owned()];
    }
    examples
        .iter()
        .filter(|example| !NOT_RUN.iter().any(|prefix| example.command.starts_with(prefix)))
        .filter_map(|example| try_example(root, example).err())
        .collect()
}

/// The commands of all `console` blocks.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut varies = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            if inside {
                varies.clear();
            }
            inside = !inside && language == "console";
        } else if let Some(words) =
            line.strip_prefix("<!-- varies: ").and_then(|rest| rest.strip_suffix(" -->"))
        {
            varies = words.split_whitespace().map(str::to_owned).collect();
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            found.push(Example { varies: varies.clone(), command: command.to_owned(), printed: Vec::new() });
        } else if inside && let Some(example) = found.last_mut() {
            example.printed.push(line.to_owned());
        }
    }
    found
}

fn try_example(root: &Path, example: &Example) -> Result<(), String> {
    let command = &example.command;
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(root)
        .env("PATH", search_path(root))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| format!("README.md: cannot run `{command}`: {source}"))?;
    if !output.status.success() {
        return Err(format!("README.md: `{command}` ended with {}", output.status));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    if !example.printed.is_empty() && !matches(example, &stdout) {
        return Err(format!("README.md: `{command}` does not print what is shown, but:\n{stdout}"));
    }
    Ok(())
}

fn search_path(root: &Path) -> std::ffi::OsString {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let release = target.join("x86_64-unknown-linux-gnu/release");
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(release).chain(env::split_paths(&inherited));
    env::join_paths(folders).unwrap_or(inherited)
}

/// Whether `actual` is what README.md shows.
fn matches(example: &Example, actual: &str) -> bool {
    let actual: Vec<&str> = actual.lines().collect();
    let line_matches = |(shown, actual): (&String, &str)| {
        let first = actual.split_whitespace().next().unwrap_or_default();
        let varies = example.varies.iter().any(|word| word == first);
        masked(shown) == masked(actual) || varies && shown.starts_with(first)
    };
    example.printed.len() == actual.len() && example.printed.iter().zip(actual).all(line_matches)
}

/// The line with each number (and the padding before it) replaced by one sign.
fn masked(line: &str) -> String {
    let mut masked = String::new();
    for c in line.trim_end().chars() {
        if c.is_ascii_digit() {
            let padded = masked.trim_end_matches([' ', '#', '.']).len();
            masked.truncate(padded);
            masked.push('#');
        } else {
            masked.push(c);
        }
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(varies: &[&str], printed: &[&str]) -> Example {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Example { varies: owned(varies), command: "c".to_owned(), printed: owned(printed) }
    }

    #[test]
    fn console_block_is_read_as_commands_and_their_output() {
        let text =
            "<!-- varies: x y -->\n```console\n$ c\n1\n\n$ c\n```\n```sh\n$ no\n```\n```console\n$ c\n```";
        let expected = [example(&["x", "y"], &["1", ""]), example(&["x", "y"], &[]), example(&[], &[])];
        assert_eq!(examples(text), expected);
    }

    #[test]
    fn output_with_other_numbers_matches() {
        assert!(matches(
            &example(&[], &["boot   1.25 ms", "user 0, 3 calls"]),
            "boot 310.7 ms\nuser 1000, 12 calls\n"
        ));
    }

    #[test]
    fn output_with_other_or_more_words_does_not_match() {
        for actual in ["boot 1.25 s", "boot 1.25 ms more", "boot 1.25 ms\nmore", ""] {
            assert!(!matches(&example(&[], &["boot 1.25 ms"]), actual), "{actual}");
        }
    }

    #[test]
    fn line_that_varies_matches_by_its_first_word() {
        assert!(matches(&example(&["limits"], &["limits  none"]), "limits  enforced"));
        assert!(!matches(&example(&["limits"], &["limits  none"]), "other  none"));
    }
}
