//! `runu inspect`: what a kernel file is, without running any of it.

use runu_core::{BootProtocol, Bytes, Segment};
use runu_guest::{Class, Guest, Kind, unikraft};
use serde::Serialize;

use crate::{
    cli::InspectFlags,
    failure::Failure,
    monitor::{self, Fit},
    start::Kernel,
    stdio, table,
};

/// What is told about a file; `--json` prints it as it is.
#[derive(Serialize)]
struct Facts<'a> {
    #[serde(flatten)]
    guest: &'a Guest,
    /// Which monitors can run it.
    monitors: Vec<Fit>,
}

/// Tells the facts on stdout.
pub(crate) fn inspect(flags: &InspectFlags) -> Result<u8, Failure> {
    stdio::require_stdout()?;
    let guest = Kernel::open(&flags.file)?.detect()?;
    let facts = Facts { guest: &guest, monitors: monitor::fits(&guest) };
    stdio::data(&if flags.json { json(&facts)? } else { told(&facts) })?;
    Ok(0)
}

fn json(facts: &Facts) -> Result<String, Failure> {
    let mut text =
        serde_json::to_string_pretty(facts).map_err(|source| Failure::bug("write JSON", source))?;
    text.push('\n');
    Ok(text)
}

/// The facts for people.
fn told(facts: &Facts) -> String {
    let guest = facts.guest;
    let mut rows = vec![
        ("kind", guest.kind.to_string()),
        ("architecture", architecture(guest)),
        ("boot protocol", boot_protocol(guest.boot).to_owned()),
        ("entry", guest.entry.to_string()),
    ];
    rows.extend(guest.segments.iter().map(|segment| ("segment", describe_segment(segment))));
    rows.extend(kind_rows(&guest.kind));
    rows.extend(facts.monitors.iter().map(|fit| ("monitor", describe_fit(fit))));
    table::table(&rows)
}

fn architecture(guest: &Guest) -> String {
    let class = match guest.class {
        Class::Elf32 => "32-bit ELF",
        Class::Elf64 => "64-bit ELF",
    };
    let pie = if guest.pie { ", position-independent" } else { "" };
    format!("{} in a {class} file{pie}", guest.arch)
}

/// The boot protocol in words.
pub(crate) fn boot_protocol(boot: Option<BootProtocol>) -> &'static str {
    match boot {
        Some(BootProtocol::Multiboot) => "multiboot, 32-bit entry",
        Some(BootProtocol::Linux64) => "Linux, 64-bit entry",
        None => "none that runu knows",
    }
}

fn describe_segment(segment: &Segment) -> String {
    let Segment { addr, file_len, mem_len, file_offset: _ } = segment;
    let from_file = match file_len {
        0 => "none".to_owned(),
        _ if file_len == mem_len => "all".to_owned(),
        _ => Bytes(*file_len).to_string(),
    };
    format!("{addr}: {}, {from_file} from the file", Bytes(*mem_len))
}

fn describe_fit(fit: &Fit) -> String {
    format!("{}: {}, {}", fit.monitor, if fit.runs { "yes" } else { "no" }, fit.reason)
}

/// What only this kind of kernel tells of itself.
fn kind_rows(kind: &Kind) -> Vec<(&'static str, String)> {
    match kind {
        Kind::Unikraft(facts) => unikraft_rows(facts),
        Kind::Runu(facts) => facts.version.iter().map(|version| ("version", version.clone())).collect(),
        Kind::Solo5(facts) => {
            let devices =
                facts.devices.iter().map(|device| ("device", format!("{} ({:?})", device.name, device.kind)));
            std::iter::once(("ABI version", facts.abi_version.to_string())).chain(devices).collect()
        }
        _ => Vec::new(),
    }
}

fn describe_parameter(parameter: &unikraft::Parameter) -> String {
    match &parameter.description {
        Some(description) => format!("{}: {description}", parameter.name),
        None => parameter.name.clone(),
    }
}

fn unikraft_rows(facts: &unikraft::Facts) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    rows.extend(facts.full_version.iter().map(|version| ("version", version.clone())));
    match &facts.libraries {
        Some(libraries) => {
            rows.push(("libraries", libraries.len().to_string()));
            rows.extend(
                table::wrapped(libraries.iter().map(String::as_str))
                    .into_iter()
                    .map(|line| ("libraries", line)),
            );
        }
        None => rows.push(("libraries", "not told".to_owned())),
    }
    match &facts.parameters {
        Some(parameters) => {
            rows.extend(parameters.iter().map(|parameter| ("parameters", describe_parameter(parameter))))
        }
        None if facts.takes_parameters => {
            rows.push(("parameters", "taken, but not listed in the file".to_owned()))
        }
        None => rows.push(("parameters", "none".to_owned())),
    }
    rows
}
