//! Unikernels that serve on Docker's networks: published ports, networks of one's own, datagrams, refusals.

use super::support::{Docker, ORDINARY, Ran, WEB};

/// What the server says when it listens.
const LISTENS: &str = "listening on ";

/// A page of the server's, as whoever runs `words` before gets it.
fn page(docker: &Docker, words: &[&str], address: &str) -> Ran {
    let url = format!("http://{address}/");
    docker.machine().run(&[words, &["busybox", "wget", "-q", "-O", "-", &url]].concat())
}

#[test]
fn docker_run_with_a_published_port_serves_pages_there() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&["--publish", "127.0.0.1:8080:80", "--hostname", "shop", WEB]).logged(LISTENS);
    page(docker, &[], "127.0.0.1:8080").ended_with(0).printed("<h1>shop</h1>");
    page(docker, &[], "127.0.0.1:8080").ended_with(0).printed("request 2<");
}

#[test]
fn docker_run_of_a_kernel_for_firecracker_serves_pages() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&["--publish", "127.0.0.1:8081:80", super::support::WEB_FC]).logged(LISTENS);
    page(docker, &[], "127.0.0.1:8081").ended_with(0).printed("request 1<");
}

#[test]
fn docker_guests_with_the_same_inner_port_serve_beside_each_other() {
    let Some(docker) = Docker::shared() else { return };
    let [one, two] = [docker.container(), docker.container()];
    one.detach(&["--publish", "127.0.0.1:8082:80", "--hostname", "one", WEB]).logged(LISTENS);
    two.detach(&["--publish", "127.0.0.1:8083:80", "--hostname", "two", WEB]).logged(LISTENS);
    page(docker, &[], "127.0.0.1:8082").printed("<h1>one</h1>");
    page(docker, &[], "127.0.0.1:8083").printed("<h1>two</h1>");
}

#[test]
fn docker_guest_on_a_network_of_its_own_is_found_there_by_its_name() {
    let Some(docker) = Docker::shared() else { return };
    docker.run(&["network", "create", "shops"]).succeeded();
    {
        let (web, other) = (docker.container(), docker.container());
        web.detach(&["--network", "shops", WEB]).logged(LISTENS);
        let address = web.inspect("{{.NetworkSettings.Networks.shops.IPAddress}}");
        let script = format!("nslookup {} 127.0.0.11; wget -q -O - http://{address}/", web.name);
        let ran = other.run(&["--network", "shops", ORDINARY, "sh", "-c", &script]);
        ran.printed(&format!("Address: {address}")).printed("request 1<");
    }
    docker.run(&["network", "rm", "shops"]).succeeded();
}

#[test]
fn docker_guest_answers_datagrams_at_a_published_port() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&["--publish", "127.0.0.1:8084:7/udp", WEB]).logged(LISTENS);
    let script = "exec 3<>/dev/udp/127.0.0.1/8084; echo there and back >&3; timeout 10 head -n 1 <&3";
    docker.machine().run(&["bash", "-c", script]).ended_with(0).printed("there and back");
}

#[test]
fn docker_guest_gives_back_megabytes_as_they_came() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&["--publish", "127.0.0.1:8086:80", WEB]).logged(LISTENS);
    let script = "head -c 9000000 /dev/urandom > /run/sent
                  curl --silent --data-binary @/run/sent http://127.0.0.1:8086/echo | cmp - /run/sent";
    docker.machine().sh(script).ended_with(0);
}

#[test]
fn docker_guest_that_is_restarted_serves_again() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&["--publish", "127.0.0.1:8085:80", WEB]).logged(LISTENS);
    page(docker, &[], "127.0.0.1:8085").printed("request 1<");
    web.verb(&["restart", "--time", "5"]).succeeded();
    web.logged_times(LISTENS, 2);
    page(docker, &[], "127.0.0.1:8085").printed("request 1<");
    web.verb(&["stop", "--time", "5"]).succeeded();
    assert_eq!(web.inspect("{{.State.ExitCode}}"), "143");
}

#[test]
fn docker_guest_that_is_paused_is_not_answered_for_by_anybody() {
    let Some(docker) = Docker::shared() else { return };
    let web = docker.container();
    web.detach(&[WEB]).logged(LISTENS);
    let address = web.inspect("{{.NetworkSettings.IPAddress}}");
    let ping = || docker.machine().run(&["busybox", "ping", "-c", "1", "-W", "1", &address]);
    ping().ended_with(0);
    web.verb(&["pause"]).succeeded();
    ping().ended_with(1);
    web.verb(&["unpause"]).succeeded();
    ping().ended_with(0);
}

#[test]
fn docker_guest_with_a_network_in_a_namespace_of_others_is_refused() {
    let Some(docker) = Docker::shared() else { return };
    let other = docker.container();
    other.detach(&[ORDINARY, "sleep", "1000"]);
    let network = format!("container:{}", other.name);
    docker
        .container()
        .run(&["--network", &network, WEB])
        .ended_with(125)
        .complained("other processes use this one");
    docker.container().run(&["--network", "host", WEB]).ended_with(125).complained("the host's network");
}

#[test]
fn docker_guest_with_a_network_and_none_to_be_had_starts_without() {
    let Some(docker) = Docker::shared() else { return };
    let ran = docker.container().run(&["--network", "none", WEB]);
    ran.ended_with(1).printed("no network card");
}
