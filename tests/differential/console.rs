//! What may differ between the consoles of real kernels, and why.
//!
//! A rule concerns the lines that hold certain words; all else must be equal. There is no rule for our own guests.

/// What to do with a line.
enum Change {
    Drop,
    /// Mask the word behind each of these markers.
    Mask(&'static [&'static str]),
    /// Clear flags that processors disagree on.
    ClearFlags,
}

use Change::{ClearFlags, Drop, Mask};

/// Words, what to do with the lines that hold them, and why they may differ.
const RULES: &[(&str, Change, &str)] = &[
    ("[  ", Mask(&["[  "]), "time stamps"),
    ("elapsed_ms=", Mask(&["elapsed_ms=", "late="]), "sleeps take at least as long as they should"),
    ("<bootinfo.c @  101>  0", Drop, "memory map: ours starts at 64 KiB, and QEMU's ends below its tables"),
    ("<bootinfo.c @  104>  0", Drop, "memory map, since 0.17.0"),
    ("outside mapped area", Drop, "a reserved range of QEMU's memory map at 1 TiB"),
    ("Boot loader : ", Mask(&["Boot loader : "]), "the loader's name"),
    ("Switch from bootstrap stack", Mask(&["stack @"]), "the first free memory, by the memory map"),
    ("Initialize binary buddy allocator", Mask(&["allocator "]), "the first free memory"),
    ("Failed to add memory region", Drop, "a free range that is too small, by the memory map"),
    ("Retrieving TSC clock frequency", Drop, "we tell the frequency by CPUID leaf 0x40000010 …"),
    ("Calibrating TSC clock", Drop, "… and QEMU without KVM does not"),
    ("Clock source: TSC", Mask(&["estimate is "]), "told or measured"),
    ("EFLAGS: ", ClearFlags, "a crash: flags that QEMU does not set or that are undefined"),
    ("<trace.c @   42>", Mask(&["RSP: "]), "a crash: the stack is in free memory, and so is what"),
    ("<trace.c @   44>", Mask(&["RAX: ", "RBX: ", "RCX: "]), "a crash: the registers point to"),
    ("<trace.c @   46>", Mask(&["RDX: ", "RSI: ", "RDI: "]), "a crash: registers"),
    ("<trace.c @   48>", Mask(&["RBP: ", "R08: ", "R09: "]), "a crash: registers"),
    ("<trace.c @   50>", Mask(&["R10: ", "R11: ", "R12: "]), "a crash: registers"),
    ("<trace.c @   52>", Mask(&["R13: ", "R14: ", "R15: "]), "a crash: registers"),
    ("<trace.c @   86>", Mask(&["base is "]), "a crash: where the frames are; whose they are must be equal"),
    ("<trace.c @   66>", Drop, "a crash: what is on the stack"),
];

/// The console with everything masked that may differ.
pub(crate) fn comparable(console: &[u8]) -> String {
    let text = String::from_utf8_lossy(console);
    text.lines().filter_map(comparable_line).fold(String::new(), |text, line| text + &line + "\n")
}

fn comparable_line(line: &str) -> Option<String> {
    let mut line = line.to_owned();
    for (words, change, _) in RULES {
        if !line.contains(words) {
            continue;
        }
        match change {
            Drop => return None,
            ClearFlags => line = with_clear_flags(&line),
            Mask(markers) => markers.iter().for_each(|marker| line = masked(&line, marker)),
        }
    }
    Some(line)
}

/// The line with the first word behind the marker masked.
fn masked(line: &str, marker: &str) -> String {
    let Some((before, behind)) = line.split_once(marker) else { return line.to_owned() };
    let rest = behind.trim_start().trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
    format!("{before}{marker}…{rest}")
}

/// RF: QEMU leaves it clear in the image that a fault pushes, a processor sets it (Intel SDM vol. 3 §18.3.1.1).
const RESUME: u32 = 1 << 16;
/// AF: undefined after shifts and logical instructions (Intel SDM vol. 1, appendix A).
const AUXILIARY_CARRY: u32 = 1 << 4;

/// The line with these two flags clear in the number behind `EFLAGS: `.
fn with_clear_flags(line: &str) -> String {
    let Some((before, digits)) = line.split_once("EFLAGS: ") else { return line.to_owned() };
    let Ok(flags) = u32::from_str_radix(digits, 16) else { return line.to_owned() };
    format!("{before}EFLAGS: {:08x}", flags & !(RESUME | AUXILIARY_CARRY))
}

#[test]
fn console_with_a_changed_word_stays_different() {
    let console = |text: &str| comparable(text.as_bytes());
    assert_eq!(console("[    0.000123] Info: done\r\n"), console("[    0.1] Info: done\r\n"));
    assert_ne!(console("[    0.000123] Info: done\r\n"), console("[    0.000123] Info: gone\r\n"));
    assert_ne!(console("argv[0] = a\r\n"), console("argv[0] = b\r\n"));
}

#[test]
fn console_with_masked_words_keeps_the_others() {
    let line = b"[    0.1] CRIT: [libkvmplat] <trace.c @   86> base is 0x30f50 caller is 0x11e487\r\n";
    let expected = "[  …] CRIT: [libkvmplat] <trace.c @   86> base is … caller is 0x11e487\n";
    assert_eq!(comparable(line), expected);
}

#[test]
fn flags_that_differ_where_they_may_not_stay_different() {
    let line = |flags| comparable(format!("RSP: 1 SS: 0010 EFLAGS: {flags}").as_bytes());
    assert_eq!(line("00010246"), line("00000256"));
    assert_ne!(line("00000246"), line("00000247"));
}
