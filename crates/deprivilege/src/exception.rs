//! Exceptions and interrupts, delivered through the guest's interrupt table as the CPU does it.

use runu_core::VirtAddr;

/// Exception vectors (Intel SDM vol. 3, table 7-1).
pub(crate) mod vector {
    pub(crate) const INVALID_OPCODE: u8 = 6;
    pub(crate) const GENERAL_PROTECTION: u8 = 13;
    pub(crate) const PAGE_FAULT: u8 = 14;
}

/// An exception that an instruction raised and the guest is to handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Its vector, 0 to 31.
    pub vector: u8,
    /// The error code, for vectors that have one.
    pub error_code: Option<u32>,
    /// The address that faulted, for page faults.
    pub cr2: Option<VirtAddr>,
}

impl Exception {
    /// #UD.
    #[must_use]
    pub fn invalid_opcode() -> Self {
        Self { vector: vector::INVALID_OPCODE, error_code: None, cr2: None }
    }

    /// #GP with an error code: 0 or a selector.
    #[must_use]
    pub fn general_protection(error_code: u32) -> Self {
        Self { vector: vector::GENERAL_PROTECTION, error_code: Some(error_code), cr2: None }
    }

    /// #PF at an address.
    #[must_use]
    pub fn page_fault(at: VirtAddr, error_code: u32) -> Self {
        Self { vector: vector::PAGE_FAULT, error_code: Some(error_code), cr2: Some(at) }
    }
}
