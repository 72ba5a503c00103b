//! What a sandbox is, seen from inside it, and what it leaves behind, seen from outside.
//!
//! This program is the tests, the guest process inside (argument 0 is `runu-guest`) and the caller of a sandbox that a
//! test wants to harm (argument 0 is `runu-caller`). Run by root, it runs all tests twice: as root and as an ordinary
//! user. After every test it looks for whatever could have been left: processes, descriptors, mounts, control groups.

mod caller;
mod ends;
mod filtered;
mod guest;
mod inside;
mod leaks;
mod limits;
mod outside;

use std::{env, os::unix::process::CommandExt, process::Command};

use leaks::Belongings;
use runu_core::Blamed;
use runu_sandbox::SandboxError;

/// What a test returns.
type Outcome = Result<(), Box<dyn std::error::Error>>;
/// A test and its name.
type Test = (&'static str, fn() -> Outcome);

/// Why a test did not run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skipped(String);

/// Argument 0 of this program as the same tests for an ordinary user.
const AS_USER: &str = "runu-tests-as-user";

fn main() {
    let mut arguments = env::args();
    let role = arguments.next().unwrap_or_default();
    match role.as_str() {
        "runu-guest" => std::process::exit(guest::main(arguments)),
        "runu-caller" => std::process::exit(caller::main(arguments)),
        AS_USER => {
            if let Err(errno) = caller::become_ordinary_user() {
                eprintln!("cannot become an ordinary user: {errno}");
                std::process::exit(1);
            }
        }
        _ => {}
    }
    // Options of the standard harness mean nothing here; a word selects the tests whose names contain it.
    let wanted = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
    // Orphans of a test's processes become ours, so that their end can be waited for and their survival found.
    if let Err(errno) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
        eprintln!("cannot adopt orphans: {errno}");
        std::process::exit(1);
    }
    let mut failed = run_all(&wanted);
    if is_root() {
        let again = Command::new("/proc/self/exe").arg0(AS_USER).arg(&wanted).status();
        failed |= !again.is_ok_and(|status| status.success());
    }
    std::process::exit(i32::from(failed));
}

/// Whether this process has the privileges to give a sandbox a user of its own.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs the tests whose names contain `wanted`, in order; whether one failed.
fn run_all(wanted: &str) -> bool {
    let user = if is_root() { "root" } else { "user" };
    if let Err(error) = caller::run(&["exit", "0"])
        && let Some(error @ SandboxError::UserNamespaces { .. }) = error.downcast_ref()
    {
        eprintln!("{user}: all skipped: {error}; {}", error.hint().unwrap_or_default());
        return false;
    }
    let mut failed = 0;
    let mut passed = 0;
    for (name, test) in [inside::TESTS, ends::TESTS, limits::TESTS, outside::TESTS].concat() {
        if !name.contains(wanted) {
            continue;
        }
        let before = Belongings::now();
        let outcome = test().and_then(|()| Ok(before.check_nothing_added()?));
        let word = match &outcome {
            Ok(()) => "ok".to_owned(),
            Err(error) if error.is::<Skipped>() => format!("skipped: {error}"),
            Err(error) => format!("FAILED: {error}"),
        };
        eprintln!("test {user}::{name} ... {word}");
        match outcome {
            Err(error) if !error.is::<Skipped>() => failed += 1,
            _ => passed += 1,
        }
    }
    eprintln!("{user}: {passed} passed or skipped, {failed} failed");
    failed > 0
}

/// Fails a test unless both are equal.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}").into()) }
}
