//! What needs a machine of its own: `runu` on kernels and systems that the host is not.
//!
//! This program is the suite on the host, and everything of ours inside the machines. On the host it builds an initramfs
//! that holds itself and `runu`, boots it with Debian's kernel under QEMU without KVM, and reads from the console how each
//! check went. Inside, it is the first process ([`init`]), and the one that makes the checks ([`inside`]).
//!
//! It takes `qemu-system-x86_64` and, once, a network to fetch Debian's packages from; without them every check says so
//! and passes.

mod bundle;
mod debian;
mod group;
mod host;
mod init;
mod initramfs;
mod inside;
mod machine;
mod scope;
mod system;
mod unified;

use std::{env, error::Error, process::ExitCode};

/// What a check returns.
type Outcome = Result<(), Box<dyn Error>>;
/// A check and its name.
type Check = (&'static str, fn() -> Outcome);

/// Checks that share a machine.
struct Suite {
    /// What they have in common.
    name: &'static str,
    /// The first process of their machine.
    first: First,
    /// Words for the kernel.
    words: &'static str,
    /// MiB of memory.
    memory_mib: u32,
    /// Seconds that all of it may take; several times what it does take.
    timeout_s: u32,
    /// They, in order.
    checks: &'static [Check],
}

/// What a machine's first process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// This program.
    Ourselves,
    /// Debian's systemd, which then starts this program.
    Systemd,
}

/// All of them.
const SUITES: &[Suite] = &[
    Suite {
        name: "unified",
        first: First::Ourselves,
        words: "cgroup_no_v1=all",
        memory_mib: 512,
        timeout_s: 240,
        checks: unified::CHECKS,
    },
    Suite {
        name: "scope",
        first: First::Systemd,
        words: "cgroup_no_v1=all",
        memory_mib: 768,
        timeout_s: 300,
        checks: scope::UNIFIED,
    },
    Suite {
        name: "separate_scope",
        first: First::Systemd,
        words: "systemd.unified_cgroup_hierarchy=0",
        memory_mib: 768,
        timeout_s: 300,
        checks: scope::SEPARATE,
    },
];

/// The word by which this program, as a hook, kills the process that creates a container.
const KILL_PARENT: &str = "kill-parent";

fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        init::main();
    }
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [inside::ROLE, suite, wanted] => inside::main(suite, wanted),
        [KILL_PARENT] => inside::kill_parent(),
        // Options of the standard harness mean nothing here; a word selects the checks whose names contain it.
        _ => host::main(words.iter().find(|word| !word.starts_with('-')).unwrap_or(&"")),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The suite of that name.
fn suite(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name == name)
}

/// Fails a check unless both are equal.
fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, not {expected:?}").into()) }
}
