//! Which monitor runs a guest, and why that one.

use runu_core::{Blame, Blamed};
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
#[derive(Debug, thiserror::Error)]
#[error("the monitor `{monitor}` cannot run this kernel: {reason}")]
pub(crate) struct MonitorError {
    monitor: &'static str,
    reason: String,
}

impl Blamed for MonitorError {
    fn blame(&self) -> Blame {
        Blame::Image
    }

    fn hint(&self) -> Option<String> {
        Some("it runs x86_64 kernels that Unikraft built for qemu or fc; see LIMITATIONS.md".to_owned())
    }
}

/// Every monitor there is, strongest isolation first, and whether it can run the guest.
pub(crate) fn fits(guest: &Guest) -> Vec<Fit> {
    vec![process(guest)]
}

/// The monitor to use: the one asked for, or the first that can run the guest.
pub(crate) fn choose(choice: MonitorChoice, guest: &Guest) -> Result<Fit, MonitorError> {
    let fit = process(guest);
    if !fit.runs {
        return Err(MonitorError { monitor: fit.monitor, reason: fit.reason });
    }
    let reason = match choice {
        MonitorChoice::Auto => "the strongest there is yet; it needs no VM and no KVM".to_owned(),
        MonitorChoice::Process => "asked for".to_owned(),
    };
    Ok(Fit { reason, ..fit })
}

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
    Fit { monitor: "process", runs, reason }
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
    fn kernel_of_the_upper_half_gets_no_monitor() {
        let guest = guest(Kind::Linux, Some(BootProtocol::Linux64));
        let error = choose(MonitorChoice::Process, &guest).unwrap_err();
        assert_eq!(error.blame().exit_status(), 126);
        assert!(error.to_string().contains("upper half"), "{error}");
    }
}
