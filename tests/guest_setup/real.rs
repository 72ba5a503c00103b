//! Real Unikraft kernels as kraft packs them, from the folder that `RUNU_GUESTS` names.
//!
//! `NAME.cmdline` is what a kernel is started with in Unikraft's own grammar, `NAME.expect` what it then prints under QEMU;
//! a kernel of the Linux kind, `…-fc`, takes those of its sibling `…-qemu`. A kernel that is told `vfs.fstab` there gets an
//! initrd in its image instead and is told nothing: what mounts it is ours to know.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use runu_guest::unikraft;

use crate::rig::{KRAFT_INITRD, KRAFT_KERNEL, Rig};

/// How a kernel's container ends, by the beginning of the kernel's name; all others power off.
enum End {
    /// By itself, with these words.
    Told(&'static str),
    /// When it is killed, having printed this.
    Killed(&'static str),
}

/// Why each is so: TABLE.md beside the kernels, LIMITATIONS.md.
fn end(name: &str) -> End {
    if name.starts_with("crash-") && name.ends_with("-qemu") {
        return End::Told("crash");
    }
    if name.starts_with("elfloader-") {
        return End::Killed("done");
    }
    if name.starts_with("http-") {
        // It has no network to be asked through.
        return End::Killed("Listening on port");
    }
    End::Told("powered off")
}

#[test]
fn real_kernels_in_images_of_kraft_live_from_create_to_delete() {
    let Some(folder) = env::var_os("RUNU_GUESTS").map(PathBuf::from) else {
        eprintln!("SKIP real_kernels…: RUNU_GUESTS names no folder with real kernels");
        return;
    };
    let mut wrong = Vec::new();
    let mut lived = 0;
    for name in names(&folder) {
        let Some(rig) = Rig::empty() else { return };
        match live(rig, &folder, &name) {
            Ok(()) => lived += 1,
            Err(why) => wrong.push(format!("{name}: {why}")),
        }
    }
    eprintln!("{lived} kernels lived");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(lived > 0, "there is no kernel in {}", folder.display());
}

/// Files that are kernels, in order of their names.
fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file());
    let kernels = files.filter(|entry| {
        let guest = runu_guest::detect(&fs::read(entry.path()).unwrap());
        guest.is_ok_and(|guest| guest.boot.is_some())
    });
    kernels.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Takes a kernel through its life; what went wrong.
fn live(rig: Rig, folder: &Path, name: &str) -> Result<(), String> {
    let sibling = name.strip_suffix("-fc").map_or(name.to_owned(), |stem| format!("{stem}-qemu"));
    let line = fs::read_to_string(folder.join(format!("{sibling}.cmdline"))).unwrap_or_default();
    let (command, variables, wants_initrd) = image(&line);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let variables: Vec<&str> = variables.iter().map(String::as_str).collect();
    let mut rig = rig.file(KRAFT_KERNEL, &fs::read(folder.join(name)).unwrap());
    if wants_initrd {
        let initrd = if name.starts_with("elfloader-") { "elf.cpio" } else { "initrd.cpio" };
        rig = rig.file(KRAFT_INITRD, &fs::read(folder.join(initrd)).unwrap());
    }
    rig = rig.args(&command).env(&variables).memory_limit(128 << 20);
    rig.create();
    rig.done(&["start"]);
    let end = end(name);
    match end {
        End::Told(_) if !rig.ends_within(30_000) => return Err("does not end".to_owned()),
        End::Told(_) => {}
        End::Killed(words) => {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !rig.so_far().contains(words) && !rig.ends_within(20) {
                if Instant::now() > deadline {
                    return Err(format!("never says `{words}`: {}", rig.so_far()));
                }
            }
            rig.call(&["kill"]);
            rig.ends_within(30_000);
        }
    }
    let state = rig.state();
    rig.done(&["delete"]);
    let told = state["annotations"]["dev.runu.end"].as_str().unwrap_or_default().to_owned();
    if let End::Told(words) = end
        && !told.contains(words)
    {
        return Err(format!("its end is `{told}`: {}", rig.so_far()));
    }
    missing(&rig.so_far(), &folder.join(format!("{sibling}.expect")), &sibling)
}

/// Command, variables and whether there is an initrd, of an image whose kernel is to be started with that line.
fn image(line: &str) -> (Vec<String>, Vec<String>, bool) {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let words: Vec<String> = unikraft::words(line.as_bytes()).unwrap().into_iter().map(text).collect();
    let split = words.iter().position(|word| word == "--").filter(|at| *at > 0);
    let Some(at) = split else {
        // A kernel without parameters hears every word; a first `--` would be taken for kraft's.
        return (["--".to_owned()].into_iter().chain(words).collect(), engines(), false);
    };
    let (before, after) = line.split_once(" -- ").unwrap();
    let mut parameters = unikraft::parameters(before.as_bytes()).unwrap();
    assert!(words.get(at).is_some_and(|word| word == "--"));
    let fstab = parameters.extract_if(.., |parameter| parameter.name == b"vfs.fstab").count();
    let variables: Vec<String> = parameters
        .extract_if(.., |parameter| parameter.name == b"env.vars")
        .map(|parameter| text(parameter.value))
        .collect();
    let rest = parameters.into_iter().map(|parameter| text([parameter.name, parameter.value].join(&b'=')));
    let after = unikraft::words(after.as_bytes()).unwrap().into_iter().map(text);
    let command = rest.chain(["--".to_owned()]).chain(after).collect();
    let variables = if variables.is_empty() { engines() } else { variables };
    (command, variables, fstab > 0)
}

/// What an engine adds to every environment.
fn engines() -> Vec<String> {
    ["PATH=/usr/bin", "HOSTNAME=0123456789ab", "HOME=/root"].map(str::to_owned).to_vec()
}

/// The first line that is expected and was not printed. Lines with a time stamp tell of the machine, and numbers of
/// milliseconds of its speed.
fn missing(console: &str, expectation: &Path, name: &str) -> Result<(), String> {
    let unstable = ["[    ", "elapsed_ms=", "request ", "served ", "done", "en1: ", " Set IPv4 address"];
    let Ok(expected) = fs::read_to_string(expectation) else { return Ok(()) };
    let expected = expected.replace(name, "kernel");
    let mut lines = expected.lines().filter(|line| !unstable.iter().any(|words| line.contains(words)));
    let printed: BTreeSet<&str> = console.lines().collect();
    match lines.find(|line| !printed.contains(line)) {
        Some(line) => Err(format!("`{line}` is missing in: {console}")),
        None => Ok(()),
    }
}
