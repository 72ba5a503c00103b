//! `runu run`: a kernel from a file, its console on ours, its end as our exit status.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

use runu_guest::{Invocation, Variable};

use crate::{
    cli::RunFlags,
    disk,
    failure::Failure,
    open,
    start::{self, Kernel, Life, Wishes},
    stdio, timeline,
};

/// Runs the guest to its end; `began` is when we did.
pub(crate) fn run(flags: RunFlags, began: u64) -> Result<u8, Failure> {
    let (path, arguments) = split(flags.command);
    let path = Path::new(&path);
    let kernel = Kernel::open(path)?;
    let disks = disk::open_all(&flags.disk)?;
    let initrd = flags.initrd.as_deref().map(|path| open::open(path, "initrd")).transpose()?;
    let wishes = Wishes {
        monitor: flags.monitor,
        memory: flags.memory,
        invocation: Invocation {
            argv0: path.file_name().unwrap_or(path.as_os_str()).as_bytes().to_vec(),
            args: arguments.into_iter().map(OsString::into_vec).collect(),
            env: flags.env.iter().filter_map(|text| variable(text, |name| env::var_os(name))).collect(),
            ..Invocation::default()
        },
        initrd,
        ports: flags.publish,
        disks,
        volumes: flags.volume,
    };
    let life = start::start(kernel, wishes)?;
    if flags.debug {
        stdio::words(&debug_lines(&life, began));
    }
    Ok(life.conclude())
}

/// The kernel and the guest's arguments. The first `--` behind the kernel only separates the two.
fn split(command: Vec<OsString>) -> (OsString, Vec<OsString>) {
    let mut words = command.into_iter();
    let kernel = words.next().unwrap_or_default();
    let mut arguments: Vec<OsString> = words.collect();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    }
    (kernel, arguments)
}

/// A variable as `-e` names it: `NAME=VALUE`, or `NAME` for what `ours` holds. One that we do not have is not set,
/// as in `docker run -e NAME`.
fn variable(text: &OsStr, ours: impl Fn(&OsStr) -> Option<OsString>) -> Option<Variable> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => {
            let (name, value) = bytes.split_at(at);
            Some(Variable::new(name, value.strip_prefix(b"=").unwrap_or(value)))
        }
        None => Some(Variable::new(bytes, ours(text)?.into_vec())),
    }
}

/// What `--debug` tells.
fn debug_lines(life: &Life, began: u64) -> Vec<String> {
    let mut lines = vec![
        format!("debug: guest: {}", life.guest.kind),
        format!("debug: monitor: {}: {}", life.monitor.monitor, life.monitor.reason),
        format!("debug: sandbox: {}", life.ended.limits),
    ];
    lines.extend(
        timeline::phases(began, life)
            .into_iter()
            .map(|(took, what)| format!("debug: {:>9}: {what}", timeline::milliseconds(took))),
    );
    lines.push(format!("debug: end: {}", life.verdict.summary()));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn separator_behind_the_kernel_is_dropped_once() {
        assert_eq!(split(words(&["k", "--", "--", "a"])), ("k".into(), words(&["--", "a"])));
        assert_eq!(split(words(&["k", "a", "--"])), ("k".into(), words(&["a", "--"])));
    }

    #[test]
    fn variable_with_a_value_is_split_at_the_first_sign() {
        assert_eq!(variable(OsStr::new("A=b=c"), |_| None), Some(Variable::new("A", "b=c")));
    }

    #[test]
    fn variable_without_value_is_taken_from_ours_or_left_out() {
        assert_eq!(variable(OsStr::new("A"), |_| Some("x".into())), Some(Variable::new("A", "x")));
        assert_eq!(variable(OsStr::new("A"), |_| None), None);
    }
}
