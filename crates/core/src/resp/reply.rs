//! Passes over replies of nodes, RESP2 and RESP3, in whatever pieces they come.
//!
//! A reply can be nested as deep as Lua allows, so nothing here recurses: a flat count of the values that are still
//! to come is enough to find the end.

use super::{ProtocolError, number};

/// A line that is longer than this is passed over as it comes, where its kind allows (a script may answer with a
/// status or an error of any length).
const LINE: usize = 64 * 1024;

/// What `ReplyScan::advance` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scan {
    /// The reply ends after this many of the bytes.
    Done(usize),
    /// This many of the bytes belong to the reply and it goes on; the rest is a line that is not whole.
    More(usize),
}

/// How far a reply has been passed over. The default is "at the start of a reply".
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyScan {
    /// Values still to come after the current bulk; 0 at the start of a reply.
    todo: u64,
    /// Bytes still to come of the current bulk, its CRLF included.
    bulk: u64,
    /// Whether the end of a long line is still to come.
    line: bool,
}

impl ReplyScan {
    /// Whether a reply has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.todo > 0 || self.bulk > 0 || self.line
    }

    /// Bytes that are still to come of the text that it is in the middle of, the line end behind it included.
    pub(crate) fn body(&self) -> u64 {
        self.bulk
    }

    /// Passes over `bytes` of [`ReplyScan::body`] without having seen them; returns whether the reply ends there.
    pub(crate) fn skip(&mut self, bytes: u64) -> bool {
        debug_assert!(bytes <= self.bulk);
        self.bulk -= bytes;
        !self.is_inside()
    }

    /// Passes over as much of `bytes` as belongs to the current reply. Call again with what follows the
    /// returned count (and more behind it) until `Done`.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<Scan, ProtocolError> {
        let mut at = 0;
        let fresh = !self.is_inside();
        if fresh {
            if let Some(len) = usual_reply(bytes) {
                return Ok(Scan::Done(len));
            }
            self.todo = 1;
        }
        loop {
            if self.bulk > 0 {
                let here = self.bulk.min((bytes.len() - at) as u64);
                at += here as usize;
                self.bulk -= here;
                if self.bulk > 0 {
                    return Ok(Scan::More(at));
                }
            }
            if self.line {
                at += self.long_line(&bytes[at..])?;
                if self.line {
                    return Ok(Scan::More(at));
                }
            }
            if self.todo == 0 {
                return Ok(Scan::Done(at));
            }
            let Some((kind, text, next)) = header(bytes, at)? else {
                if bytes.len() - at > LINE {
                    self.enter_long_line(bytes[at])?;
                    continue;
                }
                if fresh && at == 0 {
                    self.todo = 0; // nothing of the reply was taken: still at its start
                }
                return Ok(Scan::More(at));
            };
            self.enter(kind, text)?;
            at = next;
        }
    }

    /// A line is so long that it is not waited for: it has to be one without a length.
    fn enter_long_line(&mut self, kind: u8) -> Result<(), ProtocolError> {
        match kind {
            b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => {
                (self.todo, self.line) = (self.todo - 1, true);
                Ok(())
            }
            _ => Err(ProtocolError::ReplyLength),
        }
    }

    /// Passes over a long line; returns how many bytes of it are here.
    fn long_line(&mut self, bytes: &[u8]) -> Result<usize, ProtocolError> {
        match memchr::memchr(b'\n', bytes) {
            Some(end) if end > 0 && bytes[end - 1] == b'\r' => {
                self.line = false;
                Ok(end + 1)
            }
            Some(_) => Err(ProtocolError::ReplyLength),
            // A CR at the end may belong to the line's end: it is looked at again with what follows.
            None => Ok(bytes.len() - usize::from(bytes.last() == Some(&b'\r'))),
        }
    }

    /// Counts what a header line announces.
    fn enter(&mut self, kind: u8, text: &[u8]) -> Result<(), ProtocolError> {
        let more = match kind {
            b'+' | b'-' | b':' | b',' | b'(' | b'#' | b'_' => 0,
            b'$' | b'!' | b'=' => {
                self.bulk = length(text)?.map_or(0, |len| len + 2);
                0
            }
            b'*' | b'~' | b'>' => length(text)?.unwrap_or(0),
            b'%' => 2 * length(text)?.unwrap_or(0),
            b'|' => 2 * length(text)?.unwrap_or(0) + 1, // attributes stand before the value itself
            other => return Err(ProtocolError::ReplyType(other)),
        };
        self.todo = self.todo - 1 + more;
        if self.todo > 1 << 40 { Err(ProtocolError::ReplyLength) } else { Ok(()) }
    }
}

/// The reply that nearly all are: `+OK`, or a whole bulk below a mebibyte. Returns its length. (Pass over a bulk: 178
/// instructions become 40.)
#[inline]
pub(crate) fn usual_reply(bytes: &[u8]) -> Option<usize> {
    match bytes.first()? {
        b'$' => {
            let (len, start) = number::length_line(bytes, 0, b'$')?;
            (start + len + 2 <= bytes.len()).then_some(start + len + 2)
        }
        b'+' => bytes.starts_with(b"+OK\r\n").then_some(5),
        _ => None,
    }
}

/// A line's type byte, its text and the offset behind it.
type Line<'a> = (u8, &'a [u8], usize);

/// The line at `at`; `None` while it is not whole.
#[inline]
fn header(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, ProtocolError> {
    let rest = &bytes[at..];
    match memchr::memchr(b'\n', rest) {
        Some(end) if end >= 2 && rest[end - 1] == b'\r' => {
            Ok(Some((rest[0], &rest[1..end - 1], at + end + 1)))
        }
        Some(_) => Err(ProtocolError::ReplyLength),
        None => Ok(None),
    }
}

/// A length line: `None` for the null of RESP2 (`-1`).
fn length(text: &[u8]) -> Result<Option<u64>, ProtocolError> {
    match text {
        b"-1" => Ok(None),
        text => match number::parse_u64(text) {
            Some(len) if len < 1 << 32 => Ok(Some(len)),
            _ => Err(ProtocolError::ReplyLength),
        },
    }
}

/// The elements of one whole array, set, push or map (keys and values in turn), as slices that are whole replies
/// themselves.
pub struct Elements<'a> {
    rest: &'a [u8],
    left: u64,
}

impl<'a> Elements<'a> {
    /// Elements of `reply`, a whole reply; `None` when it is not one of these.
    pub fn of(reply: &'a [u8]) -> Option<Self> {
        let (kind, text, next) = header(reply, 0).ok()??;
        match kind {
            b'*' | b'~' | b'>' => {
                Some(Elements { rest: &reply[next..], left: length(text).ok()?.unwrap_or(0) })
            }
            b'%' => Some(Elements { rest: &reply[next..], left: 2 * length(text).ok()?.unwrap_or(0) }),
            _ => None,
        }
    }

    /// Elements that are still to come.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Everything that is still to come, as it stands in the reply.
    pub fn raw(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        match ReplyScan::default().advance(self.rest) {
            Ok(Scan::Done(len)) => {
                let (element, rest) = self.rest.split_at(len);
                (self.rest, self.left) = (rest, self.left - 1);
                Some(element)
            }
            Ok(Scan::More(_)) | Err(_) => {
                self.left = 0;
                None
            }
        }
    }
}

/// The text of one whole reply that is a bulk, verbatim or simple string; `None` for anything else.
pub fn text(reply: &[u8]) -> Option<&[u8]> {
    let (kind, line, next) = header(reply, 0).ok()??;
    match kind {
        b'+' => Some(line),
        b'$' => {
            let len = length(line).ok()?? as usize;
            reply.get(next..next + len)
        }
        b'=' => {
            let len = length(line).ok()?? as usize;
            reply.get(next..next + len)?.get(4..) // `txt:` or `mkd:`
        }
        _ => None,
    }
}

/// The number of one whole integer reply; `None` for anything else.
pub fn integer(reply: &[u8]) -> Option<i64> {
    match header(reply, 0).ok()?? {
        (b':', text, _) => number::parse_i64(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Elements, ReplyScan, Scan};

    const REPLIES: &[&[u8]] = &[
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"$5\r\nhe\r\no\r\n",
        b"*-1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"%1\r\n+a\r\n~1\r\n#t\r\n",
        b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        b"_\r\n",
        b",1.5\r\n",
        b"(123456789012345678901234567890\r\n",
        b"=7\r\ntxt:abc\r\n",
        b">2\r\n+a\r\n+b\r\n",
    ];

    #[test]
    fn finds_the_end_wherever_it_is_cut() {
        for reply in REPLIES {
            for cut in 0..=reply.len() {
                let mut scan = ReplyScan::default();
                let taken = match scan.advance(&reply[..cut]).expect("good bytes") {
                    Scan::Done(len) => {
                        assert_eq!(len, reply.len());
                        continue;
                    }
                    Scan::More(taken) => taken,
                };
                assert_eq!(
                    scan.is_inside(),
                    taken > 0,
                    "{:?} cut at {cut}",
                    reply.escape_ascii().to_string()
                );
                let rest = [&reply[taken..], b"+NEXT\r\n"].concat();
                assert_eq!(scan.advance(&rest).expect("good bytes"), Scan::Done(reply.len() - taken));
                assert!(!scan.is_inside());
            }
        }
    }

    #[test]
    fn nested_beyond_any_stack() {
        let mut deep = b"*1\r\n".repeat(200_000);
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(ReplyScan::default().advance(&deep), Ok(Scan::Done(deep.len())));
    }

    #[test]
    fn takes_an_array_apart() {
        let parts: Vec<&[u8]> =
            Elements::of(b"*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n").expect("an array").collect();
        assert_eq!(parts, [b"$1\r\na\r\n".as_slice(), b"*1\r\n:1\r\n", b"$-1\r\n"]);
        let map: Vec<&[u8]> = Elements::of(b"%1\r\n+a\r\n:1\r\n").expect("a map").collect();
        assert_eq!(map, [b"+a\r\n".as_slice(), b":1\r\n"]);
        assert!(Elements::of(b"+OK\r\n").is_none());
    }

    #[test]
    fn refuses_what_is_no_reply() {
        for bad in [b"hello\r\n".as_slice(), b"$x\r\n", b"*-2\r\n", b"+a\n", b"$99999999999\r\n"] {
            assert!(ReplyScan::default().advance(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
