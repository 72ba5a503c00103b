//! A guest whose frames go through a tap. No verb gives it one, so the plan is made here.
//!
//! This program is the test, and, called `runu-guest`, the guest's process: `harness = false`.

#[path = "../../benches/src/frames/tap.rs"]
mod tap;

use std::{
    env,
    error::Error,
    ffi::CStr,
    fs::File,
    io::{Read, Seek, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use nix::sched::CloneFlags;
use runu_core::{Bytes, NetworkCard, Plan, WireKind};
use runu_guest::{Invocation, Network};
use runu_guests::Guest;
use runu_process::descriptor;
use runu_sandbox::{How, Spec};
use rustix::fs::MemfdFlags;

const GUEST: &CStr = c"runu-guest";

/// The tap, and both ends of the network behind it.
const TAP: &str = "tap0";
const OURS: &str = "10.251.0.1/24";
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 251, 0, 2);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// How long the guest may take for anything.
const LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    if env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == GUEST.to_bytes()) {
        runu_process::guest_main();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP guest on a tap: needs root, for the tap");
        return Ok(());
    }
    if !Path::new("/dev/net/tun").exists() {
        eprintln!("SKIP guest on a tap: there is no /dev/net/tun");
        return Ok(());
    }
    // Threads that are made from here on are in it too, and with the last one it goes, whatever is left in it.
    nix::sched::unshare(CloneFlags::CLONE_NEWNET)?;
    let guest = Guest::named("http").ok_or("there is no guest `http`")?;
    for kernel in [guest.multiboot, guest.linux64] {
        guest_on_a_tap_serves(kernel)?;
    }
    eprintln!("guest on a tap: ok");
    Ok(())
}

fn guest_on_a_tap_serves(kernel: &[u8]) -> Result<(), Box<dyn Error>> {
    let tap = tap::open(TAP)?;
    ip(&["address", "add", OURS, "dev", TAP])?;
    ip(&["link", "set", TAP, "up"])?;
    let plan = serde_json::to_vec(&plan(kernel)?)?;
    // Nobody reads it; the end is told by the status.
    let (_report, report) = std::io::pipe()?;
    let descriptors: Vec<(OwnedFd, i32)> = vec![
        (memory_file(c"plan", &plan)?, descriptor::PLAN),
        (memory_file(c"kernel", kernel)?, descriptor::KERNEL),
        (report.into(), descriptor::REPORT),
        (tap.into(), descriptor::NETWORK),
    ];
    let spec = Spec { argv: &[GUEST], descriptors, companion: None, hostname: None, cgroup: None };
    let client = thread::spawn(|| ask().map_err(|error| error.to_string()));
    let ended = runu_sandbox::run(spec)?;
    client.join().map_err(|_| "the client failed")??;
    assert_eq!(ended.how, How::Exited(0));
    Ok(())
}

/// Gets the same bytes back that it sends, and a page, and asks for the end.
fn ask() -> Result<(), Box<dyn Error>> {
    let sent: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let head = format!("POST /echo HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", sent.len());
    let answer = answer(&[head.as_bytes(), &sent].concat())?;
    assert!(answer.ends_with(&sent), "{} bytes came back of {}", answer.len(), sent.len());
    assert!(self::answer(b"GET /quit HTTP/1.0\r\n\r\n")?.starts_with(b"HTTP/1.1 200 "));
    Ok(())
}

/// What the server answers, to the end of the connection.
fn answer(request: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((THEIRS, 80)), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    let mut answer = Vec::new();
    thread::scope(|scope| {
        // It answers before it has read all.
        let written = scope.spawn(move || writer.write_all(request));
        stream.read_to_end(&mut answer)?;
        written.join().map_err(|_| "the writer failed")?.map_err(Box::<dyn Error>::from)
    })?;
    Ok(answer)
}

fn plan(kernel: &[u8]) -> Result<Plan, Box<dyn Error>> {
    let guest = runu_guest::detect(kernel)?;
    let network = Network {
        address: THEIRS,
        prefix: 24,
        gateway: None,
        name_servers: Vec::new(),
        host_name: None,
        domain: None,
    };
    let mut invocation = Invocation { argv0: b"http".to_vec(), ..Invocation::default() };
    runu_guest::add_network_parameters(&guest, &network, &mut invocation.parameters);
    invocation.parameters.extend(runu_guest::card_parameters(&guest, 1));
    let line = runu_guest::command_line(&guest, &invocation)?;
    let plan = runu_guest::plan(&guest, line, Bytes::mib(64), None)?;
    let card = NetworkCard { mac: MAC, mtu: 1500, wire: WireKind::Tap, name_server: None };
    Ok(Plan { network: Some(card), ..plan })
}

/// A file that exists in memory only, holds `bytes` and is at its start.
fn memory_file(name: &CStr, bytes: &[u8]) -> Result<OwnedFd, Box<dyn Error>> {
    let mut file = File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

fn ip(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let status = Command::new("ip").args(words).status()?;
    if status.success() { Ok(()) } else { Err(format!("ip {}: {status}", words.join(" ")).into()) }
}
