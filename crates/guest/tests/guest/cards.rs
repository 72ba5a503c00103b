//! What guests are told of the cards of their machine.

use runu_core::BootProtocol;
use runu_guest::{Guest, Invocation, card_parameters, check_disks, command_line, detect};

use crate::{
    elf_file::ElfFile,
    unikraft_file::{self, TEXT, unikraft as unikraft_kernel},
};

/// A kernel of the fc kind that lists this parameter.
fn listing(prefix: &'static str, name: &'static str) -> Guest {
    let mut file = unikraft_kernel("0.18.0", &["libuklibparam"]);
    unikraft_file::list_parameters(&mut file, &[(prefix, name, TEXT, 4)]);
    detect(&file.elf64()).expect("a guest")
}

/// The line for a guest that is told of that many cards.
fn line(guest: &Guest, cards: usize) -> String {
    let parameters = card_parameters(guest, cards);
    let invocation = Invocation { argv0: b"app".to_vec(), parameters, ..Invocation::default() };
    command_line(guest, &invocation).expect("the line can be written").to_string()
}

#[test]
fn kernel_that_cannot_search_is_told_of_every_card_before_the_two_dashes() {
    let guest = listing("virtio_mmio", "device");
    assert_eq!(
        line(&guest, 2),
        "app runu virtio_mmio.device=512@0xfeb00000:5 virtio_mmio.device=512@0xfeb00200:10 --"
    );
    assert_eq!(line(&guest, 0), "app runu --");
}

#[test]
fn kernel_without_the_parameter_is_told_of_none() {
    assert_eq!(line(&listing("env", "vars"), 2), "app runu --");
}

#[test]
fn kernel_that_searches_the_bus_is_told_of_none() {
    let mut own = ElfFile::kernel();
    own.section(".runu_guest", b"name=http\0");
    let told = detect(&own.elf64()).expect("a guest");
    let searching = Guest { boot: Some(BootProtocol::Multiboot), ..told.clone() };
    assert_eq!(card_parameters(&told, 1).len(), 1);
    assert_eq!(card_parameters(&searching, 1), []);
}

#[test]
fn kernel_without_a_driver_for_disks_is_told_from_one_that_has_it_or_does_not_say() {
    let kernel = |libraries: &[&str]| detect(&unikraft_kernel("0.16.3", libraries).elf64()).expect("a guest");
    let lack = |libraries: &[&str]| check_disks(&kernel(libraries)).err().map(|lack| lack.library);
    assert_eq!(lack(&["libuklibparam"]), Some("libvirtio_blk"));
    assert_eq!(lack(&["libvirtio_blk", "libvirtio_pci"]), Some("libvirtio_mmio"));
    assert_eq!(lack(&["libvirtio_blk", "libvirtio_mmio"]), None);
    let mut own = ElfFile::kernel();
    own.section(".runu_guest", b"name=disk\0");
    assert_eq!(check_disks(&detect(&own.elf64()).expect("a guest")), Ok(()));
}
