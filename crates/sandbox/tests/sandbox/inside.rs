//! What the guest process sees.

use std::{
    collections::HashMap,
    error::Error,
    fs::File,
    io::{Read, Write},
    os::fd::AsRawFd,
};

use runu_sandbox::How;

use crate::{Outcome, Test, caller, expect, is_root};

pub(crate) const TESTS: &[Test] = &[
    ("guest_in_sandbox_is_a_child_of_process_1", guest_in_sandbox_is_a_child_of_process_1),
    ("guest_in_sandbox_sees_an_empty_root", guest_in_sandbox_sees_an_empty_root),
    ("guest_in_sandbox_has_only_given_descriptors", guest_in_sandbox_has_only_given_descriptors),
    ("guest_in_sandbox_is_a_user_without_capabilities", guest_in_sandbox_is_a_user_without_capabilities),
    (
        "guest_in_sandbox_sees_no_network_but_loopback_down",
        guest_in_sandbox_sees_no_network_but_loopback_down,
    ),
    (
        "guest_in_sandbox_has_its_host_name_and_no_environment",
        guest_in_sandbox_has_its_host_name_and_no_environment,
    ),
    (
        "guest_in_sandbox_ignores_only_signals_of_the_terminal",
        guest_in_sandbox_ignores_only_signals_of_the_terminal,
    ),
    ("descriptors_swapped_between_each_other_arrive", descriptors_swapped_between_each_other_arrive),
    ("lockdown_of_a_guest_closes_and_limits_all", lockdown_of_a_guest_closes_and_limits_all),
    ("filter_with_call_on_its_list_lets_it_pass", filter_with_call_on_its_list_lets_it_pass),
    ("filter_with_call_off_its_list_kills", filter_with_call_off_its_list_kills),
];

/// What a guest process says of itself.
fn facts(program: &str) -> Result<HashMap<String, String>, Box<dyn Error>> {
    let (ended, told) = caller::run(&[program])?;
    expect("the end", ended.how, How::Exited(0)).map_err(|error| format!("{error}; it told {told:?}"))?;
    Ok(told.lines().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect())
}

/// Fails unless the facts are these.
fn expect_facts(found: &HashMap<String, String>, expected: &[(&str, &str)]) -> Outcome {
    for (name, value) in expected {
        expect(name, found.get(*name).map(String::as_str), Some(*value))?;
    }
    Ok(())
}

fn guest_in_sandbox_is_a_child_of_process_1() -> Outcome {
    expect_facts(&facts("facts")?, &[("pid", "2"), ("parent", "1")])
}

fn guest_in_sandbox_sees_an_empty_root() -> Outcome {
    let read_only = libc::EROFS.to_string();
    let expected = [("root", "0"), ("above-root", "0"), ("directory", "/"), ("create", read_only.as_str())];
    expect_facts(&facts("facts")?, &expected)
}

fn guest_in_sandbox_has_only_given_descriptors() -> Outcome {
    let leaked = caller::command("leaked-descriptor", &["facts"]).output()?;
    let told = String::from_utf8(leaked.stdout)?;
    expect(
        "told of descriptors",
        told.lines().find(|line| line.starts_with("desc")),
        Some("descriptors=0,1,2,3"),
    )
}

fn guest_in_sandbox_is_a_user_without_capabilities() -> Outcome {
    let facts = facts("facts")?;
    let expected = [("capabilities", "0"), ("bounding", "0"), ("no-new-privileges", "true")];
    expect_facts(&facts, &expected)?;
    for id in ["uid", "euid", "gid"] {
        let found: u32 = facts.get(id).ok_or("no id")?.parse()?;
        // Root's guest is in the range that belongs to nobody; an ordinary user's is `nobody` in its own namespace.
        let (found, expected) = if is_root() { (found >> 22, 0x7200_0000 >> 22) } else { (found, 65534) };
        expect(id, found, expected)?;
    }
    expect_facts(&facts, &[("groups", "0")])
}

fn guest_in_sandbox_sees_no_network_but_loopback_down() -> Outcome {
    expect_facts(&facts("facts")?, &[("interfaces", "lo down")])
}

fn guest_in_sandbox_has_its_host_name_and_no_environment() -> Outcome {
    expect_facts(&facts("facts")?, &[("hostname", caller::HOST_NAME), ("environment", "0")])
}

fn guest_in_sandbox_ignores_only_signals_of_the_terminal() -> Outcome {
    expect_facts(&facts("facts")?, &[("signals", "ignored 1,ignored 2,ignored 3")])
}

fn descriptors_swapped_between_each_other_arrive() -> Outcome {
    let (input, mut writer) = rustix::pipe::pipe().map(|(r, w)| (r, File::from(w)))?;
    let (reader, told) = rustix::pipe::pipe().map(|(r, w)| (File::from(r), w))?;
    let (first, second) = (input.as_raw_fd(), told.as_raw_fd());
    writer.write_all(b"through")?;
    drop(writer);
    // The guest reads its input and tells on fixed numbers, so the swap is between three: input, channel, a third.
    let third = rustix::io::fcntl_dupfd_cloexec(&input, 0)?;
    let descriptors = vec![(third, second), (told, caller::TOLD), (input, first.max(4) + 40)];
    let ended = caller::start(&["copy", &second.to_string()], None, descriptors)?;
    expect("the end", ended.how, How::Exited(0))?;
    let mut heard = String::new();
    { reader }.read_to_string(&mut heard)?;
    expect("what was copied", heard.as_str(), "through")
}

fn lockdown_of_a_guest_closes_and_limits_all() -> Outcome {
    let expected = [
        ("descriptors", "2,3"),
        ("dumpable", "Ok(NotDumpable)"),
        ("limit-core", "0/0"),
        ("limit-processes", "0/0"),
        ("limit-locked", "0/0"),
        ("limit-messages", "0/0"),
        ("limit-files", "4/4"),
        ("fork", "refused"),
        ("capabilities", "0"),
        ("no-new-privileges", "true"),
    ];
    expect_facts(&facts("locked-facts")?, &expected)
}

fn filter_with_call_on_its_list_lets_it_pass() -> Outcome {
    for act in ["write-channel", "write-channel-high-bits", "map-data"] {
        let (ended, told) = caller::run(&["filtered", act])?;
        expect(&format!("the end of {act} ({told})"), ended.how, How::Exited(55))?;
    }
    Ok(())
}

fn filter_with_call_off_its_list_kills() -> Outcome {
    let acts = [
        "write-other",
        "map-code",
        "map-shared",
        "protect",
        "open",
        "socket",
        "kill",
        "trace",
        "exec",
        "fork",
        "x32",
        "int80",
    ];
    for act in acts {
        let (ended, told) = caller::run(&["filtered", act])?;
        expect(&format!("the end of {act} ({told})"), ended.how, How::Signalled(libc::SIGSYS))?;
        expect("the status", ended.how.exit_status(), 159)?;
    }
    Ok(())
}
