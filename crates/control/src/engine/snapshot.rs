//! How far a snapshot goes: the first fields of `dump.rdb`.
//!
//! Owns the reading of those fields. Never reads data, and takes whatever it does not understand for unknown.
//!
//! Append-only files do not say it, and nothing stands in for that: the server writes no place in the stream into their
//! base, the lengths of two servers' files differ with every rewrite, the times of files by up to the second that the
//! system may hold writes back, and a place on record is older than the end. So a primary with such a file is started
//! from its own disk, which holds all but the last second of what it acknowledged.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use evenkeel_core::plan::Written;

/// The fields stand in the first bytes.
const HEAD: u64 = 4096;
/// Begins a field: a name and a value.
const FIELD: u8 = 0xFA;

/// Which replication stream a snapshot holds, and up to where.
pub(super) fn written(file: &Path) -> Option<Written> {
    let mut head = Vec::new();
    File::open(file).ok()?.take(HEAD).read_to_end(&mut head).ok()?;
    read(&head)
}

fn read(head: &[u8]) -> Option<Written> {
    // `REDIS` or `VALKEY`, and four digits of a version; both are nine bytes
    let mut rest = head.get(9..)?;
    let (mut stream, mut offset) = (None, None);
    while let Some((&FIELD, field)) = rest.split_first() {
        let (name, after) = text(field)?;
        let (value, after) = text(after)?;
        match name.as_str() {
            "repl-id" => stream = Some(value),
            "repl-offset" => offset = value.parse().ok(),
            _ => {}
        }
        rest = after;
    }
    Some(Written { stream: stream?, offset: offset? })
}

/// A text, or a number in its short form, and what follows it.
fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (len, rest) = match (first >> 6, first & 63) {
        (0, len) => (usize::from(len), rest),
        (1, high) => (usize::from(high) << 8 | usize::from(*rest.first()?), rest.get(1..)?),
        (2, _) => (u32::from_be_bytes(*rest.first_chunk()?) as usize, rest.get(4..)?),
        (_, 0) => return Some((i8::from_le_bytes(*rest.first_chunk()?).to_string(), rest.get(1..)?)),
        (_, 1) => return Some((i16::from_le_bytes(*rest.first_chunk()?).to_string(), rest.get(2..)?)),
        (_, 2) => return Some((i32::from_le_bytes(*rest.first_chunk()?).to_string(), rest.get(4..)?)),
        _ => return None,
    };
    let (text, rest) = rest.split_at_checked(len)?;
    Some((String::from_utf8(text.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::{Written, read};

    #[test]
    fn the_fields_are_read_whatever_their_form() {
        let field = |name: &str, value: &[u8]| [&[0xFA, name.len() as u8], name.as_bytes(), value].concat();
        let id = [&[40], "ab".repeat(20).as_bytes()].concat();
        let head = |offset: &[u8]| {
            let ctime = field("ctime", &[0xC2, 1, 2, 3, 4]);
            [b"REDIS0010".to_vec(), ctime, field("repl-id", &id), field("repl-offset", offset), vec![0xFE, 0]]
                .concat()
        };
        for (form, offset) in [
            (vec![0xC0, 7], 7),
            (vec![0xC1, 1, 2], 513),
            (vec![0xC2, 0, 0, 1, 0], 65_536),
            ([&[10], b"9999999999".as_slice()].concat(), 9_999_999_999),
        ] {
            let written = read(&head(&form));
            assert_eq!(written, Some(Written { stream: "ab".repeat(20), offset }));
        }
        let whole = head(&[0xC0, 7]);
        for cut in 0..whole.len() - 2 {
            assert_eq!(read(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(read(b"REDIS0010\xFE\x00"), None);
    }
}
