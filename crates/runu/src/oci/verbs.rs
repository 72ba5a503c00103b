//! What each OCI verb does.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use runu_container::{
    Bundle, Container, ContainerError, ContainerId, CreateFlags, DeleteOutcome, Owner, Workload,
};
use runu_core::{Blame, Blamed};
use runu_sandbox::Resources;
use serde_json::json;

use super::{
    Runner,
    launch::launch,
    stats::Event,
    table,
    words::{About, CHECKPOINT, EXEC, Foreign, RESTORE},
};
use crate::{
    cli::{
        self, EventsFlags, KillFlags, ListFlags, PsFlags, RunFlags, SpecFlags, TableFormat, UpdateFlags, Verb,
    },
    failure::Failure,
    stdio,
};

/// What goes wrong in a verb before a container is touched.
#[derive(Debug, thiserror::Error)]
enum VerbError {
    /// A unikernel cannot do that.
    #[error("{verb} is not supported for a unikernel: {why}")]
    NotForUnikernels { verb: &'static str, why: &'static str },
    /// No word names a container.
    #[error("{0} needs the ID of a container")]
    NoId(&'static str),
    /// Files that the user named.
    #[error("cannot {action} `{}`", .path.display())]
    File { action: &'static str, path: std::path::PathBuf, source: io::Error },
    /// A limit that we cannot set.
    #[error("`{0}` is not supported for a unikernel")]
    Limit(&'static str),
    /// What it uses was asked of a container that has ended.
    #[error("container with id {0} is not running")]
    NotRunning(String),
    /// A time that is none.
    #[error("`{0}` is not a duration such as 5s")]
    Duration(String),
    /// ps(1) failed.
    #[error("cannot run ps")]
    Ps(#[source] io::Error),
}

impl Blamed for VerbError {
    fn blame(&self) -> Blame {
        match self {
            VerbError::Ps(_) => Blame::Host,
            _ => Blame::User,
        }
    }
}

type Done = Result<u8, Failure>;

/// Does what the verb says; its exit status.
pub(crate) fn run(runner: &Runner, verb: Verb) -> Done {
    match verb {
        Verb::Create(flags) => create(runner, &flags),
        Verb::Run(flags) => run_bundle(runner, &flags),
        Verb::Start(flags) => on(runner, &flags.id, |container| Ok(container.start()?)),
        Verb::State(flags) => on(runner, &flags.id, |container| told(&container.state_json())),
        Verb::Kill(flags) => kill(runner, &flags),
        Verb::Delete(flags) => delete(runner, &flags),
        Verb::List(flags) => list(runner, &flags),
        Verb::Ps(flags) => ps(runner, &flags),
        Verb::Pause(flags) => on(runner, &flags.id, |container| Ok(container.pause()?)),
        Verb::Resume(flags) => on(runner, &flags.id, |container| Ok(container.resume()?)),
        Verb::Update(flags) => update(runner, &flags),
        Verb::Events(flags) => events(runner, &flags),
        Verb::Features => features(runner),
        Verb::Spec(flags) => spec(&flags),
        Verb::Exec(flags) => only_ordinary(runner, &EXEC, &flags.words),
        Verb::Checkpoint(flags) => only_ordinary(runner, &CHECKPOINT, &flags.words),
        Verb::Restore(flags) => restore(runner, &flags.words),
        Verb::Inspect(flags) => crate::verbs::inspect::inspect(&flags),
        Verb::Demo(flags) => crate::verbs::demo::demo(&flags, crate::timeline::now()),
        Verb::Install(flags) => crate::verbs::install::install(&flags),
        Verb::Uninstall(flags) => crate::verbs::install::uninstall(&flags),
    }
}

/// Does something with a container of ours; hands the call on where it is an ordinary one.
fn on(runner: &Runner, id: &str, act: impl FnOnce(&Container) -> Result<(), Failure>) -> Done {
    let id = runner.hand_on_ordinary(id)?;
    act(&Container::load(&runner.root, &id)?).map(|()| 0)
}

fn told(json: &[u8]) -> Result<(), Failure> {
    Ok(stdio::data(&String::from_utf8_lossy(json))?)
}

fn create(runner: &Runner, flags: &cli::CreateFlags) -> Done {
    let id = ContainerId::new(&flags.id)?;
    if runner.root.owner(&id).is_some() {
        return Err(ContainerError::Exists(id.to_string()).into());
    }
    let bundle = Bundle::open(&flags.bundle)?;
    let config = runner.config()?;
    match runu_container::detect(&bundle, &config)? {
        Workload::Ordinary => Err(runner.hand_on()),
        Workload::Unikernel(unikernel) => {
            let create = CreateFlags {
                pid_file: flags.pid_file.clone(),
                console_socket: flags.console_socket.clone(),
                systemd_cgroup: runner.systemd_cgroup,
            };
            runu_container::create(&runner.root, &id, &bundle, *unikernel, &config, &create, &launch())?;
            Ok(0)
        }
    }
}

/// `run` of a bundle: create, start, and unless detached wait and delete.
fn run_bundle(runner: &Runner, flags: &RunFlags) -> Done {
    let id = flags.command.first().and_then(|id| id.to_str()).ok_or(VerbError::NoId("run"))?;
    let id = ContainerId::new(id)?;
    if runner.root.owner(&id).is_some() {
        return Err(ContainerError::Exists(id.to_string()).into());
    }
    let bundle = Bundle::open(flags.bundle.as_deref().unwrap_or(Path::new(".")))?;
    let config = runner.config()?;
    let Workload::Unikernel(unikernel) = runu_container::detect(&bundle, &config)? else {
        return Err(runner.hand_on());
    };
    // The container's first process becomes our child, so that its status is ours to read.
    let adopt = |adopt: bool| {
        rustix::process::set_child_subreaper(adopt.then(rustix::process::getpid))
            .map_err(|errno| ContainerError::Channel { what: "wait for the container", source: errno.into() })
    };
    adopt(!flags.detach)?;
    let create = CreateFlags {
        pid_file: flags.pid_file.clone(),
        console_socket: flags.console_socket.clone(),
        systemd_cgroup: runner.systemd_cgroup,
    };
    runu_container::create(&runner.root, &id, &bundle, *unikernel, &config, &create, &launch())?;
    let container = Container::load(&runner.root, &id)?;
    if let Err(error) = container.start() {
        // The error to tell is the first one.
        let _ = runu_container::delete(&runner.root, &id, true);
        return Err(error.into());
    }
    if flags.detach {
        return Ok(0);
    }
    let status = wait(&container);
    if !flags.keep {
        runu_container::delete(&runner.root, &id, true)?;
    }
    Ok(status)
}

/// Waits for the end of a container whose first process is our child; its status.
fn wait(container: &Container) -> u8 {
    use rustix::process::{Pid, WaitOptions};
    let first = container.record().and_then(|record| record.init).and_then(|(pid, _)| Pid::from_raw(pid));
    loop {
        // `__WALL`: the end of this child raises no signal, and only this finds it (wait(2)).
        match rustix::process::waitpid(first, WaitOptions::from_bits_retain(0x4000_0000)) {
            Ok(Some((_, status))) => {
                let killed = status.terminating_signal().map(|signal| 128 + signal);
                let status = status.exit_status().or(killed).unwrap_or(i32::from(u8::MAX));
                return u8::try_from(status).unwrap_or(u8::MAX);
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return u8::MAX,
        }
    }
}

fn kill(runner: &Runner, flags: &KillFlags) -> Done {
    let id = runner.hand_on_ordinary(&flags.id)?;
    let signal = runu_container::parse_signal(&flags.signal)?;
    Container::load(&runner.root, &id)?.kill(signal, flags.all)?;
    Ok(0)
}

fn delete(runner: &Runner, flags: &cli::DeleteFlags) -> Done {
    let id = match ContainerId::new(&flags.id) {
        // What is no name names no container.
        Err(_) if flags.force => return Ok(0),
        id => id?,
    };
    if runner.root.owner(&id) == Some(Owner::Ordinary) {
        return Err(runner.hand_on());
    }
    match runu_container::delete(&runner.root, &id, flags.force)? {
        DeleteOutcome::Deleted | DeleteOutcome::Absent => Ok(0),
    }
}

fn list(runner: &Runner, flags: &ListFlags) -> Done {
    if let Some(path) = &runner.given_root {
        fs::read_dir(path).map_err(|source| VerbError::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
    }
    let containers = table::all(runner)?;
    let text = match flags {
        ListFlags { quiet: true, .. } => containers
            .iter()
            .filter_map(|container| Some(format!("{}\n", container["id"].as_str()?)))
            .collect(),
        // As runc has it: no container is no list.
        ListFlags { format: TableFormat::Json, .. } if containers.is_empty() => "null\n".to_owned(),
        ListFlags { format: TableFormat::Json, .. } => table::json(&containers)?,
        ListFlags { format: TableFormat::Table, .. } => table::list(&containers),
    };
    stdio::data(&text)?;
    Ok(0)
}

fn ps(runner: &Runner, flags: &PsFlags) -> Done {
    on(runner, &flags.id, |container| {
        let pids = container.processes();
        let text = match flags.format {
            // As runc has it: no process is no list.
            TableFormat::Json if pids.is_empty() => "null\n".to_owned(),
            TableFormat::Json => format!("{}\n", json!(pids)),
            TableFormat::Table => table::processes(&pids, &flags.arguments).map_err(VerbError::Ps)?,
        };
        Ok(stdio::data(&text)?)
    })
}

fn update(runner: &Runner, flags: &UpdateFlags) -> Done {
    on(runner, &flags.id, |container| {
        let limits = match &flags.resources {
            Some(path) => runu_container::resources_from_json(&read_all(path)?)?,
            None => limits(flags)?,
        };
        Ok(container.update(&limits)?)
    })
}

/// The limits that flags name. Zero is not set, as with runc.
fn limits(flags: &UpdateFlags) -> Result<Resources, VerbError> {
    if let Some(flag) = flags.others.asked() {
        return Err(VerbError::Limit(flag));
    }
    let bytes = |ceiling: Option<cli::Ceiling>| ceiling.map(|bytes| bytes.0).filter(|bytes| *bytes != 0);
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Ok(Resources {
        memory_max: bytes(flags.memory),
        memory_and_swap_max: bytes(flags.memory_swap),
        memory_reservation: bytes(flags.memory_reservation),
        cpu_quota: flags.cpu_quota.filter(|quota| *quota != 0),
        cpu_period: flags.cpu_period.filter(|period| *period != 0),
        cpu_shares: flags.cpu_share.filter(|shares| *shares != 0),
        cpu_burst: flags.cpu_burst.filter(|burst| *burst != 0),
        cpu_idle: flags.cpu_idle,
        io_weight: flags.blkio_weight.filter(|weight| *weight != 0),
        cpus: text(&flags.cpuset_cpus),
        mems: text(&flags.cpuset_mems),
        pids_max: flags.pids_limit.filter(|limit| *limit != 0),
        ..Resources::default()
    })
}

/// All of a file, or of stdin for `-`; limits are short.
fn read_all(path: &Path) -> Result<Vec<u8>, VerbError> {
    const MOST: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => io::stdin().lock().take(MOST).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes)),
    };
    read.map(|_| bytes).map_err(|source| VerbError::File { action: "read", path: path.to_path_buf(), source })
}

fn events(runner: &Runner, flags: &EventsFlags) -> Done {
    let interval = milliseconds(&flags.interval)?;
    on(runner, &flags.id, |container| {
        let id = container.record().map_or(String::new(), |record| record.id.clone());
        let tell = |event: &Event<'_>| {
            let text = serde_json::to_string(event).map_err(|source| Failure::bug("write JSON", source))?;
            Ok::<(), Failure>(stdio::data(&format!("{text}\n"))?)
        };
        let mut usage = container.usage().ok_or_else(|| VerbError::NotRunning(id.clone()))?;
        let mut kills = container.oom_kills();
        loop {
            tell(&Event::stats(&id, &usage))?;
            if flags.stats || container.wait(interval) {
                return Ok(());
            }
            let before = std::mem::replace(&mut kills, container.oom_kills());
            if kills > before {
                tell(&Event::oom(&id))?;
            }
            // It may end at any moment; then all has been told.
            match container.usage() {
                Some(now) => usage = now,
                None => return Ok(()),
            }
        }
    })
}

/// A duration as Go writes it (`time.ParseDuration`), such as `5s`, `100ms`, `1m30s`, `1.5h`; more than none.
fn milliseconds(text: &str) -> Result<i64, VerbError> {
    let malformed = || VerbError::Duration(text.to_owned());
    let units = [("ns", 1), ("us", 1_000), ("\u{b5}s", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000)];
    let units = units.into_iter().chain([("m", 60_000_000_000_i128), ("h", 3_600_000_000_000)]);
    let (mut rest, mut total) = (text, 0_i128);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(malformed)?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let (_, ns) = units.clone().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        // More digits than a nanosecond's are none that anybody means.
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() > 9 || part.len() > 9 || whole.is_empty() && part.is_empty() {
            return Err(malformed());
        }
        let decimal = |digits: &str| match digits {
            "" => Ok(0),
            digits => digits.parse::<i128>().map_err(|_| malformed()),
        };
        let parts = 10_i128.pow(u32::try_from(part.len()).unwrap_or_default());
        total += decimal(whole)? * ns + decimal(part)? * ns / parts;
        rest = behind;
    }
    match total {
        ..=0 => Err(malformed()),
        total => i64::try_from(total / 1_000_000).map(|ms| ms.max(1)).map_err(|_| malformed()),
    }
}

/// What ordinary containers can have, where their runtime tells; else what unikernels can. An engine asks before it knows
/// which of the two a container will be.
fn features(runner: &Runner) -> Done {
    let document = runu_container::features(table::features_of_ordinary(runner)?);
    let text =
        serde_json::to_string_pretty(&document).map_err(|source| Failure::bug("write JSON", source))?;
    stdio::data(&format!("{text}\n"))?;
    Ok(0)
}

fn spec(flags: &SpecFlags) -> Done {
    let path = flags.bundle.join("config.json");
    let fail = |source| VerbError::File { action: "write", path: path.clone(), source };
    let text = serde_json::to_string_pretty(&runu_container::example(flags.rootless))
        .map_err(|source| Failure::bug("write JSON", source))?;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(fail)?;
    io::Write::write_all(&mut file, format!("{text}\n").as_bytes()).map_err(fail)?;
    Ok(0)
}

/// Verbs that only ordinary containers have.
fn only_ordinary(runner: &Runner, verb: &Foreign, words: &[OsString]) -> Done {
    match verb.about(words, &runner.root) {
        About::Container(Owner::Unikernel) => Err(refused(verb)),
        About::Container(Owner::Ordinary) => Err(runner.hand_on()),
        About::Nobody(id) => Err(ContainerError::DoesNotExist(id.to_string()).into()),
        About::Nothing => Err(VerbError::NoId(verb.name).into()),
    }
}

/// `restore` makes a container, so its bundle tells which kind it is to be.
fn restore(runner: &Runner, words: &[OsString]) -> Done {
    let config = runner.config()?;
    let is_unikernel = || {
        let bundle = Bundle::open(RESTORE.bundle(words))?;
        Ok::<bool, ContainerError>(matches!(
            runu_container::detect(&bundle, &config)?,
            Workload::Unikernel(_)
        ))
    };
    match RESTORE.about(words, &runner.root) {
        About::Container(Owner::Unikernel) => Err(refused(&RESTORE)),
        About::Nothing => Err(VerbError::NoId(RESTORE.name).into()),
        // What is wrong with a bundle, the runtime of ordinary containers will say.
        About::Nobody(_) if is_unikernel().unwrap_or(false) => Err(refused(&RESTORE)),
        _ => Err(runner.hand_on()),
    }
}

fn refused(verb: &Foreign) -> Failure {
    VerbError::NotForUnikernels { verb: verb.name, why: verb.why }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_in_the_words_of_go_is_read() {
        let durations =
            [("5s", 5000), ("100ms", 100), ("1m30s", 90_000), ("1.5s", 1500), ("1h", 3_600_000), ("1ns", 1)];
        for (text, expected) in durations {
            assert_eq!(milliseconds(text).ok(), Some(expected), "{text}");
        }
    }

    #[test]
    fn duration_that_is_none_is_refused() {
        for text in ["", "5", "s", "5x", "-5s", "0s", "1.s.", "1.2.3s", "99999999999999999999h", "5s "] {
            assert!(milliseconds(text).is_err(), "{text}");
        }
    }
}
