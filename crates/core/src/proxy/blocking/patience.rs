//! How long a blocking command waits, and the command as it is sent again: with the time that is left, and with the entry
//! that was a stream's last when the client asked in place of `$`.

use crate::command::{Command, Timeout, block_option, keys};
use crate::resp::{Args, Elements, Limits, Proto, RequestReader, Writer, parse_i64, text};

/// The parts of a blocking command that are not the same when it is sent again.
#[derive(Debug)]
pub(super) struct Patience {
    /// Which argument says how long it waits, and in what.
    at: u32,
    unit: Unit,
    end: End,
    newest: Vec<Newest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Millis,
}

/// When a wait is over, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    At(u64),
    /// Never, or the server will not have the command.
    Open,
}

/// A stream of which XREAD wants what comes after its last entry.
#[derive(Debug)]
struct Newest {
    key: u32,
    id: u32,
    /// The last entry once it is known.
    is: Option<Box<[u8]>>,
}

impl Patience {
    pub(super) fn of(command: &Command, timeout: Timeout, args: &Args<'_>, now: u64) -> Patience {
        let (at, unit) = match timeout {
            Timeout::Last => (args.len() - 1, Unit::Seconds),
            Timeout::First => (1, Unit::Seconds),
            Timeout::Option => (block_option(command, args).unwrap_or_default(), Unit::Millis),
        };
        let end = match micros(args.get(at), unit) {
            Some(micros @ 1..) => End::At(now.saturating_add(micros)),
            Some(0) | None => End::Open,
        };
        let newest = if command.name == "xread" { dollars(command, args) } else { Vec::new() };
        Patience { at: at as u32, unit, end, newest }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        match self.end {
            End::At(at) => Some(at),
            End::Open => None,
        }
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Questions for the last entries that are not known yet, each with its number.
    pub(super) fn questions(&self, frame: &[u8]) -> Vec<(u16, Vec<u8>)> {
        if self.newest.iter().all(|newest| newest.is.is_some()) {
            return Vec::new();
        }
        with_args(frame, |args| {
            let unknown = self.newest.iter().enumerate().filter(|(_, newest)| newest.is.is_none());
            let questions = unknown.map(|(at, newest)| {
                let mut out = Vec::new();
                let key = args.get(newest.key as usize);
                Writer::new(&mut out, Proto::Two)
                    .request([b"XREVRANGE".as_slice(), key, b"+", b"-", b"COUNT", b"1"].into_iter());
                (at as u16, out)
            });
            questions.collect()
        })
    }

    /// The answer to a question: `[[id, fields]]`, or nothing where there is no entry.
    pub(super) fn newest_is(&mut self, at: u16, reply: &[u8]) {
        let Some(newest) = self.newest.get_mut(usize::from(at)) else { return };
        let Some(mut entries) = Elements::of(reply) else { return };
        newest.is = match entries.next() {
            None => Some(b"0-0".as_slice().into()),
            Some(entry) => Elements::of(entry).and_then(|mut entry| text(entry.next()?).map(Box::from)),
        };
    }

    /// The command as it is sent again at `now`.
    pub(super) fn request_again(&self, frame: &[u8], now: u64) -> Vec<u8> {
        let left = self.deadline().map(|deadline| {
            // Never 0, which means for ever.
            let millis = deadline.saturating_sub(now).div_ceil(1000).max(1);
            match self.unit {
                Unit::Millis => millis.to_string(),
                Unit::Seconds => format!("{}.{:03}", millis / 1000, millis % 1000),
            }
        });
        with_args(frame, |args| {
            let mut out = Vec::with_capacity(frame.len() + 32);
            let words = (0..args.len()).map(|at| match &left {
                Some(left) if at == self.at as usize => left.as_bytes(),
                Some(_) | None => {
                    let newest = self.newest.iter().find(|newest| newest.id as usize == at);
                    newest.and_then(|newest| newest.is.as_deref()).unwrap_or_else(|| args.get(at))
                }
            });
            Writer::new(&mut out, Proto::Two).request(words);
            out
        })
    }
}

/// A timeout as the server reads it (`timeout.c`: `getTimeoutFromObjectOrReply`); `None`: it will not have it, or it is
/// written in a way that we cannot read.
fn micros(text: &[u8], unit: Unit) -> Option<u64> {
    match unit {
        Unit::Millis => u64::try_from(parse_i64(text)?).ok()?.checked_mul(1000),
        Unit::Seconds => {
            let seconds: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (seconds.is_finite() && seconds >= 0.0).then(|| (seconds * 1e6).ceil() as u64)
        }
    }
}

fn dollars(command: &Command, args: &Args<'_>) -> Vec<Newest> {
    let Ok(found) = keys(command, args) else { return Vec::new() };
    let count = found.len();
    let pairs = found.map(|key| (key, key + count));
    let wanted = pairs.filter(|(_, id)| args.get(*id) == b"$").take(usize::from(u16::MAX));
    wanted.map(|(key, id)| Newest { key: key as u32, id: id as u32, is: None }).collect()
}

/// Reads a request that was read before.
fn with_args<T>(frame: &[u8], look: impl FnOnce(&Args<'_>) -> T) -> T {
    let mut spans = Vec::new();
    let _ = RequestReader::default().read(frame, &mut spans, &Limits::SERVER);
    look(&Args::new(frame, &spans))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Lookup, lookup};

    fn frame(line: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        Writer::new(&mut out, Proto::Two).request(words.into_iter());
        out
    }

    fn patience(line: &str, timeout: Timeout) -> Patience {
        let name = line.split(' ').next().expect("a name");
        let Lookup::Found(command) = lookup(name.as_bytes(), None) else { panic!("{line}") };
        with_args(&frame(line), |args| Patience::of(command, timeout, args, 1_000_000))
    }

    #[test]
    fn timeouts_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("0", None),
            ("-0", None),
            ("1.5", Some(2_500_000)),
            ("1e-3", Some(1_001_000)),
            ("-1", None),
            ("inf", None),
            ("nan", None),
            ("x", None),
            ("1e300", Some(u64::MAX)),
        ] {
            let found = patience(&format!("BLPOP a {text}"), Timeout::Last);
            assert_eq!(found.deadline(), expected, "{text}");
        }
        for (text, expected) in [("0", None), ("20", Some(1_020_000)), ("1.5", None), ("-1", None)] {
            let found = patience(&format!("XREAD BLOCK {text} STREAMS a 0"), Timeout::Option);
            assert_eq!(found.deadline(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_sent_again_has_the_time_that_is_left() {
        for (line, timeout, now, expected) in [
            ("BLPOP a b 1.5", Timeout::Last, 1_600_000, "BLPOP a b 0.900"),
            ("BLPOP a b 1.5", Timeout::Last, 9_000_000, "BLPOP a b 0.001"),
            ("BLPOP a 0", Timeout::Last, 9_000_000, "BLPOP a 0"),
            ("BLMPOP 10 1 a LEFT", Timeout::First, 1_000_001, "BLMPOP 10.000 1 a LEFT"),
            ("XREAD BLOCK 20 STREAMS a 0", Timeout::Option, 1_018_500, "XREAD BLOCK 2 STREAMS a 0"),
        ] {
            let again = patience(line, timeout).request_again(&frame(line), now);
            assert_eq!(again.escape_ascii().to_string(), frame(expected).escape_ascii().to_string());
        }
    }

    #[test]
    fn the_last_entry_takes_the_place_of_the_dollar() {
        let line = "XREAD BLOCK 0 STREAMS a b c $ 5 $";
        let mut found = patience(line, Timeout::Option);
        let asked: Vec<u16> = found.questions(&frame(line)).into_iter().map(|(at, _)| at).collect();
        assert_eq!(asked, [0, 1]);
        found.newest_is(0, b"*1\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n");
        found.newest_is(1, b"*0\r\n");
        assert!(found.questions(&frame(line)).is_empty());
        let again = found.request_again(&frame(line), 0);
        assert_eq!(again, frame("XREAD BLOCK 0 STREAMS a b c 7-1 5 0-0"));
        let mut unknown = patience(line, Timeout::Option);
        unknown.newest_is(0, b"-WRONGTYPE x\r\n");
        assert_eq!(unknown.request_again(&frame(line), 0), frame(line));
    }
}
