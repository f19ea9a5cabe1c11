//! Counting: latencies, failures by kind, and batches of 1000 requests.
//!
//! Pure but for the sink that takes finished batches; moments come in. Hot: recording a success allocates
//! nothing, recording a failure may.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Requests in a batch of the raw files, as the seed counted them.
pub(crate) const BATCH: u64 = 1000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Op {
    /// Writing.
    Set,
    /// Reading back.
    Get,
}

impl Op {
    /// Both in the order in which they are measured.
    pub(crate) const ALL: [Op; 2] = [Op::Set, Op::Get];

    /// As people write the command.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Set => "SET",
            Op::Get => "GET",
        }
    }

    /// As the files are named.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Op::Set => "set",
            Op::Get => "get",
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The target answered an error: its code and its whole text.
    Error {
        /// First word.
        code: String,
        /// Everything.
        text: String,
    },
    /// GET answered something else than what was set.
    WrongValue(String),
    /// GET answered that there is no such key.
    Missing(String),
    /// A reply of a kind that the command never has.
    Unexpected(String),
    /// No connection could be made.
    NoConnection(String),
    /// The connection was lost with the request on its way.
    ConnectionLost(String),
    /// No answer in time.
    NoAnswer(String),
}

/// The kind under which wrong values are counted.
pub(crate) const WRONG_VALUE: &str = "wrong value";

impl Fault {
    /// Name of the kind under which it is counted.
    fn kind(&self) -> &str {
        match self {
            Fault::Error { code, .. } => code,
            Fault::WrongValue(_) => WRONG_VALUE,
            Fault::Missing(_) => "missing value",
            Fault::Unexpected(_) => "unexpected reply",
            Fault::NoConnection(_) => "no connection",
            Fault::ConnectionLost(_) => "connection lost",
            Fault::NoAnswer(_) => "no answer in time",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Fault::Error { text, .. } => text,
            Fault::WrongValue(text)
            | Fault::Missing(text)
            | Fault::Unexpected(text)
            | Fault::NoConnection(text)
            | Fault::ConnectionLost(text)
            | Fault::NoAnswer(text) => text,
        }
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Failures {
    /// How many.
    pub(crate) count: u64,
    /// What the first one said.
    pub(crate) example: String,
}

/// Failures by kind. The number of kinds is bounded, whatever the target answers.
pub(crate) type ByKind = BTreeMap<String, Failures>;

const MOST_KINDS: usize = 32;
const LONGEST_EXAMPLE: usize = 200;

/// Adds `count` failures of a kind.
fn add(kinds: &mut ByKind, kind: &str, count: u64, example: &str) {
    if let Some(known) = kinds.get_mut(kind) {
        known.count += count;
        return;
    }
    let kind = if kinds.len() < MOST_KINDS { kind } else { "other" };
    let example = || example.chars().filter(|letter| !letter.is_control()).take(LONGEST_EXAMPLE).collect();
    let failures = kinds.entry(kind.to_owned()).or_insert_with(|| Failures { count: 0, example: example() });
    failures.count += count;
}

/// Adds all failures of `more`.
pub(crate) fn merge(kinds: &mut ByKind, more: &ByKind) {
    for (kind, failures) in more {
        add(kinds, kind, failures.count, &failures.example);
    }
}

/// Up to 1000 requests that ended one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Requests in it.
    pub(crate) requests: u64,
    /// Those of them that failed.
    pub(crate) errors: u64,
    /// When the batch before it ended.
    pub(crate) start: Instant,
    /// When its last request ended.
    pub(crate) end: Instant,
}

/// What one thread counts during one phase.
pub(crate) struct Tally {
    latency: Histogram<u64>,
    failed: u64,
    kinds: ByKind,
    batch: Batch,
    sink: Box<dyn Fn(Batch)>,
}

/// What a phase has counted in the end.
pub(crate) struct Count {
    /// Latencies of successful requests in nanoseconds; their number is the number of successes.
    pub(crate) latency: Histogram<u64>,
    /// Requests that failed.
    pub(crate) failed: u64,
    /// Why.
    pub(crate) kinds: ByKind,
    /// When the last request ended.
    pub(crate) end: Instant,
}

/// Latencies up to an hour, with three digits.
pub(crate) fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 3_600_000_000_000, 3).expect("the bounds are constants that hdr accepts")
}

impl Tally {
    /// Starts counting at `start`; finished batches go to `sink`.
    pub(crate) fn new(start: Instant, sink: Box<dyn Fn(Batch)>) -> Tally {
        let batch = Batch { requests: 0, errors: 0, start, end: start };
        Tally { latency: empty_histogram(), failed: 0, kinds: ByKind::new(), batch, sink }
    }

    /// A request succeeded at `now` after `took`.
    pub(crate) fn success(&mut self, took: Duration, now: Instant) {
        self.latency.saturating_record((took.as_nanos() as u64).max(1));
        self.ended(now);
    }

    /// A request failed at `now`.
    pub(crate) fn failure(&mut self, fault: &Fault, now: Instant) {
        add(&mut self.kinds, fault.kind(), 1, fault.detail());
        self.failed += 1;
        self.batch.errors += 1;
        self.ended(now);
    }

    /// Successes and failures so far.
    pub(crate) fn so_far(&self) -> (u64, u64) {
        (self.latency.len(), self.failed)
    }

    /// Ends counting; what is left of a batch is a batch too.
    pub(crate) fn finish(mut self) -> Count {
        if self.batch.requests > 0 {
            (self.sink)(self.batch);
            self.batch.start = self.batch.end;
        }
        Count { latency: self.latency, failed: self.failed, kinds: self.kinds, end: self.batch.end }
    }

    fn ended(&mut self, now: Instant) {
        self.batch.requests += 1;
        self.batch.end = now;
        if self.batch.requests == BATCH {
            (self.sink)(self.batch);
            self.batch = Batch { requests: 0, errors: 0, start: now, end: now };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    fn error(code: &str) -> Fault {
        Fault::Error { code: code.to_owned(), text: format!("{code} of a test") }
    }

    #[test]
    fn every_request_is_in_one_batch_also_the_first_and_the_last() {
        let (start, batches) = (Instant::now(), Rc::new(RefCell::new(Vec::new())));
        let seen = Rc::clone(&batches);
        let mut tally = Tally::new(start, Box::new(move |batch| seen.borrow_mut().push(batch)));
        let step = Duration::from_micros(10);
        for number in 1..=2500u32 {
            if number % 100 == 0 {
                tally.failure(&error("MOVED"), start + step * number);
            } else {
                tally.success(step, start + step * number);
            }
        }
        assert_eq!(tally.so_far(), (2475, 25));
        let count = tally.finish();
        let batches = batches.borrow();
        assert_eq!(batches.iter().map(|batch| batch.requests).collect::<Vec<_>>(), [1000, 1000, 500]);
        assert_eq!(batches.iter().map(|batch| batch.errors).collect::<Vec<_>>(), [10, 10, 5]);
        assert_eq!((batches[0].start, batches[1].start), (start, batches[0].end));
        assert_eq!(count.end, start + step * 2500);
        assert_eq!((count.latency.len(), count.failed, count.kinds["MOVED"].count), (2475, 25, 25));
        assert!(count.latency.value_at_quantile(0.99).abs_diff(10_000) <= 10);
    }

    #[test]
    fn nothing_counted_is_no_batch() {
        let start = Instant::now();
        let count = Tally::new(start, Box::new(|_| panic!("there is no batch"))).finish();
        assert_eq!((count.latency.len(), count.failed, count.end), (0, 0, start));
    }

    #[test]
    fn kinds_and_examples_are_bounded() {
        let mut kinds = ByKind::new();
        for number in 0..100 {
            add(&mut kinds, &format!("E{number:03}"), 2, &"x\n".repeat(1000));
        }
        assert_eq!(kinds.len(), MOST_KINDS + 1);
        assert_eq!(kinds.values().map(|failures| failures.count).sum::<u64>(), 200);
        assert_eq!(kinds["E000"].example, "x".repeat(LONGEST_EXAMPLE));
    }

    #[test]
    fn merging_adds_up() {
        let (mut all, mut one) = (ByKind::new(), ByKind::new());
        add(&mut one, "OOM", 3, "first");
        merge(&mut all, &one);
        merge(&mut all, &one);
        assert_eq!(all["OOM"], Failures { count: 6, example: "first".to_owned() });
    }
}
