//! Any bytes as a kernel file: refused, or a guest that keeps its promises.
#![no_main]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use runu_core::Bytes;
use runu_guest::{Invocation, Variable, command_line, detect, plan, symbol};

#[path = "../../crates/guest/tests/guest/elf_file.rs"]
#[expect(dead_code, reason = "the tests of runu-guest build more kinds of files than are fuzzed")]
mod elf_file;
#[path = "../../crates/guest/tests/guest/samples.rs"]
mod samples;
#[path = "../../crates/guest/tests/guest/unikraft_file.rs"]
mod unikraft_file;

/// A file: made up, or a whole kernel with some bytes changed, which gets further than chance does.
#[derive(Arbitrary, Debug)]
enum Input {
    MadeUp(Vec<u8>),
    Damaged { sample: u8, len: Option<u16>, changes: Vec<(u16, u8)> },
}

static SAMPLES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(samples::samples);

impl Input {
    fn into_file(self) -> Vec<u8> {
        let (sample, len, changes) = match self {
            Input::MadeUp(bytes) => return bytes,
            Input::Damaged { sample, len, changes } => (sample, len, changes),
        };
        let mut file = SAMPLES[usize::from(sample) % SAMPLES.len()].clone();
        for (at, byte) in changes {
            let at = usize::from(at) % file.len();
            file[at] = byte;
        }
        file.truncate(len.map_or(usize::MAX, usize::from));
        file
    }
}

fuzz_target!(|input: Input| examine(&input.into_file()));

/// Asks everything there is to ask about a file, and checks what an accepted one promises.
fn examine(file: &[u8]) {
    let _ = symbol(file, 0x10_0010);
    let Ok(guest) = detect(file) else { return };
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for segment in &guest.segments {
        assert!(segment.mem_len > 0 && segment.file_len <= segment.mem_len);
        assert!(segment.file_offset + segment.file_len <= file.len() as u64);
        ranges.push((segment.addr.0, segment.addr.0 + segment.mem_len));
    }
    ranges.sort_unstable();
    assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(lower, upper)| lower.1 <= upper.0));
    let entered_inside = ranges.iter().any(|(start, end)| (*start..*end).contains(&guest.entry.0));
    assert!(guest.boot.is_none() || entered_inside);
    let invocation = Invocation {
        argv0: b"app".to_vec(),
        args: vec![b"a b".to_vec()],
        env: vec![Variable::new("A", "b")],
        initrd: true,
        ..Invocation::default()
    };
    let Ok(line) = command_line(&guest, &invocation) else { return };
    if let Ok(plan) = plan(&guest, line, Bytes::mib(64), Some(Bytes::mib(1))) {
        assert!(guest.image_end().0 + Bytes::mib(1).0 <= plan.memory.0);
    }
}
