//! Limits of a control group, where this host and user can make one.

use std::{error::Error, fs};

use runu_core::Bytes;
use runu_sandbox::{CgroupSpec, Ended, How, Limits, SandboxError};

use crate::{Outcome, Skipped, Test, caller, expect, is_root};

pub(crate) const TESTS: &[Test] = &[
    ("guest_beyond_its_memory_is_out_of_memory", guest_beyond_its_memory_is_out_of_memory),
    ("guest_beyond_its_processes_cannot_fork", guest_beyond_its_processes_cannot_fork),
    ("guest_with_a_group_but_no_limits_runs", guest_with_a_group_but_no_limits_runs),
    ("group_left_by_a_dead_caller_is_replaced", group_left_by_a_dead_caller_is_replaced),
    ("group_with_a_path_for_a_name_is_refused", group_with_a_path_for_a_name_is_refused),
    ("group_not_permitted_is_told_in_the_end", group_not_permitted_is_told_in_the_end),
];

fn group(memory_max: Option<Bytes>, pids_max: Option<u32>) -> CgroupSpec {
    CgroupSpec { name: caller::cgroup_name(), memory_max, pids_max }
}

/// Runs a guest program in a group; skips the test where the host does not enforce limits.
fn run_limited(words: &[&str], group: CgroupSpec) -> Result<(Ended, String), Box<dyn Error>> {
    let (ended, told) = caller::run_in(words, Some(group), Vec::new())?;
    match &ended.limits {
        Limits::Enforced => Ok((ended, told)),
        other => Err(Skipped(other.to_string()).into()),
    }
}

fn guest_beyond_its_memory_is_out_of_memory() -> Outcome {
    run_limited(&["exit", "0"], group(Some(Bytes::mib(16)), None))?;
    let (ended, _) = run_limited(&["eat"], group(Some(Bytes::mib(16)), None))?;
    expect("the end", ended.how, How::OutOfMemory)?;
    expect("the status", ended.how.exit_status(), 137)
}

fn guest_beyond_its_processes_cannot_fork() -> Outcome {
    let (_, told) = run_limited(&["fork"], group(None, Some(2)))?;
    expect("what fork said", told, format!("-1 {:?}\n", Some(libc::EAGAIN)))
}

fn guest_with_a_group_but_no_limits_runs() -> Outcome {
    let (ended, _) = run_limited(&["exit", "3"], group(None, None))?;
    expect("the end", ended.how, How::Exited(3))
}

fn group_left_by_a_dead_caller_is_replaced() -> Outcome {
    let left = std::path::Path::new("/sys/fs/cgroup/pids").join(caller::cgroup_name());
    if !is_root() || fs::create_dir(&left).is_err() {
        return Err(Skipped("cannot make /sys/fs/cgroup/pids/… by hand".into()).into());
    }
    let run = run_limited(&["exit", "0"], group(None, Some(16)));
    // Where our own group is not the root, the one made by hand was not in the way.
    let _ = fs::remove_dir(&left);
    expect("the end", run?.0.how, How::Exited(0))
}

fn group_with_a_path_for_a_name_is_refused() -> Outcome {
    let group = CgroupSpec { name: "../outside".into(), memory_max: None, pids_max: None };
    let refused = caller::start(&["exit", "0"], Some(group), Vec::new());
    expect("refusal", matches!(refused, Err(SandboxError::CgroupName(_))), true)
}

fn group_not_permitted_is_told_in_the_end() -> Outcome {
    if is_root() {
        return Err(Skipped("root may make groups".into()).into());
    }
    let (ended, _) = caller::run_in(&["exit", "0"], Some(group(Some(Bytes::mib(16)), None)), Vec::new())?;
    expect("the end", ended.how, How::Exited(0))?;
    match ended.limits {
        Limits::Enforced => Err(Skipped("this user may make groups".into()).into()),
        Limits::Unavailable(reason) if reason.contains("/sys/fs/cgroup/") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}
