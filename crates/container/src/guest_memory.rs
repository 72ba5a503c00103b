//! How much memory a guest gets.
//!
//! A container's memory limit holds for everything in it: the guest's memory, the monitor, the supervisor, and what the
//! kernel of the host keeps for them. A guest that uses all it was promised must not be killed for it, so it is promised
//! what is left.

use runu_core::Bytes;

/// What supervisor and monitor hold besides the guest's memory: 2 MiB measured at the most, for a guest that does next to
/// nothing (tests/guest_setup/memory.rs), and half a MiB to be on the safe side.
const AT_REST: Bytes = Bytes::kib(2560);
/// What is set aside for that.
const BESIDE_GUEST: Bytes = Bytes::mib(3);
/// What the process that serves files holds, if there is one: 0.65 MiB measured.
const FILES: Bytes = Bytes::mib(1);
/// The part of the limit that is set aside for what grows with the guest's code and page tables, and the most of it.
const GROWS: (u64, Bytes) = (16, Bytes::mib(64));
/// The part of the guest's memory that page tables take on the host: 8 bytes for each 4 KiB in each place where memory is
/// mapped. Those are two of the monitor's own and, measured with a guest that has all memory in two places, one more.
const TABLES: u64 = 128;
/// The least that a monitor can do with to keep translated code: the code of a small kernel, as it boots.
const CODE_MIN: Bytes = Bytes::kib(512);

/// The most that kernels of these kinds use (LIMITATIONS.md).
const MOST: Bytes = Bytes::mib(3 << 10);
/// Memory is given in pages.
const PAGE: u64 = 4096;

/// Why a guest cannot have the memory that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// It is more than the container's limit leaves.
    #[error("the container's memory limit of {limit} leaves {most} to the guest, and {asked} are asked for")]
    BeyondLimit {
        /// What was asked for.
        asked: Bytes,
        /// The limit.
        limit: Bytes,
        /// What it leaves.
        most: Bytes,
    },
    /// It is more than a guest can use.
    #[error("{asked} are asked for, and no guest uses more than {MOST}")]
    TooMuch {
        /// What was asked for.
        asked: Bytes,
    },
}

/// Memory of the guest in a container with that limit: what was asked for, else what the limit leaves, else the default. A
/// guest `shares` files or does not.
///
/// # Errors
/// What was asked for does not go with the limit.
pub(crate) fn guest_memory(
    limit: Option<Bytes>,
    asked: Option<Bytes>,
    default: Bytes,
    shares: bool,
) -> Result<Bytes, MemoryError> {
    let left = limit.map(|limit| left(limit, shares));
    let Some(asked) = asked else { return Ok(left.unwrap_or(default)) };
    match (limit, left) {
        (Some(limit), Some(most)) if asked > most => Err(MemoryError::BeyondLimit { asked, limit, most }),
        _ if asked > MOST => Err(MemoryError::TooMuch { asked }),
        _ => Ok(asked),
    }
}

/// What is left of a limit for what the monitor learns about the guest's code and page tables.
pub(crate) fn learned_memory(limit: Bytes, guest: Bytes, shares: bool) -> Bytes {
    let rest = limit.0.saturating_sub(guest.0 + guest.0 / TABLES + AT_REST.0 + files(shares).0);
    Bytes(rest).max(CODE_MIN)
}

fn files(shares: bool) -> Bytes {
    if shares { FILES } else { Bytes(0) }
}

/// What a limit leaves to the guest.
fn left(limit: Bytes, shares: bool) -> Bytes {
    let (part, most) = GROWS;
    let beside = BESIDE_GUEST.0 + files(shares).0 + (limit.0 / part).min(most.0);
    let rest = limit.0.saturating_sub(beside).min(MOST.0);
    Bytes(rest - rest % PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Bytes = Bytes::mib(64);

    #[test]
    fn limit_less_the_monitors_share_is_the_guests_memory() {
        for (limit, expected) in [
            (Bytes::mib(64), Bytes::mib(57)),
            (Bytes(4096), Bytes(0)),
            (Bytes(u64::MAX), Bytes::mib(3 << 10)),
        ] {
            assert_eq!(guest_memory(Some(limit), None, DEFAULT, false), Ok(expected), "{limit}");
        }
        assert_eq!(guest_memory(Some(Bytes::mib(64)), None, DEFAULT, true), Ok(Bytes::mib(56)));
        assert_eq!(guest_memory(None, None, DEFAULT, true), Ok(DEFAULT));
    }

    #[test]
    fn code_gets_what_guest_and_monitor_leave_of_the_limit() {
        for (limit, shares) in [(16, false), (16, true), (64, false), (1024, true)] {
            let limit = Bytes::mib(limit);
            let guest = guest_memory(Some(limit), None, DEFAULT, shares).unwrap();
            let code = learned_memory(limit, guest, shares);
            assert!(code > CODE_MIN && code < Bytes(limit.0 / 8), "{limit}: {code}");
            assert!(guest.0 + code.0 + AT_REST.0 + files(shares).0 <= limit.0, "{limit}");
        }
        assert_eq!(learned_memory(Bytes(4096), Bytes(0), false), CODE_MIN);
    }

    #[test]
    fn memory_asked_for_is_given_within_the_limit() {
        let asked = Some(Bytes::mib(32));
        assert_eq!(guest_memory(None, asked, DEFAULT, false), Ok(Bytes::mib(32)));
        assert_eq!(guest_memory(Some(Bytes::mib(64)), asked, DEFAULT, false), Ok(Bytes::mib(32)));
        let error = guest_memory(Some(Bytes::mib(32)), asked, DEFAULT, false).unwrap_err();
        assert!(matches!(error, MemoryError::BeyondLimit { .. }), "{error}");
        let error = guest_memory(None, Some(Bytes::mib(4 << 10)), DEFAULT, false).unwrap_err();
        assert!(matches!(error, MemoryError::TooMuch { .. }), "{error}");
    }
}
