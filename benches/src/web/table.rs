//! What came out, for people.

use super::{
    Reading,
    site::{Role, Site},
};
use crate::{
    host::Host,
    statistics::{Spread, ratio},
    targets::Target,
    text::{self, Table},
};

/// Requests in a second, by those of the same server in a container, and by those of the same guest under QEMU.
const TO_NATIVE: f64 = 0.6;
const TO_EMULATED: f64 = 3.0;
/// How often in a second an idle guest may wake the host. Ours has no timers of its own then.
const WAKES_PER_S: f64 = 1.0;

/// A column: what it is called, and how it is read and written.
struct Column(&'static str, fn(&Reading) -> Option<f64>, usize);

const LOADED: &[Column] = &[
    Column("first answer ms", |reading| Some(reading.first_answer_ms), 1),
    Column("requests/s, 16", |reading| Some(reading.many.requests_per_s), 0),
    Column("p99 ms", |reading| Some(reading.many.p99_ms), 2),
    Column("µs run", |reading| Some(reading.ran_us), 1),
    Column("requests/s, 1", |reading| Some(reading.one.requests_per_s), 0),
    Column("p99 ms", |reading| Some(reading.one.p99_ms), 2),
    Column("MiB/s", |reading| Some(reading.big.bytes_per_s / 1_048_576.0), 0),
    Column("traps/request", |reading| reading.traps, 2),
];

const AT_REST: &[Column] = &[
    Column("KiB of PSS", |reading| Some(reading.rest.memory_kib), 0),
    Column("guest's", |reading| Some(reading.rest.guest_kib), 0),
    Column("wake-ups/s", |reading| Some(reading.rest.wakes_per_s), 2),
    Column("descriptors", |reading| u32::try_from(reading.rest.descriptors).ok().map(f64::from), 0),
];

/// Tables and targets, and whether all targets were met.
pub(super) fn text(sites: &[Site], readings: &[Vec<Option<Reading>>], failed: &[String]) -> (String, bool) {
    let host = Host::look();
    let rounds = readings.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = format!(
        "{} × {}, Linux {}, load {}\n{rounds} rounds; medians, and the range of four runs in five\n\n",
        host.processors, host.processor, host.kernel, host.load
    );
    table("under load", LOADED, sites, readings, &mut text);
    table("at rest", AT_REST, sites, readings, &mut text);
    let targets = targets(sites, readings);
    text::targets(&targets, &mut text);
    failed.iter().for_each(|reason| text.push_str(&format!("SKIP {reason}\n")));
    (text, targets.iter().all(|target| target.met))
}

fn table(
    name: &str,
    columns: &[Column],
    sites: &[Site],
    readings: &[Vec<Option<Reading>>],
    text: &mut String,
) {
    let heads: Vec<&str> =
        [name].into_iter().chain(columns.iter().flat_map(|column| [column.0, "range"])).collect();
    let mut table = Table::headed(&heads);
    for (site, readings) in sites.iter().zip(readings) {
        let mut row = vec![site.name.clone()];
        for Column(_, read, digits) in columns {
            let spread = Spread::of(readings.iter().flatten().filter_map(read));
            let cells = spread.map(|Spread { p10, median, p90 }| {
                [format!("{median:.digits$}"), format!("{p10:.digits$}-{p90:.digits$}")]
            });
            row.extend(cells.unwrap_or_default());
        }
        table.rows.push(row);
    }
    table.print(text);
}

fn targets(sites: &[Site], readings: &[Vec<Option<Reading>>]) -> Vec<Target> {
    let rates = |role, server: &str| {
        let found = sites.iter().position(|site| site.role == role && site.server == server)?;
        readings.get(found).map(|all| requests(all))
    };
    let mut targets = Vec::new();
    for (site, readings) in sites.iter().zip(readings).filter(|(site, _)| site.role == Role::Guest) {
        let (name, own) = (&site.name, requests(readings));
        let (native, emulated) = (rates(Role::Native, &site.server), rates(Role::Emulated, &site.server));
        // What a real server does in a guest is its kernel's work as well, and its timers are its own.
        let native = native.filter(|_| site.is_own());
        for (others, whose, bound) in
            [(native, "the native container's", TO_NATIVE), (emulated, "QEMU's", TO_EMULATED)]
        {
            let ratio = others.and_then(|others| ratio(&own, &others));
            targets.extend(ratio.map(|ratio| {
                Target::at_least(format!("{name}: requests/s by {whose}"), bound, ratio.median)
            }));
        }
        let rests = readings.iter().flatten().filter(|_| site.is_own()).map(|reading| reading.rest);
        let wakes = Spread::of(rests.map(|rest| rest.wakes_per_s));
        targets.extend(wakes.map(|wakes| {
            Target::at_most(format!("{name}: idle wake-ups in a second"), WAKES_PER_S, wakes.median)
        }));
    }
    targets
}

fn requests(readings: &[Option<Reading>]) -> Vec<Option<f64>> {
    readings.iter().map(|reading| Some(reading.as_ref()?.many.requests_per_s)).collect()
}
