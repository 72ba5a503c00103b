//! Which monitor runs a guest, and why that one.

use runu_container::{Isolation, Monitors};
use runu_core::{Blame, Blamed, Printable};
use runu_guest::{Guest, Kind};
use serde::Serialize;

use crate::cli::MonitorChoice;

/// Whether a monitor can run a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fit {
    /// Name of the monitor, as `--monitor` takes it.
    pub(crate) monitor: &'static str,
    /// Whether it can, as far as the kernel file tells.
    pub(crate) runs: bool,
    /// Why, or why not.
    pub(crate) reason: String,
}

/// Why no monitor runs a guest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MonitorError {
    /// It cannot.
    #[error("the monitor `{monitor}` cannot run this kernel: {reason}")]
    Unfit {
        /// Which.
        monitor: &'static str,
        /// Why not.
        reason: String,
    },
    /// There is none of that name.
    #[error("there is no monitor `{}`", Printable(.0.as_bytes()))]
    Unknown(String),
    /// The operator's file does not name it.
    #[error("the operator does not allow the monitor `{0}`")]
    NotAllowed(&'static str),
    /// The operator demands more than it gives.
    #[error("the operator demands a virtual machine, and the monitor `{0}` is none")]
    TooWeak(&'static str),
}

impl Blamed for MonitorError {
    fn blame(&self) -> Blame {
        match self {
            MonitorError::Unfit { .. } => Blame::Image,
            _ => Blame::User,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            MonitorError::Unfit { .. } => {
                "it runs x86_64 kernels that Unikraft built for qemu or fc; see LIMITATIONS.md".to_owned()
            }
            MonitorError::Unknown(_) => format!("there is `{PROCESS}`"),
            MonitorError::NotAllowed(_) | MonitorError::TooWeak(_) => {
                format!("[monitors] of {} decides", runu_container::DEFAULT_PATH)
            }
        })
    }
}

/// Name of the monitor that needs no VM.
const PROCESS: &str = "process";
/// What it gives.
const PROCESS_ISOLATION: Isolation = Isolation::Process;

/// Every monitor there is, strongest isolation first, and whether it can run the guest.
pub(crate) fn fits(guest: &Guest) -> Vec<Fit> {
    vec![process(guest)]
}

/// The monitor to use: the one asked for, or the first that can run the guest.
pub(crate) fn choose(choice: MonitorChoice, guest: &Guest) -> Result<Fit, MonitorError> {
    let fit = process(guest);
    if !fit.runs {
        return Err(MonitorError::Unfit { monitor: fit.monitor, reason: fit.reason });
    }
    let reason = match choice {
        MonitorChoice::Auto => "the strongest there is yet; it needs no VM and no KVM".to_owned(),
        MonitorChoice::Process => "asked for".to_owned(),
    };
    Ok(Fit { reason, ..fit })
}

/// The monitor for a guest in a container: within what the operator allows, the one asked for by name, or the first that
/// can run the guest.
pub(crate) fn choose_within(
    policy: &Monitors,
    asked: Option<&str>,
    guest: &Guest,
) -> Result<Fit, MonitorError> {
    let allowed = policy.allowed.as_deref();
    let mut named = asked.into_iter().chain(allowed.into_iter().flatten().map(String::as_str));
    if let Some(unknown) = named.find(|name| ![AUTO, PROCESS].contains(name)) {
        return Err(MonitorError::Unknown(unknown.to_owned()));
    }
    if allowed.is_some_and(|allowed| !allowed.iter().any(|name| name == PROCESS)) {
        return Err(MonitorError::NotAllowed(PROCESS));
    }
    if PROCESS_ISOLATION < policy.minimum_isolation {
        return Err(MonitorError::TooWeak(PROCESS));
    }
    let choice = if asked == Some(PROCESS) { MonitorChoice::Process } else { MonitorChoice::Auto };
    choose(choice, guest)
}

/// What leaves the choice to us.
const AUTO: &str = "auto";

fn process(guest: &Guest) -> Fit {
    let obstacle = match (&guest.kind, guest.boot) {
        // Linked to the top 2 GiB (arch/x86/include/asm/page_64_types.h, __START_KERNEL_map), which no process can map.
        (Kind::Linux, _) => Some("its code runs in the upper half of the address space".to_owned()),
        (kind, None) => Some(format!("it cannot enter {kind}")),
        (_, Some(_)) => None,
    };
    let runs = obstacle.is_none();
    let reason = obstacle
        .unwrap_or_else(|| "it knows the boot protocol, and the code is in the lower half".to_owned());
    Fit { monitor: PROCESS, runs, reason }
}

#[cfg(test)]
mod tests {
    use runu_core::{BootProtocol, GuestAddr};
    use runu_guest::{Arch, Class};

    use super::*;

    fn guest(kind: Kind, boot: Option<BootProtocol>) -> Guest {
        let entry = GuestAddr(0x10_0000);
        Guest { kind, class: Class::Elf64, arch: Arch::X86_64, boot, entry, segments: vec![], pie: false }
    }

    #[test]
    fn kernel_with_known_boot_protocol_gets_the_process_monitor() {
        let guest = guest(Kind::Unknown, Some(BootProtocol::Multiboot));
        assert_eq!(choose(MonitorChoice::Auto, &guest).unwrap().monitor, "process");
    }

    #[test]
    fn operator_who_demands_more_or_allows_less_is_obeyed() {
        let guest = guest(Kind::Unknown, Some(BootProtocol::Multiboot));
        let within = |policy: &Monitors, asked| choose_within(policy, asked, &guest).map(|fit| fit.monitor);
        let any = Monitors::default();
        assert_eq!(within(&any, None), Ok("process"));
        assert_eq!(within(&any, Some("process")), Ok("process"));
        assert_eq!(within(&any, Some("kvm")), Err(MonitorError::Unknown("kvm".to_owned())));
        let none = Monitors { allowed: Some(Vec::new()), ..Monitors::default() };
        assert_eq!(within(&none, Some("process")), Err(MonitorError::NotAllowed("process")));
        let machines = Monitors { minimum_isolation: Isolation::Vm, ..Monitors::default() };
        assert_eq!(within(&machines, None), Err(MonitorError::TooWeak("process")));
    }

    #[test]
    fn kernel_of_the_upper_half_gets_no_monitor() {
        let guest = guest(Kind::Linux, Some(BootProtocol::Linux64));
        let error = choose(MonitorChoice::Process, &guest).unwrap_err();
        assert_eq!(error.blame().exit_status(), 126);
        assert!(error.to_string().contains("upper half"), "{error}");
    }
}
