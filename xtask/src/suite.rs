//! `cargo xtask test`: everything that must hold, in one run.
//!
//! Stages run one after the other and go on after a failure, so that one run tells all. A test that cannot run here
//! prints `SKIP <name>: <reason>` and passes; the harness counts it as passed, this counts it as skipped. The last line
//! is `N passed, N failed, N skipped`.

use std::{
    io::{self, BufRead, BufReader, PipeReader},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    time::Instant,
};

use crate::{arrows, out, packages, readme, unsafety};

/// How a test says that it cannot run here.
const SKIP: &str = "SKIP ";

/// How many things passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// How one stage went.
enum Outcome {
    Passed,
    Failed(Vec<String>),
    Skipped(String),
    /// A stage of many tests.
    Counted(Counts),
}

/// A stage: looks at the workspace in this folder and says how it went.
type Stage = fn(&Path) -> Outcome;

/// Runs all stages; fails if one failed.
pub(crate) fn run(root: &Path) -> ExitCode {
    packages::install();
    let mut total = Counts::default();
    let stages: &[(&str, Stage)] = &[
        ("format", |root| check(root, "cargo", &["fmt", "--all", "--check"])),
        ("arrows", |root| findings(arrows::run(root))),
        ("unsafe", |root| findings(unsafety::run(root))),
        ("lints", |root| {
            check(
                root,
                "cargo",
                &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"],
            )
        }),
        ("dependencies", dependencies),
        ("build", |root| check(root, "cargo", &["build", "--quiet", "--release", "--package", "runu"])),
        ("tests", tests),
        ("fuzz targets", fuzz_targets),
        ("readme", |root| findings(readme::run(root))),
        ("benchmark", benchmark),
    ];
    for (name, stage) in stages {
        out(&format!("\n== {name}\n"));
        let start = Instant::now();
        let outcome = stage(root);
        total.add(name, outcome);
        out(&format!("-- {name}: {:.1} s\n", start.elapsed().as_secs_f64()));
    }
    out(&format!("\n{} passed, {} failed, {} skipped\n", total.passed, total.failed, total.skipped));
    if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Counts {
    fn add(&mut self, name: &str, outcome: Outcome) {
        match outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::Failed(reasons) => {
                self.failed += 1;
                for reason in reasons {
                    out(&format!("FAIL {name}: {reason}\n"));
                }
            }
            Outcome::Skipped(reason) => {
                self.skipped += 1;
                out(&format!("SKIP {name}: {reason}\n"));
            }
            Outcome::Counted(counts) => {
                self.passed += counts.passed;
                self.failed += counts.failed;
                self.skipped += counts.skipped;
            }
        }
    }

    /// Takes in one line of what a test harness prints: `test NAME ... OUTCOME`, or how a test skipped itself.
    fn read(&mut self, line: &str) {
        if line.starts_with(SKIP) {
            self.skipped += 1;
        }
        let Some((_, outcome)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
            return;
        };
        match outcome {
            _ if outcome.starts_with("ok") => self.passed += 1,
            _ if outcome.starts_with("FAILED") => self.failed += 1,
            _ if outcome.starts_with("ignored") || outcome.starts_with("skipped") => self.skipped += 1,
            _ => {}
        }
    }
}

fn findings(found: Vec<String>) -> Outcome {
    if found.is_empty() { Outcome::Passed } else { Outcome::Failed(found) }
}

/// Passes when the command succeeds.
fn check(root: &Path, program: &str, arguments: &[&str]) -> Outcome {
    match Command::new(program).args(arguments).current_dir(root).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(status) => {
            Outcome::Failed(vec![format!("`{program} {}` ended with {status}", arguments.join(" "))])
        }
        Err(source) => Outcome::Failed(vec![format!("cannot run `{program}`: {source}")]),
    }
}

fn dependencies(root: &Path) -> Outcome {
    if !installed_subcommand("deny") {
        return Outcome::Skipped("cargo-deny is not installed".to_owned());
    }
    check(root, "cargo", &["deny", "check", "bans", "licenses", "sources"])
}

/// All tests of the workspace, counted from what their harnesses print.
fn tests(root: &Path) -> Outcome {
    // In the background of a shell or under nohup, signals are ignored, and what ignores them hands that on (signal(7)):
    // runu honours it, so tests that send it signals need the usual dispositions.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT,QUIT", "cargo"]);
    command.args(["test", "--workspace", "--no-fail-fast", "--", "--show-output"]).current_dir(root);
    match spawn_with_output(command) {
        Ok((child, output)) => count(child, BufReader::new(output)),
        Err(source) => Outcome::Failed(vec![format!("cannot run `cargo test`: {source}")]),
    }
}

/// Starts the command with both its outputs on one pipe: harnesses of our own print on stderr.
fn spawn_with_output(mut command: Command) -> io::Result<(Child, PipeReader)> {
    let (reader, writer) = io::pipe()?;
    let child = command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // The command goes out of scope here, and with it our ends for writing.
    Ok((child, reader))
}

/// Passes on what the harnesses print, and counts.
fn count(mut child: Child, output: impl BufRead) -> Outcome {
    let mut counts = Counts::default();
    let mut skipped_themselves = 0;
    for line in output.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        counts.read(&line);
        skipped_themselves += u64::from(line.starts_with(SKIP));
        out(&format!("{line}\n"));
    }
    // To the harness, a test that skips itself has passed.
    counts.passed = counts.passed.saturating_sub(skipped_themselves);
    let succeeded = child.wait().is_ok_and(|status| status.success());
    if !succeeded && counts.failed == 0 {
        // A build that failed or a harness that died has counted nothing.
        counts.failed = 1;
        out("FAIL tests: `cargo test` failed without a failing test\n");
    }
    Outcome::Counted(counts)
}

/// The fuzz targets must build; running them takes hours and is done apart (CONTRIBUTING.md).
fn fuzz_targets(root: &Path) -> Outcome {
    let folder = root.join("fuzz");
    if !folder.join("Cargo.toml").is_file() {
        return Outcome::Failed(vec!["fuzz/Cargo.toml is missing".to_owned()]);
    }
    check(&folder, "cargo", &["build", "--quiet"])
}

/// The benchmark in its quick mode. It must run, but what it measures on a shared machine does not decide.
fn benchmark(root: &Path) -> Outcome {
    check(root, "cargo", &["run", "--quiet", "--release", "--package", "runu-bench", "--", "--quick"])
}

fn installed_subcommand(name: &str) -> bool {
    packages::installed(&format!("cargo-{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_of_each_test_is_counted() {
        let mut counts = Counts::default();
        for line in [
            "test thing_of_one_kind_works ... ok",
            "test src/lib.rs - thing (line 3) ... ok",
            "test thing_of_another_kind_works ... FAILED",
            "test root::limits_hold ... FAILED: limit is 3, not 4",
            "test root::user_is_mapped ... skipped: no such user",
            "test slow ... ignored",
            "test result: FAILED. 2 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out",
        ] {
            counts.read(line);
        }
        assert_eq!(counts, Counts { passed: 2, failed: 2, skipped: 2 });
    }

    #[test]
    fn skip_line_turns_a_passed_test_into_a_skipped_one() {
        let mut counts = Counts::default();
        counts.read("SKIP demo_under_qemu_prints_the_same: no qemu-system-x86_64");
        counts.read(
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s",
        );
        assert_eq!(counts.skipped, 1);
    }
}
