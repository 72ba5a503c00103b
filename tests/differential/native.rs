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
    command.arg(kernel).arg("--").args(guest.arguments.iter().map(|word| OsStr::from_bytes(word)));
    let (ended, endless) = guest.follow(room.start(&mut command));
    let end = if endless { End::None } else { end(&ended) };
    Life { console: ended.stdout, end }
}

/// The end as `--debug` tells it.
fn end(ended: &Ended) -> End {
    let told = |text| ended.stderr.contains(text);
    match ended.stderr.lines().find_map(|line| line.strip_prefix("debug: end: ")) {
        Some("powered off") => End::PowerOff,
        Some("crashed") if told("triple fault") => End::TripleFault,
        // `runu` ends a guest that can never wake up.
        Some("crashed") if told("interrupts off") => End::None,
        Some("crashed") => End::Crash,
        Some("stopped by the monitor") => End::Stopped,
        other => match other
            .and_then(|end| end.strip_prefix("exit code "))
            .and_then(|code| code.parse::<u8>().ok())
        {
            Some(code) => End::Exit(code & 0x7f),
            None => panic!("{ended:?}"),
        },
    }
}
