//! containerd in a machine of its own, shared by all tests of a run, used by its command `ctr`.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use super::{IDLE, Image, Machine, ORDINARY, Ran, UNIKERNEL, leaks, need, skip};

/// Programs of Debian's `containerd` and of what it needs.
const NEEDED: &[&str] = &["containerd", "ctr", "containerd-shim-runc-v2", "runc", "busybox"];

/// The daemon and its images.
pub(crate) struct Containerd {
    machine: Machine,
}

impl Containerd {
    /// The daemon that all tests share; nothing, and a line that says so, where there can be none.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Containerd, String>> = OnceLock::new();
        SHARED.get_or_init(Self::new).as_ref().map_err(|reason| skip(reason)).ok()
    }

    fn new() -> Result<Self, String> {
        let machine = Self::machine_for_one()?;
        machine.run(&["runu", "install", "containerd"]).succeeded();
        machine.use_other_runtime();
        machine.daemon(&["containerd"]);
        let containerd = Self { machine };
        let folder = containerd.machine.folder();
        for (name, image, command) in [
            (UNIKERNEL, Image::unikernel(folder, UNIKERNEL, "hello"), "first"),
            (IDLE, Image::unikernel(folder, IDLE, "idle"), "--"),
            (ORDINARY, Image::ordinary(folder), "sh"),
        ] {
            let archive = image.docker_archive(&tagged(name), command);
            let words = ["ctr", "image", "import", "--snapshotter=native", "-"];
            containerd.machine.run_with_input(&words, &archive).succeeded();
        }
        Ok(containerd)
    }

    /// A machine for a daemon, which knows nothing of runu; or why there can be none.
    pub(crate) fn machine_for_one() -> Result<Machine, String> {
        need(NEEDED)?;
        Machine::new()
    }

    /// The machine in which it runs.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A name for a container, which is removed, and searched for leftovers, when the test leaves.
    pub(crate) fn task(&self) -> Task<'_> {
        static NAMED: AtomicU32 = AtomicU32::new(0);
        let id = format!("ctr-test-{}-{}", std::process::id(), NAMED.fetch_add(1, Ordering::Relaxed));
        Task { containerd: self, id }
    }
}

/// An image's name as containerd wants it, with a registry that nobody asks.
fn tagged(name: &str) -> String {
    format!("localhost/{name}:latest")
}

/// A container of a test.
pub(crate) struct Task<'containerd> {
    containerd: &'containerd Containerd,
    /// Its identifier.
    pub(crate) id: String,
}

impl Task<'_> {
    /// The words of `ctr run` of it with these flags, this image and these arguments.
    pub(crate) fn run_words(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Vec<String> {
        let image = tagged(image);
        let words = ["ctr", "run", "--snapshotter=native", "--runc-binary=runu"];
        [&words, flags, &[&image, &self.id], arguments].concat().into_iter().map(str::to_owned).collect()
    }

    /// `ctr run` of it with these flags, this image and these arguments.
    #[track_caller]
    pub(crate) fn run(&self, flags: &[&str], image: &str, arguments: &[&str]) -> Ran {
        let words = self.run_words(flags, image, arguments);
        self.containerd.machine.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `ctr tasks VERB [FLAGS] ID [ARGUMENTS]`.
    #[track_caller]
    pub(crate) fn verb(&self, words: &[&str], arguments: &[&str]) -> Ran {
        self.containerd.machine.run(&[&["ctr", "tasks"], words, &[&self.id], arguments].concat())
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        self.verb(&["delete", "--force"], &[]);
        self.containerd.machine.run(&["ctr", "containers", "delete", &self.id]);
        if !std::thread::panicking() {
            leaks::has_nothing_of(&self.containerd.machine, &self.id);
        }
    }
}
