//! A kernel as the program of a container, which nothing marks: the file itself tells.
//!
//! Every ordinary container passes through here, so little is read of its program, however large it is.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use oci_spec::runtime::Spec;
use runu_guest::{DetectError, Guest};

use crate::{
    rootfs::{self, RootFs},
    words::{variable, words},
};

/// The program of a container and what it is, if it is a kernel.
pub(super) fn find(root: &RootFs, spec: &Spec) -> Option<(File, Guest)> {
    let program = words(spec).into_iter().next()?;
    let mut file = places(spec, &program).into_iter().find_map(|path| root.file(&path).ok())?;
    if !may_be_kernel(&file) {
        return None;
    }
    let bytes = rootfs::contents(&mut file).ok()?;
    let guest = runu_guest::detect(&bytes).ok()?;
    Some((file, guest))
}

/// Where a program may be, as execvp(3) looks for it.
fn places(spec: &Spec, program: &str) -> Vec<PathBuf> {
    if program.contains('/') {
        let cwd = spec.process().as_ref().map_or(Path::new("/"), |process| process.cwd().as_path());
        return vec![cwd.join(program)];
    }
    let path = variable(spec, "PATH").unwrap_or_default();
    let folders = path.split(':').filter(|folder| folder.starts_with('/'));
    folders.map(|folder| Path::new(folder).join(program)).collect()
}

/// Whether a file is worth reading as a whole.
fn may_be_kernel(file: &File) -> bool {
    let Some(outline) = outline(file) else { return false };
    !matches!(
        runu_guest::detect(&outline),
        Err(DetectError::NotAKernel(_) | DetectError::ForeignArchitecture { .. } | DetectError::Empty)
    )
}

/// Where the multiboot header ends at the latest (Multiboot specification 0.6.96, §3.1), and program headers do as well.
const HEAD: usize = 8192;
/// Most that is read of a table.
const TABLE_MAX: u64 = 1 << 20;
/// Largest file looked at: real kernels are below 100 MiB.
const LARGEST: u64 = 1 << 30;
/// `e_ident[EI_CLASS]` of 64-bit files; kernels of the other class are small, and are read whole.
const ELFCLASS64: u8 = 2;
/// `p_type` of notes.
const PT_NOTE: u64 = 4;

/// A file with zeros for all but what tells what it is: head, section headers and their names, notes (gABI, chapters 4
/// and 5). `None` for what is no ELF file.
fn outline(file: &File) -> Option<Vec<u8>> {
    let len = file.metadata().ok().map(|metadata| metadata.len()).filter(|len| *len <= LARGEST)?;
    let mut head = vec![0; HEAD.min(usize::try_from(len).ok()?)];
    file.read_exact_at(&mut head, 0).ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    // Zeroed memory that nobody touches takes none.
    let mut outline = vec![0; usize::try_from(len).ok()?];
    let mut copy = |offset: u64, len: u64| {
        let end = offset.checked_add(len.min(TABLE_MAX))?;
        let place = outline.get_mut(usize::try_from(offset).ok()?..usize::try_from(end).ok()?)?;
        file.read_exact_at(place, offset).ok()
    };
    if head.get(4) != Some(&ELFCLASS64) {
        copy(0, len)?;
        return Some(outline);
    }
    copy(0, HEAD as u64);
    let header = View(&head);
    let (programs, program_len, program_count) =
        (header.number(0x20, 8)?, header.number(0x36, 2)?, header.number(0x38, 2)?);
    for index in 0..program_count {
        let at = programs.checked_add(index * program_len)?;
        if header.number(at, 4) == Some(PT_NOTE) {
            copy(header.number(at.checked_add(8)?, 8)?, header.number(at.checked_add(0x20)?, 8)?);
        }
    }
    let (sections, section_len, section_count, names) =
        (header.number(0x28, 8)?, header.number(0x3a, 2)?, header.number(0x3c, 2)?, header.number(0x3e, 2)?);
    copy(sections, section_len * section_count);
    let mut names_header = [0; 0x28];
    let read = file.read_exact_at(&mut names_header, sections.checked_add(names * section_len)?);
    if read.is_ok() {
        let names_header = View(&names_header);
        copy(names_header.number(0x18, 8)?, names_header.number(0x20, 8)?);
    }
    Some(outline)
}

/// Bytes with little-endian numbers in them.
struct View<'a>(&'a [u8]);

impl View<'_> {
    /// The number of `len` bytes at `at`, if it is there.
    fn number(&self, at: u64, len: usize) -> Option<u64> {
        let start = usize::try_from(at).ok()?;
        let bytes = self.0.get(start..start.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// An ELF64 file of `len` bytes with a section header table at its end that names one section.
    fn elf64(section: &[u8], len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        let table = len - 256;
        let names = len - 64;
        put(0, b"\x7fELF\x02\x01\x01");
        put(0x10, &[2, 0, 62, 0, 1]);
        put(0x28, &(table as u64).to_le_bytes());
        put(0x34, &[64, 0, 56, 0, 0, 0, 64, 0, 2, 0, 1, 0]);
        put(table, &1_u32.to_le_bytes());
        put(table + 64 + 0x18, &(names as u64).to_le_bytes());
        put(table + 64 + 0x20, &64_u64.to_le_bytes());
        put(names + 1, section);
        bytes
    }

    #[test]
    fn large_program_is_told_from_a_kernel_by_its_outline() {
        assert!(may_be_kernel(&file(&elf64(b".uk_inittab", 1 << 20))));
        assert!(!may_be_kernel(&file(&elf64(b".gopclntab", 1 << 20))));
    }

    #[test]
    fn script_and_empty_file_are_no_kernels() {
        assert!(!may_be_kernel(&file(b"#!/bin/sh\n")));
        assert!(!may_be_kernel(&file(b"")));
    }

    #[test]
    fn program_whose_tables_lie_outside_is_looked_at_without_panic() {
        let sane = elf64(b".text", 4096);
        for at in 0..64 {
            let mut bytes = sane.clone();
            bytes[at] = 0xff;
            // Whatever it is taken for, reading it as a whole decides.
            let _ = may_be_kernel(&file(&bytes));
        }
    }
}
