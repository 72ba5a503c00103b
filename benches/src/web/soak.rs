//! A long load: what a guest holds and what a request costs must not grow with time.

use std::time::{Duration, Instant};

use super::{
    load, rest,
    site::{Role, Site},
};

/// How the time is cut: the first piece warms up, the second is what the others are compared with.
const PIECES: u32 = 8;

/// How much more one may be than the second: what a busy machine and a page more or less make of it.
const MEMORY_SLACK_KIB: f64 = 1024.0;
const RATE_SLACK: f64 = 0.5;

/// Holds each guest under load for that long; whether none has grown.
pub(super) fn soak(sites: &[Site], time: Duration) -> Result<bool, String> {
    let mut steady = true;
    for site in sites.iter().filter(|site| site.role == Role::Guest) {
        println!("{}: {} s", site.name, time.as_secs());
        steady &= hold(site, time / PIECES)?;
    }
    Ok(steady)
}

fn hold(site: &Site, piece: Duration) -> Result<bool, String> {
    let running = site.start()?;
    let began = Instant::now();
    let (mut first, mut steady, mut requests) = (None, true, 0.0);
    for number in 0..PIECES {
        // Connections come and go, and answers are small and large.
        let small = load::load(site.address(), "/", 16, piece * 3 / 4)?;
        let large = load::load(site.address(), "/big", 4, piece / 4)?;
        let rest = rest::rest(&running, Duration::from_secs(1))?;
        requests += small.requests + large.requests;
        println!(
            "  {:>6.0} s  {:>9.0} requests/s  {:>6.0} KiB of PSS  {:>3} descriptors",
            began.elapsed().as_secs_f64(),
            small.requests_per_s,
            rest.memory_kib,
            rest.descriptors
        );
        if number == 0 {
            continue;
        }
        let (held, open, rate) =
            *first.get_or_insert((rest.memory_kib, rest.descriptors, small.requests_per_s));
        steady &= rest.memory_kib <= held + MEMORY_SLACK_KIB
            && rest.descriptors <= open
            && small.requests_per_s >= rate * RATE_SLACK;
    }
    if let Some(traps) = running.end()? {
        println!("  {:.2} traps a request, {requests:.0} requests", traps / requests);
    }
    println!("  {}", if steady { "steady" } else { "GROWS" });
    Ok(steady)
}
