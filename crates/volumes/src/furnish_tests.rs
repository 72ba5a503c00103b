//! Which way each kind of kernel gets which kind of volume.

use std::{io::Read, os::unix::fs::symlink};

use runu_guest::unikraft::{Facts, Platform, Version};
use tempfile::TempDir;

use super::*;

/// An own guest: `share` shares, `hello` does not; neither unpacks an initrd.
fn own(name: &str) -> Guest {
    let path = runu_guests::Guest::named(name).unwrap().linux64_path();
    runu_guest::detect(&fs::read(path).unwrap()).unwrap()
}

/// A kernel that unpacks an initrd, and shares with these libraries.
fn unikraft(libraries: &[&str]) -> Guest {
    let libraries = [&["libukcpio", "libvfscore"], libraries].concat();
    let facts = Facts {
        version: Some(Version::new(0, 16, 3)),
        full_version: None,
        platform: Platform::Qemu,
        libraries: Some(libraries.into_iter().map(str::to_owned).collect()),
        takes_parameters: true,
        parameters: None,
    };
    Guest { kind: runu_guest::Kind::Unikraft(facts), ..own("hello") }
}

const NINE_P: &[&str] = &["lib9pfs", "libvirtio_9p"];

/// A folder with a root, a directory and a file.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir_all(path.join("root/boot")).unwrap();
    fs::write(path.join("root/boot/kernel"), "the kernel").unwrap();
    fs::create_dir(path.join("directory")).unwrap();
    fs::write(path.join("directory/inner"), "of the directory").unwrap();
    fs::write(path.join("file"), "of the file").unwrap();
    folder
}

fn volume(folder: &TempDir, name: &str, place: &str, read_only: bool) -> Volume {
    let content = Content::Host { path: folder.path().join(name), whole: true };
    Volume::new(place.into(), content, read_only).unwrap()
}

fn memory(place: &str) -> Volume {
    Volume::new(place.into(), Content::Memory(vec![("mode".to_owned(), "700".to_owned())]), false).unwrap()
}

/// Whether this host lets us mount at all; says so if not.
fn may_mount() -> bool {
    let memory = Piece { content: runu_sandbox::Content::Memory(&[]), read_only: false };
    let made = runu_sandbox::tree(&Tree { root: memory, pieces: &[] });
    if let Err(error) = made {
        let test = std::thread::current();
        eprintln!("SKIP {}: no mount namespace can be made: {error}", test.name().unwrap_or("?"));
    }
    made.is_ok()
}

/// What a guest is given of these volumes in a container whose kernel is /boot/kernel.
fn of_container(guest: &Guest, folder: &TempDir, volumes: &[Volume]) -> Result<Furnished, VolumeError> {
    let root = folder.path().join("root");
    let is_left_out = |path: &[u8]| path == b"boot/kernel";
    let root = Root { path: &root, read_only: false, left_out: Some(&is_left_out) };
    furnish(guest, Wishes { root: Some(root), initrd: None, volumes })
}

/// A directory at /srv/data, a file at /etc/name that may only be read, and memory.
fn one_of_each(folder: &TempDir, read_only: bool, in_memory: &str) -> [Volume; 3] {
    [
        volume(folder, "directory", "/srv/data", read_only),
        volume(folder, "file", "/etc/name", true),
        memory(in_memory),
    ]
}

fn places(furnished: &Furnished) -> Vec<(&str, String)> {
    let place = |shared: &Shared| String::from_utf8(shared.path.clone()).unwrap();
    furnished.shared.iter().map(|shared| (shared.tag.as_str(), place(shared))).collect()
}

fn archive(furnished: Furnished) -> Vec<u8> {
    let (mut file, size) = furnished.initrd.unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    assert_eq!(size, Bytes(bytes.len() as u64));
    bytes
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn kernel_that_only_shares_has_one_tree_with_everything_in_it() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let volumes = one_of_each(&folder, false, "/tmp");
    let furnished = of_container(&own("share"), &folder, &volumes).unwrap();
    assert_eq!(places(&furnished), [("fs0", "/".to_owned())]);
    assert!(furnished.initrd.is_none());
    let tree = &furnished.open.first().unwrap().tree;
    for path in ["boot/kernel", "srv/data/inner", "etc/name", "tmp"] {
        assert!(rustix::fs::statat(tree, path, rustix::fs::AtFlags::empty()).is_ok(), "{path}");
    }
}

#[test]
fn kernel_that_only_shares_has_the_root_of_its_container_even_without_volumes() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    assert_eq!(of_container(&own("share"), &folder, &[]).unwrap().open.len(), 1);
    let alone = furnish(&own("share"), Wishes::default()).unwrap();
    assert!(alone.open.is_empty() && alone.shared.is_empty());
}

#[test]
fn kernel_that_unpacks_and_shares_has_directories_shared_and_files_in_its_archive() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let volumes = one_of_each(&folder, false, "/cache");
    let furnished = of_container(&unikraft(NINE_P), &folder, &volumes).unwrap();
    assert_eq!(places(&furnished), [("fs0", "/srv/data".to_owned()), ("fs1", "/cache".to_owned())]);
    let archive = archive(furnished);
    assert!(holds(&archive, "etc/name\0") && holds(&archive, "of the file"));
    assert!(!holds(&archive, "inner") && !holds(&archive, "the kernel"));
}

#[test]
fn kernel_that_only_unpacks_has_what_it_may_only_read_in_its_archive_and_empty_directories_for_memory() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let volumes = one_of_each(&folder, true, "/cache");
    let archive = archive(of_container(&unikraft(&[]), &folder, &volumes).unwrap());
    for text in ["srv\0", "srv/data/inner\0", "of the directory", "of the file", "cache\0", "000041c0"] {
        assert!(holds(&archive, text), "{text}");
    }
}

#[test]
fn kernel_without_a_way_to_a_volume_is_refused_with_what_it_lacks() {
    let folder = folder();
    let refused = |guest: &Guest, volume: Volume| match of_container(guest, &folder, &[volume]) {
        Err(VolumeError::NoWay { why, if_read_only, .. }) => (why, if_read_only),
        other => panic!("{other:?}"),
    };
    let directory = || volume(&folder, "directory", "/data", false);
    let file = || volume(&folder, "file", "/name", false);
    assert!(refused(&unikraft(&[]), directory()).0.contains("lib9pfs"));
    assert!(refused(&unikraft(&[]), file()).1);
    assert!(refused(&unikraft(NINE_P), file()).0.contains("directories alone"));
    for volume in [directory(), file(), memory("/tmp")] {
        assert!(!refused(&own("hello"), volume).1);
    }
}

#[test]
fn volume_that_nobody_asked_for_is_there_where_it_costs_nothing_and_missed_nowhere() {
    let folder = folder();
    let optional = |mut volume: Volume| {
        volume.optional = true;
        volume
    };
    let none = || optional(volume(&folder, "nowhere", "/etc/hosts", false));
    for guest in [own("hello"), unikraft(&[]), unikraft(NINE_P)] {
        let furnished = of_container(&guest, &folder, &[none(), optional(memory("/tmp"))]).unwrap();
        assert!(furnished.initrd.is_none() && furnished.open.is_empty());
    }
    let given = furnish(
        &unikraft(&[]),
        Wishes {
            initrd: Some(initrd::file_of(Archive::default()).unwrap().0),
            volumes: &[optional(memory("/tmp"))],
            root: None,
        },
    );
    assert!(holds(&archive(given.unwrap()), "tmp\0"));
}

#[test]
fn initrd_of_another_form_is_handed_on_unless_something_is_to_be_added() {
    if !may_mount() {
        return;
    }
    let folder = folder();
    let given = || Some(File::open(folder.path().join("file")).unwrap());
    let with =
        |volumes: &[Volume]| furnish(&unikraft(NINE_P), Wishes { initrd: given(), volumes, root: None });
    assert_eq!(archive(with(&[volume(&folder, "directory", "/data", false)]).unwrap()), b"of the file");
    let mut unasked = memory("/tmp");
    unasked.optional = true;
    assert_eq!(archive(with(&[unasked]).unwrap()), b"of the file");
    let refused = with(&[volume(&folder, "file", "/name", true)]);
    assert!(matches!(refused, Err(VolumeError::Initrd(initrd::InitrdError::Form))));
}

#[test]
fn file_that_is_no_file_becomes_no_part_of_an_archive() {
    let folder = folder();
    symlink("/dev/zero", folder.path().join("endless")).unwrap();
    let refused = of_container(&unikraft(&[]), &folder, &[volume(&folder, "endless", "/name", true)]);
    assert!(matches!(refused, Err(VolumeError::Read { .. })));
}

#[test]
fn more_directories_than_a_guest_has_devices_for_are_refused() {
    let folder = folder();
    let volumes: Vec<Volume> =
        (0..=MOST).map(|number| volume(&folder, "directory", &format!("/v{number}"), false)).collect();
    let refused = of_container(&unikraft(NINE_P), &folder, &volumes);
    assert!(matches!(refused, Err(VolumeError::TooMany { count: 9, most: 8 })));
}
