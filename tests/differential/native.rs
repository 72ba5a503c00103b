//! A guest's life under `runu`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::end::{End, Life};
use crate::guest::Guest;
use crate::support::{Ended, Room};

/// Runs the guest.
pub(crate) fn life(guest: &Guest) -> Life {
    let room = Room::new();
    let (kernel, initrd) = guest.files(&room);
    let mut command = room.runu(&["run", "--debug"]);
    for variable in &guest.environment {
        let text = [variable.name.as_slice(), b"=", &variable.value].concat();
        command.arg("-e").arg(OsStr::from_bytes(&text));
    }
    if let Some(initrd) = initrd {
        command.arg("--initrd").arg(initrd);
    }
    let disks = guest.disks(&room);
    for (path, (_, read_only)) in disks.iter().zip(&guest.disks) {
        let mut word = path.clone().into_os_string();
        word.push(if *read_only { ":ro" } else { "" });
        command.arg("--disk").arg(word);
    }
    command.arg(kernel).arg("--").args(guest.arguments.iter().map(|word| OsStr::from_bytes(word)));
    let (ended, endless) = guest.follow(room.start(&mut command));
    let end = if endless { End::None } else { end(&ended) };
    Life::new(ended.stdout, end, &disks)
}

/// The end as `--debug` tells it, which the status must confirm.
#[track_caller]
fn end(ended: &Ended) -> End {
    let told = |text| ended.stderr.contains(text);
    let word = ended.stderr.lines().find_map(|line| line.strip_prefix("debug: end: ")).unwrap_or_default();
    let code = word.strip_prefix("exit code ").and_then(|code| code.parse::<u8>().ok());
    let (end, status) = match (word, code) {
        ("powered off", _) => (End::PowerOff, 0),
        ("crashed", _) if told("triple fault") => (End::TripleFault, 134),
        // `runu` ends a guest that can never wake up.
        ("crashed", _) if told("interrupts off") => (End::None, 134),
        ("crashed", _) => (End::Crash, 134),
        ("stopped by the monitor", _) => (End::Stopped, 70),
        (_, Some(code)) => (End::Exit(code & 0x7f), i32::from(code)),
        _ => panic!("{ended:?}"),
    };
    assert_eq!(ended.status(), status, "{ended:?}");
    end
}
