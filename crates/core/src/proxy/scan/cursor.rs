//! The cursors of SCAN over the whole keyspace, as numbers that any gateway can go on with.
//!
//! ```text
//! cursor = (node's cursor × places + place) × 2^20 + fingerprint
//!          place: which primary is being walked; the second half: which is being walked once more
//!          fingerprint: of the map (owners, claims) and of the run of the server that the node's cursor is from
//! ```
//!
//! It stays below 2^53 (clients read it as a double) up to 2^30 entries of a node's table with three primaries.

/// Bits of a cursor for the fingerprint.
const MARK_BITS: u32 = 20;

/// Where a walk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// At this primary.
    At(usize),
    /// At this primary once more, since it is importing.
    Again(usize),
    /// All are walked, those that are importing up to this one once more: are they where the map has them?
    Confirm { again: Option<usize> },
}

/// A cursor taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) stage: Stage,
    /// The node's own cursor; 0 where its walk has not begun.
    pub(super) node_cursor: u64,
    /// The fingerprint of the map, and of the server's run where its walk has begun.
    pub(super) mark: u32,
}

impl Cursor {
    /// As a client gets it; `None` where the node's cursor is larger than a number has room for.
    pub(super) fn encode(self, primaries: usize) -> Option<u64> {
        let place = match self.stage {
            Stage::At(place) => place,
            Stage::Again(place) => primaries + place,
            Stage::Confirm { .. } => return None,
        };
        let rest = self.node_cursor.checked_mul(2 * primaries as u64)?.checked_add(place as u64)?;
        Some(rest.checked_mul(1 << MARK_BITS)? | u64::from(self.mark))
    }

    /// `None` for the start of a walk, and where nothing can be walked.
    pub(super) fn decode(cursor: u64, primaries: usize) -> Option<Self> {
        let places = 2 * primaries as u64;
        if cursor == 0 || places == 0 {
            return None;
        }
        let (mark, rest) = ((cursor & ((1 << MARK_BITS) - 1)) as u32, cursor >> MARK_BITS);
        let place = (rest % places) as usize;
        let stage = place.checked_sub(primaries).map_or(Stage::At(place), Stage::Again);
        Some(Cursor { stage, node_cursor: rest / places, mark })
    }
}

/// What a cursor holds of the map and of the server's run. Never 0: that would be the last cursor.
pub(super) fn fingerprint(map: u64, run: u64) -> u32 {
    let mixed = (map ^ run.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed >> (u64::BITS - MARK_BITS)) as u32).max(1)
}

/// FNV-1a.
pub(super) fn mix(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A cursor as the server reads one (`db.c`: `parseScanCursorOrReply`, `strtoul`): a sign is legal, nothing at all is 0, a
/// NUL ends it.
pub(super) fn cursor_of(text: &[u8]) -> Option<u64> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let digits = text.strip_prefix(b"+").or_else(|| text.strip_prefix(b"-")).unwrap_or(text);
    if text.is_empty() {
        return Some(0);
    }
    if digits.is_empty() {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    })?;
    Some(if text[0] == b'-' { value.wrapping_neg() } else { value })
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Stage, cursor_of, fingerprint};

    #[test]
    fn a_cursor_says_where_it_was() {
        for stage in [Stage::At(0), Stage::At(2), Stage::Again(1)] {
            for node_cursor in [0, 1, 7, 1 << 29] {
                let cursor = Cursor { stage, node_cursor, mark: fingerprint(99, 5) };
                let number = cursor.encode(3).expect("there is room");
                assert!(number < 1 << 53, "{number} is no whole double");
                assert_eq!(Cursor::decode(number, 3), Some(cursor));
            }
        }
        assert_eq!(Cursor { stage: Stage::At(1), node_cursor: 1 << 60, mark: 1 }.encode(3), None);
        assert_eq!((Cursor::decode(0, 3), Cursor::decode(u64::MAX, 0)), (None, None));
    }

    #[test]
    fn cursors_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("+5", Some(5)),
            ("", Some(0)),
            ("007", Some(7)),
            ("-1", Some(u64::MAX)),
            ("1\x002", Some(1)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("-", None),
            (" 1", None),
            ("1a", None),
            ("abc", None),
        ] {
            assert_eq!(cursor_of(text.as_bytes()), expected, "{text:?}");
        }
    }
}
