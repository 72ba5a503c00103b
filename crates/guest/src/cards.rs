//! How a guest is told where the cards of its machine are, such as its network card and its disks.

use runu_core::Place;

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

fn takes_devices(kind: &Kind) -> bool {
    match kind {
        Kind::Unikraft(facts) => {
            facts.parameter(DEVICE).map_or(facts.takes_parameters, |found| found.is_some())
        }
        Kind::Runu(_) => true,
        _ => false,
    }
}
