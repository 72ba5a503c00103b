//! Archives for kernels that unpack an initrd: cpio's "new ASCII" form (Linux Documentation/driver-api/early-userspace/
//! buffer-format.rst), the same bytes whenever the contents are the same.

use std::io::{self, Read};

/// What every entry begins with.
const MAGIC: &[u8] = b"070701";
/// Numbers behind it, eight hexadecimal digits each.
const FIELDS: usize = 13;
const HEADER: usize = MAGIC.len() + 8 * FIELDS;
/// Name of the entry after which nothing comes.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Types in an entry's mode (inode(7)).
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// One that begins with the entries of another, or `None` if that is none.
    pub(crate) fn continuing(other: &[u8]) -> Option<Self> {
        let (mut at, mut entries) = (0_usize, 0_u32);
        loop {
            let header = other.get(at..at.checked_add(HEADER)?)?;
            header.starts_with(MAGIC).then_some(())?;
            let (size, name_len) = (field(header, 6)?, field(header, 11)?);
            let name_end = at.checked_add(HEADER)?.checked_add(name_len)?;
            if other.get(at + HEADER..name_end)?.strip_suffix(b"\0")? == TRAILER {
                let bytes = other.get(..at)?.to_vec();
                return Some(Archive { bytes, entries });
            }
            at = name_end.checked_next_multiple_of(4)?.checked_add(size)?.checked_next_multiple_of(4)?;
            entries = entries.checked_add(1)?;
        }
    }

    /// Adds a directory. All above it must be there already.
    pub(crate) fn directory(&mut self, path: &[u8], permissions: u32) {
        self.entry(path, DIRECTORY | permissions & 0o7777, 0);
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &[u8], target: &[u8]) {
        self.entry(path, LINK | 0o777, u32::try_from(target.len()).unwrap_or(0));
        self.bytes.extend(target);
        self.pad();
    }

    /// Adds a regular file of `size` bytes.
    ///
    /// # Errors
    /// It cannot be read, or has fewer bytes.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        permissions: u32,
        size: u32,
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        self.entry(path, REGULAR | permissions & 0o7777, size);
        let read = contents.take(u64::from(size)).read_to_end(&mut self.bytes)?;
        if read as u64 != u64::from(size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.pad();
        Ok(())
    }

    /// How long it is so far, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, 0);
        self.bytes
    }

    /// The head of an entry. Times are zero and owners root, so that nothing tells when and by whom it was made; no two entries
    /// share a number, so that each has its own contents.
    fn entry(&mut self, path: &[u8], mode: u32, size: u32) {
        self.entries = self.entries.saturating_add(1);
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let name_len = u32::try_from(path.len() + 1).unwrap_or(0);
        // Number, mode, user, group, links, time, size, four of devices, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_len, 0];
        self.bytes.extend(MAGIC);
        fields.iter().for_each(|field| self.bytes.extend(format!("{field:08x}").bytes()));
        self.bytes.extend(path);
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Number `index` of a header.
fn field(header: &[u8], index: usize) -> Option<usize> {
    let start = MAGIC.len() + 8 * index;
    let digits = std::str::from_utf8(header.get(start..start + 8)?).ok()?;
    usize::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Archive {
        let mut archive = Archive::default();
        archive.directory(b"etc", 0o755);
        archive.file(b"etc/name", 0o644, 5, &mut &b"value"[..]).unwrap();
        archive.link(b"link", b"etc/name");
        archive
    }

    #[test]
    fn archive_is_aligned_and_ends_with_its_trailer() {
        let bytes = example().finish();
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.starts_with(b"07070100000001000041ed0000000000000000000000020000000000000000"));
        assert!(bytes.windows(10).any(|window| window == TRAILER));
        assert_eq!(bytes, example().finish());
    }

    #[test]
    fn archive_continued_keeps_its_entries_and_has_one_trailer() {
        let first = example();
        let len = first.len();
        let mut archive = Archive::continuing(&first.finish()).unwrap();
        assert_eq!((archive.len(), archive.entries), (len, 3));
        archive.directory(b"more", 0o700);
        let bytes = archive.finish();
        assert_eq!(bytes.windows(10).filter(|window| *window == TRAILER).count(), 1);
    }

    #[test]
    fn what_is_no_archive_is_not_continued() {
        let cut = example().bytes;
        for bytes in [&b""[..], b"\x1f\x8b\x08", &cut, &[b'0'; 200], &cut[..60]] {
            assert!(Archive::continuing(bytes).is_none());
        }
    }

    #[test]
    fn file_shorter_than_it_said_is_an_error() {
        assert!(Archive::default().file(b"f", 0o644, 6, &mut &b"value"[..]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn archive_of_any_bytes_is_refused_or_continued_without_a_panic(
            bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400),
            at in 0_usize..300,
        ) {
            let mut damaged = example().finish();
            damaged.splice(at..at + 1, bytes.iter().copied());
            let _ = Archive::continuing(&damaged);
            let _ = Archive::continuing(&bytes);
        }
    }
}
