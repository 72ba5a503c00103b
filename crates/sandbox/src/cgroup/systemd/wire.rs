//! Messages of D-Bus: as much of the format as it takes to talk to systemd (D-Bus Specification, "Message Protocol").
//!
//! Little-endian, without descriptors. What is read is bounded and checked; a message that does not hold together is none.

/// Kinds of message ("Message Format", "Message types").
pub(crate) const METHOD_CALL: u8 = 1;
/// The answer to a call.
pub(crate) const METHOD_RETURN: u8 = 2;
/// The refusal of a call.
pub(crate) const ERROR: u8 = 3;
/// News.
pub(crate) const SIGNAL: u8 = 4;

/// Codes of header fields ("Header Fields").
const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Bytes of a header before its fields, the length of the fields included.
pub(crate) const FIXED_HEADER: usize = 16;
/// Bytes of a message at most. The specification permits 128 MiB; nothing that we ask for comes near this.
const LONGEST: usize = 1 << 20;

/// Values in the order in which they are sent. Every value starts at a multiple of its alignment, which is counted from the
/// start of the message; a body starts at a multiple of eight, so it can be written apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    /// `y`.
    pub(crate) fn byte(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// `u`.
    pub(crate) fn word(&mut self, value: u32) -> &mut Self {
        self.align(4);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// `b`.
    pub(crate) fn boolean(&mut self, value: bool) -> &mut Self {
        self.word(u32::from(value))
    }

    /// `t`.
    pub(crate) fn long(&mut self, value: u64) -> &mut Self {
        self.align(8);
        self.0.extend(value.to_le_bytes());
        self
    }

    /// `s` or `o`.
    pub(crate) fn text(&mut self, value: &str) -> &mut Self {
        self.word(length(value.len()));
        self.0.extend(value.bytes().chain([0]));
        self
    }

    /// `g`: what a variant begins with.
    pub(crate) fn signature(&mut self, value: &str) -> &mut Self {
        self.0.push(u8::try_from(value.len()).unwrap_or(0));
        self.0.extend(value.bytes().chain([0]));
        self
    }

    /// The start of a structure.
    pub(crate) fn structure(&mut self) -> &mut Self {
        self.align(8);
        self
    }

    /// `a…` with elements of that alignment. The padding before the first does not count as the array's.
    pub(crate) fn array(&mut self, alignment: usize, elements: impl FnOnce(&mut Self)) -> &mut Self {
        self.word(0);
        let length_at = self.0.len() - 4;
        self.align(alignment);
        let start = self.0.len();
        elements(self);
        let len = length(self.0.len() - start);
        if let Some(place) = self.0.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&len.to_le_bytes());
        }
        self
    }

    /// What was written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A length as it is sent. What we send is far shorter than it could be.
fn length(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A call of a method.
pub(crate) struct Call<'a> {
    /// Whose.
    pub(crate) destination: &'a str,
    /// Of which of its objects.
    pub(crate) path: &'a str,
    /// In which interface.
    pub(crate) interface: &'a str,
    /// Which method.
    pub(crate) member: &'a str,
    /// Types of its arguments.
    pub(crate) signature: &'a str,
}

impl Call<'_> {
    /// The message.
    pub(crate) fn message(&self, serial: u32, body: &Writer) -> Vec<u8> {
        let mut message = Writer::default();
        // Byte order, type, no flags, version of the protocol.
        message.byte(b'l').byte(METHOD_CALL).byte(0).byte(1);
        message.word(length(body.bytes().len())).word(serial);
        message.array(8, |fields| {
            fields.structure().byte(PATH).signature("o").text(self.path);
            fields.structure().byte(INTERFACE).signature("s").text(self.interface);
            fields.structure().byte(MEMBER).signature("s").text(self.member);
            fields.structure().byte(DESTINATION).signature("s").text(self.destination);
            if !self.signature.is_empty() {
                fields.structure().byte(SIGNATURE).signature("g").signature(self.signature);
            }
        });
        message.align(8);
        [message.bytes(), body.bytes()].concat()
    }
}

/// A message from the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Its type.
    pub(crate) kind: u8,
    /// The call that it answers.
    pub(crate) reply_serial: u32,
    /// The name of a signal.
    pub(crate) member: String,
    /// The name of an error.
    pub(crate) error: String,
    /// Its arguments.
    pub(crate) body: Vec<u8>,
}

/// Length of the whole message that begins with this fixed part of a header, unless it is too long or none of ours.
pub(crate) fn message_len(header: &[u8; FIXED_HEADER]) -> Option<usize> {
    let mut reader = Reader::new(header);
    let (order, _, _, version) = (reader.byte()?, reader.byte()?, reader.byte()?, reader.byte()?);
    let (body, _serial, fields) = (reader.word()? as usize, reader.word()?, reader.word()? as usize);
    let len = FIXED_HEADER.checked_add(fields)?.checked_next_multiple_of(8)?.checked_add(body)?;
    (order == b'l' && version == 1 && len <= LONGEST).then_some(len)
}

impl Received {
    /// Takes a whole message apart.
    pub(crate) fn parse(message: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(message);
        reader.byte()?;
        let mut received = Received { kind: reader.byte()?, ..Received::default() };
        let (_flags, _version, body_len, _serial) =
            (reader.byte()?, reader.byte()?, reader.word()? as usize, reader.word()?);
        let end = (reader.word()? as usize).checked_add(FIXED_HEADER)?;
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (MEMBER, "s") => received.member = reader.text()?,
                (ERROR_NAME, "s") => received.error = reader.text()?,
                (REPLY_SERIAL, "u") => received.reply_serial = reader.word()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "u") => drop(reader.word()?),
                (_, "g") => drop(reader.signature()?),
                _ => return None,
            }
        }
        reader.align(8);
        received.body = message.get(reader.at..reader.at.checked_add(body_len)?)?.to_vec();
        Some(received)
    }
}

/// Reads values in order.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads from a body, or from the start of a message.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `u`.
    pub(crate) fn word(&mut self) -> Option<u32> {
        self.align(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// `s` or `o`.
    pub(crate) fn text(&mut self) -> Option<String> {
        let len = self.word()? as usize;
        self.terminated(len)
    }

    /// `g`.
    pub(crate) fn signature(&mut self) -> Option<String> {
        let len = usize::from(self.byte()?);
        self.terminated(len)
    }

    fn terminated(&mut self, len: usize) -> Option<String> {
        let bytes = self.take(len)?;
        self.take(1)?;
        String::from_utf8(bytes.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'_> = Call {
        destination: "org.freedesktop.systemd1",
        path: "/org/freedesktop/systemd1",
        interface: "org.freedesktop.systemd1.Manager",
        member: "StopUnit",
        signature: "ss",
    };

    fn message() -> Vec<u8> {
        let mut body = Writer::default();
        body.text("a.scope").text("replace");
        CALL.message(7, &body)
    }

    #[test]
    fn message_written_is_read_back() {
        let message = message();
        let header = message.first_chunk().unwrap();
        assert_eq!(message_len(header), Some(message.len()));
        let received = Received::parse(&message).unwrap();
        assert_eq!((received.kind, received.member.as_str()), (METHOD_CALL, "StopUnit"));
        let mut reader = Reader::new(&received.body);
        assert_eq!(reader.text().as_deref(), Some("a.scope"));
        assert_eq!(reader.text().as_deref(), Some("replace"));
        assert_eq!(reader.text(), None);
    }

    #[test]
    fn array_of_structures_counts_no_padding_before_its_first() {
        let mut writer = Writer::default();
        writer.array(8, |properties| {
            properties.structure().text("Delegate").signature("b").boolean(true);
        });
        let bytes = writer.bytes();
        // Length, padding to 8, length and text and its end, signature, padding to 4, value.
        assert_eq!(bytes.first_chunk::<8>(), Some(&[20, 0, 0, 0, 0, 0, 0, 0]));
        assert_eq!(bytes.len(), 28);
    }

    #[test]
    fn message_cut_anywhere_is_none() {
        let message = message();
        for len in 0..message.len() {
            assert_eq!(Received::parse(&message[..len]), None, "{len}");
        }
    }

    #[test]
    fn message_with_any_byte_changed_does_no_harm() {
        let message = message();
        for at in 0..message.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = message.clone();
                changed[at] = value;
                let _ = Received::parse(&changed);
                let _ = message_len(changed.first_chunk().unwrap());
            }
        }
    }
}
