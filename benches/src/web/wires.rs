//! Network namespaces and the wires into them, made by iproute2.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::fd::AsRawFd,
    path::PathBuf,
    process::{Command, Stdio, id},
};

/// A network namespace that this program holds, and in which nobody is.
#[derive(Debug)]
pub(crate) struct Namespace(File);

impl Namespace {
    /// Makes one.
    pub(crate) fn new() -> Result<Self, String> {
        // It says so when it is in its namespace, and stays until that is held.
        let mut child = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run `unshare`: {error}"))?;
        let mut said = [0];
        let stdout = child.stdout.take().ok_or("`unshare` has no output")?;
        let ready = std::io::Read::read(&mut { stdout }, &mut said);
        let file = File::open(format!("/proc/{}/ns/net", child.id()));
        drop(child.stdin.take());
        let _ = child.wait();
        match (ready, file) {
            (Ok(1), Ok(file)) => Ok(Namespace(file)),
            _ => Err("cannot make a network namespace".to_owned()),
        }
    }

    /// Where others find it, as long as this program lives.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", id(), self.0.as_raw_fd()))
    }

    /// Lays a wire into it: `name` here, `eth0` there, network 10.77.`number`.0/24.
    pub(crate) fn wire(&self, name: &str, number: u8) -> Result<(), String> {
        let (here, address) = (here(number), address(number));
        shell(&format!(
            "set -e; ip link del {name} 2>/dev/null || true; ip link add {name} type veth peer name {name}p
             ip addr add {here}/24 dev {name}; ip link set {name} up; ip link set lo up"
        ))?;
        self.take(&format!("{name}p"))?;
        self.shell(&format!(
            "set -e; ip link set lo up; ip link set {name}p name eth0; ip addr add {address}/24 dev eth0
             ip link set eth0 up; ip route add default via {here}"
        ))
    }

    /// Moves an interface from here to there. It takes a process there.
    pub(crate) fn take(&self, interface: &str) -> Result<(), String> {
        let there = self.path();
        let there = there.to_string_lossy();
        shell(&format!(
            "set -e; nsenter --net={there} sleep 60 & sleeper=$!
             until [ \"$(readlink /proc/$sleeper/ns/net)\" = \"$(readlink {there})\" ]; do :; done
             ip link set {interface} netns $sleeper; kill $sleeper"
        ))
    }

    /// Runs a script there.
    pub(crate) fn shell(&self, script: &str) -> Result<(), String> {
        let there = format!("--net={}", self.path().to_string_lossy());
        run(Command::new("nsenter").args([&there, "sh", "-c", script]))
    }
}

/// Makes a tap device that is here with its other end in the hands of whoever opens it.
pub(crate) fn tap(name: &str, number: u8) -> Result<(), String> {
    let here = here(number);
    shell(&format!(
        "set -e; ip link del {name} 2>/dev/null || true; ip tuntap add {name} mode tap vnet_hdr
         ip addr add {here}/24 dev {name}; ip link set {name} up"
    ))
}

/// This end's address, and the other's.
pub(crate) fn here(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, number, 1)
}

pub(crate) fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, number, 2)
}

/// Runs a script here.
pub(crate) fn shell(script: &str) -> Result<(), String> {
    run(Command::new("sh").args(["-c", script]))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run a shell: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(format!("cannot set up the network: {}", told.lines().last().unwrap_or_default()))
}

/// Whether the kernel has such devices.
pub(crate) fn has_tap() -> bool {
    fs::exists("/dev/net/tun").unwrap_or(false)
}
