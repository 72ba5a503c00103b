//! Solo5: recognised by its ABI note, described by its manifest note.
//!
//! Solo5 0.12 include/elf_abi.h and include/mft_abi.h. A guest is a static ELF64 file with an interpreter that does
//! not exist, so that Linux refuses to run it.

use std::fmt;

use serde::Serialize;

use crate::{
    bytes::{View, plain},
    detect::DetectError,
    elf::{Elf, Note},
};

const OWNER: &[u8] = b"Solo5";
/// `ABI1` and `MFT1` in little-endian ASCII.
const ABI_NOTE: u32 = 0x3149_4241;
const MANIFEST_NOTE: u32 = 0x3154_464d;

/// The manifest starts at a multiple of 8 bytes in the file, and is described by `version` and `entries`.
const MANIFEST_ALIGN: u64 = 8;
const MANIFEST_VERSION: u32 = 1;
/// `MFT_MAX_ENTRIES`.
const ENTRIES_MAX: u32 = 64;
const ENTRY_LEN: u64 = 104;
/// `MFT_NAME_SIZE`, with the NUL.
const NAME_LEN: u64 = 68;

/// What a Solo5 guest says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What the guest was built for.
    pub target: Target,
    /// Version of the target's interface.
    pub abi_version: u32,
    /// Devices that must be attached before the guest starts.
    pub devices: Vec<Device>,
}

/// What a Solo5 guest was built for (`enum abi_target`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Target {
    /// A virtual machine with Solo5's own hypercalls.
    Hvt,
    /// A Linux process with few system calls.
    Spt,
    /// A virtual machine with virtio devices.
    Virtio,
    /// The Muen separation kernel.
    Muen,
    /// The Genode framework.
    Genode,
    /// Xen.
    Xen,
}

/// A device a Solo5 guest declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Device {
    /// What the guest calls it.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: DeviceKind,
}

/// What a Solo5 device is (`enum mft_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeviceKind {
    /// `BLOCK_BASIC`.
    Block,
    /// `NET_BASIC`.
    Net,
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = match self.target {
            Target::Hvt => "hvt",
            Target::Spt => "spt",
            Target::Virtio => "virtio",
            Target::Muen => "muen",
            Target::Genode => "genode",
            Target::Xen => "xen",
        };
        write!(f, "Solo5 ({target})")
    }
}

/// The facts, if the file is a Solo5 guest.
pub(crate) fn recognise(elf: &Elf) -> Result<Option<Facts>, DetectError> {
    let find = |kind| elf.notes().find(|note| note.owner == OWNER && note.kind == kind);
    let Some(abi) = find(ABI_NOTE) else { return Ok(None) };
    let (target, abi_version) = abi_of(&abi).ok_or_else(|| malformed("its Solo5 ABI note"))?;
    let manifest = find(MANIFEST_NOTE).ok_or_else(|| malformed("it has no Solo5 manifest"))?;
    let devices = devices(&manifest).ok_or_else(|| malformed("its Solo5 manifest"))?;
    Ok(Some(Facts { target, abi_version, devices }))
}

fn abi_of(note: &Note) -> Option<(Target, u32)> {
    let view = View(note.description);
    let target = match view.u32(0)? {
        1 => Target::Hvt,
        2 => Target::Spt,
        3 => Target::Virtio,
        4 => Target::Muen,
        5 => Target::Genode,
        6 => Target::Xen,
        _ => return None,
    };
    Some((target, view.u32(4)?))
}

/// The declared devices. The first entry of a manifest is reserved and has no name.
fn devices(note: &Note) -> Option<Vec<Device>> {
    let pad = note.offset.next_multiple_of(MANIFEST_ALIGN) - note.offset;
    let view = View(note.description);
    let entries = view.u32(pad + 4)?;
    if view.u32(pad)? != MANIFEST_VERSION || entries == 0 || entries > ENTRIES_MAX {
        return None;
    }
    (1..u64::from(entries)).map(|index| device(view, pad + 8 + index * ENTRY_LEN)).collect()
}

fn device(view: View, at: u64) -> Option<Device> {
    let name = plain(view.text(at, NAME_LEN)?, 67)?;
    let kind = match view.u32(at + NAME_LEN)? {
        1 => DeviceKind::Block,
        2 => DeviceKind::Net,
        _ => return None,
    };
    Some(Device { name, kind })
}

fn malformed(what: &str) -> DetectError {
    DetectError::Malformed { what: what.to_owned() }
}
