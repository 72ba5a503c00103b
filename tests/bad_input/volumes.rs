//! Directories and files that no guest can have.

use crate::refusal::{USER, assert_refused};
use crate::support::{GuestKind, Room};

#[track_caller]
fn assert_volume_refused(guest: &str, volume: &str, lines: &[&str]) {
    let room = Room::new();
    room.file("file", b"contents");
    let kernel = room.guest(guest, GuestKind::Linux64);
    assert_refused(&room.finish(room.runu(&["run", "--volume", volume]).arg(kernel)), USER, lines);
}

#[test]
fn volume_of_another_form_is_refused() {
    for volume in ["", "/srv", ":/data", "/srv:", "a:/b:ro:c"] {
        assert_volume_refused("share", volume, &["error: invalid value", "hint: "]);
    }
    for volume in ["/srv:data", "/srv:/", "/srv:/a/../b", "/srv:/data:z"] {
        assert_volume_refused("share", volume, &["error: invalid value", "hint: "]);
    }
}

#[test]
fn volume_that_is_not_there_is_refused() {
    let lines = [
        "error: the guest cannot have the volume `/data`",
        "  cause: cannot open it on the host",
        "  cause: No such file or directory",
    ];
    assert_volume_refused("share", "nowhere:/data", &lines);
}

#[test]
fn volume_for_a_kernel_that_cannot_have_it_is_refused_with_what_it_lacks() {
    let lines = [
        "error: the guest cannot have the volume `/data`: it has no use for shared directories",
        "hint: build the kernel with 9pfs",
    ];
    assert_volume_refused("hello", "file:/data", &lines);
}
