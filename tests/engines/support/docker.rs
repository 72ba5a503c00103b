//! A Docker daemon in a machine of its own, shared by all tests of a run.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::{IDLE, INITRD, Image, Machine, ORDINARY, Ran, UNIKERNEL, WEB, WEB_FC, leaks, need, skip};

/// Programs of Debian's `docker.io` and of what it needs.
const NEEDED: &[&str] =
    &["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "curl", "iptables", "runc", "busybox"];

/// What the image [`INITRD`] hands over.
const INITRD_BYTES: &[u8] = b"four score and seven";

/// The daemon and its images.
pub(crate) struct Docker {
    machine: Machine,
}

impl Docker {
    /// The daemon that all tests share; nothing, and a line that says so, where there can be none. It ends with the
    /// process.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Docker, String>> = OnceLock::new();
        SHARED.get_or_init(Self::new).as_ref().map_err(|reason| skip(reason)).ok()
    }

    fn new() -> Result<Self, String> {
        let machine = Self::machine_for_one()?;
        machine.run(&["runu", "install", "docker"]).succeeded();
        machine.use_other_runtime();
        machine.daemon(&["dockerd"]);
        let docker = Self { machine };
        let folder = docker.machine.folder();
        docker.import(UNIKERNEL, &Image::unikernel(folder, UNIKERNEL, "hello"), "CMD [\"first\"]");
        docker.import(IDLE, &Image::unikernel(folder, IDLE, "idle"), "CMD [\"--\"]");
        docker.import(WEB, &Image::unikernel(folder, WEB, "http"), "CMD [\"--\"]");
        let web_fc = Image::unikernel_for_firecracker(folder, WEB_FC, "http");
        docker.import(WEB_FC, &web_fc, "CMD [\"--\"]");
        docker.import(ORDINARY, &Image::ordinary(folder), "CMD [\"sh\"]");
        let initrd = Image::unikernel(folder, INITRD, "hello").with_initrd(INITRD_BYTES);
        docker.import(INITRD, &initrd, "CMD [\"--\"]");
        Ok(docker)
    }

    /// A machine for a daemon, which knows nothing of runu; or why there can be none.
    pub(crate) fn machine_for_one() -> Result<Machine, String> {
        need(NEEDED)?;
        let machine = Machine::new()?;
        let group = machine.control_group();
        machine.write("/etc/docker/daemon.json", &format!("{{\"cgroup-parent\": \"{group}\"}}"));
        Ok(machine)
    }

    /// Makes an image.
    #[track_caller]
    pub(crate) fn import(&self, name: &str, image: &Image, change: &str) {
        let words = ["docker", "import", "--change", change, "-", name];
        self.machine.run_with_input(&words, &image.archive()).succeeded();
    }

    /// The machine in which it runs.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs `docker` with these words to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.machine.run(&[&["docker"], words].concat())
    }

    /// Asserts that nothing is left of the container with this id.
    #[track_caller]
    pub(crate) fn has_nothing_of(&self, id: &str) {
        leaks::has_nothing_of(&self.machine, id);
    }

    /// A name for a container, which is removed, and searched for leftovers, when the test leaves.
    pub(crate) fn container(&self) -> Container<'_> {
        static NAMED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NAMED.fetch_add(1, Ordering::Relaxed));
        Container { docker: self, name }
    }
}

/// A container of a test.
pub(crate) struct Container<'docker> {
    docker: &'docker Docker,
    /// Its name.
    pub(crate) name: String,
}

impl Container<'_> {
    /// `docker run` of it with these flags, image and arguments.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.docker.run(&[&["run", "--runtime=runu", "--name", &self.name], words].concat())
    }

    /// `docker run --detach` of it; fails if that does.
    #[track_caller]
    pub(crate) fn detach(&self, words: &[&str]) -> &Self {
        self.run(&[&["--detach"], words].concat()).succeeded();
        self
    }

    /// `docker VERB [FLAGS] NAME`.
    #[track_caller]
    pub(crate) fn verb(&self, words: &[&str]) -> Ran {
        self.docker.run(&[words, &[&self.name]].concat())
    }

    /// `docker inspect` of it with this format.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        self.verb(&["inspect", "--format", format]).succeeded().to_owned()
    }

    /// Waits until its log has a line that contains `text`.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) -> &Self {
        self.logged_times(text, 1)
    }

    /// Waits until its log has that many lines that contain `text`.
    #[track_caller]
    pub(crate) fn logged_times(&self, text: &str, times: usize) -> &Self {
        let mut logs = self.docker.machine.start(&["docker", "logs", "--follow", &self.name]);
        (0..times).for_each(|_| drop(logs.until(text)));
        self
    }

    /// Waits for its end; the exit status that Docker tells.
    #[track_caller]
    pub(crate) fn wait(&self) -> i32 {
        self.verb(&["wait"]).succeeded().parse().expect("docker wait prints a number")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let id = self.verb(&["inspect", "--format", "{{.Id}}"]);
        self.verb(&["rm", "--force", "--volumes"]);
        if id.status != 0 || std::thread::panicking() {
            return;
        }
        self.docker.has_nothing_of(id.stdout.trim());
    }
}
