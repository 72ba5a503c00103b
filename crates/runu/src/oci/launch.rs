//! What the `process` monitor needs to know and to be told about a guest in a container.

use std::{fs::File, os::unix::fs::FileExt};

use runu_container::{Conclusion, Launch, Monitors, Numbers};
use runu_core::{Printable, Report, VirtAddr};
use runu_guest::Guest;
use runu_process::descriptor;
use runu_sandbox::How;

use crate::{
    monitor,
    start::{FILES, GUEST_NAME},
    verdict::{self, Verdict},
};

/// How to launch a guest in the `process` monitor.
pub(crate) fn launch() -> Launch<'static> {
    Launch {
        argv: &[GUEST_NAME],
        numbers: Numbers {
            plan: descriptor::PLAN,
            kernel: descriptor::KERNEL,
            initrd: descriptor::INITRD,
            report: descriptor::REPORT,
            share: descriptor::SHARE,
            network: [descriptor::NETWORK, descriptor::NAMES, descriptor::INQUIRIES],
        },
        files: FILES,
        report_max: descriptor::REPORT_MAX,
        fits: &fits,
        conclude: &conclude,
    }
}

fn fits(guest: &Guest, asked: Option<&str>, policy: &Monitors) -> Result<(), String> {
    monitor::choose_within(policy, asked, guest).map(drop).map_err(|error| error.to_string())
}

fn conclude(how: How, report: &[u8], kernel: &File) -> Conclusion {
    let report: Option<Report> = verdict::read_report(report);
    let verdict = Verdict::new(how, report.as_ref());
    let complaint = verdict.complaint(|address| symbol(kernel, address));
    Conclusion {
        status: verdict.exit_status(),
        summary: verdict.summary(),
        traps: report.map(|report| report.counters.exits + report.counters.signals),
        complaint: complaint.iter().map(|line| Printable(line.as_bytes()).to_string()).collect(),
    }
}

/// What of the kernel lies at the address.
fn symbol(kernel: &File, address: VirtAddr) -> Option<String> {
    let len = usize::try_from(kernel.metadata().ok()?.len()).ok()?;
    let mut bytes = vec![0; len];
    kernel.read_exact_at(&mut bytes, 0).ok()?;
    runu_guest::symbol(&bytes, address.0)
}
