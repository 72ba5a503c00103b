//! Podman in a machine of its own, as root or as an ordinary user, shared by all tests of a run.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::{IDLE, Image, Machine, ORDINARY, Ran, SHARE, UNIKERNEL, WEB, leaks, need, skip};

/// Programs of Debian's `podman` and of what it needs.
const NEEDED: &[&str] =
    &["podman", "conmon", "curl", "iptables", "runc", "busybox", "newuidmap", "slirp4netns"];

/// What makes Podman work where there is no systemd, no control group of version 2, and root may not raise limits. No
/// network is the default: few tests are about Podman's.
const CONFIGURATION: &str = r#"
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=1024:4096"]
netns = "none"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"#;

/// Layers as copies work on every file system; Podman knows no default that does.
const STORAGE: &str = r#"
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
"#;

/// The ordinary user's number, in the machine's own list of users.
const USER: &str = "4242";

/// Who runs Podman.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Root,
    User,
}

/// Podman and its images.
pub(crate) struct Podman {
    machine: Machine,
    who: Who,
}

impl Podman {
    /// The one that all tests of root share; nothing, and a line that says so, where there can be none.
    pub(crate) fn of_root() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Podman, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(Who::Root)).as_ref().map_err(|reason| skip(reason)).ok()
    }

    /// The one that all tests of an ordinary user share; nothing, and a line that says so, where there can be none.
    pub(crate) fn of_a_user() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Podman, String>> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(Who::User)).as_ref().map_err(|reason| skip(reason)).ok()
    }

    fn new(who: Who) -> Result<Self, String> {
        let podman = Self { machine: Self::machine_for_one()?, who };
        podman.machine.run(&strs(&podman.words("runu", &["install", "podman"]))).succeeded();
        podman.machine.use_other_runtime();
        let folder = podman.machine.folder();
        podman.import(UNIKERNEL, &Image::unikernel(folder, UNIKERNEL, "hello"), "CMD [\"first\"]");
        podman.import(IDLE, &Image::unikernel(folder, IDLE, "idle"), "CMD [\"--\"]");
        podman.import(WEB, &Image::unikernel(folder, WEB, "http"), "CMD [\"--\"]");
        podman.import(SHARE, &Image::unikernel(folder, SHARE, "share"), "CMD [\"--\"]");
        podman.import(ORDINARY, &Image::ordinary(folder), "CMD [\"sh\"]");
        Ok(podman)
    }

    /// A machine in which Podman works, for root and for a user, but knows nothing of runu; or why there can be none.
    pub(crate) fn machine_for_one() -> Result<Machine, String> {
        need(NEEDED)?;
        let machine = Machine::new()?;
        machine.write("/etc/containers/containers.conf", CONFIGURATION);
        machine.write("/etc/containers/storage.conf", STORAGE);
        let add_user = format!(
            "echo runner:x:{USER}:{USER}::/run/home:/bin/sh >> /etc/passwd
             echo runner:x:{USER}: >> /etc/group
             echo runner:100000:65536 | tee -a /etc/subuid >> /etc/subgid
             install -d -o {USER} -g {USER} /run/home /run/user/{USER}
             # As udev makes it: slirp4netns opens it for the user.
             mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun"
        );
        machine.sh(&add_user).succeeded();
        Ok(machine)
    }

    /// The words that make a command the ordinary user's.
    pub(crate) fn user() -> Vec<String> {
        let words = format!(
            "setpriv --reuid={USER} --regid={USER} --clear-groups env HOME=/run/home XDG_RUNTIME_DIR=/run/user/{USER}"
        );
        words.split(' ').map(str::to_owned).collect()
    }

    fn import(&self, name: &str, image: &Image, change: &str) {
        let words = self.words("podman", &["import", "--change", change, "-", name]);
        self.machine.run_with_input(&strs(&words), &image.archive()).succeeded();
    }

    /// A program with these words, by whom it is to be run.
    fn words(&self, program: &str, words: &[&str]) -> Vec<String> {
        let person = match self.who {
            Who::Root => Vec::new(),
            Who::User => Self::user(),
        };
        person.into_iter().chain([program].iter().chain(words).map(|word| (*word).to_owned())).collect()
    }

    /// Runs `podman` with these words to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.machine.run(&strs(&self.words("podman", words)))
    }

    /// The machine in which it runs.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Runs `podman` in a terminal.
    #[track_caller]
    pub(crate) fn run_in_terminal(&self, words: &[&str]) -> Ran {
        self.machine.run_in_terminal(&self.words("podman", words).join(" "))
    }

    /// A name for a container, which is removed, and searched for leftovers, when the test leaves.
    pub(crate) fn container(&self) -> Pod<'_> {
        static NAMED: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NAMED.fetch_add(1, Ordering::Relaxed));
        Pod { podman: self, name }
    }
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// A container of a test.
pub(crate) struct Pod<'podman> {
    podman: &'podman Podman,
    /// Its name.
    pub(crate) name: String,
}

impl Pod<'_> {
    /// `podman run` of it with these flags, image and arguments.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.podman.run(&[&["--runtime=runu", "run", "--name", &self.name], words].concat())
    }

    /// `podman VERB [FLAGS] NAME`.
    #[track_caller]
    pub(crate) fn verb(&self, words: &[&str]) -> Ran {
        self.podman.run(&[&["--runtime=runu"], words, &[&self.name]].concat())
    }

    /// Waits until its log has a line that contains `text`.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        let words = self.podman.words("podman", &["logs", "--follow", &self.name]);
        self.podman.machine.start(&strs(&words)).until(text);
    }

    /// `podman inspect` of it with this format.
    #[track_caller]
    pub(crate) fn inspect(&self, format: &str) -> String {
        self.verb(&["inspect", "--format", format]).succeeded().to_owned()
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        let id = self.verb(&["inspect", "--format", "{{.Id}}"]);
        let removed = self.verb(&["rm", "--force", "--time=0"]);
        if id.status != 0 || std::thread::panicking() {
            return;
        }
        removed.succeeded();
        leaks::has_nothing_of(&self.podman.machine, id.stdout.trim());
    }
}
