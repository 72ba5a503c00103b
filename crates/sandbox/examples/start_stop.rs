//! Measures a sandbox around a program that does nothing, phase by phase.
//!
//! `cargo run --release -p runu-sandbox --example start_stop [ROUNDS]` prints medians and minima in microseconds. As root
//! it measures with a control group, as any other user with a user namespace.

use std::{error::Error, ffi::CStr, io::Write};

use runu_core::Bytes;
use runu_sandbox::{CgroupSpec, Limits, Spec, Times};

const GUEST: &CStr = c"runu-guest";

/// What each phase is called, and where it starts and ends.
type Phase = (&'static str, fn(&Times) -> (u64, u64));

const PHASES: [Phase; 8] = [
    ("prepare, control group", |t| (t.called, t.prepared)),
    ("clone with namespaces", |t| (t.prepared, t.cloned)),
    ("root, identity (from return of clone)", |t| (t.cloned, t.ready)),
    ("clone and exec of the guest process", |t| (t.ready, t.executed)),
    ("guest process", |t| (t.executed, t.ended)),
    ("end of supervisor and namespaces", |t| (t.ended, t.reaped)),
    ("removal of control group", |t| (t.reaped, t.removed)),
    ("all", |t| (t.called, t.removed)),
];

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == GUEST.to_bytes()) {
        return Ok(());
    }
    let rounds = std::env::args().nth(1).map_or(Ok(200), |rounds| rounds.parse())?;
    let mut times = Vec::with_capacity(rounds);
    let mut limits = Limits::Unasked;
    for _ in 0..rounds {
        let ended = runu_sandbox::run(Spec {
            argv: &[GUEST],
            descriptors: Vec::new(),
            companion: None,
            hostname: Some("guest"),
            cgroup: Some(CgroupSpec {
                name: format!("runu-start-{}", std::process::id()),
                memory_max: Some(Bytes::mib(64)),
                pids_max: Some(16),
            }),
        })?;
        limits = ended.limits;
        times.push(ended.times);
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{rounds} sandboxes; {limits}")?;
    writeln!(out, "{:<40} {:>9} {:>9}", "phase", "median µs", "min µs")?;
    for (name, bounds) in PHASES {
        let mut spans: Vec<u64> = times
            .iter()
            .map(|times| {
                let (start, end) = bounds(times);
                end.saturating_sub(start)
            })
            .collect();
        spans.sort_unstable();
        let micros = |span: Option<&u64>| span.copied().unwrap_or_default() / 1000;
        writeln!(out, "{name:<40} {:>9} {:>9}", micros(spans.get(spans.len() / 2)), micros(spans.first()))?;
    }
    Ok(())
}
