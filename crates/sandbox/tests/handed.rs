//! What a guest process is handed when its sandbox is started, by another process than the one that made the sandbox.
//!
//! This program is the test, and the guest process (argument 0 is `runu-guest`), which copies what it can read from the
//! handed descriptor to the one that it was given at the beginning.

use std::{
    env,
    error::Error,
    ffi::CStr,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use runu_sandbox::{CgroupName, ContainerCgroup, Holding, How, Namespaces, Resources, Spec, Witness};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, WaitId, WaitIdOptions},
};

const GUEST: &CStr = c"runu-guest";

/// Given when the sandbox is made.
const GIVEN: RawFd = 3;
/// Handed over when it is started; there is a gap below.
const HANDED: [RawFd; 2] = [7, 9];

/// What the witness agrees with.
const NOTE: &[u8] = b"as agreed";

struct Nobody;

impl Witness for Nobody {
    fn starting(&self, note: &[u8]) -> Result<(), String> {
        (note == NOTE).then_some(()).ok_or_else(|| String::from_utf8_lossy(note).into_owned())
    }
    fn started(&self) {}
    fn entered(&self) {}
    fn ended(&self, how: How) -> u8 {
        how.exit_status()
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    if env::args_os().next().is_some_and(|name| name.as_encoded_bytes() == GUEST.to_bytes()) {
        return guest();
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP descriptors handed over at the start: needs root, for a control group");
        return Ok(());
    }
    assert_eq!(told(NOTE, &[b"one", b"two"])?, (0, "7:one 9:two".to_owned()));
    assert_eq!(told(NOTE, &[b"one"])?, (0, "7:one 9:-".to_owned()));
    assert_eq!(told(NOTE, &[])?, (0, "7:- 9:-".to_owned()));
    assert!(told(NOTE, &[b"one", b"two", b"three"]).is_err());
    assert_eq!(told(b"otherwise", &[]).map_err(|error| error.to_string()), Err("otherwise".to_owned()));
    eprintln!("descriptors handed over at the start: ok");
    Ok(())
}

/// Tells of each handed descriptor what can be read from it.
fn guest() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = HANDED
        .iter()
        .map(|number| {
            let mut text = String::new();
            // SAFETY: nothing else here uses this number; reading from a closed one is an error.
            let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(*number) });
            match file.read_to_string(&mut text) {
                Ok(_) => format!("{number}:{text}"),
                Err(_) => format!("{number}:-"),
            }
        })
        .collect();
    // SAFETY: nothing else here uses this number.
    let mut given = unsafe { File::from_raw_fd(GIVEN) };
    given.write_all(words.join(" ").as_bytes())?;
    Ok(())
}

/// Makes a sandbox, starts it with pipes that hold these texts, and returns its status and what it told.
fn told(note: &[u8], texts: &[&[u8]]) -> Result<(i32, String), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let directory = rustix::fs::open(folder.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
    let name = CgroupName::plain(format!("/runu-handed-{}", std::process::id()));
    let cgroup = ContainerCgroup::create(&name, &Resources::default())?;
    let outcome = life(&cgroup, directory.as_fd(), note, texts);
    cgroup.remove()?;
    outcome
}

fn life(
    cgroup: &ContainerCgroup,
    directory: BorrowedFd<'_>,
    note: &[u8],
    texts: &[&[u8]],
) -> Result<(i32, String), Box<dyn Error>> {
    let (mut reader, writer) = io::pipe()?;
    let spec = Spec {
        argv: &[GUEST],
        descriptors: vec![(writer.into(), GIVEN)],
        companion: None,
        hostname: None,
        cgroup: None,
    };
    let holding = Holding {
        namespaces: Namespaces::default(),
        cgroup,
        terminal: None,
        domain_name: None,
        parameters: Vec::new(),
        limits: Vec::new(),
        oom_score_adj: None,
        listener: runu_sandbox::listen(directory, "start")?,
        handed_at_start: HANDED.to_vec(),
        witness: &Nobody,
        kept: Vec::new(),
    };
    let placed = runu_sandbox::create(spec, holding)?;
    let pid = Pid::from_raw(placed.pid()).ok_or("it has no number")?;
    placed.furnish()?.release()?;
    let pipes: Vec<OwnedFd> = texts.iter().map(|text| pipe_with(text)).collect::<io::Result<_>>()?;
    let handed: Vec<BorrowedFd<'_>> = pipes.iter().map(AsFd::as_fd).collect();
    let started = runu_sandbox::start(directory, "start", note, &handed);
    // `__WALL`: the end of this child raises no signal (wait(2)).
    let options = WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(0x4000_0000);
    let status = rustix::process::waitid(WaitId::Pid(pid), options)?.and_then(|status| status.exit_status());
    started?;
    let mut text = String::new();
    reader.read_to_string(&mut text)?;
    Ok((status.unwrap_or(-1), text))
}

/// A pipe that holds a text and then ends.
fn pipe_with(text: &[u8]) -> io::Result<OwnedFd> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(text)?;
    Ok(reader.into())
}
