//! Unikernels that serve on Docker's networks: published ports, networks of one's own, datagrams, refusals.

use super::support::{Docker, Machine, ORDINARY, Ran, WEB, skip};

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

/// A network of Docker's, with these flags. It is removed when the test leaves.
struct Network<'docker>(&'docker Docker, &'static str);

impl<'docker> Network<'docker> {
    fn new(docker: &'docker Docker, name: &'static str, flags: &[&str]) -> Self {
        docker.run(&[&["network", "create"], flags, &[name]].concat()).succeeded();
        Network(docker, name)
    }
}

impl Drop for Network<'_> {
    fn drop(&mut self) {
        let removed = self.0.run(&["network", "rm", self.1]);
        assert!(removed.status == 0 || std::thread::panicking(), "{removed:#?}");
    }
}

#[test]
fn docker_guest_on_a_network_of_its_own_finds_others_there_by_their_names() {
    let Some(docker) = Docker::shared() else { return };
    for (name, flags) in [("names", &[][..]), ("inner-names", &["--internal"])] {
        let network = Network::new(docker, name, flags);
        let (other, web) = (docker.container(), docker.container());
        let place = ["--network", network.1];
        other.detach(&[&place[..], &["--network-alias", "db", ORDINARY, "sleep", "1000"]].concat());
        let address =
            other.inspect(&format!("{{{{(index .NetworkSettings.Networks \"{name}\").IPAddress}}}}"));
        let by_name = format!("ask={}", other.name);
        web.detach(&[&place[..], &[WEB, "ask=db", &by_name]].concat());
        web.logged(&format!("db is at {address}"));
        web.logged(&format!("{} is at {address}", other.name));
    }
}

/// A name server for which every name is at 10.9.8.7 and which tells who asks; its argument is its address.
const NAME_SERVER: &str = r#"
    use Socket;
    $| = 1;
    socket(S, PF_INET, SOCK_DGRAM, 0) && bind(S, sockaddr_in(53, inet_aton($ARGV[0]))) or die $!;
    print "ready\n";
    while (defined($from = recv(S, $question, 4096, 0))) {
        my ($port, $address) = sockaddr_in($from);
        print "asked by ", inet_ntoa($address), "\n";
        my $answer = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\x09\x08\x07";
        my $header = substr($question, 0, 2) . "\x81\x80\0\1\0\1\0\0\0\0";
        send(S, $header . substr($question, 12) . $answer, 0, $from);
    }"#;

/// Where the machine is for containers on Docker's first network.
const MACHINE: &str = "172.17.0.1";

#[test]
fn docker_guest_is_told_names_that_docker_asks_others_for() {
    let Some(docker) = Docker::shared() else { return };
    if docker.machine().run(&["perl", "-e", "1"]).status != 0 {
        return skip("perl is not installed");
    }
    let network = Network::new(docker, "outer-names", &[]);
    let mut server = docker.machine().start(&["perl", "-e", NAME_SERVER, MACHINE]);
    server.until("ready");
    let web = docker.container();
    let words = ["--network", network.1, "--dns", MACHINE, WEB, "ask=unikernel.example", "ask=other.example"];
    web.detach(&words).logged("unikernel.example is at 10.9.8.7").logged("other.example is at 10.9.8.7");
    let address = web.inspect("{{(index .NetworkSettings.Networks \"outer-names\").IPAddress}}");
    server.until(&format!("asked by {address}"));
}

/// A neighbour of the machine's, beyond what Docker manages, on a network of usual packets. It knows nothing of shorter ones
/// and is told nothing of them.
struct Neighbour<'machine>(&'machine Machine);

impl<'machine> Neighbour<'machine> {
    fn new(machine: &'machine Machine) -> Self {
        let script = "ip netns add far
            ip link add far0 type veth peer name eth0 netns far
            ip address add 10.250.0.1/24 dev far0
            ip link set far0 up
            ip -n far address add 10.250.0.2/24 dev eth0
            ip -n far link set eth0 up
            ip -n far route add default via 10.250.0.1 mtu lock 1500
            iptables -I DOCKER-USER -i far0 -j ACCEPT
            iptables -I DOCKER-USER -o far0 -j ACCEPT";
        machine.run(&["sh", "-ec", script]).succeeded();
        Neighbour(machine)
    }

    fn sh(&self, script: &str) -> Ran {
        self.0.run(&["ip", "netns", "exec", "far", "sh", "-ec", script])
    }
}

impl Drop for Neighbour<'_> {
    fn drop(&mut self) {
        let script = "iptables -D DOCKER-USER -i far0 -j ACCEPT
            iptables -D DOCKER-USER -o far0 -j ACCEPT
            ip link del far0
            ip netns del far";
        let removed = self.0.run(&["sh", "-ec", script]);
        assert!(removed.status == 0 || std::thread::panicking(), "{removed:#?}");
    }
}

#[test]
fn docker_guest_on_a_network_of_short_packets_gives_and_takes_much() {
    let Some(docker) = Docker::shared() else { return };
    let network = Network::new(docker, "short", &["--opt", "com.docker.network.driver.mtu=1280"]);
    let web = docker.container();
    web.detach(&["--network", network.1, WEB]).logged(LISTENS);
    let address = web.inspect("{{.NetworkSettings.Networks.short.IPAddress}}");
    let far = Neighbour::new(docker.machine());
    let ran = far.sh(&format!("curl --silent --max-time 60 http://{address}/big | wc -c"));
    assert_eq!(ran.succeeded(), (256 << 10).to_string());
    let script = format!(
        "head -c 300000 /dev/urandom > /run/sent
         curl --silent --max-time 60 --data-binary @/run/sent http://{address}/echo | cmp - /run/sent"
    );
    far.sh(&script).ended_with(0);
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
