//! The kinds of file that each own guest comes in.

use runu_guests::Guest;

/// A kind of kernel file, and so a boot protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestKind {
    /// ELF32 with a 32-bit multiboot entry.
    Multiboot,
    /// ELF64 entered by the Linux 64-bit boot protocol.
    Linux64,
}

/// Both of them.
pub(crate) const BOTH_KINDS: [GuestKind; 2] = [GuestKind::Multiboot, GuestKind::Linux64];

impl GuestKind {
    /// Its name, as in the names of the guests' files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            GuestKind::Multiboot => "multiboot",
            GuestKind::Linux64 => "linux64",
        }
    }

    /// The own guest `name` as a file of this kind.
    pub(crate) fn image(self, name: &str) -> &'static [u8] {
        let guest = Guest::named(name).unwrap_or_else(|| panic!("there is no own guest `{name}`"));
        match self {
            GuestKind::Multiboot => guest.multiboot,
            GuestKind::Linux64 => guest.linux64,
        }
    }
}
