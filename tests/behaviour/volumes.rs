//! `runu run --volume`: directories and files of the host at places of the guest's own.

use std::fs;
use std::os::unix::fs::{chown, symlink};

use crate::support::room::set_mode;
use crate::support::user::{User, users};
use crate::support::{BOTH_KINDS, GuestKind, Room};

/// Makes the directory that the guest `share` expects, with links to what is beside it.
fn fill(room: &Room, user: User) {
    let volume = room.path("volume");
    fs::create_dir(&volume).expect("the folder is ours");
    fs::write(volume.join("hello.txt"), "hello from the host").expect("the folder is ours");
    room.file("secret", b"not the guest's");
    for (name, target) in [("absolute", "/etc/passwd"), ("relative", "../secret"), ("above", "..")] {
        symlink(target, volume.join(name)).expect("the folder is ours");
    }
    set_mode(&volume, 0o755);
    if user == User::Nobody {
        for path in [volume.join("hello.txt"), volume] {
            chown(path, Some(65534), Some(65534)).expect("root may");
        }
    }
}

#[test]
fn volume_is_read_and_written_for_every_user_and_kind_of_kernel() {
    for (user, kind) in users().into_iter().flat_map(|user| BOTH_KINDS.map(|kind| (user, kind))) {
        let room = Room::new();
        fill(&room, user);
        let kernel = room.guest("share", kind);
        let flags = ["run", "--volume", "volume:/data", "-e", "FOLDER=data"];
        let ended = room.finish(room.runu_as(user, &flags).arg(kernel));
        ended.assert_quiet(0);
        assert_eq!(ended.lines().last(), Some(&"15 checks, 0 failed"), "{ended:?}");
        let made = fs::read(room.path("volume/made-L")).expect("the guest made it");
        assert!(made.iter().enumerate().all(|(place, byte)| *byte == (place * 7).to_le_bytes()[0]));
        assert_eq!(made.len(), 300_000);
    }
}

#[test]
fn volume_that_is_read_only_is_refused_changes_for_every_user() {
    for user in users() {
        let room = Room::new();
        fill(&room, user);
        let kernel = room.guest("share", GuestKind::Multiboot);
        let flags = ["run", "-v", "volume:/data:ro", "-e", "FOLDER=data", "-e", "ACCESS=ro"];
        room.finish(room.runu_as(user, &flags).arg(kernel)).assert_quiet(0);
        assert_eq!(fs::read_dir(room.path("volume")).expect("it is ours").count(), 4);
    }
}

#[test]
fn volumes_are_at_their_places_in_a_root_that_is_gone_with_the_guest() {
    for user in users() {
        let room = Room::new();
        // Everybody could write to it but for the volume.
        set_mode(&room.file("key", b"the key"), 0o666);
        let kernel = room.guest("share", GuestKind::Linux64);
        let orders = ["write=/scratch", "read=/scratch", "read=/run/secrets/key", "write=/run/secrets/key"];
        let flags = ["run", "-v", "key:/run/secrets/key:ro"];
        let ended = room.finish(room.runu_as(user, &flags).arg(kernel).args(orders));
        ended.assert_quiet(1);
        assert_eq!(
            ended.lines(),
            [
                "mount fs0:/:9pfs",
                "write=/scratch: done",
                "read=/scratch: from the guest",
                "read=/run/secrets/key: the key",
                "write=/run/secrets/key: error 30",
            ]
        );
        assert!(!room.path("scratch").exists());
    }
}
