//! Any messages to the 9P server of a folder: each is answered, and nothing beside the folder changes.
#![no_main]

use std::{
    borrow::Cow,
    fs,
    os::{fd::AsRawFd, unix::fs::symlink},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runu_files::{Limits, Session};
use rustix::fs::{Mode, OFlags};

/// What a client says.
#[derive(Arbitrary, Debug)]
struct Input {
    /// Which dialect is agreed on first; none if there is none.
    dialect: Option<bool>,
    read_only: bool,
    messages: Vec<Message>,
}

/// A message: made up, or with a header as it should be, which gets further than chance does.
#[derive(Arbitrary, Debug)]
enum Message {
    MadeUp(Vec<u8>),
    On {
        kind: u8,
        fid: u8,
        body: Vec<u8>,
    },
    Walk {
        fid: u8,
        new: u8,
        names: Vec<Name>,
    },
    /// One of [`LAYOUTS`], filled with these from left to right.
    Filled {
        layout: u8,
        numbers: Vec<Number>,
        names: Vec<Name>,
        data: Vec<u8>,
    },
}

/// What a message is made of.
#[derive(Clone, Copy)]
enum Part {
    Fid,
    U8,
    U16,
    U32,
    U64,
    Name,
    /// Bytes with their length in four bytes before them.
    Data,
    /// What there is of a record before the mode.
    Record,
}

/// Messages that both dialects or one of them has, and their bodies.
const LAYOUTS: &[(u8, &[Part])] = {
    use Part::*;
    &[
        (8, &[Fid]),
        (12, &[Fid, U32]),
        (14, &[Fid, Name, U32, U32, U32]),
        (16, &[Fid, Name, Name, U32]),
        (18, &[Fid, Name, U32, U64, U32]),
        (20, &[Fid, Fid, Name]),
        (22, &[Fid]),
        (24, &[Fid, U64]),
        (26, &[Fid, U32, U32, U32, U32, U64, U64, U64, U64, U64]),
        (30, &[Fid, Fid, Name]),
        (32, &[Fid, Name, U64, U32]),
        (40, &[Fid, U64, U32]),
        (50, &[Fid, U32]),
        (52, &[Fid, U8, U32, U64, U64, U32, Name]),
        (54, &[Fid, U8, U64, U64, U32, Name]),
        (70, &[Fid, Fid, Name]),
        (72, &[Fid, Name, U32, U32]),
        (74, &[Fid, Name, Fid, Name]),
        (76, &[Fid, Name, U32]),
        (100, &[U32, Name]),
        (102, &[Fid, Name, Name, U32]),
        (104, &[Fid, U32, Name, Name, U32]),
        (108, &[U16]),
        (112, &[Fid, U8]),
        (114, &[Fid, Name, U32, U8, Name]),
        (116, &[Fid, U64, U32]),
        (118, &[Fid, U64, Data]),
        (120, &[Fid]),
        (122, &[Fid]),
        (124, &[Fid]),
        (126, &[Fid, Record, U32, U32, U32, U64, Name, Name, Name, Name, Name, U32, U32, U32]),
    ]
};

/// A number, most often one that means something.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Number {
    Small(u8),
    Bit(u8),
    Mode { bit: u8, permissions: u8 },
    Ones,
    Any(u64),
}

/// A name that is there, or leads out, or is anything.
#[derive(Arbitrary, Debug)]
enum Name {
    File,
    Folder,
    Inner,
    Link,
    Above,
    /// One of few that nothing has at first.
    New(u8),
    /// That of a file that the client knows, as links are made in 9P2000.u.
    Fid(u8),
    Dialect(bool),
    Empty,
    Any(String),
}

/// A folder for this process, with the share in it and a file beside that.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder for temporary files").keep();
    fs::write(folder.join("secret"), "untouched").expect("a file");
    folder
});

fuzz_target!(|input: Input| converse(&input, &FOLDER));

fn converse(input: &Input, folder: &Path) {
    let share = folder.join("share");
    let _ = fs::remove_dir_all(&share);
    fs::create_dir_all(share.join("folder/inner")).expect("a folder");
    fs::write(share.join("file"), "contents").expect("a file");
    symlink("../secret", share.join("link")).expect("a link");
    let root = rustix::fs::open(&share, OFlags::PATH, Mode::empty()).expect("the folder");
    let first = root.as_raw_fd();
    let limits = Limits { fids: 64, ..Limits::default() };
    let mut session = Session::new(root, input.read_only, limits);
    if let Some(unix) = input.dialect {
        let version: &[u8] = if unix { b"9P2000.u" } else { b"9P2000.L" };
        say(&mut session, &message(100, &[&[0, 0x20, 0, 0, 8, 0], version].concat()));
        say(
            &mut session,
            &message(104, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]),
        );
    }
    // Each of them is known, which nothing is before an agreement.
    let there: [&[Name]; 5] =
        [&[Name::File], &[Name::Folder], &[Name::Link], &[], &[Name::Folder, Name::Inner]];
    for (new, names) in (1..).zip(there) {
        say(&mut session, &walk(0, new, names));
    }
    for said in &input.messages {
        say(&mut session, &said.bytes());
    }
    drop(session);
    // Nothing that it held is left open.
    let free = rustix::fs::open(&share, OFlags::PATH, Mode::empty()).expect("the folder");
    assert_eq!(free.as_raw_fd(), first);
    assert_eq!(fs::read(folder.join("secret")).expect("the file"), b"untouched");
    assert_eq!(fs::read_dir(folder).expect("the folder").count(), 2);
}

fn say(session: &mut Session, message: &[u8]) {
    let mut reply = Vec::new();
    session.answer(message, &mut reply);
    let len = reply.first_chunk().map(|len| u32::from_le_bytes(*len) as usize);
    assert!(len == Some(reply.len()) && reply.len() >= 7);
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len() + 7).unwrap_or(u32::MAX).to_le_bytes();
    [&len[..], &[kind, 1, 0], body].concat()
}

fn walk(fid: u8, new: u8, names: &[Name]) -> Vec<u8> {
    let mut body = vec![fid % 8, 0, 0, 0, new % 8, 0, 0, 0];
    body.extend(u16::try_from(names.len()).unwrap_or(u16::MAX).to_le_bytes());
    names.iter().for_each(|name| body.extend(name.bytes()));
    message(110, &body)
}

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Message::MadeUp(bytes) => bytes.clone(),
            Message::On { kind, fid, body } => message(*kind, &[&[*fid % 8, 0, 0, 0], &body[..]].concat()),
            Message::Walk { fid, new, names } => walk(*fid, *new, names),
            Message::Filled { layout, numbers, names, data } => {
                let (kind, parts) = LAYOUTS[usize::from(*layout) % LAYOUTS.len()];
                let (mut numbers, mut names) = (numbers.iter(), names.iter());
                let body = parts.iter().map(|part| part.bytes(&mut numbers, &mut names, data));
                message(kind, &body.collect::<Vec<_>>().concat())
            }
        }
    }
}

impl Part {
    fn bytes<'a>(
        self,
        numbers: &mut impl Iterator<Item = &'a Number>,
        names: &mut impl Iterator<Item = &'a Name>,
        data: &[u8],
    ) -> Vec<u8> {
        let mut number = |len: usize| {
            let number = numbers.next().map_or(0, |number| number.value());
            number.to_le_bytes()[..len].to_vec()
        };
        match self {
            Part::Fid => vec![number(1)[0] % 8, 0, 0, 0],
            Part::U8 => number(1),
            Part::U16 => number(2),
            Part::U32 => number(4),
            Part::U64 => number(8),
            Part::Name => names.next().unwrap_or(&Name::Empty).bytes(),
            Part::Data => [&u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes(), data].concat(),
            Part::Record => vec![0xff; 2 + 2 + 2 + 4 + 13],
        }
    }
}

impl Number {
    fn value(self) -> u64 {
        match self {
            Number::Small(value) => value.into(),
            Number::Bit(bit) => 1 << (bit % 64),
            Number::Mode { bit, permissions } => 1 << (bit % 32) | u64::from(permissions),
            Number::Ones => u64::MAX,
            Number::Any(value) => value,
        }
    }
}

impl Name {
    /// As a string of a message.
    fn bytes(&self) -> Vec<u8> {
        let text = self.text();
        [&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes(), text.as_bytes()].concat()
    }

    fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Name::File => "file",
            Name::Folder => "folder",
            Name::Inner => "inner",
            Name::Link => "link",
            Name::Above => "..",
            Name::New(number) => return format!("new{}", number % 4).into(),
            Name::Fid(fid) => return (fid % 8).to_string().into(),
            Name::Dialect(true) => "9P2000.u",
            Name::Dialect(false) => "9P2000.L",
            Name::Empty => "",
            Name::Any(text) => text,
        })
    }
}
