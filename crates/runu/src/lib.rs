//! `runu`: runs unikernels as containers are run.
//!
//! This is the command line: it parses words, opens files, prints and fixes the exit status. What a kernel is, how it is
//! sandboxed and how it runs is known to the libraries below (ARCHITECTURE.md). Each verb is one file under `verbs`.
//!
//! A guest's process is this program too, run afresh inside the sandbox under a name of its own, and so is the one that
//! serves its shared directories.

mod cli;
mod disk;
mod failure;
mod install;
mod monitor;
mod oci;
mod open;
mod parse;
mod passt;
mod start;
mod stdio;
mod table;
mod timeline;
mod verbs;
mod verdict;
mod volume;

use crate::cli::{Cli, Verb};

/// The whole program; its exit status.
#[must_use]
pub fn main() -> u8 {
    // First of all: a guest's process parses no command line and prints nothing.
    let name = std::env::args_os().next().unwrap_or_default();
    match name.as_encoded_bytes() {
        name if name == start::GUEST_NAME.to_bytes() => runu_process::guest_main(),
        name if name == start::FILES_NAME.to_bytes() => return runu_files::files_main(),
        _ => {}
    }
    let began = timeline::now();
    stdio::prepare();
    match parse::parse() {
        Ok(cli) => run(cli, began),
        Err(status) => status,
    }
}

/// Does what the verb says; its exit status.
fn run(cli: Cli, began: u64) -> u8 {
    let done = match cli.verb {
        Verb::Run(flags) if !oci::is_bundle(&flags) => verbs::run::run(flags, began),
        Verb::Inspect(flags) => verbs::inspect::inspect(&flags),
        Verb::Demo(flags) => verbs::demo::demo(&flags, began),
        Verb::Install(flags) => verbs::install::install(&flags),
        Verb::Uninstall(flags) => verbs::install::uninstall(&flags),
        verb => return oci::run(&cli.global, verb),
    };
    done.unwrap_or_else(|failure| failure.report())
}
