//! runu's own guests: recognised by their section `.runu_guest`, which also names them.
//!
//! The section holds ASCII `key=value` texts, each closed by a NUL: `name` (required), `version` and `uses`, names of what it
//! uses with commas between; other keys are for other readers. These guests are entered and told their arguments and environment exactly as Unikraft kernels
//! with libparam are.

use std::fmt;

use serde::Serialize;

use crate::{bytes::plain, detect::DetectError, elf::Elf};

const SECTION: &str = ".runu_guest";
/// Longest name or version.
const TEXT_MAX: usize = 64;

/// What one of our own guests says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What it is called.
    pub name: String,
    /// Its version, if it has one.
    pub version: Option<String>,
    /// What it uses: `network`, `shares`.
    pub uses: Vec<String>,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "runu's own guest `{}`", self.name)
    }
}

/// The facts, if the file is one of our guests.
pub(crate) fn recognise(elf: &Elf) -> Result<Option<Facts>, DetectError> {
    let Some(section) = elf.section(SECTION) else { return Ok(None) };
    let contents = elf.contents(section)?;
    let malformed = || DetectError::Malformed { what: format!("section `{SECTION}` names no guest") };
    let value = |key: &[u8]| {
        let texts = contents.split(|byte| *byte == 0);
        let text = texts.filter_map(|text| text.strip_prefix(key)?.strip_prefix(b"=")).next();
        text.map(|text| plain(text, TEXT_MAX).ok_or_else(malformed)).transpose()
    };
    let name = value(b"name")?.ok_or_else(malformed)?;
    let uses = value(b"uses")?.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default();
    Ok(Some(Facts { name, version: value(b"version")?, uses }))
}
