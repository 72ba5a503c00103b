//! Real Unikraft kernels, built elsewhere, from the folder that `RUNU_GUESTS` names.
//!
//! A file `NAME` of it that is a kernel takes part. `NAME.cmdline` says with which command line, in Unikraft's grammar: what
//! stands before a `--` are parameters, of which `env.vars` becomes the environment and `vfs.fstab` asks for the initrd in
//! `initrd.cpio`. A kernel of the Linux kind, `…-fc`, takes that of its sibling `…-qemu`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use runu_core::BootProtocol;
use runu_guest::Variable;

use crate::guest::{Guest, assert_none};
use crate::support::{GuestKind, Room, skip};
use crate::{console, emulated};

/// Beginnings of names, and why such kernels cannot be compared.
const NOT_COMPARED: &[(&str, &str)] = &[
    ("http", "they need a network"),
    ("hello-rand", "they stop without RDSEED, which QEMU 7 does not have"),
];

/// Ways in which a kernel called `crash-…` can be told to crash besides that of its command line.
const CRASHES: &[&str] = &["noncanon", "ud", "int3", "div", "assert", "triple", "exit3", "halt"];

#[test]
fn real_multiboot_kernels_are_the_same() {
    assert_same(GuestKind::Multiboot);
}

#[test]
fn real_linux64_kernels_are_the_same() {
    assert_same(GuestKind::Linux64);
}

#[track_caller]
fn assert_same(kind: GuestKind) {
    let Some(folder) = env::var_os("RUNU_GUESTS").map(PathBuf::from) else {
        return skip("RUNU_GUESTS names no folder with real kernels");
    };
    if let Err(reason) = emulated::check() {
        return skip(&reason);
    }
    let guests = guests(&folder, kind);
    assert!(!guests.is_empty(), "there is no {} kernel in {}", kind.name(), folder.display());
    assert_none(guests.iter().map(|guest| guest.difference(console::comparable)));
}

/// All kernels of a kind, in order of their names.
fn guests(folder: &Path, kind: GuestKind) -> Vec<Guest> {
    // Files are open meanwhile, which no other test may take for its own.
    let _room = Room::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let files: BTreeMap<String, PathBuf> = entries
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    let mut guests = Vec::new();
    for (name, path) in &files {
        let image = fs::read(path).expect("it is a file");
        let boot = runu_guest::detect(&image).ok().and_then(|guest| guest.boot);
        if boot != Some(protocol(kind)) {
            continue;
        }
        if let Some((_, why)) = NOT_COMPARED.iter().find(|(start, _)| name.starts_with(start)) {
            eprintln!("{name} is not compared: {why}");
            continue;
        }
        let guest = guest(folder, name, image, kind);
        if name.starts_with("crash-") {
            guests.extend(CRASHES.iter().map(|way| Guest {
                name: format!("{name} {way}"),
                arguments: vec![way.as_bytes().to_vec()],
                ..guest.clone()
            }));
        }
        guests.push(guest);
    }
    guests
}

fn protocol(kind: GuestKind) -> BootProtocol {
    match kind {
        GuestKind::Multiboot => BootProtocol::Multiboot,
        GuestKind::Linux64 => BootProtocol::Linux64,
    }
}

fn guest(folder: &Path, name: &str, image: Vec<u8>, kind: GuestKind) -> Guest {
    let sibling = name.strip_suffix("-fc").map_or(name.to_owned(), |stem| format!("{stem}-qemu"));
    let line = [name, &sibling]
        .into_iter()
        .find_map(|name| fs::read_to_string(folder.join(format!("{name}.cmdline"))).ok());
    let words = words(&line.unwrap_or_default());
    let (parameters, arguments) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (&[][..], &words[..]),
    };
    let wants_initrd = parameters.iter().any(|word| word.starts_with("vfs.fstab="));
    Guest {
        name: name.to_owned(),
        image,
        kind,
        arguments: arguments.iter().map(|word| word.clone().into_bytes()).collect(),
        environment: environment(parameters),
        disks: Vec::new(),
        initrd: wants_initrd.then(|| fs::read(folder.join("initrd.cpio")).expect("a kernel wants it")),
        last_words: None,
    }
}

/// Splits a line at spaces that are not in double quotes.
fn words(line: &str) -> Vec<String> {
    let mut quoted = false;
    let at_space = |c: char| {
        quoted ^= c == '"';
        c == ' ' && !quoted
    };
    line.trim_end()
        .split(at_space)
        .map(|word| word.replace('"', ""))
        .filter(|word| !word.is_empty())
        .collect()
}

/// The variables in `env.vars=[ "A=b" "C=d e" ]`, cut into words.
fn environment(parameters: &[String]) -> Vec<Variable> {
    let start = parameters.iter().position(|word| word == "env.vars=[");
    let list = start.map_or(&[][..], |at| &parameters[at + 1..]);
    let variables = list.iter().take_while(|word| *word != "]").filter_map(|word| word.split_once('='));
    variables.map(|(name, value)| Variable::new(name, value)).collect()
}
