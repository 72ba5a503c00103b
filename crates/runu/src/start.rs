//! One start, from a kernel and wishes to a life that is over.
//!
//! Facts and wishes become a plan; the plan goes to the guest's process in a memory file, kernel and initrd as the
//! descriptors they were opened as. The guest's process is this program again, under the name [`GUEST_NAME`].

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, fs::FileExt},
    },
    path::{Path, PathBuf},
};

use runu_core::{Blame, Blamed, Bytes, Plan, Printable, Report, VirtAddr};
use runu_guest::{DetectError, Guest, Invocation, NetworkUse};
use runu_process::{Reading, descriptor};
use runu_sandbox::{CgroupSpec, Ended, Spec, memory_file};
use runu_volumes::{FileServer, Furnished, Served, Volume};

use crate::{
    cli::MonitorChoice,
    disk::OpenDisk,
    failure::Failure,
    monitor::{self, Fit},
    open::{self, OpenError, Opened},
    passt::{Connection, Passt, Port},
    stdio,
    verdict::{self, Verdict},
    volume,
};

/// The name under which this program is a guest's process instead of a command line.
pub(crate) const GUEST_NAME: &CStr = c"runu-guest";

/// The name under which this program serves a guest's files.
pub(crate) const FILES_NAME: &CStr = c"runu-files";

/// How this program is told what to serve.
pub(crate) const FILES: FileServer = FileServer {
    name: FILES_NAME,
    read_write: runu_files::descriptor::READ_WRITE,
    read_only: runu_files::descriptor::READ_ONLY,
    first: runu_files::descriptor::FIRST,
};

/// Host name in the sandbox; nobody but the guest's process can see it.
const HOST_NAME: &str = "runu";

/// What monitor and supervisor may hold besides the guest's memory: translated code, tables, page tables.
const MEMORY_BESIDE_GUEST: Bytes = Bytes::mib(128);

/// A kernel: its file, and the bytes in it.
pub(crate) struct Kernel {
    /// What the user calls it.
    pub(crate) name: PathBuf,
    /// What the guest's process reads.
    pub(crate) file: File,
    /// What is looked at here.
    pub(crate) bytes: Vec<u8>,
}

/// The file named is no kernel that runs.
#[derive(Debug, thiserror::Error)]
#[error("`{}` is not a kernel that runu can run", Printable(name.as_os_str().as_bytes()))]
pub(crate) struct KernelError {
    name: PathBuf,
    source: DetectError,
}

impl Blamed for KernelError {
    fn blame(&self) -> Blame {
        self.source.blame()
    }

    fn hint(&self) -> Option<String> {
        self.source.hint()
    }
}

impl Kernel {
    /// Opens and reads the kernel file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let mut opened = open::open(path, "kernel")?;
        let bytes = open::contents(&mut opened, path, "kernel")?;
        Ok(Kernel { name: path.to_path_buf(), file: opened.file, bytes })
    }

    /// What it is.
    pub(crate) fn detect(&self) -> Result<Guest, KernelError> {
        runu_guest::detect(&self.bytes).map_err(|source| KernelError { name: self.name.clone(), source })
    }
}

/// What the user wants.
pub(crate) struct Wishes {
    /// Which monitor.
    pub(crate) monitor: MonitorChoice,
    /// How much memory for the guest.
    pub(crate) memory: Bytes,
    /// Arguments and environment.
    pub(crate) invocation: Invocation,
    /// The initrd.
    pub(crate) initrd: Option<Opened>,
    /// Ports of the host that lead to the guest; it has a network if there are any.
    pub(crate) ports: Vec<Port>,
    /// The disks.
    pub(crate) disks: Vec<OpenDisk>,
    /// Directories and files of the host.
    pub(crate) volumes: Vec<Volume>,
}

/// A life that is over.
pub(crate) struct Life {
    /// What the guest was.
    pub(crate) guest: Guest,
    /// What ran it.
    pub(crate) monitor: Fit,
    /// What the sandbox tells.
    pub(crate) ended: Ended,
    /// What the guest's process told of itself, true or not.
    pub(crate) report: Option<Report>,
    /// How it ended.
    pub(crate) verdict: Verdict,
    kernel: File,
}

/// Why a guest could not be started, where it is neither the guest's fault nor the sandbox's.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// No memory file or no pipe.
    #[error("cannot make the {what} for the guest's process")]
    Channel { what: &'static str, source: io::Error },
    /// Ports for a guest without a network.
    #[error("no port can be published: {kind} has no network")]
    NoNetwork { kind: String },
}

impl Blamed for StartError {
    fn blame(&self) -> Blame {
        match self {
            StartError::Channel { .. } => Blame::Host,
            StartError::NoNetwork { .. } => Blame::User,
        }
    }
}

/// Runs the guest to its end.
pub(crate) fn start(kernel: Kernel, mut wishes: Wishes) -> Result<Life, Failure> {
    stdio::require_stdout()?;
    let reading = Reading::now().to_argument();
    let guest = kernel.detect()?;
    let monitor = monitor::choose(wishes.monitor, &guest)?;
    if !wishes.ports.is_empty() && runu_guest::network_use(&guest) == NetworkUse::None {
        return Err(StartError::NoNetwork { kind: guest.kind.to_string() }.into());
    }
    let initrd = wishes.initrd.take().map(|initrd| initrd.file);
    let files = runu_volumes::Wishes { root: None, initrd, volumes: &wishes.volumes };
    let Furnished { initrd, shared, open } = runu_volumes::furnish(&guest, files)?;
    let (initrd, initrd_size) = initrd.unzip();
    // Dropped last, when the guest's end of its stream is closed for sure.
    let passt = (!wishes.ports.is_empty()).then(|| Passt::start(&wishes.ports)).transpose()?;
    let (_passt, connection) = passt.unzip();
    wishes.invocation = Invocation { initrd: initrd.is_some(), shares: shared, ..wishes.invocation };
    let plan = plan(&guest, &wishes, initrd_size, connection.as_ref())?;
    let Kernel { file: kernel, bytes, .. } = kernel;
    // A megabyte less to hold while the guest runs; on a bad end the file is read again.
    drop(bytes);
    let (report, report_writer) = io::pipe().map_err(channel("report pipe"))?;
    let mut descriptors = vec![
        (OwnedFd::from(plan_file(&plan)?), descriptor::PLAN),
        (kernel.try_clone().map_err(channel("kernel's descriptor"))?.into(), descriptor::KERNEL),
        (report_writer.into(), descriptor::REPORT),
    ];
    descriptors.extend(initrd.map(|initrd| (OwnedFd::from(initrd), descriptor::INITRD)));
    descriptors.extend(connection.map(|connection| (connection.stream, descriptor::NETWORK)));
    let disks = wishes.disks.into_iter().map(|disk| OwnedFd::from(disk.opened.file));
    descriptors.extend(disks.zip((0..).map_while(descriptor::disk)));
    let mut served = Served::new(open, &FILES, descriptor::SHARE)?;
    descriptors.extend(served.iter_mut().flat_map(|served| served.guests.drain(..)));
    let account = || volume::account().map_err(|errno| channel("process that serves files")(errno.into()));
    let companion = served.as_mut().map(|served| Ok::<_, StartError>(served.companion(account()?)));
    let companion = companion.transpose()?;
    let spec = Spec {
        argv: &[GUEST_NAME, &reading],
        descriptors,
        companion,
        hostname: Some(HOST_NAME),
        cgroup: Some(CgroupSpec {
            name: format!("runu-{}", std::process::id()),
            memory_max: Some(Bytes(plan.memory.0.saturating_add(MEMORY_BESIDE_GUEST.0))),
            // The system-call filter lets nobody make a process, so a limit would only cost a second group.
            pids_max: None,
        }),
    };
    let ended = runu_sandbox::run(spec)?;
    let report = verdict::read_report(report);
    let verdict = Verdict::new(ended.how, report.as_ref());
    Ok(Life { guest, monitor, ended, report, verdict, kernel })
}

/// The plan for a guest that is wished so.
fn plan(
    guest: &Guest,
    wishes: &Wishes,
    initrd_size: Option<Bytes>,
    connection: Option<&Connection>,
) -> Result<Plan, Failure> {
    if !wishes.disks.is_empty() {
        runu_guest::check_disks(guest)?;
    }
    let mut invocation = wishes.invocation.clone();
    if let Some(connection) = connection {
        runu_guest::add_network_parameters(guest, &connection.network, &mut invocation.parameters);
    }
    let shares = runu_volumes::devices(&invocation.shares);
    let cards = usize::from(connection.is_some()) + shares.len() + wishes.disks.len();
    invocation.parameters.extend(runu_guest::card_parameters(guest, cards));
    let command_line = runu_guest::command_line(guest, &invocation)?;
    let plan = runu_guest::plan(guest, command_line, wishes.memory, initrd_size)?;
    let network = connection.map(|connection| connection.card);
    Ok(Plan { network, shares, disks: wishes.disks.iter().map(OpenDisk::disk).collect(), ..plan })
}

/// The plan in a memory file, at its start.
fn plan_file(plan: &Plan) -> Result<File, Failure> {
    let text = serde_json::to_vec(plan).map_err(|source| Failure::bug("write the plan", source))?;
    Ok(memory_file(c"plan", &text).map_err(channel("plan's file"))?)
}

fn channel(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Channel { what, source }
}

impl Life {
    /// Tells a bad end on stderr; the exit status for the end.
    pub(crate) fn conclude(&self) -> u8 {
        stdio::words(&self.verdict.complaint(|address| self.symbol(address)));
        self.verdict.exit_status()
    }

    /// What of the kernel lies at the address.
    fn symbol(&self, address: VirtAddr) -> Option<String> {
        let len = usize::try_from(self.kernel.metadata().ok()?.len()).ok()?;
        let mut bytes = vec![0; len];
        self.kernel.read_exact_at(&mut bytes, 0).ok()?;
        runu_guest::symbol(&bytes, address.0)
    }
}
