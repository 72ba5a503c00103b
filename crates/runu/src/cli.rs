//! The command line: verbs, flags and their help, in one table that is also the parser.

use std::{ffi::OsString, path::PathBuf};

use clap::{
    ArgAction, Args, Parser, Subcommand, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use runu_core::Bytes;

use runu_volumes::Volume;

use crate::{disk::DiskFlag, install::Engine, passt::Port, volume};

/// What `--version` tells behind our name, in lines that engines read: docker wants `commit:`, podman and containerd
/// print it.
const VERSION: &str =
    concat!("version ", env!("CARGO_PKG_VERSION"), "\ncommit: v", env!("CARGO_PKG_VERSION"), "\nspec: 1.3.0");

/// Runs unikernels: the image as it is, in a sandboxed process, with or without KVM
#[derive(Debug, Parser)]
#[command(name = "runu", version = VERSION, disable_version_flag = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Print version
    #[arg(short, long, short_alias = 'V', action = ArgAction::Version)]
    version: Option<bool>,

    /// Where and how loudly
    #[command(flatten)]
    pub(crate) global: GlobalFlags,

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
    /// Run a built-in unikernel and tell what happened
    Demo(DemoFlags),
    /// Make a container engine know this program as its runtime `runu`
    Install(InstallFlags),
    /// Make a container engine forget its runtime `runu`
    Uninstall(InstallFlags),
    /// Create a container from an OCI bundle; it waits for `start`
    Create(CreateFlags),
    /// Start a created container
    Start(IdFlags),
    /// Tell what a container is doing, as JSON
    State(IdFlags),
    /// Send a signal to a container
    Kill(KillFlags),
    /// Delete a container that has ended
    Delete(DeleteFlags),
    /// List containers
    List(ListFlags),
    /// Tell which processes a container has
    Ps(PsFlags),
    /// Stop a container for a while
    Pause(IdFlags),
    /// Let a paused container go on
    Resume(IdFlags),
    /// Change a container's limits
    Update(UpdateFlags),
    /// Tell what a container uses
    Events(EventsFlags),
    /// Tell what this runtime can do, as JSON
    Features,
    /// Write an example of a config.json
    Spec(SpecFlags),
    /// Run another program in a container; a unikernel has room for none
    Exec(AnyFlags),
    /// Checkpoint a container; a unikernel cannot be
    Checkpoint(AnyFlags),
    /// Restore a container from a checkpoint; a unikernel cannot be
    Restore(AnyFlags),
}

/// Flags before the verb, as OCI runtimes have them.
#[derive(Debug, Default, Args)]
pub(crate) struct GlobalFlags {
    /// Where the state of containers is kept
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,

    /// Where to tell an error besides stderr
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// How to tell it there
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,

    /// Take control-group paths for systemd's: SLICE:PREFIX:NAME
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,

    /// The operator's configuration, if not /etc/runu/config.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Taken from engines, without effect: a unikernel cannot be checkpointed
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) criu: Option<PathBuf>,

    /// Taken from engines, without effect: whether we are root is known
    #[arg(long, value_name = "BOOL", hide = true)]
    pub(crate) rootless: Option<String>,

    /// Taken from engines, without effect before the verb
    #[arg(long = "debug", hide = true)]
    pub(crate) verbose: bool,
}

/// What `--log-format` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One line of words
    #[default]
    Text,
    /// One JSON object
    Json,
}

/// Flags of verbs that take nothing but a container.
#[derive(Debug, Args)]
pub(crate) struct IdFlags {
    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Flags of `runu create`.
#[derive(Debug, Args)]
pub(crate) struct CreateFlags {
    /// The OCI bundle
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: PathBuf,

    /// Where to write the process id
    #[arg(long, value_name = "FILE")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Socket to send the terminal to
    #[arg(long, value_name = "SOCKET")]
    pub(crate) console_socket: Option<PathBuf>,

    /// Flags that mean nothing to a unikernel
    #[command(flatten)]
    pub(crate) ignored: IgnoredFlags,

    /// A name for the container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// What engines pass for ordinary containers; a unikernel has no use for it.
#[derive(Debug, Args)]
pub(crate) struct IgnoredFlags {
    /// Its root is always pivoted to
    #[arg(long, hide = true)]
    pub(crate) no_pivot: bool,

    /// It has no keyring
    #[arg(long, hide = true)]
    pub(crate) no_new_keyring: bool,

    /// It can use no descriptor of the host
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) preserve_fds: Option<u32>,

    /// Nobody waits for one yet
    #[arg(long, hide = true, value_name = "SOCKET")]
    pub(crate) pidfd_socket: Option<PathBuf>,

    /// Whoever adopts orphans adopts its first process
    #[arg(long, hide = true)]
    pub(crate) no_subreaper: bool,
}

/// Flags of `runu kill`.
#[derive(Debug, Args)]
pub(crate) struct KillFlags {
    /// Send it to every process of the container
    #[arg(short, long)]
    pub(crate) all: bool,

    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// The signal, by name or number
    #[arg(default_value = "TERM", value_name = "SIGNAL", allow_negative_numbers = true)]
    pub(crate) signal: String,
}

/// Flags of `runu delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteFlags {
    /// Kill it if it runs; no error if there is none
    #[arg(short, long)]
    pub(crate) force: bool,

    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// What `--format` takes where there is a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TableFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Flags of `runu list`.
#[derive(Debug, Args)]
pub(crate) struct ListFlags {
    /// How
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table, value_name = "FORMAT")]
    pub(crate) format: TableFormat,

    /// Only the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Flags of `runu ps`.
#[derive(Debug, Args)]
pub(crate) struct PsFlags {
    /// How
    #[arg(short, long, value_enum, default_value_t = TableFormat::Table, value_name = "FORMAT")]
    pub(crate) format: TableFormat,

    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    /// Flags for ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS-ARG")]
    pub(crate) arguments: Vec<OsString>,
}

/// Flags of `runu update`.
#[derive(Debug, Args)]
pub(crate) struct UpdateFlags {
    /// File with the limits as JSON, `-` for stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) resources: Option<PathBuf>,

    /// Bytes of memory; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) memory: Option<Ceiling>,

    /// Bytes of memory and swap together; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) memory_swap: Option<Ceiling>,

    /// Bytes of memory below which nothing is reclaimed while others have more; -1 for no limit
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) memory_reservation: Option<Ceiling>,

    /// Processes and threads
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) pids_limit: Option<i64>,

    /// Microseconds of processor time in each period
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<i64>,

    /// Microseconds of a period
    #[arg(long, value_name = "N")]
    pub(crate) cpu_period: Option<u64>,

    /// Share of processor time
    #[arg(long, value_name = "N")]
    pub(crate) cpu_share: Option<u64>,

    /// Microseconds of processor time that may be saved up from one period for another
    #[arg(long, value_name = "N")]
    pub(crate) cpu_burst: Option<u64>,

    /// 1 for only that processor time which nobody else wants
    #[arg(long, value_name = "N")]
    pub(crate) cpu_idle: Option<i64>,

    /// Share of disk time, from 10 to 1000
    #[arg(long, value_name = "N")]
    pub(crate) blkio_weight: Option<u16>,

    /// Processors
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,

    /// Memory nodes
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_mems: Option<String>,

    /// Those that no unikernel has
    #[command(flatten)]
    pub(crate) others: OtherLimits,

    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Limits that runc knows and we cannot set; asked for, they are refused by name.
#[derive(Debug, Args)]
pub(crate) struct OtherLimits {
    /// Real-time scheduling: its period
    #[arg(long, hide = true, value_name = "N")]
    pub(crate) cpu_rt_period: Option<u64>,

    /// Real-time scheduling: its share
    #[arg(long, hide = true, value_name = "N", allow_negative_numbers = true)]
    pub(crate) cpu_rt_runtime: Option<i64>,

    /// Parts of a processor's cache
    #[arg(long, hide = true, value_name = "SCHEMA")]
    pub(crate) l3_cache_schema: Option<String>,

    /// Parts of a memory's bandwidth
    #[arg(long, hide = true, value_name = "SCHEMA")]
    pub(crate) mem_bw_schema: Option<String>,

    /// The kernel's memory: obsolete, without effect
    #[arg(long, hide = true, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) kernel_memory: Option<Ceiling>,

    /// The kernel's memory for connections: obsolete, without effect
    #[arg(long, hide = true, value_name = "SIZE", allow_negative_numbers = true)]
    pub(crate) kernel_memory_tcp: Option<Ceiling>,
}

impl OtherLimits {
    /// The first that is asked for.
    pub(crate) fn asked(&self) -> Option<&'static str> {
        let text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let asked = [
            ("--cpu-rt-period", self.cpu_rt_period.is_some_and(|value| value != 0)),
            ("--cpu-rt-runtime", self.cpu_rt_runtime.is_some_and(|value| value != 0)),
            ("--l3-cache-schema", text(&self.l3_cache_schema)),
            ("--mem-bw-schema", text(&self.mem_bw_schema)),
        ];
        asked.into_iter().find_map(|(flag, asked)| asked.then_some(flag))
    }
}

/// A limit in bytes, or -1 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ceiling(pub(crate) i64);

impl std::str::FromStr for Ceiling {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-1" {
            return Ok(Ceiling(-1));
        }
        let bytes: Bytes = text.parse().map_err(|error: runu_core::ParseBytesError| error.to_string())?;
        i64::try_from(bytes.0).map(Ceiling).map_err(|_| format!("`{text}` is more than memory can be"))
    }
}

/// Flags of `runu events`.
#[derive(Debug, Args)]
pub(crate) struct EventsFlags {
    /// Tell once and end
    #[arg(long)]
    pub(crate) stats: bool,

    /// Time between two tellings
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    pub(crate) interval: String,

    /// The container
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

/// Flags of `runu spec`.
#[derive(Debug, Args)]
pub(crate) struct SpecFlags {
    /// Where to write it
    #[arg(short, long, default_value = ".", value_name = "DIR")]
    pub(crate) bundle: PathBuf,

    /// For an ordinary user
    #[arg(long)]
    pub(crate) rootless: bool,
}

/// Flags of verbs that only ordinary containers have: whatever their runtime knows.
#[derive(Debug, Args)]
pub(crate) struct AnyFlags {
    /// The flags, the container and what follows it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "WORD")]
    pub(crate) words: Vec<OsString>,
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

    /// Lead a port of this host to one of the guest's, by passt(1); for several, the flag is repeated
    #[arg(short, long, value_name = "[ADDRESS:]HOST:GUEST[/udp]", conflicts_with = "bundle")]
    pub(crate) publish: Vec<Port>,

    /// File to give to the guest as a disk, read-only if `:ro` follows; for several, the flag is repeated
    #[arg(long, value_name = "FILE[:ro]", conflicts_with = "bundle", value_parser = disk_flag())]
    pub(crate) disk: Vec<DiskFlag>,

    /// Directory or file of this host that the guest is to have at a place of its own, read-only if `:ro` follows; for
    /// several, the flag is repeated
    #[arg(short, long, value_name = "HOST:GUEST[:ro]", conflicts_with = "bundle", value_parser = volume())]
    pub(crate) volume: Vec<Volume>,

    /// Set a variable in the guest's environment; without `=VALUE`, as it is in ours, if it is
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,

    /// Tell on stderr what was chosen and why, and how long each phase took
    #[arg(long)]
    pub(crate) debug: bool,

    /// Run the container of this OCI bundle instead of a kernel file; the name of the container follows
    #[arg(short, long, value_name = "DIR", help_heading = "OCI bundles")]
    pub(crate) bundle: Option<PathBuf>,

    /// Do not wait for the container's end
    #[arg(short, long, help_heading = "OCI bundles")]
    pub(crate) detach: bool,

    /// Where to write the process id
    #[arg(long, value_name = "FILE", help_heading = "OCI bundles")]
    pub(crate) pid_file: Option<PathBuf>,

    /// Socket to send the terminal to
    #[arg(long, value_name = "SOCKET", help_heading = "OCI bundles")]
    pub(crate) console_socket: Option<PathBuf>,

    /// Do not delete the container when it has ended
    #[arg(long, help_heading = "OCI bundles")]
    pub(crate) keep: bool,

    /// Flags that mean nothing to a unikernel
    #[command(flatten)]
    pub(crate) ignored: IgnoredFlags,

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
    /// Which unikernel
    #[arg(value_enum, default_value_t = DemoGuest::Hello, value_name = "GUEST")]
    pub(crate) guest: DemoGuest,

    /// Which of the two kinds of kernel to run
    #[arg(long, value_enum, default_value_t = DemoKind::Multiboot, value_name = "KIND")]
    pub(crate) kind: DemoKind,

    /// Do not run the kernel but write it to FILE, for `runu inspect` and `runu run`
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,
}

/// Flags of `runu install` and `runu uninstall`.
#[derive(Debug, Args)]
pub(crate) struct InstallFlags {
    /// Which engine
    #[arg(value_enum, value_name = "ENGINE")]
    pub(crate) engine: Engine,

    /// Only tell what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// The folder of configurations, if not /etc, or ~/.config of a user who is not root
    #[arg(long, value_name = "FOLDER")]
    pub(crate) etc: Option<PathBuf>,
}

/// What `--disk` takes.
fn disk_flag() -> impl TypedValueParser<Value = DiskFlag> {
    OsStringValueParser::new().map(DiskFlag::from)
}

/// What `--volume` takes.
fn volume() -> impl TypedValueParser<Value = Volume> {
    OsStringValueParser::new().try_map(volume::parse)
}

/// What `--monitor` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MonitorChoice {
    /// The strongest that this host offers and that can run this guest
    Auto,
    /// A sandboxed process without a VM
    Process,
}

/// The unikernels of `runu demo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoGuest {
    /// Says hello and ends
    Hello,
    /// Serves a page until it is ended; needs passt(1)
    Http,
}

/// What `--kind` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoKind {
    /// An ELF32 multiboot kernel, as Unikraft builds for QEMU
    Multiboot,
    /// An ELF64 kernel of the Linux 64-bit boot protocol, as Unikraft builds for Firecracker
    Linux64,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run_flags(words: &[&str]) -> RunFlags {
        match Cli::try_parse_from([&["runu", "run"], words].concat()) {
            Ok(Cli { verb: Verb::Run(flags), .. }) => flags,
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
}
