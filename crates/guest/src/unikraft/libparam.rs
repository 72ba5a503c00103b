//! Which parameters the kernel understands, from the sections that libuklibparam fills
//! (lib/uklibparam/include/uk/libparam.h).
//!
//! Since 0.18 one section, `.uk_libparam_params`, is an array of `struct uk_libparam_param`. From 0.13 to 0.17 each
//! library has a section `.uk_libparam_params_LIBRARY` of pointers to such structures, which do not hold the prefix
//! that the library goes by; it follows from the library's name. All pointers are virtual addresses of 64 bits, also
//! in a 32-bit wrapping, and hold the link-time value also in kernels linked to run at any address.

use std::fmt;

use runu_core::VirtAddr;
use serde::Serialize;

use crate::{
    bytes::{View, plain},
    detect::DetectError,
    elf::{Elf, Section},
};

/// The section since 0.18, and what sections of all releases since 0.13 start with.
pub(super) const MARK: &str = ".uk_libparam_params";

/// Libraries up to 0.17 that go by another prefix than their name (`addlib_paramprefix` in their Makefile.uk).
const PREFIXES: &[(&str, &str)] = &[
    ("libposix_environ", "env"),
    ("libuknetdev", "netdev"),
    ("libvfscore", "vfs"),
    ("libvirtio_mmio", "virtio_mmio"),
];

/// Offsets in `struct uk_libparam_param` on 64-bit machines from its `name` on; the prefix came before it in 0.18.
const NAME: u64 = 0;
const DESCRIPTION: u64 = 8;
const KIND: u64 = 16;
const COUNT: u64 = 24;
/// Length of the prefix's pointer, and of the whole structure since 0.18.
const POINTER_LEN: u64 = 8;
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
    #[serde(rename = "type", serialize_with = "as_text")]
    pub kind: ParameterKind,
    /// How many values it holds. Of more values for a parameter that holds one the last counts; for one that holds
    /// several the kernel ignores the rest.
    pub capacity: u64,
    /// What the kernel says about it.
    pub description: Option<String>,
}

/// What the values of a parameter are (`enum uk_libparam_param_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// In one word: `bool`, `s32`, `u16`, `address`, `text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParameterKind::Bool => f.write_str("bool"),
            ParameterKind::Signed(bits) => write!(f, "s{bits}"),
            ParameterKind::Unsigned(bits) => write!(f, "u{bits}"),
            ParameterKind::Address => f.write_str("address"),
            ParameterKind::Text => f.write_str("text"),
        }
    }
}

/// Serializes a kind as it is printed.
fn as_text<S: serde::Serializer>(kind: &ParameterKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(kind)
}

/// Reads all sections of parameters; `None` when their contents cannot be understood.
pub(super) fn read(elf: &Elf) -> Result<Option<Vec<Parameter>>, DetectError> {
    let mut parameters = Vec::new();
    for section in elf.sections.iter().filter(|section| section.name.starts_with(MARK.as_bytes())) {
        let contents = View(elf.contents(*section)?);
        let record_len = if library(section).is_some() { POINTER_LEN } else { RECORD_LEN };
        let count = contents.len() / record_len;
        if count + parameters.len() as u64 > PARAMETERS_MAX {
            return Err(DetectError::TooMany { what: "parameters", count, most: PARAMETERS_MAX });
        }
        for at in (0..count).map(|index| index * record_len) {
            let parameter = match library(section) {
                Some(library) => old_parameter(elf, library, contents, at),
                None => parameter(elf, contents, at),
            };
            let Some(parameter) = parameter else { return Ok(None) };
            parameters.push(parameter);
        }
    }
    Ok(Some(parameters))
}

/// The library a section belongs to, up to 0.17.
fn library<'a>(section: &Section<'a>) -> Option<&'a [u8]> {
    section.name.strip_prefix(MARK.as_bytes())?.strip_prefix(b"_")
}

/// The parameter whose structure is at `at` of the section.
fn parameter(elf: &Elf, contents: View, at: u64) -> Option<Parameter> {
    let prefix = text(elf, VirtAddr(contents.u64(at)?))?;
    described(elf, &prefix, contents, at + POINTER_LEN)
}

/// The parameter of a library to whose structure the pointer at `at` of the section points.
fn old_parameter(elf: &Elf, library: &[u8], contents: View, at: u64) -> Option<Parameter> {
    let library = std::str::from_utf8(library).ok()?;
    let known = PREFIXES.iter().find(|(name, _)| *name == library);
    let prefix = known.map_or(library, |(_, prefix)| prefix);
    let offset = elf.offset_of(VirtAddr(contents.u64(at)?))?;
    described(elf, prefix, elf.file, offset)
}

/// The parameter whose structure has its `name` at `at` of `view`.
fn described(elf: &Elf, prefix: &str, view: View, at: u64) -> Option<Parameter> {
    let pointer = |field| view.u64(at.checked_add(field)?).map(VirtAddr);
    let name = text(elf, pointer(NAME)?)?;
    Some(Parameter {
        name: format!("{prefix}.{name}"),
        kind: kind(view.u32(at.checked_add(KIND)?)?)?,
        capacity: view.u64(at.checked_add(COUNT)?)?,
        description: text(elf, pointer(DESCRIPTION)?),
    })
}

/// The text at a virtual address.
fn text(elf: &Elf, addr: VirtAddr) -> Option<String> {
    plain(elf.file.text(elf.offset_of(addr)?, TEXT_MAX)?, usize::MAX)
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
