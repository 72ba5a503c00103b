//! What can be done with a container that exists: `state`, `start`, `kill`, `delete`, `pause` and their kin.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use oci_spec::runtime::Hook;
use runu_sandbox::{ContainerCgroup, How, InRoot, Resources, StartError, Usage};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use serde::Serialize;

use crate::{
    ContainerError, ContainerId, Record, Root, Status, Wired,
    hooks::{self, Place},
    lock::Lockable,
    network::Note,
    record::{LIFE, START, state},
    witness::{Event, events},
};

/// A container that exists.
#[derive(Debug)]
pub struct Container {
    directory: PathBuf,
    /// What is written down; none when its maker was killed before it wrote anything.
    record: Option<Record>,
}

/// What `delete` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// Removed it.
    Deleted,
    /// Nothing: there was none, and that was fine.
    Absent,
}

/// How long `delete --force` waits for the end of a container that it killed, in milliseconds.
const PATIENCE_MS: i64 = 10_000;

/// How long whoever waits for a container's first process may take to be told of its end, in milliseconds: on a busy machine a
/// shim has its turn in that time.
const REAPED_MS: i64 = 2_000;

impl Container {
    /// The container of that id.
    ///
    /// # Errors
    /// There is none, or its state cannot be read.
    pub fn load(root: &Root, id: &ContainerId) -> Result<Self, ContainerError> {
        let directory = root.directory(id);
        if !directory.is_dir() {
            return Err(ContainerError::DoesNotExist(id.to_string()));
        }
        let record = Record::load(&directory)?;
        Ok(Container { directory, record })
    }

    /// The container that this process has made, as far as it got.
    pub(crate) fn of(directory: PathBuf, record: Record) -> Self {
        Container { directory, record: Some(record) }
    }

    /// What is written down about it.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let alive = |(pid, start): (i32, u64)| runu_sandbox::exists_since(pid, start);
        match &self.record {
            None if is_locked(&self.directory) => Status::Creating,
            None => Status::Stopped,
            Some(Record { init: None, maker, .. }) if alive(*maker) => Status::Creating,
            Some(Record { init: Some(init), .. }) if alive(*init) => {
                if self.cgroup().is_some_and(|cgroup| cgroup.is_frozen()) {
                    Status::Paused
                } else if self.events().contains(&Event::Started) {
                    Status::Running
                } else {
                    Status::Created
                }
            }
            Some(_) => Status::Stopped,
        }
    }

    fn events(&self) -> Vec<Event> {
        events(&fs::read_to_string(self.directory.join(LIFE)).unwrap_or_default())
    }

    /// Its control group, as far as it exists.
    #[must_use]
    pub fn cgroup(&self) -> Option<ContainerCgroup> {
        ContainerCgroup::find(self.record.as_ref()?.cgroup.as_ref()?).ok()
    }

    /// Its first process, unless it has ended.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        let (pid, start) = self.record.as_ref()?.init?;
        runu_sandbox::exists_since(pid, start).then_some(pid)
    }

    /// The state as engines read it (runtime-spec, runtime.md, "State").
    #[must_use]
    pub fn state_json(&self) -> Vec<u8> {
        let Some(record) = &self.record else {
            return state_json(&Record::unwritten(&self.directory), self.status(), None, None);
        };
        let status = self.status();
        state_json(record, status, self.pid(), self.end(status))
    }

    /// How its guest ended, if it has and somebody can tell.
    fn end(&self, status: Status) -> Option<Event> {
        let written = self.events().into_iter().find(|event| matches!(event, Event::Ended { .. }));
        // Where memory runs out the kernel may take the supervisor too, which then writes nothing: a guest's memory is a memory
        // file's, free when the guest's process has gone and not when it is about to go (mm/oom_kill.c, `oom_reap_task`).
        let victims = || Some(ContainerCgroup::oom_kills(&self.cgroup()?.oom_counter()?));
        written.or_else(|| {
            let died = status == Status::Stopped && victims().is_some_and(|victims| victims > 0);
            died.then(|| Event::Ended {
                status: How::OutOfMemory.exit_status(),
                summary: How::OUT_OF_MEMORY.to_owned(),
                traps: None,
            })
        })
    }

    /// Starts its guest.
    ///
    /// # Errors
    /// It is not waiting for that; or it ends because a hook of its start fails, its process cannot be run, or its network
    /// cannot be had.
    pub fn start(&self) -> Result<(), ContainerError> {
        let status = self.status();
        if status != Status::Created {
            return Err(ContainerError::NotCreated(status));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.directory, flags, Mode::empty())
            .map_err(|errno| state("open", &self.directory)(errno.into()))?;
        let result = self.run_start_hooks().and_then(|()| {
            let (wired, sockets) = self.wire()?.unzip();
            let note = serde_json::to_vec(&Note { wired }).unwrap_or_default();
            let handed: Vec<_> = sockets.iter().flatten().map(AsFd::as_fd).collect();
            runu_sandbox::start(directory.as_fd(), START, &note, &handed).map_err(|error| {
                match (error, self.status()) {
                    // Somebody else's start or end came first.
                    (StartError::NotWaiting(_) | StartError::Ended, status) if status != Status::Created => {
                        ContainerError::NotCreated(status)
                    }
                    (error, _) => ContainerError::Start(error),
                }
            })?;
            self.run_hooks("poststart", |hooks| hooks.poststart().clone())
        });
        if result.as_ref().is_err_and(|error| !matches!(error, ContainerError::NotCreated(_))) {
            self.end_for_good();
        }
        result
    }

    /// Ends what could not be started, which engines do not. They do delete it, and at once: dockerd tries that once, and
    /// containerd refuses it until the shim knows of the end. So whoever waits for it knows before the start is said to have failed.
    fn end_for_good(&self) {
        let _ = self.kill(libc::SIGKILL, false);
        if let Some((pid, start)) = self.record.as_ref().and_then(|record| record.init) {
            // A parent that does not wait for its child misses nothing.
            let _ = runu_sandbox::wait_until_reaped(pid, start, REAPED_MS);
        }
    }

    /// Takes over the interface that its guest is to have, if there is one.
    fn wire(&self) -> Result<Option<(Wired, Vec<OwnedFd>)>, ContainerError> {
        let Some(record) = &self.record else { return Ok(None) };
        match (&record.network, self.pid()) {
            (Some(wiring), Some(pid)) => wiring.take(pid, &record.rootfs),
            _ => Ok(None),
        }
    }

    /// Runs the hooks that are programs of the image. No program of the image runs for a unikernel otherwise, so these are
    /// confined: to its namespaces and control group, to its files, and without any privilege.
    fn run_start_hooks(&self) -> Result<(), ContainerError> {
        let Some(record) = &self.record else { return Ok(()) };
        let hooks =
            record.hooks.as_ref().and_then(|hooks| hooks.start_container().clone()).unwrap_or_default();
        let (Some(pid), Some(cgroup), false) = (self.pid(), self.cgroup(), hooks.is_empty()) else {
            return Ok(());
        };
        let (uid, gid) = record.user;
        let place = InRoot { root: &record.rootfs, read_only: record.read_only, cgroup: &cgroup, uid, gid };
        hooks::run("startContainer", &hooks, &self.state_json(), Place::Inside(pid, &place))
    }

    /// Sends a signal to its first process, with `all` to everything in it.
    ///
    /// # Errors
    /// It has ended, or we may not.
    pub fn kill(&self, signal: i32, all: bool) -> Result<(), ContainerError> {
        let init = self.record.as_ref().and_then(|record| record.init);
        let sent = match init {
            Some((pid, start)) => runu_sandbox::signal(pid, start, signal),
            None => Err(Errno::SRCH),
        };
        if all && signal == libc::SIGKILL {
            // Engines call this after the end as well, where namespaces are shared: for what is left.
            self.cgroup().iter().for_each(ContainerCgroup::kill_all);
            return Ok(());
        }
        match sent {
            Ok(()) => {
                // What is stopped for a while does not even die (cgroup-v1 freezer-subsystem.txt).
                if signal == libc::SIGKILL
                    && let Some(cgroup) = self.cgroup().filter(ContainerCgroup::is_frozen)
                {
                    cgroup.freeze(false)?;
                }
                Ok(())
            }
            Err(Errno::SRCH) => Err(ContainerError::NotRunning),
            Err(errno) => Err(ContainerError::Kill(errno)),
        }
    }

    /// Stops everything in it for a while.
    ///
    /// # Errors
    /// It has ended or is stopped already, or there is no freezer.
    pub fn pause(&self) -> Result<(), ContainerError> {
        match self.status() {
            Status::Created | Status::Running => Ok(self.living_cgroup()?.freeze(true)?),
            _ => Err(ContainerError::NotRunning),
        }
    }

    /// Lets everything in it go on.
    ///
    /// # Errors
    /// It is not paused.
    pub fn resume(&self) -> Result<(), ContainerError> {
        match self.status() {
            Status::Paused => Ok(self.living_cgroup()?.freeze(false)?),
            _ => Err(ContainerError::NotPaused),
        }
    }

    /// Changes its limits.
    ///
    /// # Errors
    /// It has ended, or the kernel refuses one.
    pub fn update(&self, limits: &Resources) -> Result<(), ContainerError> {
        Ok(self.living_cgroup()?.limit(limits)?)
    }

    /// Process ids of everything in it; none when it has ended.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        self.living_cgroup().map_or_else(|_| Vec::new(), |cgroup| cgroup.processes())
    }

    /// What it uses; none when it has ended.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.living_cgroup().ok().map(|cgroup| cgroup.usage())
    }

    /// How many of its processes the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let counter = self.cgroup().and_then(|cgroup| cgroup.oom_counter());
        counter.map_or(0, |counter| ContainerCgroup::oom_kills(&counter))
    }

    /// Waits for its end, at most that many milliseconds; whether it ended.
    #[must_use]
    pub fn wait(&self, timeout_ms: i64) -> bool {
        let init = self.record.as_ref().and_then(|record| record.init);
        init.is_none_or(|(pid, start)| runu_sandbox::wait_for_end(pid, start, timeout_ms))
    }

    fn living_cgroup(&self) -> Result<ContainerCgroup, ContainerError> {
        match self.status() {
            Status::Stopped | Status::Creating => Err(ContainerError::NotRunning),
            _ => self.cgroup().ok_or(ContainerError::NotRunning),
        }
    }

    fn run_hooks(
        &self,
        moment: &'static str,
        list: impl Fn(&oci_spec::runtime::Hooks) -> Option<Vec<Hook>>,
    ) -> Result<(), ContainerError> {
        let Some(record) = &self.record else { return Ok(()) };
        let hooks = record.hooks.as_ref().and_then(list).unwrap_or_default();
        if hooks.is_empty() {
            return Ok(());
        }
        hooks::run(moment, &hooks, &self.state_json(), Place::Here)
    }

    /// Ends it if it has not ended, and removes all of it. Hooks of its end run; one that fails is passed over
    /// (runtime-spec, config.md, "Poststop"). The caller holds its lock.
    ///
    /// # Errors
    /// It does not end, or something cannot be removed.
    pub(crate) fn destroy(self) -> Result<(), ContainerError> {
        let living = self.record.as_ref().and_then(|record| record.init);
        if let Some((pid, start)) = living
            && runu_sandbox::exists_since(pid, start)
        {
            if let Some(cgroup) = self.cgroup().filter(ContainerCgroup::is_frozen) {
                cgroup.freeze(false)?;
            }
            let _ = runu_sandbox::signal(pid, start, libc::SIGKILL);
            if !runu_sandbox::wait_for_end(pid, start, PATIENCE_MS) {
                let id = self.record.as_ref().map_or(String::new(), |record| record.id.clone());
                return Err(ContainerError::WillNotEnd(id));
            }
        }
        if let Some(cgroup) = self.cgroup() {
            cgroup.remove()?;
        }
        let hooks = self.record.as_ref().and_then(|record| record.hooks.as_ref());
        let stopped = self.state_json();
        for hook in hooks.and_then(|hooks| hooks.poststop().clone()).unwrap_or_default() {
            // The others run all the same.
            let _ = hooks::run("poststop", &[hook], &stopped, Place::Here);
        }
        match fs::remove_dir_all(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(state("remove", &self.directory)(error))
            }
            _ => Ok(()),
        }
    }
}

fn is_locked(directory: &Path) -> bool {
    Lockable::open(directory).ok().flatten().is_some_and(|directory| directory.is_locked())
}

/// Deletes the container of that id: one that has ended or was never started, with `force` any.
///
/// # Errors
/// There is none (unless `force`), it runs (unless `force`), or something cannot be removed.
pub fn delete(root: &Root, id: &ContainerId, force: bool) -> Result<DeleteOutcome, ContainerError> {
    let absent = || match force {
        true => Ok(DeleteOutcome::Absent),
        false => Err(ContainerError::DoesNotExist(id.to_string())),
    };
    let directory = root.directory(id);
    let Some(lockable) = Lockable::open(&directory)? else { return absent() };
    if lockable.is_locked() {
        interrupt_making(&directory, id, force)?;
    }
    let Some(lock) = lockable.lock()? else { return absent() };
    let container = match Container::load(root, id) {
        // Unreadable: its directory can still be removed.
        Err(ContainerError::State { .. }) if force => Container { directory, record: None },
        loaded => loaded?,
    };
    match container.status() {
        Status::Stopped | Status::Created => {}
        // It is us who hold the lock: its maker died before it wrote anything.
        Status::Creating if container.record.is_none() => {}
        _ if force => {}
        status => return Err(ContainerError::NotStopped { id: id.to_string(), status }),
    }
    container.destroy()?;
    drop(lock);
    Ok(DeleteOutcome::Deleted)
}

/// Kills the process that makes a container, which may wait for a hook for ever. Whoever deletes it holds the lock not
/// for long.
fn interrupt_making(directory: &Path, id: &ContainerId, force: bool) -> Result<(), ContainerError> {
    /// Between taking the lock and writing down who has it, a maker needs its turn on a processor and no more than that.
    const TURNS: u32 = 100_000;
    for _ in 0..TURNS {
        if let Ok(Some(record)) = Record::load(directory) {
            let (pid, start) = record.maker;
            if record.init.is_some() || !runu_sandbox::exists_since(pid, start) {
                return Ok(());
            }
            if !force {
                return Err(ContainerError::NotStopped { id: id.to_string(), status: Status::Creating });
            }
            // Fails only if it has ended by itself.
            let _ = runu_sandbox::signal(pid, start, libc::SIGKILL);
            return match runu_sandbox::wait_for_end(pid, start, PATIENCE_MS) {
                true => Ok(()),
                false => Err(ContainerError::WillNotEnd(id.to_string())),
            };
        }
        if !is_locked(directory) {
            return Ok(());
        }
        rustix::thread::sched_yield();
    }
    Ok(())
}

/// The state as engines read it, with the names and in the order of runc.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    oci_version: &'a str,
    id: &'a str,
    pid: i32,
    status: Status,
    bundle: &'a Path,
    rootfs: &'a Path,
    created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: &'a str,
}

/// The state as JSON.
pub(crate) fn state_json(record: &Record, status: Status, pid: Option<i32>, end: Option<Event>) -> Vec<u8> {
    let mut annotations = record.annotations.clone();
    if let Some(Event::Ended { summary, traps, .. }) = end {
        annotations.insert("dev.runu.end".to_owned(), summary);
        annotations.extend(traps.map(|traps| ("dev.runu.traps".to_owned(), traps.to_string())));
    }
    let json = State {
        oci_version: &record.oci_version,
        id: &record.id,
        pid: pid.unwrap_or(0),
        status,
        bundle: &record.bundle,
        rootfs: &record.rootfs,
        created: &record.created,
        annotations,
        owner: "",
    };
    let mut text = serde_json::to_vec_pretty(&json).unwrap_or_default();
    text.push(b'\n');
    text
}

/// The signal that a name (`TERM`, `SIGTERM`, in either case) or a number stands for.
///
/// # Errors
/// None.
pub fn parse_signal(text: &str) -> Result<i32, ContainerError> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ILL", libc::SIGILL),
        ("TRAP", libc::SIGTRAP),
        ("ABRT", libc::SIGABRT),
        ("IOT", libc::SIGABRT),
        ("BUS", libc::SIGBUS),
        ("FPE", libc::SIGFPE),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("SEGV", libc::SIGSEGV),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("STKFLT", libc::SIGSTKFLT),
        ("CHLD", libc::SIGCHLD),
        ("CONT", libc::SIGCONT),
        ("STOP", libc::SIGSTOP),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("URG", libc::SIGURG),
        ("XCPU", libc::SIGXCPU),
        ("XFSZ", libc::SIGXFSZ),
        ("VTALRM", libc::SIGVTALRM),
        ("PROF", libc::SIGPROF),
        ("WINCH", libc::SIGWINCH),
        ("IO", libc::SIGIO),
        ("POLL", libc::SIGIO),
        ("PWR", libc::SIGPWR),
        ("SYS", libc::SIGSYS),
    ];
    let unknown = || ContainerError::Signal(text.to_owned());
    if let Ok(number) = text.parse::<i32>() {
        // Zero only asks whether there is somebody (kill(2)).
        return if number == 0 || runu_sandbox::is_signal(number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { Ok(0) } else { offset.parse::<i32>() };
        let number = offset.ok().and_then(|offset| offset.checked_add(34)).ok_or_else(unknown)?;
        return if (34..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_by_name_or_number_is_read() {
        for text in ["15", "TERM", "SIGTERM", "term", "sigterm"] {
            assert_eq!(parse_signal(text).unwrap(), libc::SIGTERM, "{text}");
        }
        assert_eq!(parse_signal("0").unwrap(), 0);
        assert_eq!(parse_signal("RTMIN+3").unwrap(), 37);
    }

    #[test]
    fn signal_that_is_none_is_refused() {
        for text in ["", "65", "-1", "SIG", "TERMX", "RTMIN+99", "99999999999"] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
