//! `runu demo`: runs a built-in unikernel and tells what happened.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use runu_core::{Blame, Blamed, Bytes, Printable};
use runu_guest::Invocation;

use crate::{
    cli::{DemoFlags, DemoGuest, DemoKind, MonitorChoice},
    failure::Failure,
    passt::{Port, Protocol},
    start::{self, Kernel, Life, Wishes},
    stdio, table, timeline,
    verbs::inspect,
};

/// Memory of the demo's guest: as much as `runu run` gives by default.
const MEMORY: Bytes = Bytes::mib(64);

/// Why the built-in guest could not be put where it can be read.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    /// No memory file.
    #[error("cannot make a memory file for the built-in kernel")]
    MemoryFile(#[source] io::Error),
    /// No port for the web server.
    #[error("cannot find a free port of this host")]
    Port(#[source] io::Error),
    /// `--save` failed.
    #[error("cannot write the built-in kernel to `{}`", Printable(path.as_os_str().as_bytes()))]
    Save { path: PathBuf, source: io::Error },
}

impl Blamed for DemoError {
    fn blame(&self) -> Blame {
        match self {
            DemoError::MemoryFile(_) | DemoError::Port(_) => Blame::Host,
            DemoError::Save { .. } => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            DemoError::MemoryFile(_) | DemoError::Port(_) => None,
            DemoError::Save { .. } => Some("name a file in a folder that you may write to".to_owned()),
        }
    }
}

/// Runs the guest; its console comes first on stdout, the telling after it. `began` is when we did.
pub(crate) fn demo(flags: &DemoFlags, began: u64) -> Result<u8, Failure> {
    let (name, image) = match (flags.guest, flags.kind) {
        (DemoGuest::Hello, DemoKind::Multiboot) => ("hello", runu_guests::HELLO_MULTIBOOT),
        (DemoGuest::Hello, DemoKind::Linux64) => ("hello", runu_guests::HELLO_LINUX64),
        (DemoGuest::Http, DemoKind::Multiboot) => ("http", runu_guests::HTTP_MULTIBOOT),
        (DemoGuest::Http, DemoKind::Linux64) => ("http", runu_guests::HTTP_LINUX64),
    };
    if let Some(path) = &flags.save {
        fs::write(path, image).map_err(|source| DemoError::Save { path: path.clone(), source })?;
        return Ok(0);
    }
    let file = runu_sandbox::memory_file(c"kernel", image).map_err(DemoError::MemoryFile)?;
    let kernel = Kernel { name: name.into(), file, bytes: image.to_vec() };
    let ports = match flags.guest {
        DemoGuest::Hello => Vec::new(),
        DemoGuest::Http => vec![web_port()?],
    };
    if let Some(port) = ports.first() {
        stdio::data(&format!("http://{}:{}/ until Ctrl-C\n", Ipv4Addr::LOCALHOST, port.host))?;
    }
    let wishes = Wishes {
        monitor: MonitorChoice::Auto,
        memory: MEMORY,
        invocation: Invocation { argv0: name.as_bytes().to_vec(), ..Invocation::default() },
        initrd: None,
        ports,
        disks: Vec::new(),
        volumes: Vec::new(),
    };
    let life = start::start(kernel, wishes)?;
    stdio::data(&telling(&life, began))?;
    Ok(life.conclude())
}

/// A port of this host that nobody has, and the web server's behind it: the usual one for trying things out if it is free.
fn web_port() -> Result<Port, DemoError> {
    let address = Ipv4Addr::LOCALHOST;
    let free = TcpListener::bind((address, 8080)).or_else(|_| TcpListener::bind((address, 0)));
    let host = free.and_then(|listener| listener.local_addr()).map_err(DemoError::Port)?.port();
    Ok(Port { address: Some(address), host, guest: 80, protocol: Protocol::Tcp })
}

/// What happened, as rows of a name and a value.
fn telling(life: &Life, began: u64) -> String {
    let guest = &life.guest;
    let calls = runu_process::allowed_calls().len();
    let mut rows = vec![
        ("guest", format!("{}: {}, {MEMORY} of memory", guest.kind, inspect::boot_protocol(guest.boot))),
        ("monitor", format!("{}: {}", life.monitor.monitor, life.monitor.reason)),
        ("isolation", "a process of its own, without privileges, in an empty root".to_owned()),
        ("isolation", "own pid, mount, network, IPC and UTS namespaces".to_owned()),
        ("isolation", format!("{calls} system calls with pinned arguments; any other kills")),
        ("limits", life.ended.limits.to_string()),
        ("end", format!("{}, exit status {}", life.verdict.summary(), life.verdict.exit_status())),
    ];
    rows.extend(
        timeline::phases(began, life)
            .into_iter()
            .map(|(took, what)| ("took", format!("{:>9}  {what}", timeline::milliseconds(took)))),
    );
    format!("\n{}", table::table(&rows))
}
