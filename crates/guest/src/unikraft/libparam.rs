//! `.uk_libparam_params`: which parameters the kernel understands (lib/uklibparam/include/uk/libparam.h, since 0.18).
//!
//! The section is an array of `struct uk_libparam_param`, whose texts are referred to by virtual address, always 64
//! bits wide. In a kernel linked to run at any address the addresses are filled in at boot, so they may read as 0; the
//! parameters are then unknown, not none.

use std::fmt;

use serde::Serialize;

use crate::{
    bytes::{View, plain},
    detect::DetectError,
    elf::Elf,
};

const SECTION: &str = ".uk_libparam_params";

/// Offsets in `struct uk_libparam_param` on 64-bit machines, and its length.
const PREFIX: u64 = 0;
const NAME: u64 = 8;
const DESCRIPTION: u64 = 16;
const KIND: u64 = 24;
const COUNT: u64 = 32;
const RECORD_LEN: u64 = 56;

/// Most parameters read. The largest kernels have about 40.
const PARAMETERS_MAX: u64 = 1024;
/// Longest prefix, name or description.
const TEXT_MAX: u64 = 160;

/// A parameter a Unikraft kernel understands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// How it is written before the `=`: `vfs.fstab`.
    pub name: String,
    /// What its values are.
    #[serde(rename = "type")]
    pub kind: ParameterKind,
    /// How many values it holds. Further ones are ignored by the kernel if it is more than 1, else the last one counts.
    pub capacity: u64,
    /// What the kernel says about it.
    pub description: Option<String>,
}

/// What the values of a parameter are (`enum uk_libparam_param_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ParameterKind {
    /// `on`, `yes`, `true`, `off`, `no`, `false` or a number.
    Bool,
    /// A signed number of that many bits.
    Signed(u8),
    /// An unsigned number of that many bits.
    Unsigned(u8),
    /// An address.
    Address,
    /// A text.
    Text,
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParameterKind::Bool => f.write_str("bool"),
            ParameterKind::Signed(bits) => write!(f, "signed {bits}-bit number"),
            ParameterKind::Unsigned(bits) => write!(f, "unsigned {bits}-bit number"),
            ParameterKind::Address => f.write_str("address"),
            ParameterKind::Text => f.write_str("text"),
        }
    }
}

/// Reads the section; `None` when there is none or its texts cannot be found.
pub(super) fn read(elf: &Elf) -> Result<Option<Vec<Parameter>>, DetectError> {
    let Some(section) = elf.section(SECTION) else { return Ok(None) };
    let view = View(elf.contents(section)?);
    let count = view.len() / RECORD_LEN;
    if count > PARAMETERS_MAX {
        return Err(DetectError::TooMany { what: "parameters", count, most: PARAMETERS_MAX });
    }
    Ok((0..count).map(|index| parameter(elf, view, index * RECORD_LEN)).collect())
}

/// The parameter whose record is at `at` of the section.
fn parameter(elf: &Elf, section: View, at: u64) -> Option<Parameter> {
    let text = |field| {
        let offset = elf.offset_of(section.u64(at + field)?)?;
        plain(elf.file.text(offset, TEXT_MAX)?, usize::MAX)
    };
    Some(Parameter {
        name: format!("{}.{}", text(PREFIX)?, text(NAME)?),
        kind: kind(section.u32(at + KIND)?)?,
        capacity: section.u64(at + COUNT)?,
        description: text(DESCRIPTION),
    })
}

fn kind(number: u32) -> Option<ParameterKind> {
    Some(match number {
        1 => ParameterKind::Bool,
        2 => ParameterKind::Signed(8),
        3 => ParameterKind::Unsigned(8),
        4 => ParameterKind::Signed(16),
        5 => ParameterKind::Unsigned(16),
        6 => ParameterKind::Signed(32),
        7 => ParameterKind::Unsigned(32),
        8 => ParameterKind::Signed(64),
        9 => ParameterKind::Unsigned(64),
        10 => ParameterKind::Address,
        11 => ParameterKind::Text,
        _ => return None,
    })
}
