//! Who takes part: a name, what is run, and whom it is compared with.

use serde::{Deserialize, Serialize};

use crate::{
    elsewhere::Elsewhere,
    life::Life,
    memory::{Idle, Memory},
    run::{Job, Sample},
};

/// What a contender is, which decides whom it is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// runu with our own hello.
    RunuOwn,
    /// runu with a kernel that Unikraft built.
    RunuUnikraft,
    /// A container.
    Container,
    /// The container that everything is compared with: runc, no filter of system calls.
    Runc,
    /// QEMU without KVM.
    Emulator,
}

/// How something is started: times are compared only with those of the same category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Category {
    /// By one call of its own program.
    Run,
    /// By the calls that an engine makes: create, start, delete.
    Life,
    /// By `docker run`.
    Docker,
}

/// What is timed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Course {
    /// One program, from its start to its end.
    Program(Job),
    /// The life of a container.
    Life(Life),
}

impl Course {
    /// Once.
    pub(crate) fn time(&self) -> Result<Sample, String> {
        match self {
            Course::Program(job) => job.time(),
            Course::Life(life) => life.time(),
        }
    }
}

/// Something whose start is timed.
pub(crate) struct Contender {
    /// As the report calls it.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// How it is started.
    pub(crate) category: Category,
    /// The kernel that it boots, by which it is compared with others that boot the same.
    pub(crate) kernel: Option<String>,
    /// What is timed.
    pub(crate) course: Course,
    /// Whether it runs in the other mount namespace.
    pub(crate) elsewhere: bool,
}

/// Something whose memory is measured.
pub(crate) struct Waiter {
    /// As the report calls it.
    pub(crate) name: String,
    /// Whether there is a target for it.
    pub(crate) has_target: bool,
    /// What is run.
    pub(crate) idle: Idle,
    /// Whether it runs in the other mount namespace.
    pub(crate) elsewhere: bool,
}

/// Everybody who takes part, and who does not and why.
#[derive(Default)]
pub(crate) struct Field {
    /// Timed.
    pub(crate) contenders: Vec<Contender>,
    /// Measured.
    pub(crate) waiters: Vec<Waiter>,
    /// Left out: name and reason.
    pub(crate) skipped: Vec<(String, String)>,
    /// Where some of them run.
    pub(crate) elsewhere: Option<Elsewhere>,
}

impl Field {
    /// Leaves somebody out.
    pub(crate) fn skip(&mut self, name: &str, reason: impl Into<String>) {
        self.skipped.push((name.to_owned(), reason.into()));
    }
}

impl Contender {
    /// One run.
    pub(crate) fn time(&self, elsewhere: &mut Option<Elsewhere>) -> Result<Sample, String> {
        match elsewhere {
            Some(elsewhere) if self.elsewhere => elsewhere.time(&self.course),
            _ => self.course.time(),
        }
    }
}

impl Waiter {
    /// One measurement.
    pub(crate) fn measure(&self, elsewhere: &mut Option<Elsewhere>) -> Result<Memory, String> {
        match elsewhere {
            Some(elsewhere) if self.elsewhere => elsewhere.measure(&self.idle),
            _ => self.idle.measure(),
        }
    }
}
