//! Finds the keys among the arguments of a call, as argument indexes. Allocates nothing; a command with one key at
//! argument 1 (nearly all of them) costs one comparison.
//!
//! Where the arguments make no sense, the answer is what the server itself would say, so that the gateway need not
//! send a call whose slot nobody can tell. It says nothing about arity: check `arity_ok` first.

use super::{Args, Command, CountRule, Dest, Keys};
use std::iter::FusedIterator;

/// Why the keys of a call cannot be told. Displays as the server's own reply, without the leading `-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// The number of keys is not a number.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// EVAL and its kin with a negative number of keys.
    #[error("ERR Number of keys can't be negative")]
    Negative,
    /// More keys announced than there are arguments.
    #[error("ERR Number of keys can't be greater than number of args")]
    TooMany,
    /// LMPOP, SINTERCARD and their kin with anything but a positive number.
    #[error("ERR numkeys should be greater than 0")]
    NotPositive,
    /// ZUNION and its kin with no key; names the command.
    #[error("ERR at least 1 input key is needed for '{0}' command")]
    NoInputKey(&'static str),
    /// The arguments do not follow the command's syntax.
    #[error("ERR syntax error")]
    Syntax,
    /// XREAD and XREADGROUP without streams, and with a time to wait that is no number.
    #[error("ERR timeout is not an integer or out of range")]
    TimeoutNotAnInteger,
    /// The same with one below zero.
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    /// XREAD with an option of XREADGROUP; names it.
    #[error("ERR The {0} option is only supported by XREADGROUP. You called XREAD instead.")]
    OfGroups(&'static str),
    /// XREAD and XREADGROUP: not as many ids as streams.
    #[error("ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.")]
    Unbalanced,
    /// MSET and MSETNX with a key that has no value; names the command.
    #[error("ERR wrong number of arguments for '{0}' command")]
    Unpaired(&'static str),
}

/// The indexes of a call's keys among its arguments, in the order in which the server names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIter {
    /// A key that stands before all others; 0 where there is none.
    lead: u32,
    next: u32,
    end: u32,
    step: u32,
}

impl KeyIter {
    const NONE: Self = Self { lead: 0, next: 0, end: 0, step: 1 };

    /// Keys at `first`, `first + step` …, below `end`.
    const fn range(first: usize, end: usize, step: u8) -> Self {
        Self { lead: 0, next: first as u32, end: end as u32, step: step as u32 }
    }

    /// The first key, where there is one.
    #[inline]
    pub fn first(&self) -> Option<usize> {
        self.clone().next()
    }
}

impl Iterator for KeyIter {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.lead != 0 {
            return Some(std::mem::take(&mut self.lead) as usize);
        }
        if self.next >= self.end {
            return None;
        }
        let at = self.next;
        self.next += self.step;
        Some(at as usize)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let rest = self.end.saturating_sub(self.next).div_ceil(self.step);
        let len = rest as usize + usize::from(self.lead != 0);
        (len, Some(len))
    }
}

impl ExactSizeIterator for KeyIter {}
impl FusedIterator for KeyIter {}

/// Finds the keys of a call of `command`. None at all is legal: `EVAL script 0`, PING.
#[inline]
pub fn keys(command: &Command, args: &Args<'_>) -> Result<KeyIter, KeysError> {
    match command.keys {
        Keys::None => Ok(KeyIter::NONE),
        Keys::Range { first: 1, last: 1, step: 1 } => Ok(KeyIter::range(1, args.len().min(2), 1)),
        Keys::Range { first, last, step } => range(command, args.len(), first, last, step),
        Keys::Counted { count, step, dest, rule } => counted(command, args, count, step, dest, rule),
        Keys::Streams => streams(args),
        Keys::Store { from } => Ok(store(args, from)),
    }
}

/// Where XREAD or XREADGROUP says how long it may wait for data, if it may: the argument after BLOCK. Commands that
/// wait by their nature (BLPOP …) are not told from here; their rows are.
#[inline]
pub fn block_option(command: &Command, args: &Args<'_>) -> Option<usize> {
    if command.keys == Keys::Streams { stream_options(args).block } else { None }
}

fn range(command: &Command, argc: usize, first: u8, last: i8, step: u8) -> Result<KeyIter, KeysError> {
    let from_end = last.unsigned_abs() as usize;
    let end = if last < 0 { (argc + 1).saturating_sub(from_end) } else { argc.min(from_end + 1) };
    if step == 2 && end.saturating_sub(first as usize) % 2 != 0 {
        return Err(KeysError::Unpaired(command.name));
    }
    Ok(KeyIter::range(first as usize, end, step))
}

fn counted(
    command: &Command,
    args: &Args<'_>,
    count: u8,
    step: u8,
    dest: Dest,
    rule: CountRule,
) -> Result<KeyIter, KeysError> {
    let first = count as usize + 1;
    let room = args.len().saturating_sub(first) / step as usize;
    let number = checked_count(command, integer(args.get(count as usize)), room, rule)?;
    let mut found = KeyIter::range(first, first + number * step as usize, step);
    match dest {
        Dest::Absent => {}
        Dest::First => found.lead = 1,
    }
    Ok(found)
}

/// Holds the announced number of keys against what the command accepts and against the `room` there is.
fn checked_count(
    command: &Command,
    number: Option<i64>,
    room: usize,
    rule: CountRule,
) -> Result<usize, KeysError> {
    let (malformed, negative, zero, too_many) = match rule {
        CountRule::Script => (KeysError::NotAnInteger, KeysError::Negative, None, KeysError::TooMany),
        CountRule::SortedSets => {
            let none = KeysError::NoInputKey(command.name);
            (KeysError::NotAnInteger, none, Some(none), KeysError::Syntax)
        }
        CountRule::Sets => {
            (KeysError::NotPositive, KeysError::NotPositive, Some(KeysError::NotPositive), KeysError::TooMany)
        }
        CountRule::Pop => {
            (KeysError::NotPositive, KeysError::NotPositive, Some(KeysError::NotPositive), KeysError::Syntax)
        }
    };
    let number = number.ok_or(malformed)?;
    if let (0, Some(error)) = (number, zero) {
        return Err(error);
    }
    let number = usize::try_from(number).map_err(|_| negative)?;
    if number > room { Err(too_many) } else { Ok(number) }
}

/// A number as the server reads one: decimal, no plus sign, no leading zero, within 64 bits.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] if digits.len() == text.len() => Some(0),
        [b'1'..=b'9', ..] => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// What stands before the word STREAMS.
struct StreamOptions {
    /// Where the first stream's name stands, where the word STREAMS is found.
    first: Option<usize>,
    /// Where the value of the last BLOCK stands.
    block: Option<usize>,
}

/// Walks the options one by one, since STREAMS and BLOCK are legal names of groups and consumers too.
fn stream_options(args: &Args<'_>) -> StreamOptions {
    let mut found = StreamOptions { first: None, block: None };
    let mut at = 1;
    while at < args.len() {
        let option = args.get(at);
        if option.eq_ignore_ascii_case(b"streams") {
            found.first = Some(at + 1);
            break;
        } else if option.eq_ignore_ascii_case(b"block") {
            found.block = Some(at + 1);
            at += 2;
        } else if option.eq_ignore_ascii_case(b"count") {
            at += 2;
        } else if option.eq_ignore_ascii_case(b"group") {
            at += 3;
        } else if option.eq_ignore_ascii_case(b"noack") {
            at += 1;
        } else {
            break;
        }
    }
    found
}

fn streams(args: &Args<'_>) -> Result<KeyIter, KeysError> {
    let first = stream_options(args).first.ok_or_else(|| without_streams(args))?;
    let rest = args.len().saturating_sub(first);
    if rest == 0 {
        return Err(without_streams(args));
    }
    if rest % 2 != 0 {
        return Err(KeysError::Unbalanced);
    }
    Ok(KeyIter::range(first, first + rest / 2, 1))
}

/// What is wrong with a call that names no stream: the server takes its options one by one, and the first bad one counts
/// (`t_stream.c`: `xreadCommand`).
fn without_streams(args: &Args<'_>) -> KeysError {
    let groups = args.get(0).eq_ignore_ascii_case(b"xreadgroup");
    let mut at = 1;
    while at < args.len() {
        let (option, more) = (args.get(at), args.len() - at - 1);
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        if is(b"block") && more > 0 {
            match integer(args.get(at + 1)) {
                None => return KeysError::TimeoutNotAnInteger,
                Some(..0) => return KeysError::TimeoutNegative,
                Some(_) => at += 2,
            }
        } else if is(b"count") && more > 0 {
            if integer(args.get(at + 1)).is_none() {
                return KeysError::NotAnInteger;
            }
            at += 2;
        } else if is(b"group") && more > 1 {
            if !groups {
                return KeysError::OfGroups("GROUP");
            }
            at += 3;
        } else if is(b"noack") {
            if !groups {
                return KeysError::OfGroups("NOACK");
            }
            at += 1;
        } else {
            break;
        }
    }
    KeysError::Syntax
}

/// SORT, which looks at the word behind STORE again, and GEORADIUS and its kin, which do not (`db.c`: `sortGetKeys`,
/// `georadiusGetKeys`).
fn store(args: &Args<'_>, from: u8) -> KeyIter {
    let sorts = from == 2;
    let mut found = KeyIter::range(1, args.len().min(2), 1);
    let mut at = from as usize;
    while at < args.len() {
        let option = args.get(at);
        let is = |word: &[u8]| option.eq_ignore_ascii_case(word);
        if at + 1 < args.len() && (is(b"store") || !sorts && is(b"storedist")) {
            found = KeyIter { lead: 1, ..KeyIter::range(at + 1, at + 2, 1) };
            at += if sorts { 1 } else { 2 };
        } else if sorts && (is(b"by") || is(b"get")) {
            at += 2;
        } else if sorts && is(b"limit") {
            at += 3;
        } else {
            at += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::{Lookup, Span, TABLE, lookup};
    use super::*;
    use proptest::prelude::*;

    /// The bytes and spans of a call, as a reader would hand them over.
    fn call(words: &[&[u8]]) -> (Vec<u8>, Vec<Span>) {
        let mut bytes = Vec::new();
        let mut spans = Vec::new();
        for word in words {
            spans.push(Span { at: bytes.len() as u32, len: word.len() as u32 });
            bytes.extend_from_slice(word);
        }
        (bytes, spans)
    }

    fn with<T>(line: &str, look: impl FnOnce(&'static Command, &Args<'_>) -> T) -> T {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let (bytes, spans) = call(&words);
        match lookup(words[0], words.get(1).copied()) {
            Lookup::Found(command) => look(command, &Args::new(&bytes, &spans)),
            other @ (Lookup::UnknownSubcommand(_) | Lookup::Unknown) => panic!("{line}: {other:?}"),
        }
    }

    fn found(line: &str) -> Result<Vec<usize>, KeysError> {
        with(line, |command, args| {
            let keys = keys(command, args)?;
            let listed: Vec<usize> = keys.clone().collect();
            assert_eq!((keys.len(), keys.first()), (listed.len(), listed.first().copied()), "{line}");
            Ok(listed)
        })
    }

    #[test]
    fn keys_stand_where_each_command_puts_them() {
        for (line, expected) in [
            ("PING", vec![]),
            ("GET a", vec![1]),
            ("DEL a b c", vec![1, 2, 3]),
            ("MSET a 1 b 2", vec![1, 3]),
            ("BLPOP a b 0", vec![1, 2]),
            ("BITOP AND d a b", vec![2, 3, 4]),
            ("OBJECT ENCODING a", vec![2]),
            ("SUNSUBSCRIBE", vec![]),
            ("EVAL script 0", vec![]),
            ("EVAL script 2 a b c", vec![3, 4]),
            ("ZUNIONSTORE d 2 a b WEIGHTS 1 2", vec![1, 3, 4]),
            ("SINTERCARD 2 a b LIMIT 1", vec![2, 3]),
            ("BLMPOP 0 1 a LEFT", vec![3]),
            ("MSETEX 2 a 1 b 2 EX 10", vec![2, 4]),
            ("XREAD COUNT 1 STREAMS a b 0 0", vec![4, 5]),
            ("XREADGROUP GROUP streams streams STREAMS a >", vec![5]),
            ("SORT a BY store LIMIT 0 1 GET store", vec![1]),
            ("SORT a STORE b STORE c", vec![1, 5]),
            ("SORT a STORE", vec![1]),
            ("SORT a STORE STORE b", vec![1, 4]),
            ("GEORADIUS a 1 2 3 m STOREDIST b", vec![1, 7]),
            ("GEORADIUSBYMEMBER a store 3 m STORE b", vec![1, 6]),
        ] {
            assert_eq!(found(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_answered_as_the_server_does() {
        for (line, expected) in [
            ("EVAL s x a", "ERR value is not an integer or out of range"),
            ("EVAL s 01 a", "ERR value is not an integer or out of range"),
            ("EVAL s -0 a", "ERR value is not an integer or out of range"),
            ("EVAL s +1 a", "ERR value is not an integer or out of range"),
            ("EVAL s 99999999999999999999 a", "ERR value is not an integer or out of range"),
            ("EVAL s -1 a", "ERR Number of keys can't be negative"),
            ("FCALL f 2 a", "ERR Number of keys can't be greater than number of args"),
            ("EVAL s 9223372036854775807 a", "ERR Number of keys can't be greater than number of args"),
            ("SINTERCARD 0 a", "ERR numkeys should be greater than 0"),
            ("SINTERCARD 2 a", "ERR Number of keys can't be greater than number of args"),
            ("LMPOP x a LEFT", "ERR numkeys should be greater than 0"),
            ("LMPOP 3 a LEFT", "ERR syntax error"),
            ("ZUNION -1 a", "ERR at least 1 input key is needed for 'zunion' command"),
            ("ZDIFFSTORE d 0 a", "ERR at least 1 input key is needed for 'zdiffstore' command"),
            ("ZINTER 3 a", "ERR syntax error"),
            ("XREAD COUNT 1 a 0", "ERR syntax error"),
            ("XREAD BLOCK 3.5 10", "ERR timeout is not an integer or out of range"),
            ("XREAD COUNT 1 BLOCK -1 STREAMS", "ERR timeout is negative"),
            ("XREAD COUNT x BLOCK -1 STREAMS", "ERR value is not an integer or out of range"),
            ("XREADGROUP GROUP g c BLOCK b 10", "ERR timeout is not an integer or out of range"),
            ("XREADGROUP NOACK COUNT x", "ERR value is not an integer or out of range"),
            ("XREADGROUP GROUP g BLOCK b", "ERR syntax error"),
            (
                "XREAD GROUP g c BLOCK b",
                "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
            ),
            (
                "XREAD STREAMS a b 0",
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be specified.",
            ),
            ("MSET a 1 b", "ERR wrong number of arguments for 'mset' command"),
        ] {
            let error = found(line).expect_err(line);
            assert_eq!(error.to_string(), expected, "{line}");
        }
    }

    #[test]
    fn only_stream_reads_with_block_wait() {
        for (line, expected) in [
            ("XREAD BLOCK 0 STREAMS a 0", Some(2)),
            ("XREAD BLOCK 0 BLOCK 1 STREAMS a 0", Some(4)),
            ("XREADGROUP GROUP g c COUNT 1 block 5 STREAMS a >", Some(7)),
            ("XREAD COUNT 1 STREAMS a 0", None),
            ("XREADGROUP GROUP block block STREAMS a >", None),
            ("XREAD STREAMS BLOCK 0", None),
            ("SET BLOCK BLOCK", None),
        ] {
            assert_eq!(with(line, block_option), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_panic_and_keys_stay_among_them(
            at in 0..TABLE.len(),
            words in proptest::collection::vec(
                prop_oneof![
                    Just(b"STREAMS".to_vec()), Just(b"store".to_vec()), Just(b"group".to_vec()),
                    Just(b"limit".to_vec()), (-3_i64..8).prop_map(|n| n.to_string().into_bytes()),
                    any::<i64>().prop_map(|n| n.to_string().into_bytes()),
                    proptest::collection::vec(any::<u8>(), 0..6),
                ],
                0..9,
            ),
        ) {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let (bytes, spans) = call(&words);
            let args = Args::new(&bytes, &spans);
            block_option(&TABLE[at], &args);
            if let Ok(keys) = keys(&TABLE[at], &args) {
                prop_assert!(keys.len() <= words.len() || args.len() < 2);
                for key in keys {
                    prop_assert!((1..words.len().max(2)).contains(&key));
                }
            }
        }
    }
}
