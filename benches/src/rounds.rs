//! The rounds: everybody once, then everybody once more, so that whatever slows the machine down slows all alike.

use std::{thread, time::Duration};

use crate::{
    contender::Field,
    memory::Memory,
    run::{Job, Sample},
};

/// What all rounds brought, in the order of the field; `None` where a run failed.
pub(crate) struct Readings {
    /// Of each contender, by round.
    pub(crate) times: Vec<Vec<Option<Sample>>>,
    /// Of each waiter, by round.
    pub(crate) memory: Vec<Vec<Option<Memory>>>,
    /// Of each start that is taken apart.
    pub(crate) apart: Vec<Vec<Sample>>,
    /// Who failed and how.
    pub(crate) failed: Vec<(String, String)>,
}

/// Runs the rounds. `apart` are starts of runu's that tell their phases. Whoever fails in the first round, which is not
/// counted, fails in all.
pub(crate) fn run(field: &mut Field, apart: &[(String, Job)], rounds: usize, pause: Duration) -> Readings {
    let mut readings = Readings {
        times: field.contenders.iter().map(|_| Vec::new()).collect(),
        memory: field.waiters.iter().map(|_| Vec::new()).collect(),
        apart: apart.iter().map(|_| Vec::new()).collect(),
        failed: Vec::new(),
    };
    for round in 0..=rounds {
        let counts = round > 0;
        for (contender, times) in field.contenders.iter().zip(&mut readings.times) {
            thread::sleep(pause);
            let sample = contender.time(&mut field.elsewhere);
            let sample = keep(sample, &contender.name, &mut readings.failed);
            times.extend(counts.then_some(sample));
        }
        for (waiter, memory) in field.waiters.iter().zip(&mut readings.memory) {
            thread::sleep(pause);
            let held = keep(waiter.measure(&mut field.elsewhere), &waiter.name, &mut readings.failed);
            memory.extend(counts.then_some(held));
        }
        for ((name, job), samples) in apart.iter().zip(&mut readings.apart) {
            thread::sleep(pause);
            let sample = keep(job.time(), name, &mut readings.failed);
            samples.extend(sample.filter(|_| counts));
        }
    }
    readings
}

/// Notes the first failure of each.
fn keep<T>(result: Result<T, String>, name: &str, failed: &mut Vec<(String, String)>) -> Option<T> {
    match result {
        Ok(reading) => Some(reading),
        Err(reason) => {
            if failed.iter().all(|(known, _)| known != name) {
                failed.push((name.to_owned(), reason));
            }
            None
        }
    }
}
