//! Web servers: our guest `http` under runu, the same server as an ordinary program in a container of runc's, and the same
//! guest under QEMU without KVM; and real servers likewise, where there are some (`real.rs`). Asked over a wire of their own each, by
//! wrk, in turns.
//!
//! ```text
//! here, a network namespace of this program's own        one for each container
//! wrk ── 10.77.N.1 ───────── veth ────────────────────── 10.77.N.2, what is measured
//! ```
//!
//! The load comes from the first processor, what is measured runs on the second. `main` calls [`compare`], which calls itself
//! in a namespace (`wires.rs`), starts each contender (`site.rs`) in turn, loads it (`load.rs`), lets it rest (`rest.rs`), ends
//! it, and prints what came out (`table.rs`). `soak.rs` holds one under load and watches that it does not grow; `server.rs` is
//! the ordinary program.

mod load;
mod real;
mod rest;
pub(crate) mod server;
mod site;
mod soak;
mod table;
pub(crate) mod wires;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{arguments::Arguments, host, runu, text};
use load::Load;
use real::Real;
use rest::Rest;
use site::Site;

/// What one round brought of one contender.
#[derive(Clone, Debug)]
struct Reading {
    /// Milliseconds from before it was started to the first answer.
    first_answer_ms: f64,
    /// Small answers to sixteen clients.
    many: Load,
    /// How long the server's processes ran for each of these, in microseconds: whatever limits their number.
    ran_us: f64,
    /// Small answers to one client.
    one: Load,
    /// Answers of 256 KiB to four clients.
    big: Load,
    rest: Rest,
    /// Exits from translated code, and signals, of the guest's whole life, by request; where the runtime counts them.
    traps: Option<f64>,
}

/// Rounds of a full and of a quick comparison, after one that is not counted.
const ROUNDS: usize = 5;
const QUICK_ROUNDS: usize = 1;

/// How long each load lasts, and the rest.
const TIMES: [Duration; 2] = [Duration::from_secs(4), Duration::from_secs(10)];
const QUICK_TIMES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];

/// Measures and prints. Whether all is well: with `--gate`, whether every target was met.
pub(crate) fn compare(arguments: &Arguments) -> Result<bool, String> {
    if let Some(reason) = lacks() {
        return text::say(&format!("SKIP web servers: {reason}\n")).map(|()| true);
    }
    if !arguments.in_namespace {
        return again_in_a_namespace();
    }
    let builds = runu::builds(&arguments.runu)?;
    let folder = tempfile::tempdir().map_err(|error| format!("cannot make a folder for bundles: {error}"))?;
    let (mut sites, skipped) = sites(&builds, folder.path())?;
    if let Some(only) = &arguments.only {
        sites.retain(|site| site.name.contains(only));
    }
    if let Some(seconds) = arguments.soak {
        return soak::soak(&sites, Duration::from_secs(seconds));
    }
    let (rounds, [load, rest]) = if arguments.quick { (QUICK_ROUNDS, QUICK_TIMES) } else { (ROUNDS, TIMES) };
    let rounds = arguments.rounds_or(rounds);
    let mut readings: Vec<Vec<Option<Reading>>> = sites.iter().map(|_| Vec::new()).collect();
    let mut failed = skipped;
    for round in 0..=rounds {
        for (site, readings) in sites.iter().zip(&mut readings) {
            let reading = read(site, load, rest);
            if let Err(reason) = &reading {
                failed.push(format!("{}: {reason}", site.name));
            }
            readings.extend((round > 0).then_some(reading.ok()));
        }
    }
    let (told, met) = table::text(&sites, &readings, &failed);
    text::say(&told)?;
    Ok(!arguments.gate || met)
}

/// Why nothing can be measured here, if that is so.
fn lacks() -> Option<String> {
    missing(&["wrk", "ip", "unshare", "nsenter", "taskset"])
}

/// Why networks cannot be made here, or what is not installed of these tools.
pub(crate) fn missing(tools: &[&str]) -> Option<String> {
    if !host::is_root() {
        return Some("it takes root to make network interfaces".to_owned());
    }
    let missing = tools.iter().find(|tool| host::find(tool).is_none());
    missing.map(|tool| format!("`{tool}` is not installed"))
}

/// Runs this program once more where no other interfaces, routes and rules are in the way. All that is made there goes with
/// its last process. It comes before whatever else wants to run: a load that does not get its processor measures that.
pub(crate) fn again_in_a_namespace() -> Result<bool, String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let status = Command::new("unshare")
        .args(["--net", "--", "nice", "-n", "-20", "taskset", "--cpu-list", "0"])
        .arg(program)
        .args(std::env::args_os().skip(1))
        .arg("--in-namespace")
        .status();
    status.map(|status| status.success()).map_err(|error| format!("cannot run `unshare`: {error}"))
}

/// Who takes part, and who does not and why.
fn sites(builds: &[PathBuf], folder: &Path) -> Result<(Vec<Site>, Vec<String>), String> {
    let (mut sites, mut skipped) = (Vec::new(), Vec::new());
    let mut number = 0;
    let mut enter = |site: Result<Site, String>| match site {
        Ok(site) => sites.push(site),
        Err(reason) => skipped.push(reason),
    };
    let mut next = || {
        number += 1;
        number
    };
    for build in builds {
        for linux64 in [false, true] {
            let called = runu::called(build, builds);
            enter(Site::guest(next(), &called, build, linux64, folder));
        }
    }
    enter(Site::native(next(), folder));
    enter(Site::emulated(next()));
    for server in Real::all() {
        for build in builds {
            for kernel in Real::KERNELS.into_iter().filter(|kernel| server.file(kernel).is_some()) {
                let called = runu::called(build, builds);
                enter(Site::real_guest(next(), &called, build, (&server, kernel), folder));
            }
        }
        enter(Site::real_native(next(), &server, folder));
        enter(Site::real_emulated(next(), &server));
    }
    if sites.is_empty() { Err(skipped.join("; ")) } else { Ok((sites, skipped)) }
}

/// One contender once, from its start to its end.
fn read(site: &Site, load: Duration, rest: Duration) -> Result<Reading, String> {
    let running = site.start()?;
    let first_answer_ms = running.first_answer_ms;
    let before = rest::ran_us(&running);
    let many = load::load(site.address(), "/", 16, load)?;
    let ran_us = (rest::ran_us(&running) - before) / many.requests.max(1.0);
    let one = load::load(site.address(), "/", 1, load / 2)?;
    let big = load::load(site.address(), "/big", 4, load)?;
    let rest = rest::rest(&running, rest)?;
    let requests = many.requests + one.requests + big.requests;
    let traps = running.end()?.map(|traps| traps / requests.max(1.0));
    Ok(Reading { first_answer_ms, many, ran_us, one, big, rest, traps })
}
