//! A contender: how it is started, reached and ended.

use std::{
    cell::RefCell,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio, id},
    time::{Duration, Instant},
};

use runu_guests::Guest;
use serde_json::{Value, json};

use super::{
    real::Real,
    wires::{self, Namespace},
};
use crate::{
    host::{self, word},
    run::milliseconds,
};

/// How long a server may take to its first answer, and to its end.
const LIMIT: Duration = Duration::from_secs(30);

/// Memory of our guest under QEMU, in MiB, and what its container may hold, from which runu takes its guest's.
const GUEST_MIB: u64 = 64;
const CONTAINER_BYTES: u64 = 192 << 20;

/// The most that a group can have (cgroup-v1 `cpu.shares`): nobody else's turn comes before.
const SHARES: u64 = 262_144;

/// A contender.
#[derive(Debug)]
pub(super) struct Site {
    /// As the report calls it.
    pub(super) name: String,
    /// What it is to the targets.
    pub(super) role: Role,
    /// Which server it runs: those with the same are compared.
    pub(super) server: String,
    number: u8,
    way: Way,
}

/// The server that our guest and the program of this benchmark are.
const OWN: &str = "http";

/// What a contender is to the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What is promised.
    Guest,
    /// The same server without a machine around it.
    Native,
    /// The same guest in an emulated one.
    Emulated,
}

#[derive(Debug)]
enum Way {
    /// A container, by a runtime's program and global flags.
    Container { runtime: Vec<String>, bundle: PathBuf, id: String, namespace: Namespace },
    /// A program.
    Program { words: Vec<String> },
}

impl Site {
    /// Our guest under a build of runu.
    pub(super) fn guest(
        number: u8,
        called: &str,
        build: &Path,
        linux64: bool,
        folder: &Path,
    ) -> Result<Self, String> {
        let guest = Guest::named("http").ok_or("the guest `http` is missing")?;
        let (kind, bytes) = if linux64 { ("linux64", guest.linux64) } else { ("multiboot", guest.multiboot) };
        let image = Image::own("unikraft/bin/kernel", bytes.to_vec());
        container((format!("{called} http-{kind}"), Role::Guest, OWN), number, build, folder, &image)
    }

    /// The program in a container of runc's.
    pub(super) fn native(number: u8, folder: &Path) -> Result<Self, String> {
        let name = "runc, the same as a program".to_owned();
        let runc = host::find("runc").ok_or_else(|| format!("{name}: runc is not installed"))?;
        let program = std::env::current_exe().and_then(fs::read);
        let program = program.map_err(|error| format!("{name}: cannot read this program: {error}"))?;
        let image = Image::own("server", program);
        container((name, Role::Native, OWN), number, &runc, folder, &image)
    }

    /// Our guest under QEMU without KVM.
    pub(super) fn emulated(number: u8) -> Result<Self, String> {
        let guest = Guest::named("http").ok_or("the guest `http` is missing")?;
        let machine = Machine { kernel: &guest.multiboot_path(), initrd: None, words: "", mib: GUEST_MIB };
        emulated(("QEMU TCG http-multiboot".to_owned(), OWN), number, &machine)
    }

    /// A real server's kernel under a build of runu.
    pub(super) fn real_guest(
        number: u8,
        called: &str,
        build: &Path,
        (server, kernel): (&Real, &str),
        folder: &Path,
    ) -> Result<Self, String> {
        let name = format!("{called} {} {kernel}", server.name);
        let files = vec![
            ("unikraft/bin/kernel", server.read(kernel)?),
            ("unikraft/bin/initrd", server.read(Real::INITRD)?),
        ];
        let image = Image { files, root: None, words: server.words.clone(), memory: Real::CONTAINER_BYTES };
        container((name, Role::Guest, &server.name), number, build, folder, &image)
    }

    /// Its program in a container of runc's.
    pub(super) fn real_native(number: u8, server: &Real, folder: &Path) -> Result<Self, String> {
        let name = format!("runc {}", server.name);
        let runc = host::find("runc").ok_or_else(|| format!("{name}: runc is not installed"))?;
        let root = server.file(Real::ROOT).ok_or_else(|| format!("{name}: it has no `{}`", Real::ROOT))?;
        let (words, memory) = (server.words.clone(), Real::CONTAINER_BYTES);
        let image = Image { files: Vec::new(), root: Some(root), words, memory };
        container((name, Role::Native, &server.name), number, &runc, folder, &image)
    }

    /// Its kernel under QEMU without KVM.
    pub(super) fn real_emulated(number: u8, server: &Real) -> Result<Self, String> {
        let name = format!("QEMU TCG {}", server.name);
        let file = |file| server.file(file).ok_or_else(|| format!("{name}: it has no `{file}`"));
        let (kernel, initrd) = (file(Real::MULTIBOOT)?, file(Real::INITRD)?);
        let words = server.words.join(" ");
        let machine = Machine { kernel: &kernel, initrd: Some(&initrd), words: &words, mib: Real::GUEST_MIB };
        emulated((name.clone(), &server.name), number, &machine)
    }

    /// Whether it runs our own server.
    pub(super) fn is_own(&self) -> bool {
        self.server == OWN
    }

    /// Where it is reached.
    pub(super) fn address(&self) -> Ipv4Addr {
        wires::address(self.number)
    }

    /// Starts it and waits for its first answer.
    pub(super) fn start(&self) -> Result<Running<'_>, String> {
        let (began, child) = match &self.way {
            Way::Container { bundle, namespace, .. } => {
                // An engine has done this before it calls the runtime.
                namespace.wire(&format!("runub{}", self.number), self.number)?;
                let (began, pid_file) = (Instant::now(), bundle.join("pid"));
                let (bundle, pid_file) = (word(bundle), word(&pid_file));
                self.call(&["create", "--bundle", &bundle, "--pid-file", &pid_file], true)?;
                self.call(&["start"], true)?;
                (began, None)
            }
            Way::Program { words } => {
                let began = Instant::now();
                let child = pinned(words).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
                (began, Some(child.map_err(|error| format!("cannot run QEMU: {error}"))?))
            }
        };
        let mut running = Running { site: self, child: RefCell::new(child), root: 0, first_answer_ms: 0.0 };
        running.root = running.find_root()?;
        while get(self.address(), "/").is_err() {
            if began.elapsed() > LIMIT {
                return Err("it does not answer".to_owned());
            }
        }
        running.first_answer_ms = milliseconds(began.elapsed());
        Ok(running)
    }

    /// Calls the runtime with the container's name at the end; what it says, if it succeeds or does not have to.
    fn call(&self, words: &[&str], must: bool) -> Result<String, String> {
        let Way::Container { runtime, bundle, id, .. } = &self.way else { return Ok(String::new()) };
        let mut all = runtime.clone();
        all.extend(words.iter().map(|word| (*word).to_owned()));
        all.push(id.clone());
        let log = bundle.join("log");
        let log = fs::File::create(&log).map_err(|error| format!("cannot make a log: {error}"))?;
        let mut command = pinned(&all);
        command.stdin(Stdio::null()).stderr(log.try_clone().map_err(|error| error.to_string())?);
        // The container inherits it, so it must be none that somebody waits for.
        let output = match words {
            ["state"] => command.output(),
            _ => command.stdout(log).status().map(|status| std::process::Output {
                status,
                stdout: Vec::new(),
                stderr: Vec::new(),
            }),
        };
        let output = output.map_err(|error| format!("cannot run the runtime: {error}"))?;
        if must && !output.status.success() {
            let log = fs::read_to_string(bundle.join("log")).unwrap_or_default();
            return Err(format!("`{}` failed: {}", words.first().unwrap_or(&""), log.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A contender that runs; ended when dropped.
#[derive(Debug)]
pub(super) struct Running<'a> {
    site: &'a Site,
    child: RefCell<Option<Child>>,
    root: u32,
    /// Milliseconds from before its start to its first answer.
    pub(super) first_answer_ms: f64,
}

impl Running<'_> {
    /// Its first process: all others descend from it.
    pub(super) fn root(&self) -> u32 {
        self.root
    }

    /// How the name of the mapping begins that is the guest's memory, if it has such.
    pub(super) fn guest_memory(&self) -> Option<&'static str> {
        match self.site.role {
            Role::Guest => Some("/memfd:guest-ram"),
            Role::Emulated => Some("/memfd:memory-backend-memfd"),
            Role::Native => None,
        }
    }

    /// Ends it; how many traps there were in its life, if the runtime tells.
    pub(super) fn end(self) -> Result<Option<f64>, String> {
        if self.site.role != Role::Guest || !self.site.is_own() {
            return Ok(None);
        }
        get(self.site.address(), "/quit")?;
        let began = Instant::now();
        loop {
            let state: Value = serde_json::from_str(&self.site.call(&["state"], true)?).unwrap_or_default();
            if state["status"] == "stopped" {
                let traps = state["annotations"]["dev.runu.traps"].as_str();
                return Ok(traps.and_then(|traps| traps.parse().ok()));
            }
            if began.elapsed() > LIMIT {
                return Err("it does not end".to_owned());
            }
        }
    }

    fn find_root(&self) -> Result<u32, String> {
        match (&self.site.way, &*self.child.borrow()) {
            (_, Some(child)) => Ok(child.id()),
            (Way::Container { bundle, .. }, None) => {
                let text = fs::read_to_string(bundle.join("pid")).unwrap_or_default();
                text.trim().parse().map_err(|_| "its process id was not written down".to_owned())
            }
            (Way::Program { .. }, None) => Err("it has ended".to_owned()),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.borrow_mut().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.site.call(&["delete", "--force"], false);
    }
}

/// A machine that QEMU emulates.
struct Machine<'a> {
    kernel: &'a Path,
    initrd: Option<&'a Path>,
    words: &'a str,
    mib: u64,
}

fn emulated((name, server): (String, &str), number: u8, machine: &Machine<'_>) -> Result<Site, String> {
    let qemu = host::find("qemu-system-x86_64").ok_or_else(|| format!("{name}: QEMU is not installed"))?;
    if !wires::has_tap() {
        return Err(format!("{name}: there is no /dev/net/tun"));
    }
    let tap = format!("runub{number}");
    wires::tap(&tap, number).map_err(|reason| format!("{name}: {reason}"))?;
    let (here, address, mib) = (wires::here(number), wires::address(number), machine.mib);
    let text = format!(
        "-accel tcg -M pc,memory-backend=ram -cpu max -m {mib} -nodefaults -no-user-config -display none \
         -serial null -no-reboot -object memory-backend-memfd,id=ram,size={mib}M \
         -netdev tap,id=net,ifname={tap},script=no,downscript=no \
         -device virtio-net-pci,netdev=net,disable-modern=on"
    );
    let mut words = vec![word(&qemu)];
    words.extend(text.split_ascii_whitespace().map(str::to_owned));
    let mut parameters = format!("http netdev.ip={address}/24:{here}:::guest:");
    if let Some(initrd) = machine.initrd {
        words.extend(["-initrd".to_owned(), word(initrd)]);
        // As runu has it mounted.
        parameters.push_str(" vfs.fstab=[ \"initrd0:/:extract::ramfs=2:\" ]");
    }
    parameters.push_str(" -- ");
    parameters.push_str(machine.words);
    words.extend(["-kernel".to_owned(), word(machine.kernel), "-append".to_owned(), parameters]);
    Ok(Site { name, role: Role::Emulated, server: server.to_owned(), number, way: Way::Program { words } })
}

/// What a container runs.
struct Image {
    /// Files besides those of `root`, and what is in them.
    files: Vec<(&'static str, Vec<u8>)>,
    /// A folder of files, if there is one.
    root: Option<PathBuf>,
    /// The program and its arguments.
    words: Vec<String>,
    /// What the container may hold, in bytes.
    memory: u64,
}

impl Image {
    /// Of our own server, as a guest or as a program: one file.
    fn own(file: &'static str, bytes: Vec<u8>) -> Self {
        let words = vec![format!("/{file}"), "--server".to_owned()];
        Image { files: vec![(file, bytes)], root: None, words, memory: CONTAINER_BYTES }
    }

    /// Lays it out below `root`.
    fn lay(&self, root: &Path) -> std::io::Result<()> {
        if let Some(files) = &self.root {
            let copied = Command::new("cp").arg("-a").arg(files.join(".")).arg(root).status()?;
            if !copied.success() {
                return Err(std::io::Error::other(format!("cannot copy `{}`", files.display())));
            }
        }
        for place in ["proc", "dev", "tmp"] {
            fs::create_dir_all(root.join(place))?;
        }
        for (file, bytes) in &self.files {
            let file = root.join(file);
            fs::create_dir_all(file.parent().unwrap_or(root))?;
            fs::write(&file, bytes)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// The bundle and the namespace of a container.
fn container(
    (name, role, server): (String, Role, &str),
    number: u8,
    runtime: &Path,
    folder: &Path,
    image: &Image,
) -> Result<Site, String> {
    let id = format!("runu-bench-{}-web-{number}", id());
    let bundle = folder.join(&id);
    let namespace = Namespace::new().map_err(|reason| format!("{name}: {reason}"))?;
    let config = config(&id, image, &namespace.path()).to_string();
    let root = bundle.join("rootfs");
    let laid = fs::create_dir_all(&root).and_then(|()| image.lay(&root));
    laid.and_then(|()| fs::write(bundle.join("config.json"), config))
        .map_err(|error| format!("{name}: cannot make a bundle: {error}"))?;
    let state = word(&folder.join(format!("state-{number}")));
    let runtime = vec![word(runtime), "--root".to_owned(), state];
    let way = Way::Container { runtime, bundle, id, namespace };
    Ok(Site { name, role, server: server.to_owned(), number, way })
}

/// The container's configuration: root without capabilities but that of low ports, which is what engines give at least. It may
/// write to `/tmp`, if there is anything to write.
fn config(id: &str, image: &Image, namespace: &Path) -> Value {
    let capability = json!(["CAP_NET_BIND_SERVICE"]);
    let mut namespaces: Vec<Value> =
        ["pid", "ipc", "uts", "mount"].iter().map(|kind| json!({ "type": kind })).collect();
    namespaces.push(json!({ "type": "network", "path": namespace }));
    let mut mounts = vec![json!({ "destination": "/proc", "type": "proc", "source": "proc" })];
    if image.root.is_some() {
        mounts.extend(
            ["/tmp", "/dev"].map(|at| json!({ "destination": at, "type": "tmpfs", "source": "tmpfs" })),
        );
    }
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "user": { "uid": 0, "gid": 0 }, "args": image.words, "env": [], "cwd": "/",
            "capabilities": { "bounding": capability, "effective": capability, "permitted": capability },
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "guest",
        "mounts": mounts,
        "linux": {
            "cgroupsPath": format!("/{id}"),
            "resources": { "memory": { "limit": image.memory }, "cpu": { "shares": SHARES } },
            "namespaces": namespaces,
        },
    })
}

/// A command that runs on the second processor, if there is one.
fn pinned(words: &[String]) -> Command {
    let several = std::thread::available_parallelism().is_ok_and(|number| number.get() > 1)
        || fs::exists("/sys/devices/system/cpu/cpu1").unwrap_or(false);
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", if several { "1" } else { "0" }]).args(words);
    command
}

/// Asks once; what the server answers, to its end or to the end of what comes at once.
fn get(server: Ipv4Addr, path: &str) -> Result<String, String> {
    /// Who does not take a connection within that is not there yet; who was asked in time answers as soon as he is.
    const PATIENCE: Duration = Duration::from_millis(20);
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((server, 80)), PATIENCE).map_err(told)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(told)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: guest\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(told)?;
    let mut answer = Vec::new();
    // What ends with a reset has been answered as well.
    let _ = stream.read_to_end(&mut answer);
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(String::from_utf8_lossy(&answer).into_owned())
    } else {
        Err("no answer".to_owned())
    }
}
