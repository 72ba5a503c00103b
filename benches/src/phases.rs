//! Where the time of `runu run` goes, as it tells itself with `--debug`.

use serde::Serialize;

use crate::{run::Sample, statistics::Spread};

/// One phase of a start, in milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Phase {
    /// What is done in it.
    pub(crate) name: String,
    /// How long it takes.
    pub(crate) ms: Spread,
}

/// What runu calls the sum.
const ALL: &str = "in all";

/// What it cannot see: before its first line and after its last one.
const OUTSIDE: &str = "start and end runu's own process";

/// The phases of runs of one kernel, in the order in which runu tells them.
pub(crate) fn phases(samples: &[Sample]) -> Vec<Phase> {
    let told: Vec<Vec<(String, f64)>> = samples.iter().map(|sample| lines(&sample.stderr)).collect();
    let names: Vec<String> = told
        .iter()
        .max_by_key(|lines| lines.len())
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let of = |name: &str| {
        told.iter().flatten().filter(move |(found, _)| found == name).map(|(_, ms)| *ms).collect::<Vec<_>>()
    };
    let outside = samples.iter().zip(&told).filter_map(|(sample, lines)| {
        let (_, all) = lines.iter().find(|(name, _)| name == ALL)?;
        Some(sample.exit_ms - all)
    });
    let outside = Spread::of(outside).map(|ms| Phase { name: OUTSIDE.to_owned(), ms });
    let inside =
        names.iter().filter_map(|name| Some(Phase { name: name.clone(), ms: Spread::of(of(name))? }));
    outside.into_iter().chain(inside).collect()
}

/// The lines `debug: 1.23 ms: WHAT`.
fn lines(text: &str) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| {
            let (time, name) = line.strip_prefix("debug:")?.split_once(" ms: ")?;
            Some((name.to_owned(), time.trim().parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_medians_in_order_and_what_is_outside_comes_first() {
        let sample = |exit_ms, make: &str| Sample {
            first_byte_ms: 1.0,
            exit_ms,
            stdout: String::new(),
            stderr: format!(
                "debug: guest: x\ndebug:   {make} ms: make the sandbox\ndebug:   4.00 ms: in all\n"
            ),
        };
        let phases = phases(&[sample(5.0, "1.00"), sample(7.0, "3.00"), sample(6.0, "2.00")]);
        let told: Vec<_> = phases.iter().map(|phase| (phase.name.as_str(), phase.ms.median)).collect();
        assert_eq!(told, [(OUTSIDE, 2.0), ("make the sandbox", 2.0), (ALL, 4.0)]);
    }
}
