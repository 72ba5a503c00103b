//! Real Unikraft kernels with 9p, from the folder that `RUNU_GUESTS` names: kernels called `share-…` or `root-…`, those with cpio
//! and those without. They read `hello.txt` in the directory that they are told, make `made.txt` there, and call it
//! `renamed.txt`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::rig::{KRAFT_KERNEL, Rig};

/// What they write.
const WRITTEN: &str = "from unikraft\n";

#[test]
fn real_kernels_with_9p_read_and_write_volumes_and_have_the_files_of_their_image() {
    let Some(folder) = env::var_os("RUNU_GUESTS").map(PathBuf::from) else {
        eprintln!("SKIP real_kernels_with_9p…: RUNU_GUESTS names no folder with real kernels");
        return;
    };
    let mut shared = 0;
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if !["share-", "root-"].iter().any(|kind| name.starts_with(kind)) {
            continue;
        }
        let Some(rig) = Rig::empty() else { return };
        reads_and_writes_a_volume(rig, &name, &entry.path());
        let Some(rig) = Rig::empty() else { return };
        has_the_files_of_its_image(rig, &name, &entry.path());
        shared += 1;
    }
    eprintln!("{shared} kernels had files");
}

fn reads_and_writes_a_volume(rig: Rig, name: &str, kernel: &Path) {
    let volume = rig.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("hello.txt"), "hello from the host").unwrap();
    let rig = rig.file(KRAFT_KERNEL, &fs::read(kernel).unwrap()).mount(&volume, "/srv/data");
    let rig = rig.args(&["--", "/srv/data"]);
    let console = run(&rig);
    assert!(console.contains("hello from the host"), "{name}: {console}");
    let kept = fs::read_to_string(volume.join("renamed.txt"));
    assert!(kept.is_ok_and(|kept| kept == WRITTEN), "{name}: {console}");
}

fn has_the_files_of_its_image(rig: Rig, name: &str, kernel: &Path) {
    let bytes = fs::read(kernel).unwrap();
    let unpacks = runu_guest::unpacks_initrd(&runu_guest::detect(&bytes).unwrap());
    let rig = rig.file(KRAFT_KERNEL, &bytes).file("www/hello.txt", b"hello from the image");
    let rig = rig.args(&["--", "/www"]);
    let console = run(&rig);
    assert!(console.contains("hello from the image"), "{name}: {console}");
    assert!(console.contains("read /www/made.txt: 14"), "{name}: {console}");
    // What is written to a root in memory is gone with the guest.
    let kept = rig.path("bundle/rootfs/www/renamed.txt").exists();
    assert_eq!(kept, !unpacks, "{name}: {console}");
}

/// What a container says to its end.
fn run(rig: &Rig) -> String {
    rig.create();
    rig.done(&["start"]);
    assert!(rig.ends_within(30_000), "{}", rig.so_far());
    rig.done(&["delete"]);
    rig.so_far()
}
