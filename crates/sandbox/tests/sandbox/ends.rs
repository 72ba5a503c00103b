//! How a sandbox ends, and what is told of it.

use std::{fs, os::unix::fs::PermissionsExt};

use runu_sandbox::{CgroupSpec, How, SandboxError, Spec, Step, Times};

use crate::{
    Outcome, Skipped, Test,
    caller::{self, EXIT_ERROR},
    expect, is_root,
};

pub(crate) const TESTS: &[Test] = &[
    ("guest_exiting_with_a_status_is_told_so", guest_exiting_with_a_status_is_told_so),
    ("guest_raising_a_signal_is_told_so", guest_raising_a_signal_is_told_so),
    ("guest_leaving_an_orphan_ends_with_it", guest_leaving_an_orphan_ends_with_it),
    ("phases_of_a_life_are_in_order", phases_of_a_life_are_in_order),
    (
        "descriptor_with_a_number_that_cannot_be_is_refused",
        descriptor_with_a_number_that_cannot_be_is_refused,
    ),
    ("host_name_too_long_is_refused_by_its_step", host_name_too_long_is_refused_by_its_step),
    ("program_that_only_root_may_execute_is_refused", program_that_only_root_may_execute_is_refused),
];

fn guest_exiting_with_a_status_is_told_so() -> Outcome {
    for status in [0, 1, 70, 126, 255] {
        let (ended, _) = caller::run(&["exit", &status.to_string()])?;
        expect("the end", ended.how, How::Exited(status))?;
        expect("the status", ended.how.exit_status(), status)?;
    }
    Ok(())
}

fn guest_raising_a_signal_is_told_so() -> Outcome {
    for (signal, status) in
        [(libc::SIGILL, 132), (libc::SIGABRT, 134), (libc::SIGKILL, 137), (libc::SIGTERM, 143)]
    {
        let (ended, _) = caller::run(&["raise", &signal.to_string()])?;
        expect("the end", ended.how, How::Signalled(signal))?;
        expect("the status", ended.how.exit_status(), status)?;
    }
    Ok(())
}

fn guest_leaving_an_orphan_ends_with_it() -> Outcome {
    let (ended, told) = caller::run(&["orphan"])?;
    expect("told", told.as_str(), "left\n")?;
    expect("the end", ended.how, How::Exited(7))
}

fn phases_of_a_life_are_in_order() -> Outcome {
    let (ended, _) = caller::run(&["exit", "0"])?;
    let Times { called, prepared, cloned, ready, executed, ended, reaped, removed } = ended.times;
    let inside = [called, prepared, ready, executed, ended, reaped, removed];
    expect("the supervisor's order", inside.is_sorted() && called > 0, true)?;
    expect("the caller's order", [called, prepared, cloned, reaped, removed].is_sorted(), true)
}

fn descriptor_with_a_number_that_cannot_be_is_refused() -> Outcome {
    for numbers in [&[2][..], &[-1], &[256], &[5, 5]] {
        let mut descriptors = Vec::new();
        for number in numbers {
            descriptors.push((rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 0)?, *number));
        }
        let refused =
            matches!(caller::start(&["exit", "0"], None, descriptors), Err(SandboxError::Descriptor(_)));
        expect("refusal", refused, true)?;
    }
    Ok(())
}

fn host_name_too_long_is_refused_by_its_step() -> Outcome {
    let hostname = "x".repeat(65);
    let argv = [c"runu-guest"];
    // With a group, so that there is something to leave behind.
    let cgroup = CgroupSpec { name: caller::cgroup_name(), memory_max: None, pids_max: Some(8) };
    let spec = Spec {
        argv: &argv,
        descriptors: Vec::new(),
        companion: None,
        hostname: Some(&hostname),
        cgroup: Some(cgroup),
    };
    match runu_sandbox::run(spec) {
        Err(SandboxError::Step { step, source }) => {
            expect("the step", step, Step::HostName)?;
            expect("the reason", source, rustix::io::Errno::INVAL)
        }
        other => Err(format!("{other:?}").into()),
    }
}

fn program_that_only_root_may_execute_is_refused() -> Outcome {
    if !is_root() {
        return Err(Skipped("an ordinary user's guest has the same rights to files".into()).into());
    }
    let program = std::env::temp_dir().join(caller::cgroup_name());
    fs::copy("/proc/self/exe", &program)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700))?;
    let caller = caller::command_of(&program, "nothing", &["exit", "0"]).output();
    fs::remove_file(&program)?;
    let caller = caller?;
    expect("the status", caller.status.code(), Some(EXIT_ERROR))?;
    let error = String::from_utf8(caller.stderr)?;
    expect("the error", error.starts_with("Step { step: Exec, source: Os { code: 13,"), true)
}
