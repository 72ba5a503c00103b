//! Limits of a configuration, in the words of the sandbox.

use oci_spec::runtime::{LinuxBlockIo, LinuxResources, PosixRlimit, PosixRlimitType};
use runu_sandbox::{Resources, Throttle, Throttled};
use rustix::{
    process::{Resource, Rlimit},
    thread::CapabilitySet,
};

/// Why limits for `update` cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResourcesError {
    /// They are none.
    #[error("the limits are not valid OCI resources")]
    Malformed(#[from] serde_json::Error),
    /// One of them is none that we can set.
    #[error("a limit on {0} is not supported for a unikernel")]
    Unsupported(&'static str),
}

impl runu_core::Blamed for ResourcesError {
    fn blame(&self) -> runu_core::Blame {
        runu_core::Blame::User
    }
}

/// Limits as engines send them to `update`: the JSON of `linux.resources`.
///
/// # Errors
/// They are malformed, or one is asked for that we cannot set.
pub fn resources_from_json(json: &[u8]) -> Result<Resources, ResourcesError> {
    // An object first: serde would also take the fields as a list.
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(json)?;
    let resources: LinuxResources = serde_json::from_value(object.into())?;
    refuse_unsupported(&resources)?;
    Ok(self::resources(Some(&resources)))
}

/// Refuses limits that somebody who changes one would miss. Zero is not set.
fn refuse_unsupported(resources: &LinuxResources) -> Result<(), ResourcesError> {
    let cpu = resources.cpu().as_ref();
    let realtime = cpu.is_some_and(|cpu| {
        cpu.realtime_runtime().is_some_and(|time| time != 0)
            || cpu.realtime_period().is_some_and(|time| time != 0)
    });
    if realtime { Err(ResourcesError::Unsupported("real-time scheduling")) } else { Ok(()) }
}

/// Limits of the control group. Zero means "not set": engines send it for every number that nobody gave.
pub(crate) fn resources(resources: Option<&LinuxResources>) -> Resources {
    let Some(resources) = resources else { return Resources::default() };
    let memory = resources.memory().as_ref();
    let cpu = resources.cpu().as_ref();
    let block_io = resources.block_io().as_ref();
    let signed = |value: Option<i64>| value.filter(|value| *value != 0);
    let unsigned = |value: Option<u64>| value.filter(|value| *value != 0);
    let text = |value: Option<String>| value.filter(|value| !value.is_empty());
    Resources {
        memory_max: signed(memory.and_then(|memory| memory.limit())),
        memory_and_swap_max: signed(memory.and_then(|memory| memory.swap())),
        memory_reservation: signed(memory.and_then(|memory| memory.reservation())),
        cpu_shares: unsigned(cpu.and_then(|cpu| cpu.shares())),
        cpu_quota: signed(cpu.and_then(|cpu| cpu.quota())),
        cpu_period: unsigned(cpu.and_then(|cpu| cpu.period())),
        cpu_burst: unsigned(cpu.and_then(|cpu| cpu.burst())),
        cpu_idle: cpu.and_then(|cpu| cpu.idle()),
        cpus: text(cpu.and_then(|cpu| cpu.cpus().clone())),
        mems: text(cpu.and_then(|cpu| cpu.mems().clone())),
        pids_max: signed(resources.pids().as_ref().map(|pids| pids.limit())),
        io_weight: block_io.and_then(|io| io.weight()).filter(|weight| *weight != 0),
        io_throttles: block_io.map(throttles).unwrap_or_default(),
        huge_pages: resources
            .hugepage_limits()
            .iter()
            .flatten()
            .map(|limit| (limit.page_size().clone(), limit.limit()))
            .collect(),
        unified: resources.unified().clone().unwrap_or_default().into_iter().collect(),
    }
}

fn throttles(io: &LinuxBlockIo) -> Vec<Throttle> {
    let lists = [
        (Throttled::ReadBytes, io.throttle_read_bps_device()),
        (Throttled::WriteBytes, io.throttle_write_bps_device()),
        (Throttled::Reads, io.throttle_read_iops_device()),
        (Throttled::Writes, io.throttle_write_iops_device()),
    ];
    let throttle = |what| {
        move |device: &oci_spec::runtime::LinuxThrottleDevice| Throttle {
            what,
            device: (device.major(), device.minor()),
            rate: device.rate(),
        }
    };
    lists.into_iter().flat_map(|(what, list)| list.iter().flatten().map(throttle(what))).collect()
}

/// Resource limits that mean something for a monitor. Those left out are zero for every guest's process (core files,
/// processes, locked memory, queues) or would limit what the monitor needs for the guest's memory: address space, and the
/// size of files, of which that memory is one and no other is written to.
///
/// A caller who may not raise its own limits passes those on: less than was asked for is still a limit that holds.
pub(crate) fn rlimits(limits: &[PosixRlimit]) -> Vec<(Resource, Rlimit)> {
    let resource = |kind| {
        Some(match kind {
            PosixRlimitType::RlimitCpu => Resource::Cpu,
            PosixRlimitType::RlimitSigpending => Resource::Sigpending,
            PosixRlimitType::RlimitLocks => Resource::Locks,
            PosixRlimitType::RlimitRttime => Resource::Rttime,
            _ => return None,
        })
    };
    let bound = |value: u64| Some(value).filter(|value| *value != u64::MAX);
    let may_raise = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE));
    limits
        .iter()
        .filter_map(|limit| {
            let resource = resource(limit.typ())?;
            let most = if may_raise { None } else { rustix::process::getrlimit(resource).maximum };
            let rlimit = Rlimit {
                current: least(bound(limit.soft()), most),
                maximum: least(bound(limit.hard()), most),
            };
            Some((resource, rlimit))
        })
        .collect()
}

/// The lower of two limits, of which none is no limit.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_docker_sends_to_update_are_read() {
        let json =
            br#"{"memory":{"limit":67108864,"swap":0,"kernel":0},"cpu":{"shares":0},"blockIO":{"weight":0}}"#;
        let expected = Resources { memory_max: Some(64 << 20), ..Resources::default() };
        assert_eq!(resources_from_json(json).unwrap(), expected);
    }

    #[test]
    fn limits_that_are_no_object_are_refused() {
        assert!(resources_from_json(b"[]").is_err());
        assert!(resources_from_json(b"{\"memory\":{\"limit\":\"x\"}}").is_err());
    }

    #[test]
    fn limit_that_cannot_be_set_is_refused() {
        for json in [r#"{"cpu":{"realtimePeriod":1}}"#, r#"{"cpu":{"realtimeRuntime":1}}"#] {
            assert!(matches!(resources_from_json(json.as_bytes()), Err(ResourcesError::Unsupported(_))));
        }
    }
}
