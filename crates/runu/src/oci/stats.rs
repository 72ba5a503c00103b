//! What `events` tells, in the names and the order of runc (runc types/events.go).

use runu_sandbox::{Amount, Usage};
use serde::Serialize;
use serde_json::{Map, Value};

/// A line of `events`.
#[derive(Serialize)]
pub(crate) struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
}

impl<'a> Event<'a> {
    /// What a container uses.
    pub(crate) fn stats(id: &'a str, usage: &'a Usage) -> Self {
        Event { kind: "stats", id, data: Some(Data::new(usage)) }
    }

    /// The kernel killed one of its processes for want of memory.
    pub(crate) fn oom(id: &'a str) -> Self {
        Event { kind: "oom", id, data: None }
    }
}

#[derive(Serialize)]
struct Data<'a> {
    cpu: Cpu<'a>,
    memory: Memory<'a>,
    pids: Pids,
    blkio: Map<String, Value>,
    hugetlb: Map<String, Value>,
    intel_rdt: Map<String, Value>,
    network_interfaces: Option<Vec<Value>>,
}

#[derive(Serialize)]
struct Cpu<'a> {
    usage: CpuUsage<'a>,
    throttling: Throttling,
}

#[derive(Serialize)]
struct CpuUsage<'a> {
    total: u64,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    percpu: &'a [u64],
    kernel: u64,
    user: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    throttled_time: u64,
}

#[derive(Serialize)]
struct Memory<'a> {
    cache: u64,
    usage: Entry,
    swap: Entry,
    kernel: Entry,
    raw: &'a std::collections::BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Entry {
    limit: u64,
    usage: u64,
    max: u64,
    failcnt: u64,
}

impl From<Amount> for Entry {
    fn from(amount: Amount) -> Self {
        Entry { limit: amount.limit, usage: amount.now, max: amount.peak, failcnt: amount.failures }
    }
}

#[derive(Serialize)]
struct Pids {
    current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<'a> Data<'a> {
    fn new(usage: &'a Usage) -> Self {
        Data {
            cpu: Cpu {
                usage: CpuUsage {
                    total: usage.cpu.total_ns,
                    percpu: &usage.cpu.by_processor_ns,
                    kernel: usage.cpu.kernel_ns,
                    user: usage.cpu.user_ns,
                },
                throttling: Throttling {
                    periods: usage.cpu.periods,
                    throttled_periods: usage.cpu.throttled_periods,
                    throttled_time: usage.cpu.throttled_ns,
                },
            },
            memory: Memory {
                cache: usage.cache,
                usage: usage.memory.into(),
                swap: usage.swap.into(),
                kernel: usage.kernel.into(),
                raw: &usage.memory_stat,
            },
            pids: Pids { current: usage.pids, limit: usage.pids_max },
            blkio: Map::new(),
            hugetlb: Map::new(),
            intel_rdt: Map::new(),
            network_interfaces: None,
        }
    }
}
