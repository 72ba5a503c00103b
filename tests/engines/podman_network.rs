//! Unikernels that serve on Podman's networks, root's and an ordinary user's.

use super::support::{Podman, WEB};

/// Publishes a server's port through a network of that kind and fetches its page.
#[track_caller]
fn assert_serves(podman: &Podman, network: &str, port: u16) {
    let web = podman.container();
    let ports = format!("127.0.0.1:{port}:80");
    let flags = ["--detach", "--network", network, "--hostname", "shop", "--publish", &ports, WEB];
    web.run(&flags).succeeded();
    web.logged("listening on ");
    let url = format!("http://127.0.0.1:{port}/");
    podman.machine().run(&["curl", "--silent", &url]).ended_with(0).printed("<h1>shop</h1>");
    web.verb(&["stop", "--time", "5"]).succeeded();
    assert_eq!(web.inspect("{{.State.ExitCode}}"), "143");
}

#[test]
fn podman_guest_of_root_serves_on_a_bridge() {
    let Some(podman) = Podman::of_root() else { return };
    assert_serves(podman, "podman", 8090);
}

#[test]
fn podman_guest_of_a_user_serves_through_slirp4netns() {
    let Some(podman) = Podman::of_a_user() else { return };
    // The other way, a process within the namespace, is what shares it.
    assert_serves(podman, "slirp4netns:port_handler=slirp4netns", 8091);
}
