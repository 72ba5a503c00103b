//! Any messages to the 9P server of a folder: each is answered, and nothing beside the folder changes.
#![no_main]

use std::{
    fs,
    os::unix::fs::symlink,
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
    On { kind: u8, fid: u8, body: Vec<u8> },
    Walk { fid: u8, new: u8, names: Vec<Name> },
}

/// A name that is there, or leads out, or is anything.
#[derive(Arbitrary, Debug)]
enum Name {
    File,
    Folder,
    Link,
    Above,
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
    for said in &input.messages {
        say(&mut session, &said.bytes());
    }
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

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Message::MadeUp(bytes) => bytes.clone(),
            Message::On { kind, fid, body } => message(*kind, &[&[*fid % 8, 0, 0, 0], &body[..]].concat()),
            Message::Walk { fid, new, names } => {
                let mut body = vec![*fid % 8, 0, 0, 0, *new % 8, 0, 0, 0];
                body.extend(u16::try_from(names.len()).unwrap_or(u16::MAX).to_le_bytes());
                for name in names {
                    let name = name.text();
                    body.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
                    body.extend(name.as_bytes());
                }
                message(110, &body)
            }
        }
    }
}

impl Name {
    fn text(&self) -> &str {
        match self {
            Name::File => "file",
            Name::Folder => "folder",
            Name::Link => "link",
            Name::Above => "..",
            Name::Any(text) => text,
        }
    }
}
