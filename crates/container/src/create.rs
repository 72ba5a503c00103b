//! `create`: from a bundle to a container that waits for its start.
//!
//! Whatever can be refused is refused before anything is made. From then on each thing made is written down first, so
//! that `delete --force` finds it when this process is killed in between.

use std::{
    cell::RefCell,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    path::{Path, PathBuf},
};

use oci_spec::runtime::{Process, Spec};
use runu_core::Plan;
use runu_sandbox::{
    CgroupName, ContainerCgroup, ContainerCgroupError, Holding, Namespace, Namespaces, Parameter, Ready,
    SandboxError, Terminal, memory_file,
};
use runu_volumes::{Furnished, LeftOut, OpenShare, Served, Wishes};
use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    Bundle, Config, Container, ContainerError, ContainerId, Image, Launch, Root, Unikernel, Wired, Wiring,
    hooks::{self, Place},
    limits, mounts,
    namespaces::namespaces,
    parameters::parameters,
    policy,
    record::{LIFE, Record, START, Status, state},
    time::rfc3339_now,
    witness::Chronicle,
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

/// Length of the life file at most, in bytes: two lines of a few words.
const LIFE_MAX: u64 = 4096;

/// Host name of a container that has none.
const HOST_NAME: &str = "runu";

/// Creates a container for a unikernel. On success its first process lives on as the child of whoever adopts ours.
///
/// # Errors
/// The bundle asks for something that cannot be had, or the host refuses a step. Nothing is left then but places of volumes in
/// the container's root.
pub fn create(
    root: &Root,
    id: &ContainerId,
    bundle: &Bundle,
    unikernel: Unikernel,
    config: &Config,
    flags: &CreateFlags,
    launch: &Launch<'_>,
) -> Result<(), ContainerError> {
    bundle.check()?;
    let process = bundle.spec.process().as_ref().ok_or(ContainerError::Missing("process"))?;
    check_supported(&bundle.spec)?;
    check_terminal(process, flags)?;
    let Unikernel { image, kernel, initrd } = unikernel;
    (launch.fits)(&image.guest, image.wishes.monitor.as_deref(), &config.monitors)
        .map_err(ContainerError::Monitor)?;
    let namespaces = namespaces(&bundle.spec)?;
    let host_name = host_name(&bundle.spec, &namespaces);
    let network = Wiring::of(&image.guest, bundle, &namespaces.network, host_name.as_deref())?;
    let parameters = parameters(&bundle.spec, &namespaces)?;
    let cgroup = cgroup_name(&bundle.spec, id, flags.systemd_cgroup)?;
    if ContainerCgroup::is_in_use(&cgroup) {
        return Err(ContainerCgroupError::InUse(cgroup.path.into()).into());
    }
    // Reads the files of the image, so it comes behind all that can be refused without them.
    let read_only = bundle.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false);
    let Furnished { initrd, shared, open } = furnish(bundle, &image, initrd, read_only)?;
    let (initrd, size) = initrd.unzip();
    let image = &Image { shares: shared, initrd: size, ..image };
    let files = Files { kernel, initrd, shares: open };
    let planner = |wired: Option<&Wired>| policy::plan(image, &bundle.spec, config, wired);
    let plan = planner(None)?;
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
        network,
        hooks: bundle.spec.hooks().clone(),
        user: (process.user().uid(), process.user().gid()),
        read_only,
    };
    let planner = &|wired: &Wired| planner(Some(wired));
    let host_name = host_name.as_deref();
    let making =
        Making { directory: &directory, bundle, process, flags, launch, cgroup: &cgroup, host_name, planner };
    let kinds = (namespaces, parameters);
    let made = record.save(&directory).and_then(|()| making.make(&mut record, files, &plan, kinds));
    if made.as_ref().is_err_and(is_of_others) {
        // What is not ours is not removed with us.
        record.cgroup = None;
        let _ = record.save(&directory);
    }
    if made.is_err() {
        // The error to tell is the first one; what this cannot remove, `delete --force` can. What was made is what this
        // process remembers: on a full disk the record may not say it.
        let _ = Container::of(directory, record).destroy();
    }
    drop(lock);
    made
}

/// What is open from the beginning.
struct Files {
    kernel: File,
    initrd: Option<File>,
    /// What the process that serves files has.
    shares: Vec<OpenShare>,
}

/// The files that the guest is to have: those of its image, and its volumes.
fn furnish(
    bundle: &Bundle,
    image: &Image,
    initrd: Option<File>,
    read_only: bool,
) -> Result<Furnished, ContainerError> {
    let kernel = mounts::kernel_among_files(&image.convention);
    let is_left_out = |path: &[u8]| kernel.is_some_and(|kernel| mounts::is_left_out(path, kernel));
    let left_out = kernel.is_some().then_some(&is_left_out as LeftOut<'_>);
    let root = runu_volumes::Root { path: &bundle.rootfs, read_only, left_out };
    let volumes = mounts::volumes(bundle)?;
    Ok(runu_volumes::furnish(&image.guest, Wishes { root: Some(root), initrd, volumes: &volumes })?)
}

/// What making takes.
struct Making<'a> {
    directory: &'a Path,
    bundle: &'a Bundle,
    process: &'a Process,
    flags: &'a CreateFlags,
    launch: &'a Launch<'a>,
    cgroup: &'a CgroupName,
    host_name: Option<&'a str>,
    planner: &'a dyn Fn(&Wired) -> Result<Plan, ContainerError>,
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
    fn make(
        &self,
        record: &mut Record,
        files: Files,
        plan: &Plan,
        kinds: (Namespaces, Vec<Parameter>),
    ) -> Result<(), ContainerError> {
        let linux = self.bundle.spec.linux().as_ref();
        let resources = limits::resources(linux.and_then(|linux| linux.resources().as_ref()));
        let cgroup = ContainerCgroup::create(self.cgroup, &resources)?;
        let ready = self.sandbox(record, files, plan, &cgroup, kinds)?;
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
        files: Files,
        plan: &Plan,
        cgroup: &ContainerCgroup,
        (namespaces, parameters): (Namespaces, Vec<Parameter>),
    ) -> Result<Ready, ContainerError> {
        let asked: Vec<String> = parameters.iter().map(|parameter| parameter.path.clone()).collect();
        let (report, report_writer) = io::pipe().map_err(channel("report pipe"))?;
        let numbers = self.launch.numbers;
        let kernel = files.kernel.try_clone().map_err(channel("kernel's descriptor"))?;
        let plan_file = serde_json::to_vec(plan)
            .map_err(io::Error::from)
            .and_then(|plan| memory_file(c"plan", &plan))
            .map_err(channel("plan's file"))?;
        let given_plan = plan_file.try_clone().map_err(channel("plan's descriptor"))?;
        let mut descriptors = vec![
            (given_plan.into(), numbers.plan),
            (kernel.into(), numbers.kernel),
            (report_writer.into(), numbers.report),
        ];
        descriptors.extend(files.initrd.map(|file| (OwnedFd::from(file), numbers.initrd)));
        let mut served = Served::new(files.shares, &self.launch.files, numbers.share)?;
        descriptors.extend(served.iter_mut().flat_map(|served| served.guests.drain(..)));
        let companion = served.as_mut().map(|served| served.companion(mounts::account(self.process)));
        let life = life_file(self.directory)?;
        let chronicle = Chronicle {
            cgroup: self.cgroup,
            oom_counter: RefCell::new(life.try_clone().map_err(channel("life file's descriptor"))?.into()),
            life,
            report: File::from(OwnedFd::from(report)),
            kernel: files.kernel,
            plan: plan_file,
            planner: self.planner,
            launch: self.launch,
        };
        let domain_name = given(self.bundle.spec.domainname());
        let holding = Holding {
            namespaces,
            cgroup,
            terminal: self.terminal()?,
            domain_name: domain_name.as_deref(),
            parameters,
            limits: limits::rlimits(self.process.rlimits().as_deref().unwrap_or_default()),
            oom_score_adj: self.process.oom_score_adj(),
            listener: listener(self.directory)?,
            kept: chronicle.descriptors(),
            handed_at_start: numbers.network.to_vec(),
            witness: &chronicle,
        };
        let spec = runu_sandbox::Spec {
            argv: self.launch.argv,
            descriptors,
            companion,
            hostname: self.host_name,
            cgroup: None,
        };
        let placed = runu_sandbox::create(spec, holding)?;
        let pid = placed.pid();
        self.run_create_hooks(record, pid)?;
        let ready = placed.furnish().map_err(|error| named(error, &asked))?;
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
        hooks::run("prestart", &list(hooks.prestart()), &state, Place::Here)?;
        hooks::run("createRuntime", &list(hooks.create_runtime()), &state, Place::Here)?;
        hooks::run("createContainer", &list(hooks.create_container()), &state, Place::Beside(pid))
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

/// The container's host name: the given one, else ours where the name is the container's own.
fn host_name(spec: &Spec, namespaces: &Namespaces) -> Option<String> {
    given(spec.hostname()).or_else(|| matches!(namespaces.uts, Namespace::New).then(|| HOST_NAME.to_owned()))
}

fn given(name: &Option<String>) -> Option<String> {
    name.clone().filter(|name| !name.is_empty())
}

/// Refuses what a unikernel's container cannot have: what is asked of the host beside the program's confinement, and would
/// be missed outside of it.
fn check_supported(spec: &Spec) -> Result<(), ContainerError> {
    let Some(linux) = spec.linux() else { return Ok(()) };
    let moves_devices = linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty());
    let listens = linux.seccomp().as_ref().is_some_and(|seccomp| seccomp.listener_path().is_some());
    let asked = [
        (moves_devices, "`linux.netDevices`", "it is given no device of the host yet"),
        (
            linux.memory_policy().is_some(),
            "`linux.memoryPolicy`",
            "its memory can be kept to nodes with cpuset alone",
        ),
        (linux.intel_rdt().is_some(), "`linux.intelRdt`", "it is put into no class of caches yet"),
        (listens, "`linux.seccomp.listenerPath`", "it makes no system calls that somebody could be told of"),
    ];
    match asked.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, what, why)) => Err(ContainerError::Unsupported { what: what.to_owned(), why }),
        None => Ok(()),
    }
}

/// The error with the name of the parameter that it is about, if it is about one.
fn named(error: SandboxError, parameters: &[String]) -> ContainerError {
    match error {
        SandboxError::Parameter { number, source } => {
            let name = usize::try_from(number).ok().and_then(|number| parameters.get(number)).cloned();
            ContainerError::ParameterRefused { name: name.unwrap_or_default(), source }
        }
        error => error.into(),
    }
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
