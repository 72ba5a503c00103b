//! The control group of a container as a scope of systemd.
//!
//! Where systemd manages control groups it may undo what others do in its tree, so it is asked: for a transient scope that
//! holds the container's first process, that is ours to manage from there on (`Delegate`), and that knows the limits, so
//! that it keeps them. What it has no property for is written into the group's files afterwards, as runc does.
//!
//! The few messages are sent and read here. `zbus` would bring an asynchronous runtime and threads, and the caller of
//! [`create`](crate::create()) must have a single thread; `rustbus` stands on versions of crates that are years old;
//! `busctl` cannot wait for a job's end, which would be asked for again and again, at 10 ms each.

mod bus;
mod wire;

pub use bus::BusError;
use bus::{Bus, Manager};
use serde::{Deserialize, Serialize};
use wire::Writer;

use super::{
    mounts::Version,
    name::Slice,
    resources::{self, Resources},
};

/// A scope of systemd around a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Its unit.
    pub unit: String,
    /// The unit of the slice that it is in.
    pub slice: String,
    /// Whether it is the user's systemd that has it, not the system's.
    pub of_user: bool,
}

type Result<T> = std::result::Result<T, BusError>;

/// What systemd answers of a unit that it does not have.
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// What it answers where a unit of that name is there.
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// The systemd that has our control groups: the path of the group that it manages, and whether it is the user's.
pub(crate) fn manager() -> Result<(String, bool)> {
    let manager = Manager::ours();
    let root = Bus::connect(manager)?.property("ControlGroup")?;
    Ok((root, manager == Manager::User))
}

impl Scope {
    pub(crate) fn new(unit: String, slice: &Slice, of_user: bool) -> Self {
        Scope { unit, slice: slice.unit().to_owned(), of_user }
    }

    fn bus(&self) -> Result<Bus> {
        Bus::connect(if self.of_user { Manager::User } else { Manager::System })
    }

    /// Has it made, with that process in it.
    pub(crate) fn start(&self, pid: u32, limits: &Resources, version: Version) -> Result<()> {
        let mut bus = self.bus()?;
        let mut properties = vec![
            ("Description", Value::Text(format!("unikernel container {}", self.unit))),
            ("Slice", Value::Text(self.slice.clone())),
            ("PIDs", Value::Words(vec![pid])),
            ("Delegate", Value::Boolean(true)),
            // Or the container would be ended before the engine that could save it, at shutdown.
            ("DefaultDependencies", Value::Boolean(false)),
            ("MemoryAccounting", Value::Boolean(true)),
            ("CPUAccounting", Value::Boolean(true)),
            ("TasksAccounting", Value::Boolean(true)),
        ];
        let systemd = number_of(&bus.property("Version")?);
        if systemd >= OOM_POLICY_SINCE {
            // The supervisor lives on and tells of the guest's end.
            properties.push(("OOMPolicy", Value::Text("continue".to_owned())));
        }
        properties.extend(properties_of(limits, version, systemd));
        let mut body = Writer::default();
        body.text(&self.unit).text("fail");
        write(&mut body, &properties);
        // No auxiliary units.
        body.array(8, |_| {});
        bus.watch_jobs()?;
        let mut start = || bus.systemd_job(&self.unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body);
        match start() {
            // What is left of one that failed is in the way until someone has taken note.
            Err(BusError::Refused { name, .. }) if name == UNIT_EXISTS => {
                self.forget_failure()?;
                start()
            }
            started => started,
        }
    }

    /// Tells it new limits.
    pub(crate) fn limit(&self, limits: &Resources, version: Version) -> Result<()> {
        let mut bus = self.bus()?;
        let properties = properties_of(limits, version, number_of(&bus.property("Version")?));
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Writer::default();
        // Until the next boot: a transient unit has no other time.
        body.text(&self.unit).boolean(true);
        write(&mut body, &properties);
        bus.systemd("SetUnitProperties", "sba(sv)", &body).map(drop)
    }

    /// Ends it. One that has ended is fine.
    pub(crate) fn stop(&self) -> Result<()> {
        let mut bus = self.bus()?;
        let mut body = Writer::default();
        body.text(&self.unit).text("replace");
        bus.watch_jobs()?;
        unless_absent(bus.systemd_job(&self.unit, "StopUnit", "ss", &body))?;
        self.forget_failure()
    }

    fn forget_failure(&self) -> Result<()> {
        let mut body = Writer::default();
        body.text(&self.unit);
        unless_absent(self.bus()?.systemd("ResetFailedUnit", "s", &body).map(drop))
    }
}

/// Whether the unit is somebody else's.
pub(crate) fn is_taken(error: &BusError) -> bool {
    matches!(error, BusError::Refused { name, .. } if name == UNIT_EXISTS)
}

fn unless_absent(result: Result<()>) -> Result<()> {
    match result {
        Err(BusError::Refused { name, .. }) if name == NO_SUCH_UNIT => Ok(()),
        result => result,
    }
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Boolean(bool),
    Text(String),
    Long(u64),
    Words(Vec<u32>),
    Bytes(Vec<u8>),
}

type Property = (&'static str, Value);

/// No limit (systemd.resource-control(5): `infinity`, on the bus the largest number).
const INFINITY: u64 = u64::MAX;

/// Versions of systemd that brought a property (its NEWS).
const QUOTA_PERIOD_SINCE: u32 = 242;
const ALLOWED_SINCE: u32 = 244;
const OOM_POLICY_SINCE: u32 = 253;

/// Limits in systemd's words. It has none for what is left out.
fn properties_of(limits: &Resources, version: Version, systemd: u32) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut set = |name, value: Option<u64>| properties.extend(value.map(|value| (name, Value::Long(value))));
    // Negative is no limit.
    let bytes = |value: Option<i64>| value.map(|value| u64::try_from(value).unwrap_or(INFINITY));
    match version {
        Version::Separate => {
            set("MemoryLimit", bytes(limits.memory_max));
            set("CPUShares", limits.cpu_shares);
            set("BlockIOWeight", limits.io_weight.map(u64::from));
        }
        Version::Unified => {
            set("MemoryMax", bytes(limits.memory_max));
            set("MemorySwapMax", bytes(limits.swap_max().ok().flatten()));
            set("MemoryLow", bytes(limits.memory_reservation));
            set("CPUWeight", limits.cpu_shares.map(resources::weight));
            set("IOWeight", limits.io_weight.map(resources::io_weight));
        }
    }
    set("TasksMax", bytes(limits.pids_max));
    set("CPUQuotaPerSecUSec", quota_per_second(limits));
    if systemd >= QUOTA_PERIOD_SINCE {
        set("CPUQuotaPeriodUSec", limits.cpu_period);
    }
    if systemd >= ALLOWED_SINCE && version == Version::Unified {
        let lists = [("AllowedCPUs", &limits.cpus), ("AllowedMemoryNodes", &limits.mems)];
        for (name, list) in lists {
            let bits = list.as_deref().and_then(bits_of_list);
            properties.extend(bits.map(|bits| (name, Value::Bytes(bits))));
        }
    }
    properties
}

/// Microseconds of processor time in a second of time.
fn quota_per_second(limits: &Resources) -> Option<u64> {
    /// What the kernel takes where nothing is said (sched-bwc.rst).
    const PERIOD_US: u64 = 100_000;
    /// systemd counts in whole percents; less than asked for would keep groups below from having what was (runc,
    /// "systemd converts CPUQuotaPerSecUSec").
    const PERCENT_US: u64 = 10_000;
    let Ok(quota) = u64::try_from(limits.cpu_quota?) else { return Some(INFINITY) };
    let per_second = quota.checked_mul(1_000_000)?.checked_div(limits.cpu_period.unwrap_or(PERIOD_US))?;
    per_second.checked_next_multiple_of(PERCENT_US)
}

/// A list of ranges (cpuset(7), "List format") as bits, lowest first; none where it is malformed, which the kernel will say.
fn bits_of_list(list: &str) -> Option<Vec<u8>> {
    /// More processors than any kernel is built for (`NR_CPUS`).
    const MOST: usize = 8192;
    let mut bits = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0);
        for number in first..=last {
            *bits.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    Some(bits)
}

/// The number of a version such as `252.39-1~deb12u2` or `v256`.
fn number_of(version: &str) -> u32 {
    let digits = version.trim_start_matches(|c: char| !c.is_ascii_digit());
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// `a(sv)`.
fn write(body: &mut Writer, properties: &[Property]) {
    body.array(8, |array| {
        for (name, value) in properties {
            array.structure().text(name);
            write_variant(array, value);
        }
    });
}

/// `v`.
fn write_variant(body: &mut Writer, value: &Value) {
    match value {
        Value::Boolean(value) => body.signature("b").boolean(*value),
        Value::Text(value) => body.signature("s").text(value),
        Value::Long(value) => body.signature("t").long(*value),
        Value::Words(values) => body.signature("au").array(4, |array| {
            for value in values {
                array.word(*value);
            }
        }),
        Value::Bytes(values) => body.signature("ay").array(1, |array| {
            for value in values {
                array.byte(*value);
            }
        }),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_the_properties_of_each_version() {
        let limits = Resources {
            memory_max: Some(64 << 20),
            memory_and_swap_max: Some(-1),
            cpu_shares: Some(1024),
            cpu_quota: Some(50_001),
            cpu_period: Some(100_000),
            cpus: Some("0-1,9".to_owned()),
            pids_max: Some(-1),
            ..Resources::default()
        };
        let unified = [
            ("MemoryMax", Value::Long(64 << 20)),
            ("MemorySwapMax", Value::Long(INFINITY)),
            ("CPUWeight", Value::Long(39)),
            ("TasksMax", Value::Long(INFINITY)),
            ("CPUQuotaPerSecUSec", Value::Long(510_000)),
            ("CPUQuotaPeriodUSec", Value::Long(100_000)),
            ("AllowedCPUs", Value::Bytes(vec![3, 2])),
        ];
        assert_eq!(properties_of(&limits, Version::Unified, 252), unified);
        let separate: Vec<_> =
            properties_of(&limits, Version::Separate, 240).into_iter().map(|(name, _)| name).collect();
        assert_eq!(separate, ["MemoryLimit", "CPUShares", "TasksMax", "CPUQuotaPerSecUSec"]);
    }

    #[test]
    fn list_that_is_malformed_has_no_bits() {
        for list in ["", "a", "1-", "3-1", "0-99999999999", "1,,2", "-1"] {
            assert_eq!(bits_of_list(list), None, "{list}");
        }
    }

    #[test]
    fn version_of_systemd_is_its_first_number() {
        assert_eq!(["252.39-1~deb12u2", "v256", "systemd 249", ""].map(number_of), [252, 256, 249, 0]);
    }
}
