//! The load: wrk, with one thread, and what it tells.

use std::{net::Ipv4Addr, process::Command, time::Duration};

/// What a server did under a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Load {
    /// How many requests were answered.
    pub(super) requests: f64,
    /// How many in a second.
    pub(super) requests_per_s: f64,
    /// The time that one of a hundred took at least, in milliseconds.
    pub(super) p99_ms: f64,
    /// Bytes of answers in a second.
    pub(super) bytes_per_s: f64,
}

/// Has `clients` ask for `path` again and again for some time.
pub(super) fn load(server: Ipv4Addr, path: &str, clients: u32, time: Duration) -> Result<Load, String> {
    let output = Command::new("wrk")
        .args(["--threads", "1", "--latency", "--timeout", "10s"])
        .args(["--connections", &clients.to_string()])
        .args(["--duration", &format!("{}s", time.as_secs().max(1))])
        .arg(format!("http://{server}{path}"))
        .output()
        .map_err(|error| format!("cannot run wrk: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(errors) = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"))
    {
        return Err(format!("wrk says: {}", errors.trim()));
    }
    read(&text).ok_or_else(|| format!("wrk says: {}", text.trim()))
}

/// Reads what wrk prints.
fn read(text: &str) -> Option<Load> {
    let after = |start: &str| text.lines().find_map(|line| line.trim().strip_prefix(start)).map(str::trim);
    let requests = text.lines().find(|line| line.contains(" requests in "))?;
    Some(Load {
        requests: requests.split_ascii_whitespace().next()?.parse().ok()?,
        requests_per_s: after("Requests/sec:")?.parse().ok()?,
        p99_ms: number(after("99%")?, &[("us", 1e-3), ("ms", 1.0), ("s", 1e3)])?,
        bytes_per_s: number(
            after("Transfer/sec:")?,
            &[("KB", 1024.0), ("MB", 1_048_576.0), ("GB", 1_073_741_824.0), ("B", 1.0)],
        )?,
    })
}

/// A number and its unit.
fn number(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units.iter().find_map(|(unit, factor)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_wrk_are_read() {
        let text = "Running 1s test @ http://10.77.1.2/\n  1 threads and 16 connections\n\
            Latency Distribution\n     50%  150.00us\n     99%    1.07ms\n\
            61234 requests in 1.00s, 7.91MB read\nRequests/sec:  61100.50\nTransfer/sec:      7.50MB\n";
        let expected =
            Load { requests: 61234.0, requests_per_s: 61100.5, p99_ms: 1.07, bytes_per_s: 7.5 * 1_048_576.0 };
        assert_eq!(read(text), Some(expected));
    }

    #[test]
    fn words_that_are_not_wrks_are_none() {
        assert_eq!(read("unable to connect"), None);
    }
}
