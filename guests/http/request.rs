//! The head of an HTTP/1 request (RFC 9112), as far as this server looks at it.

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A page about this guest.
    Page,
    /// Many bytes.
    Big,
    /// The request's own content, of this many bytes.
    Echo(u64),
    /// The end.
    Quit,
    /// Content without a length.
    Unmeasured,
    /// Something that is not there.
    Unknown,
}

/// A request.
pub(crate) struct Request {
    pub(crate) wish: Wish,
    /// Whether the connection stays open for another.
    pub(crate) keep: bool,
    /// Whether the client wants to hear something before it sends its content.
    pub(crate) expects_continue: bool,
    /// Whether the client is older than HTTP/1.1 and has to be told that the connection stays open.
    pub(crate) old: bool,
}

impl Request {
    /// Reads a head, with the empty line at its end; `None` if it is none.
    pub(crate) fn read(head: &[u8]) -> Option<Self> {
        let mut lines = str::from_utf8(head).ok()?.split("\r\n");
        let mut words = lines.next()?.split(' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let old = match version {
            "HTTP/1.1" => false,
            "HTTP/1.0" => true,
            _ => return None,
        };
        let mut length = None;
        let mut request = Self { wish: Wish::Unknown, keep: !old, expects_continue: false, old };
        let mut has_content = false;
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let (is, value) = (|known: &str| name.eq_ignore_ascii_case(known), value.trim());
            if is("connection") {
                request.keep = match value {
                    _ if value.eq_ignore_ascii_case("close") => false,
                    _ if value.eq_ignore_ascii_case("keep-alive") => true,
                    _ => request.keep,
                };
            } else if is("content-length") {
                length = Some(value.parse().ok()?);
                has_content |= length != Some(0);
            } else if is("transfer-encoding") {
                has_content = true;
            } else if is("expect") {
                request.expects_continue = value.eq_ignore_ascii_case("100-continue");
            }
        }
        request.wish = wish(method, target, length);
        // Content that nobody reads must not be taken for the next request.
        if has_content && !matches!(request.wish, Wish::Echo(_)) {
            request.keep = false;
        }
        Some(request)
    }
}

fn wish(method: &str, target: &str, length: Option<u64>) -> Wish {
    let path = target.split('?').next().unwrap_or_default();
    match (method, path, length) {
        ("GET", "/", _) => Wish::Page,
        ("GET", "/big", _) => Wish::Big,
        ("GET" | "POST", "/quit", _) => Wish::Quit,
        ("POST" | "PUT", "/echo", Some(length)) => Wish::Echo(length),
        ("POST" | "PUT", "/echo", None) => Wish::Unmeasured,
        _ => Wish::Unknown,
    }
}
