//! How a guest is told where the cards of its machine are, such as its network card and its disks.

use runu_core::{Blame, Blamed, BootProtocol, Place};

use crate::{Guest, Kind, Variable};

/// The parameter that names a device in memory, `SIZE@BASE:LINE`, as Linux has it (drivers/virtio/virtio_mmio.c). All
/// kernels of Unikraft for Firecracker know it that have a driver for such devices (plat/kvm/Config.uk,
/// `VIRTIO_MMIO_LINUX_COMPAT_CMDLINE`).
const DEVICE: &str = "virtio_mmio.device";

/// Parameters that tell `guest` where the first `cards` cards of its machine are; none if it searches for them itself, or
/// cannot be told.
#[must_use]
pub fn card_parameters(guest: &Guest, cards: usize) -> Vec<Variable> {
    let Some(boot) = guest.boot.filter(|_| takes_devices(&guest.kind)) else { return Vec::new() };
    (0..cards)
        .filter_map(|number| match Place::of(boot, number)? {
            Place::Pci { .. } => None,
            Place::Mmio { base, len, line } => Some(Variable::new(DEVICE, format!("{len}@{base}:{line}"))),
        })
        .collect()
}

/// Whether the kernel has a driver for disks, as far as it tells.
///
/// # Errors
/// It has none, or none for disks where a machine of its kind has them.
pub fn check_disks(guest: &Guest) -> Result<(), NoDriver> {
    let Kind::Unikraft(facts) = &guest.kind else { return Ok(()) };
    let transport = match guest.boot {
        Some(BootProtocol::Multiboot) => "libvirtio_pci",
        Some(BootProtocol::Linux64) | None => "libvirtio_mmio",
    };
    let lacks = |library: &&str| facts.has_library(library) == Some(false);
    match ["libvirtio_blk", transport].into_iter().find(lacks) {
        Some(library) => Err(NoDriver { library }),
        None => Ok(()),
    }
}

/// A kernel has no driver for disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel has no driver for disks: it lacks {library}")]
pub struct NoDriver {
    /// What would be in the kernel if it had.
    pub library: &'static str,
}

impl Blamed for NoDriver {
    fn blame(&self) -> Blame {
        Blame::Image
    }

    fn hint(&self) -> Option<String> {
        Some("build the kernel with virtio block devices (LIBVIRTIO_BLK), or give no --disk".to_owned())
    }
}

fn takes_devices(kind: &Kind) -> bool {
    match kind {
        Kind::Unikraft(facts) => {
            facts.parameter(DEVICE).map_or(facts.takes_parameters, |found| found.is_some())
        }
        Kind::Runu(_) => true,
        _ => false,
    }
}
