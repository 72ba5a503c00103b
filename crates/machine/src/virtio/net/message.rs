//! Messages to and from name servers (RFC 1035 §4.1), as far as who passes them on looks at them.

/// Length of the header.
const HEADER: usize = 12;

/// Bit of the third byte that says that there would be more (`TC`).
const TRUNCATED: u8 = 0x02;

/// The longest label of a name (§2.3.4); what begins a byte above is none.
const LABEL_MAX: u8 = 63;

/// Behind a name: type and class of what is asked for.
const TYPE_AND_CLASS: usize = 4;

/// The number by which an answer is known; `None` if it is no message.
pub(super) fn number(message: &[u8]) -> Option<u16> {
    let header: &[u8; HEADER] = message.first_chunk()?;
    let [high, low, ..] = header;
    Some(u16::from_be_bytes([*high, *low]))
}

/// An answer without what it tells, but that there is more, which makes the guest ask over TCP or do without. `None` if it
/// answers no question or several.
pub(super) fn truncated(answer: &[u8]) -> Option<Vec<u8>> {
    const ONE_QUESTION: [u8; 2] = 1_u16.to_be_bytes();
    let (numbers, counts) = answer.get(..HEADER)?.split_at_checked(4)?;
    if counts.get(..2)? != ONE_QUESTION {
        return None;
    }
    let mut at = HEADER;
    loop {
        match *answer.get(at)? {
            0 => break,
            len @ 1..=LABEL_MAX => at += 1 + usize::from(len),
            _ => return None,
        }
    }
    let question = answer.get(HEADER..at + 1 + TYPE_AND_CLASS)?;
    let mut shorter = [numbers, &ONE_QUESTION, &[0; 6], question].concat();
    *shorter.get_mut(2)? |= TRUNCATED;
    Some(shorter)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer with one question and `more` behind it.
    fn answer(more: &[u8]) -> Vec<u8> {
        let header = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 2, 0, 3, 0, 4];
        [&header, &b"\x02db\x04shop\0"[..], &[0, 1, 0, 1], more].concat()
    }

    #[test]
    fn answer_that_is_truncated_is_its_question_and_says_so() {
        let shorter = truncated(&answer(&[7; 4000])).unwrap();
        let header = [0x12, 0x34, 0x83, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(shorter, [&header, &b"\x02db\x04shop\0"[..], &[0, 1, 0, 1]].concat());
        assert_eq!(number(&shorter), Some(0x1234));
    }

    #[test]
    fn answer_that_is_none_is_not_truncated() {
        let whole = answer(&[]);
        for len in 0..whole.len() {
            assert_eq!(truncated(&whole[..len]), None, "{len}");
        }
        for (at, value) in [(5, 0), (5, 2), (12, 0xc0), (12, 64), (12, 63)] {
            let mut wrong = answer(&[]);
            wrong[at] = value;
            assert_eq!(truncated(&wrong), None, "{at} {value}");
        }
    }
}
