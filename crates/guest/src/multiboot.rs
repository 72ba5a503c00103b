//! The Multiboot 1 header: "Multiboot Specification version 0.6.96", §3.1.

use crate::{bytes::View, detect::DetectError};

/// The header lies completely within the first 8192 bytes of the file, 32-bit aligned (§3.1).
const SEARCHED: u64 = 8192;
/// Magic, flags and checksum; what follows depends on the flags.
const HEADER_LEN: u64 = 12;
const MAGIC: u32 = 0x1bad_b002;

/// Flag 16: load addresses are given in the header and not by ELF program headers (§3.1.2).
const ADDRESS_FIELDS: u32 = 1 << 16;
/// Flags 0 (modules page-aligned) and 1 (memory information wanted): what our loader does for every kernel.
const MET: u32 = 0b11;
/// Flags 0 to 15 are demands that a loader must meet or else refuse the kernel (§3.1.1).
const DEMANDS: u32 = 0xffff;

/// Whether the file has a header that our loader can obey.
///
/// # Errors
///
/// The header demands what our loader does not do: another load address than ELF's, a video mode, flags without a
/// meaning yet.
pub(crate) fn has_header(file: View) -> Result<bool, DetectError> {
    let searched = file.len().min(SEARCHED);
    let places = (0..searched.saturating_sub(HEADER_LEN - 1)).step_by(4);
    let Some(flags) = places.into_iter().find_map(|at| flags(file, at)) else { return Ok(false) };
    if flags & ADDRESS_FIELDS != 0 {
        return Err(DetectError::MultibootAddresses);
    }
    let unmet = flags & DEMANDS & !MET;
    if unmet != 0 {
        return Err(DetectError::MultibootDemand { unmet });
    }
    Ok(true)
}

/// The flags of the header at `at`, if there is one: magic, flags and checksum add up to 0.
fn flags(file: View, at: u64) -> Option<u32> {
    if file.u32(at)? != MAGIC {
        return None;
    }
    let flags = file.u32(at + 4)?;
    let sum = MAGIC.wrapping_add(flags).wrapping_add(file.u32(at + 8)?);
    (sum == 0).then_some(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(flags: u32) -> [u8; 12] {
        let sum = 0u32.wrapping_sub(MAGIC).wrapping_sub(flags);
        let mut header = [0; 12];
        for (place, word) in header.chunks_exact_mut(4).zip([MAGIC, flags, sum]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        header
    }

    fn file_with(at: usize, header: [u8; 12]) -> Vec<u8> {
        let mut file = vec![0x90; at];
        file.extend(header);
        file
    }

    #[test]
    fn header_at_either_end_of_the_searched_part_is_found() {
        for at in [0, 52, 8192 - 12] {
            assert_eq!(has_header(View(&file_with(at, header(3)))), Ok(true), "at {at}");
        }
    }

    #[test]
    fn header_beyond_the_searched_part_or_unaligned_is_not_found() {
        for at in [8192 - 8, 8192, 54] {
            assert_eq!(has_header(View(&file_with(at, header(3)))), Ok(false), "at {at}");
        }
    }

    #[test]
    fn header_with_wrong_checksum_is_not_found() {
        let mut file = file_with(52, header(3));
        file[60] ^= 1;
        assert_eq!(has_header(View(&file)), Ok(false));
    }

    #[test]
    fn header_with_address_fields_or_a_video_mode_is_refused() {
        assert_eq!(has_header(View(&file_with(52, header(1 << 16)))), Err(DetectError::MultibootAddresses));
        let refused = Err(DetectError::MultibootDemand { unmet: 4 });
        assert_eq!(has_header(View(&file_with(52, header(7)))), refused);
    }

    #[test]
    fn file_shorter_than_a_header_has_none() {
        for len in 0..12 {
            assert_eq!(has_header(View(&header(3)[..len])), Ok(false), "{len} bytes");
        }
    }
}
