//! `.uk_libinfo`: which Unikraft this is and which libraries are inside (lib/uklibid/include/uk/libid/info.h).
//!
//! The section is a sequence of entries, one per library and one for the kernel as a whole, which is the one without a
//! library name. An entry is `u32` length with this header, `u16` layout version, then records: `u16` type, `u32`
//! length with this header, data. Nothing is aligned.

use crate::{
    bytes::{View, plain},
    detect::DetectError,
    elf::Elf,
};

const SECTION: &str = ".uk_libinfo";
/// `UKLI_LAYOUT`: the only layout there is. Entries of another one are skipped by their length, as the header says.
const LAYOUT: u16 = 1;
/// Length of the header of an entry, and of a record.
const HEADER_LEN: u64 = 6;

/// `UKLI_REC_LIBNAME`, `UKLI_REC_UKVERSION`, `UKLI_REC_UKFULLVERSION`.
const LIBRARY_NAME: u16 = 1;
const VERSION: u16 = 6;
const FULL_VERSION: u16 = 7;

/// Most libraries read. The largest kernels have about 150.
const LIBRARIES_MAX: u64 = 1024;
/// Longest name or version.
const TEXT_MAX: usize = 96;

/// What the section says; nothing when it is missing.
#[derive(Default)]
pub(super) struct Info {
    pub(super) version: Option<String>,
    pub(super) full_version: Option<String>,
    pub(super) libraries: Option<Vec<String>>,
}

/// Reads the section.
pub(super) fn read(elf: &Elf) -> Result<Info, DetectError> {
    let Some(section) = elf.section(SECTION) else { return Ok(Info::default()) };
    let view = View(elf.contents(section)?);
    let mut info = Info::default();
    let mut libraries = Vec::new();
    let mut at = 0;
    // The linker may pad the section's end with zeros; an entry is never that short.
    while at + HEADER_LEN <= view.len() && view.u32(at) != Some(0) {
        let (entry, layout) = header(view, at).ok_or_else(malformed)?;
        if layout == LAYOUT {
            let library = read_entry(View(entry), &mut info)?;
            libraries.extend(library);
        }
        if libraries.len() as u64 > LIBRARIES_MAX {
            let count = libraries.len() as u64;
            return Err(DetectError::TooMany { what: "libraries", count, most: LIBRARIES_MAX });
        }
        at += entry.len() as u64;
    }
    libraries.sort();
    libraries.dedup();
    // A section in a layout of the future names no library; that must not read as a kernel without libraries.
    info.libraries = (!libraries.is_empty()).then_some(libraries);
    Ok(info)
}

/// The entry at `at`, header included, and its layout version. Never shorter than its header, so that reading ends.
fn header(view: View<'_>, at: u64) -> Option<(&[u8], u16)> {
    let len = u64::from(view.u32(at)?);
    let layout = view.u16(at + 4)?;
    let entry = view.piece(at, len)?;
    (len >= HEADER_LEN).then_some((entry, layout))
}

/// Reads the records of one entry; the library's name, if it is a library's. Versions count only where there is none.
fn read_entry(entry: View, info: &mut Info) -> Result<Option<String>, DetectError> {
    let mut library = None;
    let mut version = None;
    let mut full_version = None;
    let mut at = HEADER_LEN;
    while at < entry.len() {
        let (kind, data) = record(entry, at).ok_or_else(malformed)?;
        let value = match kind {
            LIBRARY_NAME => &mut library,
            VERSION => &mut version,
            FULL_VERSION => &mut full_version,
            _ => {
                at += HEADER_LEN + data.len() as u64;
                continue;
            }
        };
        *value = Some(plain(data.strip_suffix(b"\0").unwrap_or(data), TEXT_MAX).ok_or_else(malformed)?);
        at += HEADER_LEN + data.len() as u64;
    }
    if library.is_none() {
        info.version = info.version.take().or(version);
        info.full_version = info.full_version.take().or(full_version);
    }
    Ok(library)
}

/// The record at `at`: type and data.
fn record(entry: View<'_>, at: u64) -> Option<(u16, &[u8])> {
    let kind = entry.u16(at)?;
    let data_len = u64::from(entry.u32(at + 2)?).checked_sub(HEADER_LEN)?;
    Some((kind, entry.piece(at + HEADER_LEN, data_len)?))
}

fn malformed() -> DetectError {
    DetectError::Malformed { what: format!("section `{SECTION}` is inconsistent") }
}
