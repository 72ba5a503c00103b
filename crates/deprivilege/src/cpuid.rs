//! What the virtual CPU tells about itself.

/// Width of guest-physical addresses in bits, as CPUID 0x80000008 tells it: 1 TiB, the default of QEMU's CPUs.
pub const PHYSICAL_ADDRESS_BITS: u8 = 40;
