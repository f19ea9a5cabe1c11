//! Reads one request at a time from a client's bytes: `*<n>` and n bulk strings, or an inline line
//! (`networking.c`: `processMultibulkBuffer`, `processInlineBuffer`).
//!
//! Budget: a request that is complete in the buffer is passed over once. A request that comes in pieces is passed
//! over once while it grows and once when it is complete, however many pieces it has.
//!
//! Stricter than the server in one point: CR must be followed by LF. What goes on to a node is then framed
//! without doubt.

use super::{ProtocolError, Span, number, parse_i64};

/// What a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest inline line and longest length line, in bytes.
    pub line: usize,
    /// Most arguments of one request.
    pub args: u32,
    /// Longest argument in bytes.
    pub bulk: u64,
    /// Whether the client still has to give its password: ten arguments of 16 KiB at most.
    pub unauthenticated: Unauthenticated,
}

/// Whether the tighter limits before AUTH hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unauthenticated {
    /// The client is known.
    No,
    /// The client still has to authenticate.
    Yes,
}

impl Limits {
    /// The server's limits: 64 KiB lines, as many arguments as a C `int` counts, 512 MiB an argument. What of it is
    /// collected in memory is the caller's to bound.
    pub const SERVER: Limits = Limits {
        line: 64 * 1024,
        args: i32::MAX as u32,
        bulk: 512 * 1024 * 1024,
        unauthenticated: Unauthenticated::No,
    };

    /// The server's limits for a client before AUTH.
    pub const BEFORE_AUTH: Limits = Limits { unauthenticated: Unauthenticated::Yes, ..Limits::SERVER };
}

/// What stands at the start of the buffer.
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole request of `len` bytes; its arguments are in `spans`.
    Frame { len: usize },
    /// An inline line of `len` bytes with its line end; its words are still quoted.
    Inline { len: usize },
    /// `len` bytes that ask for nothing (`*0`, an empty line).
    Empty { len: usize },
    /// Not whole yet. It will have at least `needs` bytes.
    Partial { needs: u64 },
}

/// The whole arguments at the start of a request that is not whole yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// Arguments that the request will have.
    pub total: u32,
    /// Offset of the first argument that is not whole (of its `$`).
    pub at: usize,
}

/// Reads requests; remembers how far it is in one that is not whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestReader {
    /// Bytes of the request that are known to be good; 0 when nothing is.
    at: u32,
    /// Arguments after `at`.
    left: u32,
}

impl RequestReader {
    /// Whether it is at the start of a request.
    #[inline]
    pub(crate) fn is_fresh(self) -> bool {
        self.at == 0
    }

    /// Looks at `bytes`, the start of which is the start of a request. After anything but `Partial`, the
    /// caller drops the request's bytes; after `Partial`, it calls again with more bytes behind the same ones.
    pub fn read(
        &mut self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Read, ProtocolError> {
        let resumed = self.at > 0;
        if !resumed {
            if let Some(len) = usual_request(bytes, spans, limits) {
                return Ok(Read::Frame { len });
            }
            spans.clear();
            match bytes.first() {
                None => return Ok(Read::Partial { needs: 1 }),
                Some(b'*') => {}
                Some(_) => return inline(bytes, limits),
            }
            match count(bytes, limits)? {
                None => return Ok(Read::Partial { needs: 4 }),
                Some((0, len)) => return Ok(Read::Empty { len }),
                Some((args, len)) => (self.left, self.at) = (args, len as u32),
            }
        }
        let read = self.arguments(bytes, spans, limits)?;
        if let Read::Frame { .. } = read {
            if resumed {
                // The spans of the earlier pieces were not kept: an unfinished request holds no memory for them.
                *self = RequestReader::default();
                return self.read(bytes, spans, limits);
            }
            *self = RequestReader::default();
        }
        Ok(read)
    }

    fn arguments(
        &mut self,
        bytes: &[u8],
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Result<Read, ProtocolError> {
        let mut at = self.at as usize;
        while self.left > 0 {
            match argument(bytes, at, limits)? {
                Argument::Whole(span) => {
                    spans.push(span);
                    at = span.at as usize + span.len as usize + 2;
                    self.left -= 1;
                    self.at = at as u32;
                }
                Argument::Partial { needs } => {
                    // `$0\r\n\r\n` is the shortest that each of the others can be.
                    return Ok(Read::Partial { needs: needs + 6 * u64::from(self.left - 1) });
                }
            }
        }
        Ok(Read::Frame { len: at })
    }

    /// The arguments that are whole at the start of a request that `read` found `Partial`; `None` while not
    /// even the count is there. Fills `spans`.
    pub fn ahead(bytes: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Option<Ahead> {
        spans.clear();
        let (total, mut at) = count(bytes, limits).ok()??;
        while spans.len() < total as usize {
            match argument(bytes, at, limits) {
                Ok(Argument::Whole(span)) => {
                    spans.push(span);
                    at = span.at as usize + span.len as usize + 2;
                }
                Ok(Argument::Partial { .. }) | Err(_) => break,
            }
        }
        Some(Ahead { total, at })
    }
}

/// The request that nearly all are: whole, at most nine arguments, none of a mebibyte or more. Returns its length; `None`
/// leaves everything else to the careful way. (Read GET: 412 instructions become 100.)
#[inline]
pub(crate) fn usual_request(bytes: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Option<usize> {
    let [b'*', count @ b'1'..=b'9', b'\r', b'\n', ..] = bytes else { return None };
    let most = match limits.unauthenticated {
        Unauthenticated::Yes => limits.bulk.min(16 * 1024),
        Unauthenticated::No => limits.bulk,
    };
    spans.clear();
    let mut at = 4;
    for _ in b'0'..*count {
        let (len, start) = number::length_line(bytes, at, b'$')?;
        let end = start + len;
        if bytes.get(end..end + 2)? != b"\r\n" || len as u64 > most {
            return None;
        }
        spans.push(Span { at: start as u32, len: len as u32 });
        at = end + 2;
    }
    (u32::from(count - b'0') <= limits.args).then_some(at)
}

enum Argument {
    Whole(Span),
    Partial { needs: u64 },
}

/// The argument count and the length of its line; `None` while the line is not whole.
fn count(bytes: &[u8], limits: &Limits) -> Result<Option<(u32, usize)>, ProtocolError> {
    let Some((text, next)) = line(bytes, 1, limits.line, ProtocolError::CountTooBig, ProtocolError::Count)?
    else {
        return Ok(None);
    };
    let count = parse_i64(text).ok_or(ProtocolError::Count)?;
    if count > i64::from(limits.args) {
        return Err(ProtocolError::Count);
    }
    if count > 10 && limits.unauthenticated == Unauthenticated::Yes {
        return Err(ProtocolError::UnauthenticatedCount);
    }
    Ok(Some((count.max(0) as u32, next)))
}

/// The argument whose `$` is at `at`.
#[inline]
fn argument(bytes: &[u8], at: usize, limits: &Limits) -> Result<Argument, ProtocolError> {
    match bytes.get(at) {
        None => return Ok(Argument::Partial { needs: at as u64 + 6 }),
        Some(b'$') => {}
        Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
    }
    let Some((text, start)) =
        line(bytes, at + 1, limits.line, ProtocolError::LengthTooBig, ProtocolError::Length)?
    else {
        return Ok(Argument::Partial { needs: at as u64 + 6 });
    };
    let len = parse_i64(text).and_then(|len| u64::try_from(len).ok()).ok_or(ProtocolError::Length)?;
    if len > limits.bulk {
        return Err(ProtocolError::Length);
    }
    if len > 16 * 1024 && limits.unauthenticated == Unauthenticated::Yes {
        return Err(ProtocolError::UnauthenticatedLength);
    }
    let end = start as u64 + len + 2;
    if (bytes.len() as u64) < end {
        return Ok(Argument::Partial { needs: end });
    }
    if bytes[end as usize - 2..end as usize] != *b"\r\n" {
        return Err(ProtocolError::Length);
    }
    Ok(Argument::Whole(Span { at: start as u32, len: len as u32 }))
}

/// The text from `at` up to CRLF and the offset behind it; `None` while there is no CRLF yet.
#[inline]
fn line(
    bytes: &[u8],
    at: usize,
    limit: usize,
    too_long: ProtocolError,
    broken: ProtocolError,
) -> Result<Option<(&[u8], usize)>, ProtocolError> {
    let rest = bytes.get(at..).unwrap_or_default();
    // Nearly every length has one or two digits: look there before a search is set up.
    let cr = match rest {
        [first, b'\r', ..] if *first != b'\r' => 1,
        [first, _, b'\r', ..] if *first != b'\r' => 2,
        _ => match memchr::memchr(b'\r', &rest[..rest.len().min(limit)]) {
            Some(cr) => cr,
            None if rest.len() > limit => return Err(too_long),
            None => return Ok(None),
        },
    };
    match rest.get(cr + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((&rest[..cr], at + cr + 2))),
        Some(_) => Err(broken),
    }
}

fn inline(bytes: &[u8], limits: &Limits) -> Result<Read, ProtocolError> {
    match memchr::memchr(b'\n', &bytes[..bytes.len().min(limits.line)]) {
        Some(end) => {
            let len = end + 1;
            let blank = bytes[..end].iter().all(u8::is_ascii_whitespace);
            Ok(if blank { Read::Empty { len } } else { Read::Inline { len } })
        }
        None if bytes.len() > limits.line => Err(ProtocolError::InlineTooBig),
        None => Ok(Read::Partial { needs: bytes.len() as u64 + 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, Read, RequestReader};
    use crate::resp::{ProtocolError, Span};

    fn read(bytes: &[u8]) -> Result<(Read, Vec<Vec<u8>>), ProtocolError> {
        let mut spans = Vec::new();
        let read = RequestReader::default().read(bytes, &mut spans, &Limits::SERVER)?;
        let words =
            spans.iter().map(|span| bytes[span.at as usize..][..span.len as usize].to_vec()).collect();
        Ok((read, words))
    }

    #[test]
    fn a_whole_request() {
        let (got, words) = read(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n").expect("good bytes");
        assert_eq!(got, Read::Frame { len: 20 });
        assert_eq!(words, [b"GET".to_vec(), b"a".to_vec()]);
    }

    #[test]
    fn cut_at_every_byte_gives_the_same() {
        let whole = b"*3\r\n$3\r\nSET\r\n$12\r\nabcdefghijkl\r\n$0\r\n\r\n";
        for cut in 0..whole.len() {
            let (mut reader, mut spans) = (RequestReader::default(), Vec::new());
            let first = reader.read(&whole[..cut], &mut spans, &Limits::SERVER).expect("good bytes");
            assert!(
                matches!(first, Read::Partial { needs } if needs > cut as u64 && needs <= whole.len() as u64)
            );
            let second = reader.read(whole, &mut spans, &Limits::SERVER).expect("good bytes");
            assert_eq!(second, Read::Frame { len: whole.len() });
            assert_eq!(spans, [Span { at: 8, len: 3 }, Span { at: 18, len: 12 }, Span { at: 36, len: 0 }]);
        }
    }

    #[test]
    fn bad_bytes_get_the_servers_words() {
        let long = [b"*".as_slice(), &[b'1'; 70_000]].concat();
        let cases: [(&[u8], &str); 9] = [
            (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
            (b"*x\r\n", "Protocol error: invalid multibulk length"),
            (b"*1\r\n+PING\r\n", "Protocol error: expected '$', got '+'"),
            (b"*1\r\n\r\n", "Protocol error: expected '$', got ' '"),
            (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$1073741824\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$4\r\nPINGxx", "Protocol error: invalid bulk length"),
            (&long, "Protocol error: too big mbulk count string"),
            (&[b'a'; 70_000], "Protocol error: too big inline request"),
        ];
        for (bytes, text) in cases {
            assert_eq!(read(bytes).expect_err("bad bytes").to_string(), text);
        }
    }

    #[test]
    fn nothing_asked() {
        assert_eq!(read(b"\r\nPING\r\n").expect("good").0, Read::Empty { len: 2 });
        assert_eq!(read(b"*0\r\n").expect("good").0, Read::Empty { len: 4 });
        assert_eq!(read(b"*-1\r\n").expect("good").0, Read::Empty { len: 5 });
        assert_eq!(read(b"PING\r\n").expect("good").0, Read::Inline { len: 6 });
    }

    #[test]
    fn what_is_whole_of_a_large_request() {
        let mut spans = Vec::new();
        let bytes = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000000\r\nxxxx";
        let ahead = RequestReader::ahead(bytes, &mut spans, &Limits::SERVER).expect("the count is there");
        assert_eq!((ahead.total, ahead.at, spans.len()), (3, 20, 2));
    }
}
