//! README.md promises commands and what they print; this runs them.
//!
//! A block marked `console` holds commands behind `$ ` and, below each, what it prints on stdout. Numbers differ from
//! run to run, so each run of digits stands for any other; `…` stands for any text. Commands run in the workspace's
//! root, with the release build first in the search path.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

/// Commands that cannot run here: the test run itself, which runs this, and what leaves the machine.
const NOT_RUN: &[&str] = &["cargo xtask test", "git clone", "cd "];

/// A command and the lines that README.md shows below it.
#[derive(Debug, PartialEq, Eq)]
struct Example {
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
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside && language == "console";
        } else if inside && let Some(command) = line.strip_prefix("$ ") {
            found.push(Example { command: command.to_owned(), printed: Vec::new() });
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
    if !example.printed.is_empty() && !matches(&example.printed, &stdout) {
        return Err(format!("README.md: `{command}` does not print what is shown, but:\n{stdout}"));
    }
    Ok(())
}

fn search_path(root: &Path) -> std::ffi::OsString {
    let release = root.join("target/x86_64-unknown-linux-gnu/release");
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(release).chain(env::split_paths(&inherited));
    env::join_paths(folders).unwrap_or(inherited)
}

/// Whether `actual` is what README.md shows.
fn matches(shown: &[String], actual: &str) -> bool {
    let actual: Vec<&str> = actual.lines().collect();
    shown.len() == actual.len() && shown.iter().zip(actual).all(|(shown, actual)| line_matches(shown, actual))
}

fn line_matches(shown: &str, actual: &str) -> bool {
    let (shown, actual) = (masked(shown).replace(" …", "…").replace("… ", "…"), masked(actual));
    let mut pieces = shown.split('…');
    let Some(mut rest) = pieces.next().and_then(|first| actual.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none();
        let end = if last {
            rest.ends_with(piece).then_some(rest.len())
        } else {
            rest.find(piece).map(|at| at + piece.len())
        };
        let Some(end) = end else { return false };
        rest = rest.get(end..).unwrap_or_default();
    }
    rest.is_empty()
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

    #[test]
    fn console_block_is_read_as_commands_and_their_output() {
        let text = "```console\n$ a b\nc\n\n$ d\n```\n```sh\n$ no\n```\n";
        let expected = [
            Example { command: "a b".into(), printed: vec!["c".into(), String::new()] },
            Example { command: "d".into(), printed: vec![] },
        ];
        assert_eq!(examples(text), expected);
    }

    #[test]
    fn line_with_other_numbers_matches() {
        assert!(line_matches("boot   1.25 ms", "boot 310.7 ms"));
        assert!(line_matches("user 0, … allowed", "user 1000, 12 calls allowed"));
        assert!(line_matches("cause: …", "cause: x"));
    }

    #[test]
    fn line_with_other_words_does_not_match() {
        assert!(!line_matches("boot 1.25 ms", "boot 1.25 s"));
        assert!(!line_matches("user 0, … allowed", "user 1000, 12 calls denied"));
        assert!(!line_matches("a", "a b"));
    }

    #[test]
    fn output_with_another_line_does_not_match() {
        assert!(!matches(&["a".to_owned()], "a\nb\n"));
    }
}
