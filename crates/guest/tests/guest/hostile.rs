//! Damaged and made-up files: never a panic, and what is accepted keeps its promises.

use proptest::{prelude::*, sample::Index};
use runu_core::Bytes;
use runu_guest::{Invocation, Variable, command_line, detect, plan, symbol};

use crate::{elf_file::ElfFile, samples::samples};

/// Asks everything there is to ask about a file, and checks what an accepted one promises.
fn examine(file: &[u8]) -> Result<(), TestCaseError> {
    let _ = symbol(file, 0x10_0010);
    let Ok(guest) = detect(file) else { return Ok(()) };
    let mut ends = Vec::new();
    for segment in &guest.segments {
        prop_assert!(segment.file_len <= segment.mem_len);
        prop_assert!(segment.file_offset + segment.file_len <= file.len() as u64);
        prop_assert!(segment.mem_len > 0 && segment.addr.0 + segment.mem_len <= 1 << 32);
        ends.push((segment.addr.0, segment.addr.0 + segment.mem_len));
    }
    ends.sort_unstable();
    prop_assert!(ends.windows(2).all(|pair| pair[0].1 <= pair[1].0), "segments overlap: {ends:x?}");
    let inside = ends.iter().any(|(start, end)| (start..end).contains(&&guest.entry.0));
    prop_assert!(guest.boot.is_none() || inside, "entry {} is outside", guest.entry);
    prop_assert!(serde_json::to_string(&guest).is_ok());
    prop_assert!(guest.kind.to_string().chars().all(|c| !c.is_control()));
    let invocation = Invocation {
        argv0: b"app".to_vec(),
        env: vec![Variable::new("A", "b")],
        initrd: true,
        ..Invocation::default()
    };
    if let Ok(line) = command_line(&guest, &invocation) {
        let _ = plan(&guest, line, Bytes::mib(64), Some(Bytes::mib(1)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn file_with_some_bytes_changed_is_refused_or_keeps_its_promises(
        sample in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..12),
    ) {
        let mut file = sample.get(&samples()).clone();
        for (at, byte) in changes {
            *at.get_mut(&mut file) = byte;
        }
        examine(&file)?;
    }

    #[test]
    fn file_with_a_number_in_its_tables_changed_is_refused_or_keeps_its_promises(
        sample in any::<Index>(),
        at in any::<Index>(),
        number in prop_oneof![any::<u64>(), Just(u64::MAX), Just(0), 0u64..0x1000, Just(1 << 63), Just(u64::from(u32::MAX))],
        len in 1usize..=8,
    ) {
        let mut file = sample.get(&samples()).clone();
        let at = at.index(file.len() - 8);
        file[at..at + len].copy_from_slice(&number.to_le_bytes()[..len]);
        examine(&file)?;
    }

    #[test]
    fn file_with_a_piece_cut_out_is_refused_or_keeps_its_promises(
        sample in any::<Index>(),
        from in any::<Index>(),
        len in 1usize..200,
    ) {
        let mut file = sample.get(&samples()).clone();
        let from = from.index(file.len());
        file.drain(from..(from + len).min(file.len()));
        examine(&file)?;
    }

    #[test]
    fn file_of_made_up_bytes_is_refused_or_keeps_its_promises(
        magic in proptest::sample::select(vec![
            &b""[..], b"\x7fELF", b"\x7fELF\x01\x01\x01", b"\x7fELF\x02\x01\x01", b"MZ", b"#!",
        ]),
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        examine(&[magic, &bytes].concat())?;
    }
}

#[test]
fn file_that_repeats_one_long_section_name_is_read_in_linear_time() {
    let mut file = ElfFile::kernel();
    let long = "x".repeat(16 << 20);
    for index in 0..4000 {
        file.section(if index == 0 { &long } else { ".uk_a" }, []);
    }
    let mut file = file.elf64();
    let table = file.len() - 64 * 4001;
    for at in (0..4000).map(|index| table + 64 * index) {
        file[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
    }

    // Read to its end for every section, the name makes 64 GiB to look through: half a minute at the least.
    let started = std::time::Instant::now();
    let _ = detect(&file);
    assert!(started.elapsed().as_secs() < 5, "took {:?}", started.elapsed());
}
