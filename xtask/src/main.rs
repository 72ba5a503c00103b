//! The project's chores, run as `cargo xtask CHORE`.
//!
//! Each chore is one file with one `run` function that returns what it found wrong. `test` runs all of them and every
//! test besides; it is what a newcomer runs and what CI runs. Nothing here is part of the product, so a chore may
//! simply print.

mod arrows;
mod packages;
mod readme;
mod source;
mod suite;
mod unsafety;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

const USAGE: &str = "\
usage: cargo xtask CHORE

  test     install what the tests need (Debian, as root), then run every check and every test
  arrows   check that crates depend only on crates below them, and that pure crates do no I/O
  unsafe   check that `unsafe` stays in the files named in xtask/src/unsafety.rs
  readme   run the commands of README.md and compare what they print
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = workspace_root();
    let found = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["test"] => return suite::run(&root),
        ["arrows"] => arrows::run(&root),
        ["unsafe"] => unsafety::run(&root),
        ["readme"] => readme::run(&root),
        ["help" | "--help" | "-h"] => {
            out(USAGE);
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    verdict(&found)
}

/// Prints each finding as an error; success when there is none.
fn verdict(found: &[String]) -> ExitCode {
    for finding in found {
        eprintln!("error: {finding}");
    }
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Writes to stdout; a closed pipe is no reason to stop a chore.
fn out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The folder above this package.
fn workspace_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
