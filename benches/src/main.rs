//! Compares runu with what people run today, side by side in one run: runc and crun with a static hello in the same
//! namespaces, QEMU without KVM with the same kernels; as programs, as containers that an engine leads through their life,
//! and as containers of Docker.
//!
//! Everybody runs once per round, in turns; told are medians, spreads and ratios within rounds, because absolute times
//! of a shared machine mean little. docs/benchmarks.md says what is measured and how to read it.
//!
//! `main` makes the field (`runu.rs`, `container.rs`, `docker.rs`, `qemu.rs`), runs the rounds (`rounds.rs`: `run.rs` and `life.rs` for a start,
//! `memory.rs` for what it holds) and prints the report (`report.rs`, `targets.rs`, `text.rs`).

mod arguments;
mod container;
mod contender;
mod docker;
mod elsewhere;
mod frames;
mod host;
mod instructions;
mod life;
mod memory;
mod phases;
mod qemu;
mod report;
mod rounds;
mod run;
mod runu;
mod statistics;
mod targets;
mod text;
mod web;
#[path = "../../guests/bench/work.rs"]
mod work;

use std::{io::Write, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{arguments::Arguments, contender::Field, host::Host, report::Report, run::Job, runu::Kernel};

/// Rounds of instructions: each takes the least of many readings by itself.
const INSTRUCTION_ROUNDS: usize = 5;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if arguments.serve {
        elsewhere::serve().map(|()| true)
    } else if arguments.server {
        web::server::serve().map(|()| true).map_err(|error| format!("cannot serve: {error}"))
    } else if arguments.web {
        web::compare(&arguments)
    } else if arguments.wires {
        frames::compare(&arguments)
    } else {
        compare(&arguments)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints. Whether all is well: with `--gate`, whether every target was met.
fn compare(arguments: &Arguments) -> Result<bool, String> {
    let builds = runu::builds(&arguments.runu)?;
    let bundles =
        tempfile::tempdir().map_err(|error| format!("cannot make a folder for bundles: {error}"))?;
    let host = Host::look();
    let mut field = Field::default();
    let kernels = runu::kernels(&mut field);
    runu::enter(&mut field, &builds, &kernels);
    container::enter(&mut field, &builds, &kernels, bundles.path());
    // It outlives the rounds.
    let _daemon = docker::enter(&mut field, &builds, &kernels, bundles.path());
    qemu::enter(&mut field, &kernels);
    let mut apart = starts_to_take_apart(&builds, &kernels);
    if let Some(only) = &arguments.only {
        field.contenders.retain(|contender| contender.name.contains(only));
        field.waiters.retain(|waiter| waiter.name.contains(only));
        apart.retain(|(name, _)| name.contains(only));
    }

    let pause = Duration::from_millis(arguments.pause);
    let rounds = arguments.rounds();
    let readings = rounds::run(&mut field, &apart, rounds, pause);
    let names: Vec<String> = apart.into_iter().map(|(name, _)| name).collect();
    let mut report = Report::new(host, rounds, &field, &names, &readings);
    if let Some(runu) = builds.first().filter(|_| arguments.only.is_none()) {
        let (costs, skipped) = instructions::measure(runu, rounds.min(INSTRUCTION_ROUNDS));
        report.instructions = costs;
        report.skipped.extend(skipped.into_iter().map(|(name, reason)| report::Skipped { name, reason }));
    }

    let text = if arguments.json {
        let json =
            serde_json::to_string_pretty(&report).map_err(|error| format!("cannot write JSON: {error}"))?;
        format!("{json}\n")
    } else {
        text::text(&report)
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot print: {error}"))?;
    Ok(!arguments.gate || report.targets.iter().all(|target| target.met))
}

/// Our own hello and Unikraft's first, with the time of each phase told.
fn starts_to_take_apart(builds: &[PathBuf], kernels: &[Kernel]) -> Vec<(String, Job)> {
    let own = kernels.iter().find(|kernel| !kernel.unikraft);
    let unikraft = kernels.iter().find(|kernel| kernel.unikraft);
    let mut starts = Vec::new();
    for build in builds {
        for kernel in own.into_iter().chain(unikraft) {
            let name = format!("{} run --debug {}", runu::called(build, builds), kernel.name);
            starts.push((name, runu::job(build, &["--debug"], &kernel.path, kernel.says())));
        }
    }
    starts
}
