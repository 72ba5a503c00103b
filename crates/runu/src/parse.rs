//! From the words of a call to its flags, and what is said and done when they are wrong.
//!
//! Engines learn of a mistake as of any other error of an OCI verb: status 1, a line in the file of `--log`.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{Parser, error::ErrorKind};
use runu_core::Blame;

use crate::{
    cli::{Cli, GlobalFlags, LogFormat, RunFlags, Verb},
    failure::Failure,
    oci, stdio,
};

/// The command line, parsed; or, where help was asked for or a mistake was told, the exit status.
pub(crate) fn parse() -> Result<Cli, u8> {
    let words: Vec<OsString> = env::args_os().collect();
    match Cli::try_parse_from(&words) {
        Ok(cli) => Ok(with_flags_behind_id(cli, &words)),
        Err(error) => Err(tell(&error, &words)),
    }
}

/// Tells what is wrong with the words, or the help that they ask for; the exit status.
fn tell(error: &clap::Error, words: &[OsString]) -> u8 {
    let text = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            stdio::data(&text).map_or_else(|error| Failure::from(error).report(), |()| 0)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            stdio::words(&text.trim_end().lines().map(str::to_owned).collect::<Vec<_>>());
            Blame::User.exit_status()
        }
        _ => {
            let before = BeforeVerb::of(words);
            if before.is_oci_verb()
                && let Some(failure) = oci::hand_on_unparsed(&before.global(), &before.behind)
            {
                failure.report();
                return oci::FAILED;
            }
            let lines = mistake(&text);
            stdio::words(&lines);
            if !before.is_oci_verb() {
                return Blame::User.exit_status();
            }
            let sentence = lines.first().map_or("", |line| line.trim_start_matches("error: "));
            if let Some(path) = before.log {
                oci::log(&path, before.log_format, sentence);
            }
            oci::FAILED
        }
    }
}

/// What clap says of a mistake, in the form of all our errors: its first paragraph on one line, its tips as hints.
fn mistake(told: &str) -> Vec<String> {
    let mut paragraphs = told.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut lines = vec![first.split_whitespace().collect::<Vec<_>>().join(" ")];
    let tips = paragraphs.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: "));
    lines.extend(tips.map(|tip| format!("hint: {tip}")));
    if lines.len() == 1 {
        lines.push("hint: `runu --help` lists verbs, `runu VERB --help` its flags".to_owned());
    }
    lines
}

/// What can be read of words that cannot be parsed as a whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct BeforeVerb {
    verb: Option<String>,
    /// The words behind it.
    behind: Vec<OsString>,
    root: Option<PathBuf>,
    config: Option<PathBuf>,
    log: Option<PathBuf>,
    log_format: LogFormat,
}

impl BeforeVerb {
    /// Reads the words behind our name.
    fn of(words: &[OsString]) -> Self {
        let mut found = BeforeVerb::default();
        let mut rest = words.iter().skip(1);
        while let Some(word) = rest.next() {
            let text = word.to_string_lossy();
            if !text.starts_with('-') {
                found.verb = Some(text.into_owned());
                found.behind = rest.cloned().collect();
                return found;
            }
            let (flag, value) = match text.split_once('=') {
                Some((flag, value)) => (flag.to_owned(), Some(OsString::from(value))),
                None if GLOBAL_WITH_VALUE.contains(&&*text) => (text.into_owned(), rest.next().cloned()),
                None => (text.into_owned(), None),
            };
            match flag.as_str() {
                "--root" => found.root = value.map(PathBuf::from),
                "--config" => found.config = value.map(PathBuf::from),
                "--log" => found.log = value.map(PathBuf::from),
                "--log-format" if value.as_deref() == Some(OsStr::new("json")) => {
                    found.log_format = LogFormat::Json;
                }
                _ => {}
            }
        }
        found
    }

    /// Those of the flags that say where containers are and who has them.
    fn global(&self) -> GlobalFlags {
        GlobalFlags { root: self.root.clone(), config: self.config.clone(), ..GlobalFlags::default() }
    }

    fn is_oci_verb(&self) -> bool {
        self.verb.as_deref().is_some_and(|verb| OCI_VERBS.contains(&verb))
    }
}

/// Flags before the verb whose value can be the next word.
const GLOBAL_WITH_VALUE: [&str; 6] = ["--root", "--log", "--log-format", "--config", "--criu", "--rootless"];

/// The verbs that engines call. `run` is not among them: people call it, mostly with a kernel.
const OCI_VERBS: [&str; 16] = [
    "create",
    "start",
    "state",
    "kill",
    "delete",
    "list",
    "ps",
    "pause",
    "resume",
    "update",
    "events",
    "features",
    "spec",
    "exec",
    "checkpoint",
    "restore",
];

/// `run ID --bundle DIR` is read as `run --bundle DIR ID`. Words behind a *kernel* are the guest's, so this is done only
/// where no such file exists and all of the words are flags of a bundle.
fn with_flags_behind_id(cli: Cli, words: &[OsString]) -> Cli {
    let Verb::Run(RunFlags { command, .. }) = &cli.verb else { return cli };
    let Some(id) = command.first().filter(|_| command.len() > 1) else { return cli };
    if Path::new(id).exists() {
        return cli;
    }
    // The id and what is behind it are the last words of all.
    let (before, behind) = words.split_at(words.len().saturating_sub(command.len()));
    let reordered = before.iter().chain(behind.iter().skip(1)).chain(std::iter::once(id));
    let is_alone =
        |flags: &RunFlags| oci::is_bundle(flags) && matches!(flags.command.as_slice(), [only] if only == id);
    match Cli::try_parse_from(reordered) {
        Ok(reordered) if matches!(&reordered.verb, Verb::Run(flags) if is_alone(flags)) => reordered,
        _ => cli,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    fn run(text: &[&str]) -> RunFlags {
        let words = words(text);
        match with_flags_behind_id(Cli::try_parse_from(&words).unwrap(), &words).verb {
            Verb::Run(flags) => flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn mistake_is_told_on_one_line_with_a_hint() {
        let error = Cli::try_parse_from(["runu", "run"]).unwrap_err().to_string();
        let lines = mistake(&error);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("error: the following required arguments"), "{lines:?}");
    }

    #[test]
    fn log_and_verb_of_words_that_are_wrong_are_found() {
        let found = BeforeVerb::of(&words(&[
            "runu",
            "--root",
            "/r",
            "--log=l",
            "--log-format",
            "json",
            "--debug",
            "create",
            "--log",
            "x",
        ]));
        assert_eq!((found.verb.as_deref(), found.log_format), (Some("create"), LogFormat::Json));
        assert_eq!(found.log.as_deref(), Some(Path::new("l")));
        assert_eq!(found.root.as_deref(), Some(Path::new("/r")));
        assert_eq!(found.behind, words(&["--log", "x"]));
    }

    #[test]
    fn flags_of_a_bundle_behind_its_id_are_read() {
        let flags = run(&["runu", "run", "--keep", "no-such-file", "-d", "--bundle", "/b"]);
        assert_eq!(flags.command, ["no-such-file"]);
        assert!(flags.detach && flags.keep);
        assert_eq!(flags.bundle.as_deref(), Some(Path::new("/b")));
    }

    #[test]
    fn words_behind_a_kernel_stay_the_guests() {
        assert_eq!(run(&["runu", "run", "/proc/self/exe", "--bundle", "b"]).command.len(), 3);
        assert_eq!(run(&["runu", "run", "no-such-file", "--what", "b"]).command.len(), 3);
    }
}
