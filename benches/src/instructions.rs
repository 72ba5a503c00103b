//! What single instructions and events cost in a guest of runu's, in one of QEMU's, and, as far as a program may do them,
//! on the host itself.
//!
//! The guest `bench` times them in ticks of the time stamp counter, which all three read alike: runu shows the host's, and
//! so does QEMU without KVM.

use std::{path::Path, time::Instant};

use runu_guests::Guest;
use serde::Serialize;

use crate::{
    qemu,
    run::Job,
    runu,
    statistics::Spread,
    work::{self, UNPRIVILEGED},
};

/// What the guest prints behind every time.
pub(crate) const EXPECTED: &str = " ticks";

/// The cost of one thing, in nanoseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    /// What it is.
    pub(crate) name: String,
    /// On the host, where a program may do it.
    pub(crate) native_ns: Option<f64>,
    /// Under runu.
    pub(crate) runu_ns: Option<f64>,
    /// Under QEMU without KVM.
    pub(crate) emulated_ns: Option<f64>,
}

/// Times of one round, by name, in ticks.
type Ticks = Vec<(String, f64)>;

/// Measures in that many rounds; says why where a side is missing.
pub(crate) fn measure(runu: &Path, rounds: usize) -> (Vec<Cost>, Vec<(String, String)>) {
    let mut skipped = Vec::new();
    let mut sides: [(&str, Option<Job>, Vec<Ticks>); 3] = [
        ("on the host", None, Vec::new()),
        ("under runu", Guest::named("bench").map(|guest| runu_job(runu, guest)), Vec::new()),
        ("under QEMU", qemu::bench_guest(), Vec::new()),
    ];
    let (start, first) = (Instant::now(), work::ticks());
    for _ in 0..rounds {
        for (side, job, readings) in &mut sides {
            match job {
                Some(job) => match job.time() {
                    Ok(sample) => readings.push(told(&sample.stdout)),
                    Err(reason) => skipped.push((format!("instructions {side}"), reason)),
                },
                None if readings.is_empty() || *side == "on the host" => readings.push(native()),
                None => {}
            }
        }
    }
    let ticks = approximately(work::ticks() - first);
    let ns_per_tick = start.elapsed().as_secs_f64() * 1e9 / ticks;
    let [native, runu, emulated] = sides.map(|(.., readings)| readings);
    let names: Vec<String> =
        runu.iter().chain(&native).next().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let costs = names.into_iter().map(|name| {
        let of = |readings: &[Ticks]| {
            let found =
                readings.iter().flatten().filter(|(found, _)| *found == name).map(|(_, ticks)| *ticks);
            Spread::of(found).map(|spread| spread.median * ns_per_tick)
        };
        Cost { native_ns: of(&native), runu_ns: of(&runu), emulated_ns: of(&emulated), name }
    });
    (costs.collect(), skipped)
}

fn runu_job(runu: &Path, guest: &Guest) -> Job {
    runu::job(runu, &[], &guest.multiboot_path(), EXPECTED)
}

fn native() -> Ticks {
    UNPRIVILEGED.iter().map(|work| (work.name.to_owned(), approximately(work::time(work)) / 100.0)).collect()
}

/// A count as a float. Exact up to 2^53, which a time stamp counter reaches in a month.
fn approximately(count: u64) -> f64 {
    const HALF: u64 = 1 << 32;
    let (high, low) =
        (u32::try_from(count / HALF).unwrap_or(u32::MAX), u32::try_from(count % HALF).unwrap_or(0));
    f64::from(high) * (f64::from(u32::MAX) + 1.0) + f64::from(low)
}

/// The lines `NAME = TICKS ticks`.
fn told(text: &str) -> Ticks {
    text.lines()
        .filter_map(|line| {
            let (name, ticks) = line.trim_end().strip_suffix(EXPECTED)?.split_once(" = ")?;
            Some((name.to_owned(), ticks.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_guest_are_read_and_others_left_out() {
        let text = "booting\r\nout = 12.05 ticks\r\ncall and ret = 3.00 ticks\r\nbroken = x ticks\r\n";
        assert_eq!(told(text), [("out".to_owned(), 12.05), ("call and ret".to_owned(), 3.0)]);
    }

    #[test]
    fn count_beyond_32_bits_is_kept() {
        assert_eq!(approximately(1 << 40).log2(), 40.0);
        assert_eq!(approximately(12_345), 12_345.0);
    }
}
