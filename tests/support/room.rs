//! The place of one test.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use rustix::process::Pid;
use tempfile::TempDir;

use super::leaks::{self, Watch};
use super::user::User;
use super::{Ended, GuestKind, Running};

/// A folder for the files of a test, and a list of what was started in it.
///
/// Dropping it is the last step of every test: whatever was left behind anywhere makes the test fail.
pub(crate) struct Room {
    folder: Option<TempDir>,
    started: RefCell<Vec<Pid>>,
    watch: Option<Watch>,
    control_groups: BTreeSet<PathBuf>,
}

/// Name of the folder that programs are told to put their temporary files into, and that must be empty at the end.
const EMPTY: &str = "empty";

impl Room {
    /// A new room with nothing in it.
    pub(crate) fn new() -> Self {
        let watch = Some(Watch::begin());
        let folder = tempfile::tempdir().expect("the tests need a folder for temporary files");
        fs::create_dir(folder.path().join(EMPTY)).expect("the folder is ours");
        // An ordinary user has to get in.
        set_mode(folder.path(), 0o755);
        set_mode(&folder.path().join(EMPTY), 0o777);
        let control_groups = leaks::control_groups();
        Self { folder: Some(folder), started: RefCell::default(), watch, control_groups }
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it is taken only when the room is left").path()
    }

    /// The path of `name` in here.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Writes a file.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the folder is ours");
        path
    }

    /// Writes the file of an own guest, named `NAME-KIND`.
    pub(crate) fn guest(&self, name: &str, kind: GuestKind) -> PathBuf {
        self.file(&format!("{name}-{}", kind.name()), kind.image(name))
    }

    /// `runu` with these words, at home in this room, its outputs read and its input empty.
    pub(crate) fn runu(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runu"));
        command.args(words);
        self.settle(&mut command);
        command
    }

    /// `runu run` of a guest's file.
    pub(crate) fn run(&self, kernel: &Path, arguments: &[&str]) -> Command {
        let mut command = self.runu(&["run"]);
        command.arg(kernel).args(arguments);
        command
    }

    /// As [`Room::runu`], by someone who may be unable to reach the program where it was built.
    pub(crate) fn runu_as(&self, user: User, words: &[&str]) -> Command {
        let program = self.path("runu");
        let built = env!("CARGO_BIN_EXE_runu");
        if !program.exists() && fs::hard_link(built, &program).is_err() {
            fs::copy(built, &program).expect("the folder is ours");
        }
        let mut command = Command::new(program);
        command.args(words);
        self.settle(&mut command);
        user.run(&mut command);
        command
    }

    /// Makes a program run here, in a process group by which it can be found.
    pub(crate) fn settle(&self, command: &mut Command) {
        command.current_dir(self.folder()).process_group(0);
        for name in ["TMPDIR", "HOME", "XDG_RUNTIME_DIR"] {
            command.env(name, self.path(EMPTY));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }

    /// Starts a command that was made for this room.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let running = Running::start(command);
        self.started.borrow_mut().push(running.pid());
        running
    }

    /// Removes the control groups of a `runu` that was killed: nobody was left who could. That they can be removed proves
    /// that they are empty.
    pub(crate) fn remove_control_groups(&self) {
        leaks::remove_control_groups(&self.started.borrow());
    }

    /// Runs a command that was made for this room to its end.
    #[track_caller]
    pub(crate) fn finish(&self, command: &mut Command) -> Ended {
        self.start(command).wait()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut left = leaks::of_programs(&self.started.borrow(), self.folder(), &self.control_groups);
        let files = fs::read_dir(self.path(EMPTY)).into_iter().flatten().flatten();
        left.extend(files.map(|file| format!("file {:?}", file.path())));
        drop(self.folder.take());
        // Last of all, because what comes before holds descriptors for a moment.
        left.extend(self.watch.take().map(Watch::end).unwrap_or_default());
        // A test that failed already has said why.
        assert!(left.is_empty() || thread::panicking(), "left behind: {left:#?}");
    }
}

/// Sets a file's or folder's permissions.
pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("the folder is ours");
}
