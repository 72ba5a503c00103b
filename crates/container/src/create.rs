//! `create`: from a bundle to a container that waits for its start.
//!
//! Whatever can be refused is refused before anything is made. From then on each thing made is written down first, so
//! that `delete --force` finds it when this process is killed in between.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Process, Spec};
use runu_core::{Bytes, Plan};
use runu_sandbox::{
    CgroupName, ContainerCgroup, ContainerCgroupError, Holding, Ready, SandboxError, Terminal,
};
use rustix::{
    fs::{FallocateFlags, MemfdFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    Bundle, Container, ContainerError, ContainerId, Launch, Root, Unikernel, hooks, limits,
    namespaces::namespaces,
    record::{LIFE, Record, START, Status, state},
    time::rfc3339_now,
    witness::Chronicle,
    workload,
};

/// Flags of `create`.
#[derive(Clone, Debug, Default)]
pub struct CreateFlags {
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// Where to send our end of the terminal.
    pub console_socket: Option<PathBuf>,
    /// Whether `linux.cgroupsPath` is systemd's `SLICE:PREFIX:NAME`.
    pub systemd_cgroup: bool,
}

/// Memory of a guest in a container without a limit: as much as `runu run` gives.
const MEMORY: Bytes = Bytes::mib(64);

/// What supervisor and monitor hold besides the guest's memory: 2 MiB measured for a guest that idles; to that comes what
/// grows with the guest's code and page tables.
const MEMORY_BESIDE_GUEST: Bytes = Bytes::mib(3);
/// The part of the limit that is set aside for what grows, and the most of it.
const MEMORY_THAT_GROWS: (u64, Bytes) = (16, Bytes::mib(64));

/// Length of the life file at most, in bytes: two lines of a few words.
const LIFE_MAX: u64 = 4096;

/// Host name of a container that has none.
const HOST_NAME: &str = "runu";

/// Creates a container for a unikernel. On success its first process lives on as the child of whoever adopts ours.
///
/// # Errors
/// The bundle asks for something that cannot be had, or the host refuses a step. Nothing is left then.
pub fn create(
    root: &Root,
    id: &ContainerId,
    bundle: &Bundle,
    unikernel: Unikernel,
    flags: &CreateFlags,
    launch: &Launch<'_>,
) -> Result<(), ContainerError> {
    bundle.check()?;
    let process = bundle.spec.process().as_ref().ok_or(ContainerError::Missing("process"))?;
    check_supported(&bundle.spec)?;
    check_terminal(process, flags)?;
    (launch.fits)(&unikernel.guest).map_err(ContainerError::Monitor)?;
    let plan = plan(&unikernel, &bundle.spec)?;
    let cgroup = cgroup_name(&bundle.spec, id, flags.systemd_cgroup)?;
    if ContainerCgroup::is_in_use(&cgroup) {
        return Err(ContainerCgroupError::InUse(cgroup.path.into()).into());
    }
    // Held to the end, so that nobody deletes half of it and nobody's deletion meets the container that comes next.
    let (directory, lock) = root.take(id)?;
    let mut record = Record {
        id: id.to_string(),
        oci_version: bundle.spec.version().clone(),
        bundle: bundle.path.clone(),
        rootfs: bundle.rootfs.clone(),
        created: rfc3339_now(),
        annotations: bundle
            .spec
            .annotations()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        maker: ourselves(),
        init: None,
        cgroup: Some(cgroup.clone()),
        hooks: bundle.spec.hooks().clone(),
    };
    let making = Making { directory: &directory, bundle, process, flags, launch, cgroup: &cgroup };
    let made = record.save(&directory).and_then(|()| making.make(&mut record, unikernel, &plan));
    if made.as_ref().is_err_and(is_of_others) {
        // What is not ours is not removed with us.
        record.cgroup = None;
        record.save(&directory)?;
    }
    if made.is_err() {
        // The error to tell is the first one; what this cannot remove, `delete --force` can. What was made is what this
        // process remembers: on a full disk the record may not say it.
        let _ = Container::of(directory, record).destroy();
    }
    drop(lock);
    made
}

/// What making takes.
struct Making<'a> {
    directory: &'a Path,
    bundle: &'a Bundle,
    process: &'a Process,
    flags: &'a CreateFlags,
    launch: &'a Launch<'a>,
    cgroup: &'a CgroupName,
}

/// Whether it failed because the control group is somebody else's.
fn is_of_others(error: &ContainerError) -> bool {
    matches!(
        error,
        ContainerError::Cgroup(ContainerCgroupError::InUse(_))
            | ContainerError::Sandbox(SandboxError::ContainerCgroup(ContainerCgroupError::InUse(_)))
    )
}

impl Making<'_> {
    /// Makes everything.
    fn make(&self, record: &mut Record, unikernel: Unikernel, plan: &Plan) -> Result<(), ContainerError> {
        let linux = self.bundle.spec.linux().as_ref();
        let resources = limits::resources(linux.and_then(|linux| linux.resources().as_ref()));
        let cgroup = ContainerCgroup::create(self.cgroup, &resources)?;
        let ready = self.sandbox(record, unikernel, plan, &cgroup)?;
        if let Some(path) = &self.flags.pid_file {
            let pid = record.init.map_or(0, |(pid, _)| pid);
            // Without a line end: containerd reads it with strconv.Atoi.
            replace_file(path, pid.to_string().as_bytes()).map_err(state("write", path))?;
        }
        Ok(ready.release()?)
    }

    fn sandbox(
        &self,
        record: &mut Record,
        unikernel: Unikernel,
        plan: &Plan,
        cgroup: &ContainerCgroup,
    ) -> Result<Ready, ContainerError> {
        let (namespaces, user_maps) = namespaces(&self.bundle.spec)?;
        let (report, report_writer) = io::pipe().map_err(channel("report pipe"))?;
        let numbers = self.launch.numbers;
        let kernel = unikernel.kernel.try_clone().map_err(channel("kernel's descriptor"))?;
        let mut descriptors = vec![
            (OwnedFd::from(plan_file(plan)?), numbers.plan),
            (kernel.into(), numbers.kernel),
            (report_writer.into(), numbers.report),
        ];
        descriptors.extend(unikernel.initrd.map(|(file, _)| (OwnedFd::from(file), numbers.initrd)));
        let life = life_file(self.directory)?;
        let chronicle = Chronicle {
            cgroup: self.cgroup,
            oom_counter: RefCell::new(life.try_clone().map_err(channel("life file's descriptor"))?.into()),
            life,
            report: File::from(OwnedFd::from(report)),
            kernel: unikernel.kernel,
            launch: self.launch,
        };
        let hostname = self.bundle.spec.hostname().clone().unwrap_or_else(|| HOST_NAME.to_owned());
        let holding = Holding {
            namespaces,
            user_maps,
            cgroup,
            terminal: self.terminal()?,
            limits: limits::rlimits(self.process.rlimits().as_deref().unwrap_or_default()),
            oom_score_adj: self.process.oom_score_adj(),
            listener: listener(self.directory)?,
            kept: chronicle.descriptors(),
            witness: &chronicle,
        };
        let spec =
            runu_sandbox::Spec { argv: self.launch.argv, descriptors, hostname: &hostname, cgroup: None };
        let placed = runu_sandbox::create(spec, holding)?;
        let pid = placed.pid();
        self.run_create_hooks(record, pid)?;
        let ready = placed.furnish()?;
        let start = runu_sandbox::started_at(pid)
            .ok_or(ContainerError::Sandbox(SandboxError::Silent { status: -1 }))?;
        record.init = Some((pid, start));
        record.save(self.directory)?;
        Ok(ready)
    }

    fn run_create_hooks(&self, record: &Record, pid: i32) -> Result<(), ContainerError> {
        let Some(hooks) = &record.hooks else { return Ok(()) };
        // runtime-tools and runc agree on `creating` here, and on the process id being there.
        let state = crate::lifecycle::state_json(record, Status::Creating, Some(pid), None);
        let list = |list: &Option<Vec<_>>| list.clone().unwrap_or_default();
        hooks::run("prestart", &list(hooks.prestart()), &state, None)?;
        hooks::run("createRuntime", &list(hooks.create_runtime()), &state, None)?;
        hooks::run("createContainer", &list(hooks.create_container()), &state, Some(pid))
    }

    /// The container's end of a terminal, if it is to have one; ours is on its way to the engine.
    fn terminal(&self) -> Result<Option<OwnedFd>, ContainerError> {
        let Some(socket) = &self.flags.console_socket else { return Ok(None) };
        let size = self
            .process
            .console_size()
            .and_then(|size| Some((u16::try_from(size.width()).ok()?, u16::try_from(size.height()).ok()?)));
        Ok(Some(Terminal::open(size)?.hand_over(socket)?))
    }
}

/// Refuses what a unikernel's container cannot have.
fn check_supported(spec: &Spec) -> Result<(), ContainerError> {
    let volume = spec.mounts().iter().flatten().find(|mount| !workload::is_ignored(mount));
    if let Some(mount) = volume {
        return Err(ContainerError::Unsupported {
            what: format!("the volume `{}`", mount.destination().display()),
            why: "its kernel can reach no file system of the host yet",
        });
    }
    let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_ref());
    if hooks.is_some_and(|hooks| !hooks.is_empty()) {
        return Err(ContainerError::Unsupported {
            what: "a startContainer hook".to_owned(),
            why: "its root is empty, so no program can run in it",
        });
    }
    Ok(())
}

fn check_terminal(process: &Process, flags: &CreateFlags) -> Result<(), ContainerError> {
    match (process.terminal().unwrap_or(false), &flags.console_socket) {
        (true, None) => Err(ContainerError::Usage(
            "cannot allocate tty if runu will detach without setting console socket",
        )),
        (false, Some(_)) => {
            Err(ContainerError::Usage("cannot use console socket if runu will not detach or allocate tty"))
        }
        _ => Ok(()),
    }
}

/// Words and memory of the guest, as a plan.
fn plan(unikernel: &Unikernel, spec: &Spec) -> Result<Plan, ContainerError> {
    let words = runu_guest::command_line(&unikernel.guest, &unikernel.invocation)
        .map_err(ContainerError::CommandLine)?;
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let limit = limits::resources(resources).memory_max.and_then(|limit| u64::try_from(limit).ok());
    let size = unikernel.initrd.as_ref().map(|(_, size)| *size);
    runu_guest::plan(&unikernel.guest, words, guest_memory(limit), size).map_err(ContainerError::Plan)
}

/// Memory of the guest in a container that may use `limit` bytes: what is left when the monitor has its share.
fn guest_memory(limit: Option<u64>) -> Bytes {
    const PAGE: u64 = 4096;
    /// The most that kernels of these kinds use (LIMITATIONS.md).
    const MOST: u64 = 3 << 30;
    let Some(limit) = limit else { return MEMORY };
    let (part, most) = MEMORY_THAT_GROWS;
    let beside = MEMORY_BESIDE_GUEST.0 + (limit / part).min(most.0);
    let rest = limit.saturating_sub(beside).min(MOST);
    Bytes(rest - rest % PAGE)
}

/// The control group's name.
fn cgroup_name(spec: &Spec, id: &ContainerId, systemd: bool) -> Result<CgroupName, ContainerError> {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.map(|path| path.to_string_lossy().into_owned()).filter(|path| !path.is_empty());
    match (path, systemd) {
        (None, true) => Ok(CgroupName::systemd(&format!(":runu:{id}"))?),
        (Some(path), true) => Ok(CgroupName::systemd(&path)?),
        (None, false) => Ok(CgroupName::plain(format!("/runu/{id}"))),
        (Some(path), false) => Ok(CgroupName::plain(path)),
    }
}

/// This process.
fn ourselves() -> (i32, u64) {
    let pid = rustix::process::getpid().as_raw_pid();
    (pid, runu_sandbox::started_at(pid).unwrap_or_default())
}

fn life_file(directory: &Path) -> Result<File, ContainerError> {
    let path = directory.join(LIFE);
    let make = || {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
        // Room for all that will be written: on a disk that is full by then the container would not seem to have started.
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, LIFE_MAX) {
            // Not every file system can promise room.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(file),
            Err(errno) => Err(errno.into()),
        }
    };
    make().map_err(state("make", &path))
}

fn listener(directory: &Path) -> Result<OwnedFd, ContainerError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    let listener = opened.and_then(|opened| runu_sandbox::listen(opened.as_fd(), START));
    listener.map_err(|errno| state("make", &directory.join(START))(errno.into()))
}

/// The plan in a memory file, at its start.
fn plan_file(plan: &Plan) -> Result<File, ContainerError> {
    let write = || {
        let mut file = File::from(rustix::fs::memfd_create(c"plan", MemfdFlags::CLOEXEC)?);
        file.write_all(&serde_json::to_vec(plan)?)?;
        file.rewind()?;
        Ok(file)
    };
    write().map_err(channel("plan's file"))
}

/// Writes a file so that whoever waits for it never finds half of it.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let new = path.with_file_name(hidden);
    fs::write(&new, bytes)?;
    fs::rename(&new, path)
}

fn channel(what: &'static str) -> impl Fn(io::Error) -> ContainerError {
    move |source| ContainerError::Channel { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_limit_less_the_monitors_share_is_the_guests_memory() {
        assert_eq!(guest_memory(Some(64 << 20)), Bytes::mib(57));
        assert_eq!(guest_memory(None), Bytes::mib(64));
        assert_eq!(guest_memory(Some(4096)), Bytes(0));
        assert_eq!(guest_memory(Some(u64::MAX)), Bytes::mib(3 << 10));
    }
}
