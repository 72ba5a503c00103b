//! What came out, as data: who started how fast, who held how much, where runu's time went, which targets were met.

use serde::Serialize;

use crate::{
    contender::{Contender, Field, Role},
    host::Host,
    instructions::Cost,
    memory::Memory,
    phases::{self, Phase},
    rounds::Readings,
    run::Sample,
    statistics::{self, Spread},
    targets::{self, Target},
};

/// Everything. `--json` prints it as it is.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Where it was measured.
    pub(crate) host: Host,
    /// How many rounds count.
    pub(crate) rounds: usize,
    /// Starts.
    pub(crate) starts: Vec<Start>,
    /// Memory of those who wait.
    pub(crate) memory: Vec<Held>,
    /// Where runu's time goes, by kernel.
    pub(crate) phases: Vec<Breakdown>,
    /// What instructions cost in a guest.
    pub(crate) instructions: Vec<Cost>,
    /// What was promised.
    pub(crate) targets: Vec<Target>,
    /// What was not measured, or failed.
    pub(crate) skipped: Vec<Skipped>,
}

/// How fast one contender starts.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// Its name.
    pub(crate) name: String,
    /// To the first byte it prints.
    pub(crate) first_byte_ms: Spread,
    /// To its end.
    pub(crate) exit_ms: Spread,
    /// Its time to the end by runc's in the same round.
    pub(crate) to_runc: Option<Spread>,
    /// The emulator's time to the end with the same kernel in the same round, by its own.
    pub(crate) emulator_to_it: Option<Spread>,
}

/// What one waiter holds, in KiB.
#[derive(Debug, Serialize)]
pub(crate) struct Held {
    /// Its name.
    pub(crate) name: String,
    /// In how many processes.
    pub(crate) processes: u64,
    /// All of it.
    pub(crate) total_kib: u64,
    /// What the guest has touched of its memory.
    pub(crate) guest_kib: u64,
    /// The rest.
    pub(crate) above_guest_kib: u64,
}

/// Where the time of one kernel's start goes.
#[derive(Debug, Serialize)]
pub(crate) struct Breakdown {
    /// The start.
    pub(crate) name: String,
    /// Its phases in order.
    pub(crate) phases: Vec<Phase>,
}

/// Something that was not measured.
#[derive(Debug, Serialize)]
pub(crate) struct Skipped {
    /// What.
    pub(crate) name: String,
    /// Why.
    pub(crate) reason: String,
}

impl Report {
    /// Makes sense of the readings.
    pub(crate) fn new(
        host: Host,
        rounds: usize,
        field: &Field,
        apart: &[String],
        readings: &Readings,
    ) -> Self {
        let exits: Vec<Exits<'_>> = field
            .contenders
            .iter()
            .zip(&readings.times)
            .map(|(contender, times)| Exits::of(contender, times))
            .collect();
        let starts =
            exits.iter().zip(&readings.times).filter_map(|(one, times)| start(one, times, &exits)).collect();
        let memory: Vec<Held> = field
            .waiters
            .iter()
            .zip(&readings.memory)
            .filter_map(|(waiter, readings)| held(&waiter.name, readings))
            .collect();
        let targets = targets::starts(&exits).into_iter().chain(targets::memory(field, &memory)).collect();
        let phases = apart.iter().zip(&readings.apart).filter(|(_, samples)| !samples.is_empty());
        let skipped = field.skipped.iter().chain(&readings.failed);
        Report {
            host,
            rounds,
            starts,
            memory,
            phases: phases
                .map(|(name, samples)| Breakdown { name: name.clone(), phases: phases::phases(samples) })
                .collect(),
            instructions: Vec::new(),
            targets,
            skipped: skipped
                .map(|(name, reason)| Skipped { name: name.clone(), reason: reason.clone() })
                .collect(),
        }
    }
}

/// A contender's times to the end, by round.
pub(crate) struct Exits<'a> {
    /// Whose.
    pub(crate) contender: &'a Contender,
    /// In milliseconds; `None` where it failed.
    pub(crate) ms: Vec<Option<f64>>,
}

impl<'a> Exits<'a> {
    fn of(contender: &'a Contender, times: &[Option<Sample>]) -> Self {
        let ms = times.iter().map(|sample| sample.as_ref().map(|sample| sample.exit_ms)).collect();
        Exits { contender, ms }
    }

    /// These times by those of runc, round by round.
    pub(crate) fn to_runc(&self, all: &[Exits<'_>]) -> Option<Spread> {
        let category = self.contender.category;
        let is_runc =
            |other: &&Exits<'_>| other.contender.role == Role::Runc && other.contender.category == category;
        let runc = all.iter().find(is_runc)?;
        statistics::ratio(&self.ms, &runc.ms)
    }

    /// The times of the emulator with the same kernel by these, round by round.
    pub(crate) fn emulator_to_it(&self, all: &[Exits<'_>]) -> Option<Spread> {
        let same = |other: &&Exits<'_>| {
            other.contender.role == Role::Emulator && other.contender.kernel == self.contender.kernel
        };
        statistics::ratio(&all.iter().find(same)?.ms, &self.ms)
    }

    /// Whether it is runu.
    pub(crate) fn is_runu(&self) -> bool {
        matches!(self.contender.role, Role::RunuOwn | Role::RunuUnikraft)
    }
}

fn start(one: &Exits<'_>, times: &[Option<Sample>], all: &[Exits<'_>]) -> Option<Start> {
    Some(Start {
        name: one.contender.name.clone(),
        first_byte_ms: Spread::of(times.iter().flatten().map(|sample| sample.first_byte_ms))?,
        exit_ms: Spread::of(one.ms.iter().flatten().copied())?,
        to_runc: one.to_runc(all),
        emulator_to_it: one.is_runu().then(|| one.emulator_to_it(all)).flatten(),
    })
}

/// The reading in the middle: its parts belong together.
fn held(name: &str, readings: &[Option<Memory>]) -> Option<Held> {
    let mut readings: Vec<Memory> = readings.iter().flatten().copied().collect();
    readings.sort_unstable_by_key(|memory| memory.above_guest_kib());
    let middle = readings.get(readings.len() / 2)?;
    Some(Held {
        name: name.to_owned(),
        processes: middle.processes,
        total_kib: middle.total_kib,
        guest_kib: middle.guest_kib,
        above_guest_kib: middle.above_guest_kib(),
    })
}
