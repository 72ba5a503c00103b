//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Rounds of a full and of a quick comparison.
const ROUNDS: usize = 30;
const QUICK_ROUNDS: usize = 5;

/// Compares runu with runc, crun and QEMU, side by side in one run
#[derive(Debug, Parser)]
#[command(name = "runu-bench", max_term_width = 100)]
pub(crate) struct Arguments {
    /// Few rounds: enough to see that everything runs, too few to trust the numbers
    #[arg(long)]
    pub(crate) quick: bool,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Fail if a target is missed
    #[arg(long)]
    pub(crate) gate: bool,

    /// How many rounds, after one that is not counted
    #[arg(long, value_name = "N")]
    runs: Option<usize>,

    /// Milliseconds to wait before each run, in which the kernel ends what it does behind the last one's back
    #[arg(long, value_name = "MS", default_value_t = 20)]
    pub(crate) pause: u64,

    /// A `runu` to measure instead of the one that is built now; given twice or more, they are compared
    #[arg(long, value_name = "FILE")]
    pub(crate) runu: Vec<PathBuf>,

    /// Measure only what has this in its name, and what the targets compare it with is left out too
    #[arg(long, value_name = "TEXT")]
    pub(crate) only: Option<String>,

    /// Compare web servers instead of starts: under load and at rest
    #[arg(long)]
    pub(crate) web: bool,

    /// Hold a web server of runu's under load for so long instead, and see that it does not grow
    #[arg(long, value_name = "SECONDS", requires = "web")]
    pub(crate) soak: Option<u64>,

    /// Compare what frames can go through, instead of starts
    #[arg(long, conflicts_with = "web")]
    pub(crate) wires: bool,

    /// This is the other call of this program, in a network namespace of its own
    #[arg(long, hide = true)]
    pub(crate) in_namespace: bool,

    /// Be the web server that runu's guests are compared with
    #[arg(long, hide = true)]
    pub(crate) server: bool,

    /// Measure what standard input names, for a parent in another mount namespace
    #[arg(long, hide = true)]
    pub(crate) serve: bool,
}

impl Arguments {
    /// How many rounds are counted: at least one.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds_or(if self.quick { QUICK_ROUNDS } else { ROUNDS })
    }

    /// The same, where so many are usual.
    pub(crate) fn rounds_or(&self, usual: usize) -> usize {
        self.runs.unwrap_or(usual).max(1)
    }
}
