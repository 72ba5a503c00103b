//! Does to a directory that is shared by 9P what a client does, and some things that it must not, in both dialects; a line
//! per check, exit code the number of failures.
//!
//! The directory is the one that is shared, or with the variable `FOLDER` the one of that name in it. It holds `hello.txt` with `hello from the host`, and links: `absolute` and `relative` to a file beside it called
//! `secret`, `above` to `..`. With the variable `ACCESS=ro` it must refuse to be changed; else files are made in it: `made-L` and
//! `made-u`, each of 300,000 bytes of which each is the last of its place times 7, and folders `folder-L` and `folder-u`.
//!
//! With arguments it does what they say instead, and tells of each: `read=PATH` prints a short file, `write=PATH` makes one that
//! says `from the guest`, `fill=PATH` makes one as long as can be, in pieces of 64 KiB; exit code the number of failures.

#![no_std]
#![no_main]

mod client;

use client::{Client, SIZE, kind};
use rt::boot::Boot;
use rt::cell::OneCpu;
use rt::check::{self, Check, Outcome, equal, holds};
use rt::{power, println};

rt::guest!("share", main, uses "shares");

/// Exit code when there is no shared directory.
const NO_SHARE: u8 = 101;

/// Errors (errno(3)).
const ENOENT: u32 = 2;
const EROFS: u32 = 30;
const ELOOP: u32 = 40;

/// Files that are known by these numbers: the directory that is looked at, a file in it, and what is shared.
const ROOT: u32 = 0;
const FILE: u32 = 1;
const TOP: u32 = 2;
const NO_FID: u32 = u32::MAX;

/// A link's qid.
const SYMLINK: u8 = 0x02;
/// A directory's, and its mode when it is made.
const DIRECTORY: u8 = 0x80;
const DM_DIRECTORY: u32 = 0x8000_0000;

/// Length of the files that are made.
const LEN: usize = 300_000;

static CLIENT: OneCpu<Option<Client>> = OneCpu::new(None);
static FOLDER: OneCpu<Option<&'static [u8]>> = OneCpu::new(None);
static CONTENTS: OneCpu<[u8; LEN]> = OneCpu::new([0; LEN]);

const LINUX: &[Check] = &[
    Check { name: "attach", run: || attach(false) },
    Check { name: "read", run: read },
    Check { name: "list", run: list },
    Check { name: "above", run: above },
    Check { name: "links", run: links },
];
const UNIX: &[Check] = &[
    Check { name: "u-attach", run: || attach(true) },
    Check { name: "u-read", run: read },
    Check { name: "u-above", run: above },
    Check { name: "u-links", run: links },
];
const WRITABLE: &[Check] = &[
    Check { name: "u-write", run: write },
    Check { name: "u-folder", run: folder },
    Check { name: "again", run: || attach(false) },
    Check { name: "write", run: write },
    Check { name: "folder", run: folder },
    Check { name: "remove", run: remove },
];
const READ_ONLY: &[Check] = &[
    Check { name: "u-refused", run: refused },
    Check { name: "again", run: || attach(false) },
    Check { name: "refused", run: refused },
];

fn main(boot: &'static Boot) -> ! {
    boot.cmdline.parameters(b"vfs.fstab").for_each(|mount| {
        println!("mount {}", core::str::from_utf8(mount).unwrap_or("?"));
    });
    // SAFETY: nothing else has a reference to it yet.
    unsafe { *CLIENT.get() = Client::find(boot) };
    if !client().is_some_and(|client| client.has_tag(b"fs0")) {
        println!("no share");
        power::exit(NO_SHARE)
    }
    let folder = boot.cmdline.env().iter().find_map(|variable| variable.strip_prefix(b"FOLDER="));
    // SAFETY: nothing else has a reference to it yet.
    unsafe { *FOLDER.get() = folder };
    if boot.cmdline.argv().len() > 1 {
        power::exit(orders(boot))
    }
    let read_only = boot.cmdline.env().iter().any(|variable| *variable == b"ACCESS=ro");
    let changes = if read_only { READ_ONLY } else { WRITABLE };
    check::run(boot, &[LINUX, UNIX, changes])
}

fn client() -> Option<&'static mut Client> {
    // SAFETY: every check gets it once and gives it up when it ends.
    unsafe { CLIENT.get().as_mut() }
}

/// The client that was found.
fn found() -> &'static mut Client {
    client().expect("it was found")
}

/// Begins a session and makes the root known.
fn attach(unix: bool) -> Outcome {
    let client = found();
    client.unix = unix;
    let version: &[u8] = if unix { b"9P2000.u" } else { b"9P2000.L" };
    let answer = client.begin(kind::VERSION).u32(SIZE as u32).string(version).ask();
    holds("version", answer.is_ok_and(|answer| answer.ends_with(version)))?;
    let attach = client.begin(kind::ATTACH).u32(TOP).u32(NO_FID).string(b"").string(b"").u32(u32::MAX);
    holds("root", attach.ask().is_ok_and(|qid| qid[0] == DIRECTORY))?;
    // SAFETY: nobody changes it any more.
    let folder = unsafe { *FOLDER.get() };
    client.begin(kind::WALK).u32(TOP).u32(ROOT).u16(folder.is_some().into());
    folder.into_iter().for_each(|folder| {
        client.string(folder);
    });
    equal("walk to the folder", error(client.ask()), 0)
}

/// Does what the arguments say; how many of them cannot be done.
fn orders(boot: &Boot) -> u8 {
    if attach(false).is_err() {
        return NO_SHARE;
    }
    let mut failures = 0;
    for order in boot.cmdline.argv().iter().skip(1) {
        let text = core::str::from_utf8(order).unwrap_or("?");
        let path = order.iter().position(|byte| *byte == b'=').map_or(&b""[..], |at| &order[at + 1..]);
        let done = match order.first() {
            Some(b'r') => show(text, path),
            Some(b'w') => put(path).map(|()| println!("{text}: done")),
            _ => fill(path).map(|len| println!("{text}: {len} bytes")),
        };
        if let Err(number) = done {
            println!("{text}: error {number}");
            failures += 1;
        }
    }
    failures
}

/// Walks along a path, as [`FILE`]; how much of it is left, as one name.
fn walk_to(path: &[u8], left: usize) -> Result<&[u8], u32> {
    let mut names: [&[u8]; 16] = [b""; 16];
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let count = names.iter_mut().zip(parts).map(|(to, part)| *to = part).count();
    let (way, rest) = names[..count].split_at(count.saturating_sub(left));
    match walk(way)? {
        (walked, _) if usize::from(walked) == way.len() => Ok(rest.first().copied().unwrap_or_default()),
        _ => Err(ENOENT),
    }
}

fn show(order: &str, path: &[u8]) -> Result<(), u32> {
    walk_to(path, 0)?;
    open(0)?;
    let answer = found().begin(kind::READ).u32(FILE).u64(0).u32(4096).ask()?;
    let text = core::str::from_utf8(data(answer)).unwrap_or("?");
    println!("{order}: {}", text.trim_end());
    Ok(())
}

/// Makes a file in a directory that was walked to, and opens it.
fn make(path: &[u8]) -> Result<(), u32> {
    let name = walk_to(path, 1)?;
    found().begin(kind::LCREATE).u32(FILE).string(name).u32(2).u32(0o640).u32(0).ask().map(drop)
}

fn put(path: &[u8]) -> Result<(), u32> {
    /// What it says.
    const TEXT: &[u8] = b"from the guest";
    if let Err(number) = make(path) {
        // One that is there can be written all the same.
        walk_to(path, 0).map_err(|_| number)?;
        open(1)?;
    }
    found().begin(kind::WRITE).u32(FILE).u64(0).u32(TEXT.len() as u32).bytes(TEXT).ask().map(drop)
}

fn fill(path: &[u8]) -> Result<u64, u32> {
    /// Bytes of a piece.
    const PIECE: usize = 64 << 10;
    /// More than there is to fill.
    const ENOUGH: u64 = 64 << 20;
    make(path)?;
    // SAFETY: the only use while an order is carried out.
    let contents = unsafe { CONTENTS.get() };
    let mut len = 0;
    while len < ENOUGH {
        let client = found().begin(kind::WRITE).u32(FILE).u64(len).u32(PIECE as u32).bytes(&contents[..PIECE]);
        match client.ask() {
            Ok(_) => len += PIECE as u64,
            Err(_) => break,
        }
    }
    Ok(len)
}

/// Walks to a name, as [`FILE`]; how far it got, and what was found last.
fn walk(names: &[&[u8]]) -> Result<(u16, u8), u32> {
    let client = found();
    let _ = client.begin(kind::CLUNK).u32(FILE).ask();
    client.begin(kind::WALK).u32(ROOT).u32(FILE).u16(names.len() as u16);
    names.iter().for_each(|name| {
        client.string(name);
    });
    let answer = client.ask()?;
    let count = u16::from_le_bytes([answer[0], answer[1]]);
    Ok((count, answer.len().checked_sub(13).map_or(DIRECTORY, |at| answer[at])))
}

/// Opens [`FILE`].
fn open(flags: u8) -> Result<(), u32> {
    let client = found();
    if client.unix {
        client.begin(kind::OPEN).u32(FILE).u8(flags);
    } else {
        client.begin(kind::LOPEN).u32(FILE).u32(flags.into());
    }
    client.ask().map(drop)
}

/// Makes a file in the root, as [`FILE`], and opens it for reading and writing.
fn create(name: &[u8]) -> Result<(), u32> {
    walk(&[])?;
    let client = found();
    if client.unix {
        client.begin(kind::CREATE).u32(FILE).string(name).u32(0o640).u8(2).string(b"");
    } else {
        client.begin(kind::LCREATE).u32(FILE).string(name).u32(2).u32(0o640).u32(0);
    }
    client.ask().map(drop)
}

/// The data of an answer to a read.
fn data(answer: &[u8]) -> &[u8] {
    &answer[4..]
}

/// Nothing, or the number of the error.
fn error<T>(result: Result<T, u32>) -> u64 {
    result.err().map_or(0, u64::from)
}

fn read() -> Outcome {
    equal("walk", error(walk(&[b"hello.txt"])), 0)?;
    equal("open", error(open(0)), 0)?;
    let answer = found().begin(kind::READ).u32(FILE).u64(6).u32(100).ask();
    holds("contents", answer.is_ok_and(|answer| data(answer) == b"from the host"))
}

fn list() -> Outcome {
    equal("walk", error(walk(&[])), 0)?;
    equal("open", error(open(0)), 0)?;
    let answer = found().begin(kind::READDIR).u32(FILE).u64(0).u32(8192).ask();
    let entries = answer.unwrap_or_default();
    let has = |name: &[u8]| entries.windows(name.len()).any(|window| window == name);
    holds("entries", has(b"hello.txt") && has(b"absolute"))?;
    holds("nothing from above", !has(b"secret"))
}

fn above() -> Outcome {
    let (count, _) = walk(&[b"..", b"..", b"secret"]).unwrap_or((0, 0));
    equal("names above the root", count.into(), 2)?;
    equal("a path as a name", u64::from(walk(&[b"../secret"]).is_ok()), 0)?;
    equal("an absolute path as a name", u64::from(walk(&[b"/etc/passwd"]).is_ok()), 0)?;
    equal("nothing", error(walk(&[b"secret"])), ENOENT.into())
}

fn links() -> Outcome {
    for name in [&b"absolute"[..], b"relative", b"above"] {
        let found = walk(&[name]);
        equal("a link", found.map_or(0, |(_, kind)| kind.into()), SYMLINK.into())?;
        equal("opening it", error(open(0)), ELOOP.into())?;
    }
    let (count, _) = walk(&[b"above", b"secret"]).unwrap_or((0, 0));
    equal("names behind a link", count.into(), 1)
}

/// The file that is made in this dialect.
fn made() -> &'static [u8] {
    if found().unix { b"made-u" } else { b"made-L" }
}

fn write() -> Outcome {
    // SAFETY: the only use while a check runs.
    let contents = unsafe { CONTENTS.get() };
    contents.iter_mut().enumerate().for_each(|(place, byte)| *byte = (place * 7) as u8);
    equal("create", error(create(made())), 0)?;
    let answer = found().begin(kind::WRITE).u32(FILE).u64(0).u32(LEN as u32).bytes(contents).ask();
    let written = answer.map(|count| u32::from_le_bytes([count[0], count[1], count[2], count[3]]));
    equal("written", written.map_or(0, u64::from), LEN as u64)?;
    let answer = found().begin(kind::READ).u32(FILE).u64(0).u32(SIZE as u32).ask();
    holds("read back", answer.is_ok_and(|answer| data(answer) == contents))
}

fn folder() -> Outcome {
    equal("walk", error(walk(&[])), 0)?;
    let name: &[u8] = if found().unix { b"folder-u" } else { b"folder-L" };
    // Unikraft makes folders so in either dialect.
    let create = found().begin(kind::CREATE).u32(FILE).string(name).u32(DM_DIRECTORY | 0o750).u8(0).string(b"");
    equal("create", error(create.ask()), 0)?;
    holds("walk to it", walk(&[name]) == Ok((1, DIRECTORY)))
}

fn remove() -> Outcome {
    equal("create", error(create(b"gone")), 0)?;
    equal("remove", error(found().begin(kind::REMOVE).u32(FILE).ask()), 0)?;
    equal("gone", error(walk(&[b"gone"])), ENOENT.into())
}

fn refused() -> Outcome {
    equal("create", error(create(made())), EROFS.into())?;
    equal("walk", error(walk(&[b"hello.txt"])), 0)?;
    equal("open to write", error(open(1)), EROFS.into())?;
    equal("remove", error(found().begin(kind::REMOVE).u32(FILE).ask()), EROFS.into())?;
    equal("still there", error(walk(&[b"hello.txt"])), 0)
}
