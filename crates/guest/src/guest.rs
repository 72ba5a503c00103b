//! What is known about a guest from its kernel file alone.

use std::fmt;

use runu_core::{BootProtocol, GuestAddr, Segment};
use serde::Serialize;

use crate::{Class, runu, solo5, unikraft};

/// Facts about a kernel file. The segments lie inside the file, do not overlap and end below 4 GiB; where there is a
/// boot protocol, the entry point lies inside one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// Whose kernel it is and what it understands.
    #[serde(flatten)]
    pub kind: Kind,
    /// Width of the ELF headers.
    pub class: Class,
    /// What processor it is for.
    pub arch: Arch,
    /// How it is entered; `None` where none of runu's own machines can enter it.
    pub boot: Option<BootProtocol>,
    /// Guest-physical address of the first instruction.
    pub entry: GuestAddr,
    /// What is loaded where, in file order.
    pub segments: Vec<Segment>,
    /// Whether the kernel is linked to run at any address. It is loaded where its segments say all the same.
    pub pie: bool,
}

impl Guest {
    /// End of the highest segment: one past the kernel's last byte in memory.
    #[must_use]
    pub fn image_end(&self) -> GuestAddr {
        let ends = self.segments.iter().map(|segment| segment.addr.0.saturating_add(segment.mem_len));
        GuestAddr(ends.max().unwrap_or_default())
    }
}

/// A processor architecture runu runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Arch {
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arch::X86_64 => f.write_str("x86_64"),
        }
    }
}

/// Whose kernel a guest is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// Unikraft, any platform.
    Unikraft(unikraft::Facts),
    /// One of runu's own guests.
    Runu(runu::Facts),
    /// A Solo5 guest, such as a `MirageOS` unikernel.
    Solo5(solo5::Facts),
    /// A Hermit application; Hermit's loader boots it.
    Hermit,
    /// A Linux kernel (`vmlinux`).
    Linux,
    /// An `OSv` loader.
    Osv,
    /// A kernel of unknown make: it has a multiboot header or a PVH note.
    Unknown,
}

impl fmt::Display for Kind {
    /// The kind in a few words: `Unikraft 0.16.3 (qemu)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Unikraft(facts) => facts.fmt(f),
            Kind::Runu(facts) => facts.fmt(f),
            Kind::Solo5(facts) => facts.fmt(f),
            Kind::Hermit => f.write_str("Hermit"),
            Kind::Linux => f.write_str("Linux"),
            Kind::Osv => f.write_str("OSv"),
            Kind::Unknown => f.write_str("a kernel of unknown make"),
        }
    }
}
