//! The verbs of an OCI runtime: what engines and their shims call.
//!
//! A verb on a container that is ours is done here; one on an ordinary container is handed on, this process becoming the
//! runtime that has it. Errors go to stderr and, as exactly one line, to the file of `--log`; the status of all of them is
//! 1, as runc's is.

mod launch;
mod stats;
mod table;
mod verbs;
mod words;

use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use runu_container::{Config, ContainerId, Delegate, Owner, Root, Runtime};

use crate::{
    cli::{GlobalFlags, LogFormat, RunFlags, Verb},
    failure::Failure,
    stdio,
};

/// Exit status of every verb that fails, but for `exec`.
pub(crate) const FAILED: u8 = 1;
/// Exit status of an `exec` that fails: 1 may be the program's own (runc 1.3, exec.go).
const EXEC_FAILED: u8 = 255;

/// Whether `runu run` was asked to run a bundle: a flag of bundles says so, or a word that names no file beside a
/// config.json.
pub(crate) fn is_bundle(flags: &RunFlags) -> bool {
    let asked = flags.bundle.is_some()
        || flags.detach
        || flags.keep
        || flags.pid_file.is_some()
        || flags.console_socket.is_some();
    asked
        || matches!(flags.command.as_slice(), [id] if !Path::new(id).exists() && Path::new("config.json").exists())
}

/// Does what the verb says; its exit status.
pub(crate) fn run(global: &GlobalFlags, verb: Verb) -> u8 {
    let failed = if matches!(verb, Verb::Exec(_)) { EXEC_FAILED } else { FAILED };
    match verbs::run(&Runner::new(global), verb) {
        Ok(status) => status,
        Err(failure) => {
            failure.report();
            if let Some(path) = &global.log {
                log(path, global.log_format, &failure.sentence());
            }
            failed
        }
    }
}

/// Hands on a call whose words we cannot parse, where one of those behind the verb names an ordinary container: its runtime
/// may have flags that we do not know. Returns where none does.
pub(crate) fn hand_on_unparsed(global: &GlobalFlags, behind_verb: &[OsString]) -> Option<Failure> {
    let runner = Runner::new(global);
    let named = |word: &OsString| runner.root.owner(&ContainerId::new(word.to_str()?).ok()?);
    match behind_verb.iter().find_map(named)? {
        Owner::Ordinary => Some(runner.hand_on()),
        Owner::Unikernel => None,
    }
}

/// Appends an error to the file of `--log`. One that cannot be written to has nobody who could be told.
pub(crate) fn log(path: &Path, format: LogFormat, sentence: &str) {
    let time = runu_container::rfc3339_now();
    let line = match format {
        LogFormat::Json => serde_json::json!({ "level": "error", "msg": sentence, "time": time }).to_string(),
        LogFormat::Text => format!("time=\"{time}\" level=error msg={sentence:?}"),
    };
    if let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) {
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// Where state is, and how to hand a call on.
pub(crate) struct Runner {
    /// Where state is.
    pub(crate) root: Root,
    /// What `--root` says.
    pub(crate) given_root: Option<PathBuf>,
    /// Whether control-group paths are systemd's.
    pub(crate) systemd_cgroup: bool,
    /// The operator's file, if not the default one.
    config: Option<PathBuf>,
}

impl Runner {
    fn new(global: &GlobalFlags) -> Self {
        let root = global.root.clone().unwrap_or_else(default_root);
        Runner {
            root: Root::new(root),
            given_root: global.root.clone(),
            systemd_cgroup: global.systemd_cgroup,
            config: global.config.clone(),
        }
    }

    /// What the operator has decided. Read only by verbs that need it: a file that is broken must not keep anyone from
    /// ending a unikernel.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref())?)
    }

    /// The runtime of ordinary containers.
    pub(crate) fn runtime(&self) -> Result<Runtime, Failure> {
        Ok(Runtime::find(self.config()?.ordinary.runtime.as_deref())?)
    }

    /// Hands this call on as it was made. Returns only on failure.
    pub(crate) fn hand_on(&self) -> Failure {
        let runtime = match self.runtime() {
            Ok(runtime) => runtime,
            Err(failure) => return failure,
        };
        let words: Vec<OsString> = env::args_os().skip(1).collect();
        let default_broken_pipe = stdio::broken_pipe_was_default();
        Delegate { runtime: &runtime, root: &self.root, default_broken_pipe }.become_runtime(&words).into()
    }

    /// Hands this call on if the container of that id is an ordinary one.
    pub(crate) fn hand_on_ordinary(&self, id: &str) -> Result<ContainerId, Failure> {
        let id = ContainerId::new(id)?;
        match self.root.owner(&id) {
            Some(Owner::Ordinary) => Err(self.hand_on()),
            Some(Owner::Unikernel) | None => Ok(id),
        }
    }
}

/// Where state is unless `--root` says otherwise; the rule is runc's (main.go, `shouldHonorXDGRuntimeDir`).
fn default_root() -> PathBuf {
    // Without a /proc there are no user namespaces to speak of.
    let uid_map = fs::read_to_string("/proc/self/uid_map").unwrap_or_else(|_| INITIAL_MAP.to_owned());
    let user = env::var_os("USER");
    let ours = env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .filter(|_| is_ordinary(rustix::process::geteuid().is_root(), &uid_map, user.as_deref()));
    ours.map_or_else(|| PathBuf::from("/run/runu"), |directory| Path::new(&directory).join("runu"))
}

/// The map of the initial user namespace (user_namespaces(7)): every id is itself.
const INITIAL_MAP: &str = "0 0 4294967295";

/// Whether an ordinary user calls, as themselves or as root of a user namespace: Podman calls from one and leaves `USER`
/// as it was. Where that says `root`, root made the namespace.
fn is_ordinary(is_root: bool, uid_map: &str, user: Option<&OsStr>) -> bool {
    let is_initial = uid_map.split_ascii_whitespace().eq(INITIAL_MAP.split(' '));
    !is_root || !is_initial && user.is_none_or(|user| user != "root")
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: &str = "         0          0 4294967295\n";
    const ROOTLESS: &str = "         0       1000          1\n         1     100000      65536\n";

    #[test]
    fn user_who_is_not_root_has_state_of_their_own() {
        assert!(is_ordinary(false, INITIAL, None));
    }

    #[test]
    fn root_of_the_host_has_state_in_run_whoever_became_it() {
        assert!(!is_ordinary(true, INITIAL, Some(OsStr::new("ada"))));
    }

    #[test]
    fn root_of_a_users_namespace_has_the_users_state() {
        assert!(is_ordinary(true, ROOTLESS, Some(OsStr::new("ada"))));
        assert!(is_ordinary(true, ROOTLESS, None));
    }

    #[test]
    fn root_of_roots_namespace_has_state_in_run() {
        assert!(!is_ordinary(true, ROOTLESS, Some(OsStr::new("root"))));
    }
}
