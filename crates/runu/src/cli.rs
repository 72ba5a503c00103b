//! The command line: verbs, flags and their help, in one table that is also the parser.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use runu_core::{Blame, Bytes};

use crate::{failure::Failure, stdio};

/// Runs unikernels: the image as it is, in a sandboxed process, with or without KVM
#[derive(Debug, Parser)]
#[command(name = "runu", version = concat!("version ", env!("CARGO_PKG_VERSION")), max_term_width = 100)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs; each is one file of the same name.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run a unikernel; its console is stdin and stdout, its exit status ours
    #[command(override_usage = "runu run [OPTIONS] KERNEL [--] [ARG]...")]
    Run(RunFlags),
    /// Tell what a kernel file is, what it understands and what can run it
    Inspect(InspectFlags),
    /// Run the built-in unikernel and tell what happened
    Demo(DemoFlags),
}

/// Flags of `runu run`.
#[derive(Debug, Args)]
pub(crate) struct RunFlags {
    /// What to run the guest in
    #[arg(long, value_enum, default_value_t = MonitorChoice::Auto, value_name = "MONITOR")]
    pub(crate) monitor: MonitorChoice,

    /// Size of the guest's memory, with an optional unit: 64M, 1G
    #[arg(short, long, default_value = "64M", value_name = "SIZE")]
    pub(crate) memory: Bytes,

    /// File to hand to the guest as its initrd
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,

    /// Set a variable in the guest's environment; without `=VALUE`, as it is in ours, if it is
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,

    /// Tell on stderr what was chosen and why, and how long each phase took
    #[arg(long)]
    pub(crate) debug: bool,

    /// The kernel, and behind it the guest's arguments; a `--` between them is not handed on
    #[arg(required = true, trailing_var_arg = true, num_args = 1.., value_names = ["KERNEL", "ARG"])]
    pub(crate) command: Vec<OsString>,
}

/// Flags of `runu inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectFlags {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// The kernel file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Flags of `runu demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoFlags {
    /// Which of the two kinds of kernel to run
    #[arg(long, value_enum, default_value_t = DemoKind::Multiboot, value_name = "KIND")]
    pub(crate) kind: DemoKind,

    /// Do not run the kernel but write it to FILE, for `runu inspect` and `runu run`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

/// What `--monitor` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MonitorChoice {
    /// The strongest that this host offers and that can run this guest
    Auto,
    /// A sandboxed process without a VM
    Process,
}

/// What `--kind` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoKind {
    /// An ELF32 multiboot kernel, as Unikraft builds for QEMU
    Multiboot,
    /// An ELF64 kernel of the Linux 64-bit boot protocol, as Unikraft builds for Firecracker
    Linux64,
}

/// The command line, parsed; or, where help was asked for or a mistake was told, the exit status.
pub(crate) fn parse() -> Result<Cli, u8> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            stdio::data(&error.to_string()).map_or_else(|error| Failure::from(error).report(), |()| 0)
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            stdio::words(&error.to_string().trim_end().lines().map(str::to_owned).collect::<Vec<_>>());
            Blame::User.exit_status()
        }
        _ => {
            stdio::words(&mistake(&error.to_string()));
            Blame::User.exit_status()
        }
    })
}

/// What clap says of a mistake, in the form of all our errors: its first paragraph on one line, its tips as hints.
fn mistake(told: &str) -> Vec<String> {
    let mut paragraphs = told.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let mut lines = vec![first.split_whitespace().collect::<Vec<_>>().join(" ")];
    let tips = paragraphs.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("tip: "));
    lines.extend(tips.map(|tip| format!("hint: {tip}")));
    if lines.len() == 1 {
        lines.push("hint: `runu --help` lists verbs, `runu VERB --help` its flags".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run_flags(words: &[&str]) -> RunFlags {
        match Cli::try_parse_from([&["runu", "run"], words].concat()) {
            Ok(Cli { verb: Verb::Run(flags) }) => flags,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn table_of_flags_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flag_behind_the_kernel_is_an_argument_of_the_guest() {
        let flags = run_flags(&["-m", "32M", "k", "-m", "1M", "--help"]);
        assert_eq!(flags.memory, Bytes::mib(32));
        assert_eq!(flags.command, ["k", "-m", "1M", "--help"]);
    }

    #[test]
    fn mistake_is_told_on_one_line_with_a_hint() {
        let error = Cli::try_parse_from(["runu", "run"]).unwrap_err().to_string();
        let lines = mistake(&error);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("error: the following required arguments"), "{lines:?}");
    }
}
