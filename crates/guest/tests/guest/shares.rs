//! What guests are told of directories that they share.

use runu_guest::{Guest, Invocation, Shared, Variable, command_line, detect, share_obstacle, unpacks_initrd};

use crate::{
    elf_file::ElfFile,
    unikraft_file::{self, TEXT, unikraft as unikraft_kernel},
};

/// A kernel of that release with these libraries, which lists `vfs.fstab` with room for so many.
fn kernel(version: &'static str, libraries: &[&str], mounts: u64) -> Guest {
    let mut file = unikraft_kernel(version, &[libraries, &["libuklibparam", "libvfscore"]].concat());
    unikraft_file::list_parameters(&mut file, &[("vfs", "fstab", TEXT, mounts)]);
    detect(&file.multiboot()).expect("a guest")
}

const NINE_P: &[&str] = &["lib9pfs", "libuk9p", "libvirtio_9p", "libukcpio"];

fn invocation(initrd: bool) -> Invocation {
    let shared = |tag: &str, path: &str| Shared { tag: tag.to_owned(), path: path.as_bytes().to_vec() };
    let shares = vec![shared("fs0", "/data"), shared("fs1", "/with space")];
    Invocation { argv0: b"app".to_vec(), initrd, shares, ..Invocation::default() }
}

fn line(guest: &Guest, invocation: &Invocation) -> String {
    command_line(guest, invocation).expect("the line can be written").to_string()
}

#[test]
fn directories_are_mounted_behind_the_root_that_the_initrd_becomes() {
    let guest = kernel("0.17.0", NINE_P, 16);
    assert_eq!(share_obstacle(&guest), None);
    assert!(unpacks_initrd(&guest));
    assert_eq!(
        line(&guest, &invocation(true)),
        "app runu vfs.fstab=initrd0:/:extract::ramfs=2: vfs.fstab=fs0:/data:9pfs:::mkmp \
         vfs.fstab=\"fs1:/with space:9pfs:::mkmp\" --"
    );
}

#[test]
fn directories_are_mounted_besides_what_the_user_mounts() {
    let parameters = vec![Variable::new("vfs.fstab", "embedded:/:extract::ramfs=1:")];
    let invocation = Invocation { parameters, ..invocation(true) };
    let line = line(&kernel("0.17.0", NINE_P, 16), &invocation);
    assert!(
        line.starts_with("app runu vfs.fstab=embedded:/:extract::ramfs=1: vfs.fstab=fs0:/data:"),
        "{line}"
    );
}

/// An invocation with a root that is shared.
fn with_shared_root() -> Invocation {
    let shares = vec![Shared { tag: "fs0".to_owned(), path: b"/".to_vec() }];
    Invocation { shares, ..invocation(false) }
}

#[test]
fn root_is_mounted_by_kernels_of_all_releases_without_making_a_place_for_it() {
    for release in ["0.15.0", "0.16.3", "0.17.0"] {
        let guest = kernel(release, &["lib9pfs", "libuk9p", "libvirtio_9p"], 16);
        assert_eq!((share_obstacle(&guest), unpacks_initrd(&guest)), (None, false));
        assert_eq!(line(&guest, &with_shared_root()), "app runu vfs.fstab=fs0:/:9pfs --");
    }
}

#[test]
fn root_is_the_users_to_mount_who_mounts_anything() {
    let parameters = vec![Variable::new("vfs.fstab", "fs0:/shared:9pfs")];
    let invocation = Invocation { parameters, ..with_shared_root() };
    let line = line(&kernel("0.17.0", NINE_P, 16), &invocation);
    assert_eq!(line, "app runu vfs.fstab=fs0:/shared:9pfs --");
}

#[test]
fn kernel_from_before_places_were_made_is_told_of_none() {
    let line = line(&kernel("0.15.0", NINE_P, 16), &invocation(false));
    assert!(line.contains("vfs.fstab=fs0:/data:9pfs vfs.fstab="), "{line}");
}

#[test]
fn kernel_without_room_for_so_many_mounts_is_refused() {
    let refused = command_line(&kernel("0.17.0", NINE_P, 2), &invocation(true));
    assert!(refused.unwrap_err().to_string().contains("vfs.fstab"));
}

#[test]
fn kernel_that_cannot_share_says_what_it_lacks() {
    let lacks = |guest: &Guest| share_obstacle(guest).unwrap_or("nothing");
    assert!(lacks(&kernel("0.17.0", &["libvirtio_9p"], 16)).contains("lib9pfs"));
    assert!(lacks(&kernel("0.17.0", &["lib9pfs"], 16)).contains("libvirtio_9p"));
    let unlisted = detect(&unikraft_kernel("0.17.0", NINE_P).multiboot()).expect("a guest");
    assert!(lacks(&unlisted).contains("vfs.fstab"));
    let mut own = ElfFile::kernel();
    own.section(".runu_guest", b"name=hello\0");
    assert!(lacks(&detect(&own.elf64()).expect("a guest")).contains("no use"));
}
