//! As whom a test runs `runu`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use super::{Room, skip};

/// Whoever runs a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Tester,
    /// Someone who owns nothing and may do nothing special.
    Nobody,
}

/// The number of `nobody`, as user and as group.
const NOBODY: u32 = 65534;

impl User {
    /// Makes the command one of this user.
    pub(crate) fn run(self, command: &mut Command) {
        match self {
            User::Tester => {}
            User::Nobody => {
                command.uid(NOBODY).gid(NOBODY);
            }
        }
    }
}

/// As whom a test can run: the tester, and if that is root also an ordinary user, where this host lets such a user make a
/// user namespace with privileges inside.
pub(crate) fn users() -> Vec<User> {
    if !is_root() {
        return vec![User::Tester];
    }
    let room = Room::new();
    let mut probe = Command::new("unshare");
    probe.args(["--user", "--map-root-user", "--mount", "true"]);
    room.settle(&mut probe);
    User::Nobody.run(&mut probe);
    if room.finish(&mut probe).status() == 0 {
        vec![User::Tester, User::Nobody]
    } else {
        skip("the half for an ordinary user: this host refuses user namespaces");
        vec![User::Tester]
    }
}

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
