//! The server where it cannot serve.

use crate::server::{self, Host};
use crate::support::{BOTH_KINDS, Room};

#[test]
fn guest_without_a_network_card_says_so_and_ends() {
    for kind in BOTH_KINDS {
        let room = Room::new();
        let ended = room.finish(&mut room.run(&room.guest("http", kind), &[]));
        ended.assert_quiet(1);
        assert_eq!(ended.lines(), ["no network card: Missing"]);
    }
}

#[test]
fn guest_without_an_address_says_so_and_ends() {
    if !Host::Qemu.is_here() {
        return;
    }
    for kind in BOTH_KINDS {
        let room = Room::new();
        let mut command = server::command(&room, kind, "netdev.ip=300.0.0.1/24 --");
        let ended = room.finish(command.args(["-netdev", "user,id=net"]));
        // What QEMU's isa-debug-exit makes of exit code 2.
        ended.assert_quiet(2 * 2 + 1);
        assert_eq!(ended.lines(), ["no address: say netdev.ip=ADDRESS/PREFIX[:GATEWAY] before --"]);
    }
}
