//! Hooks: programs that a configuration names for certain moments of a container's life (runtime-spec, config.md,
//! "POSIX-platform Hooks"). They run one after the other, in the order of their list, with the state on standard input.

use std::{
    io,
    os::unix::{fs::FileExt, process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use oci_spec::runtime::Hook;
use runu_sandbox::{InRoot, memory_file};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags},
};

use crate::ContainerError;

/// How much of what a failed hook wrote on standard error is told, in bytes.
const TOLD: usize = 2048;

/// Where hooks run.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Where we are.
    Here,
    /// In the namespaces of the process of that id, found by their paths there.
    Beside(i32),
    /// In those namespaces too, but as programs of the container's own files and confined as such.
    Inside(i32, &'a InRoot<'a>),
}

/// Runs the hooks of one list; the first that fails ends it.
pub(crate) fn run(
    moment: &'static str,
    hooks: &[Hook],
    state: &[u8],
    place: Place<'_>,
) -> Result<(), ContainerError> {
    for (number, hook) in hooks.iter().enumerate() {
        run_one(hook, state, place).map_err(|reason| ContainerError::Hook {
            moment,
            number,
            path: hook.path().clone(),
            reason,
        })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, state: &[u8], place: Place<'_>) -> Result<(), String> {
    let mut command = Command::new(hook.path());
    // Engines dispatch on the name: docker's network hook is dockerd itself under another one.
    if let Some((name, arguments)) = hook.args().as_deref().and_then(<[String]>::split_first) {
        command.arg0(name).args(arguments);
    }
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        if let Some((name, value)) = variable.split_once('=') {
            command.env(name, value);
        }
    }
    // Files and no pipes: a hook that reads nothing, says much or leaves a process behind must not keep us waiting.
    let files = || {
        let (stdin, stderr) = (memory_file(c"hook", state)?, memory_file(c"hook", &[])?);
        Ok::<_, io::Error>((stdin, stderr.try_clone()?, stderr))
    };
    let (stdin, stderr, told) = files().map_err(|error| error.to_string())?;
    command.stdin(stdin).stdout(Stdio::null()).stderr(stderr);
    match place {
        Place::Here => Ok(()),
        Place::Beside(pid) => runu_sandbox::run_beside(&mut command, pid),
        Place::Inside(pid, root) => runu_sandbox::run_in_root(&mut command, pid, root),
    }
    .map_err(|errno| errno.to_string())?;
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let timeout =
        hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    let status = match timeout {
        Some(seconds) => wait(&mut child, Duration::from_secs(seconds))?,
        None => child.wait().map_err(|error| error.to_string())?,
    };
    if status.success() {
        return Ok(());
    }
    let mut bytes = [0; TOLD];
    let len = told.read_at(&mut bytes, 0).unwrap_or(0);
    Err(format!("{status}: {}", String::from_utf8_lossy(bytes.get(..len).unwrap_or_default()).trim()))
}

/// Waits for the end of a child, which is killed when it takes too long.
fn wait(child: &mut Child, timeout: Duration) -> Result<ExitStatus, String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("it has no process id")?;
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| errno.to_string())?;
    let timeout = Timespec { tv_sec: timeout.as_secs().cast_signed(), tv_nsec: 0 };
    let ended = rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout));
    if ended != Ok(1) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("it took longer than {} seconds", timeout.tv_sec));
    }
    child.wait().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(json: &str) -> Hook {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn hook_gets_its_own_name_the_state_and_only_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let script = format!("{{ cat; printf '|%s|%s|%s' \"$0\" \"$A\" \"$HOME\"; }} > {}", file.display());
        let json =
            serde_json::json!({"path": "/bin/sh", "args": ["name", "-c", script, "zero"], "env": ["A=b"]});

        run("prestart", &[hook(&json.to_string())], b"{}", Place::Here).unwrap();

        assert_eq!(std::fs::read_to_string(file).unwrap(), "{}|zero|b|");
    }

    #[test]
    fn hook_that_fails_is_told_with_what_it_wrote() {
        let json = r#"{"path":"/bin/sh","args":["sh","-c","echo no luck >&2; exit 3"]}"#;
        let error = run("createRuntime", &[hook(json)], b"", Place::Here).unwrap_err().to_string();
        assert!(error.contains("createRuntime hook #0") && error.contains("no luck"), "{error}");
    }

    #[test]
    fn hook_that_reads_nothing_and_says_much_is_not_waited_for() {
        let json = r#"{"path":"/bin/sh","args":["sh","-c","head -c 1000000 /dev/zero >&2"]}"#;
        run("prestart", &[hook(json)], &vec![b' '; 1 << 20], Place::Here).unwrap();
    }

    #[test]
    fn hook_that_outlives_its_timeout_is_killed() {
        let json = r#"{"path":"/bin/sh","args":["sh","-c","exec sleep 1000"],"timeout":1}"#;
        let error = run("poststart", &[hook(json)], b"", Place::Here).unwrap_err().to_string();
        assert!(error.contains("longer than 1 second"), "{error}");
    }
}
