//! How much memory a guest gets.
//!
//! A container's memory limit holds for everything in it: the guest's memory, the monitor, the supervisor, and what the
//! kernel of the host keeps for them. A guest that uses all it was promised must not be killed for it, so it is promised
//! what is left.

use runu_core::Bytes;

/// What supervisor and monitor hold besides the guest's memory: 2 MiB measured for a guest that idles; to that comes what
/// grows with the guest's code and page tables.
const BESIDE_GUEST: Bytes = Bytes::mib(3);
/// The part of the limit that is set aside for what grows, and the most of it.
const GROWS: (u64, Bytes) = (16, Bytes::mib(64));

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

/// Memory of the guest in a container with that limit: what was asked for, else what the limit leaves, else the default.
///
/// # Errors
/// What was asked for does not go with the limit.
pub(crate) fn guest_memory(
    limit: Option<Bytes>,
    asked: Option<Bytes>,
    default: Bytes,
) -> Result<Bytes, MemoryError> {
    let left = limit.map(left);
    let Some(asked) = asked else { return Ok(left.unwrap_or(default)) };
    match (limit, left) {
        (Some(limit), Some(most)) if asked > most => Err(MemoryError::BeyondLimit { asked, limit, most }),
        _ if asked > MOST => Err(MemoryError::TooMuch { asked }),
        _ => Ok(asked),
    }
}

/// What a limit leaves to the guest.
fn left(limit: Bytes) -> Bytes {
    let (part, most) = GROWS;
    let beside = BESIDE_GUEST.0 + (limit.0 / part).min(most.0);
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
            assert_eq!(guest_memory(Some(limit), None, DEFAULT), Ok(expected), "{limit}");
        }
        assert_eq!(guest_memory(None, None, DEFAULT), Ok(DEFAULT));
    }

    #[test]
    fn memory_asked_for_is_given_within_the_limit() {
        let asked = Some(Bytes::mib(32));
        assert_eq!(guest_memory(None, asked, DEFAULT), Ok(Bytes::mib(32)));
        assert_eq!(guest_memory(Some(Bytes::mib(64)), asked, DEFAULT), Ok(Bytes::mib(32)));
        let error = guest_memory(Some(Bytes::mib(32)), asked, DEFAULT).unwrap_err();
        assert!(matches!(error, MemoryError::BeyondLimit { .. }), "{error}");
        let error = guest_memory(None, Some(Bytes::mib(4 << 10)), DEFAULT).unwrap_err();
        assert!(matches!(error, MemoryError::TooMuch { .. }), "{error}");
    }
}
