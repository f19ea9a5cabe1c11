//! What a load has seen.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::group::Group;

/// What a load has seen from its start to the last reading of all keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Requests that ended, rightly or not.
    pub requests: u64,
    /// Requests that were answered without an error.
    pub acknowledged: u64,
    /// Those of them that wrote.
    pub acknowledged_writes: u64,
    /// Writes that may or may not have been applied.
    pub uncertain_writes: u64,
    /// Failed requests by what the error said.
    pub errors: BTreeMap<String, u64>,
    /// Acknowledged increments and elements missing from counters and lists, and registers that ended older than
    /// acknowledged.
    pub lost_writes: u64,
    /// Increments in counters that were never sent, and elements that lists hold twice.
    pub doubled_writes: u64,
    /// Values of another key, broken values, and versions or elements that were refused, not yet sent, or out of order.
    pub wrong_reads: u64,
    /// Reads while the load ran that were older than an acknowledged write.
    pub stale_reads: u64,
    /// Reads that did not show a write of unknown fate any more that had been read before: who reads a write before it
    /// is acknowledged may see it undone.
    pub undone_reads: u64,
    /// Reads of a write of unknown fate that took effect after a newer acknowledged one. A client that gave
    /// up waiting cannot rule this out, so it does not spoil [`Verdict::is_intact`].
    pub late_writes: u64,
    /// Reads of a write that the same client had sent behind them and whose fate is unknown. A read that is asked
    /// again can see such a write, so it does not spoil [`Verdict::is_intact`] either.
    pub early_reads: u64,
    /// Connections made again at another address without a request having failed.
    pub moved: u64,
    /// Keys that could not be read in the end.
    pub unverified_keys: u64,
    /// Longest time that one connection was without a right answer.
    pub longest_stall: Duration,
    /// Longest time that no connection had a right answer.
    pub longest_outage: Duration,
    /// When the load began, in milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// How long the load ran, without the last reading.
    pub ran: Duration,
    /// What each group of slots saw, in the order of the options.
    pub groups: Vec<Group>,
    /// The first findings in words.
    pub findings: Vec<String>,
}

/// Findings kept in words.
const MOST_FINDINGS: usize = 20;
/// Different error texts kept apart.
const MOST_TEXTS: usize = 64;
const LONGEST_TEXT: usize = 200;

impl Verdict {
    /// Whether every key ended as it must: nothing lost, doubled, wrong, stale, undone or unread.
    pub fn is_intact(&self) -> bool {
        self.lost_writes == 0
            && self.doubled_writes == 0
            && self.wrong_reads == 0
            && self.stale_reads == 0
            && self.undone_reads == 0
            && self.unverified_keys == 0
    }

    /// Whether it is intact and no request failed.
    pub fn is_clean(&self) -> bool {
        self.is_intact() && self.late_writes == 0 && self.early_reads == 0 && self.errors.is_empty()
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    /// What is said when the load itself has a bug.
    pub(crate) fn of_a_crash() -> Verdict {
        let errors = BTreeMap::from([("the load ended by a bug of its own".to_owned(), 1)]);
        Verdict { errors, unverified_keys: 1, ..Verdict::default() }
    }

    /// Counts failed requests.
    pub(crate) fn error(&mut self, text: &str, count: u64) {
        self.requests += count;
        let text: String = text.chars().filter(|letter| !letter.is_control()).take(LONGEST_TEXT).collect();
        let known = self.errors.contains_key(&text) || self.errors.len() < MOST_TEXTS;
        let text = if known { text } else { "other errors".to_owned() };
        *self.errors.entry(text).or_insert(0) += count;
    }

    /// Keeps a finding, while there are few.
    pub(crate) fn finding(&mut self, text: impl FnOnce() -> String) {
        if self.findings.len() < MOST_FINDINGS {
            self.findings.push(text());
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "{} requests in {:.1?}, {} acknowledged ({} writes), {} failed, {} writes uncertain",
            self.requests,
            self.ran,
            self.acknowledged,
            self.acknowledged_writes,
            self.failed(),
            self.uncertain_writes
        )?;
        writeln!(
            out,
            "{} lost, {} doubled, {} wrong, {} stale, {} undone, {} late, {} early, {} keys unread; longest stall {:.1?}, outage {:.1?}",
            self.lost_writes,
            self.doubled_writes,
            self.wrong_reads,
            self.stale_reads,
            self.undone_reads,
            self.late_writes,
            self.early_reads,
            self.unverified_keys,
            self.longest_stall,
            self.longest_outage
        )?;
        for (text, count) in &self.errors {
            writeln!(out, "  {count} × {text}")?;
        }
        self.findings.iter().try_for_each(|finding| writeln!(out, "  ! {finding}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_spoil_clean_and_findings_spoil_intact() {
        let mut verdict = Verdict::default();
        assert!(verdict.is_clean());
        verdict.error("ERR no", 2);
        assert!(verdict.is_intact() && !verdict.is_clean());
        assert_eq!((verdict.failed(), verdict.requests), (2, 2));
        for spoil in [
            |verdict: &mut Verdict| verdict.lost_writes = 1,
            |verdict: &mut Verdict| verdict.doubled_writes = 1,
            |verdict: &mut Verdict| verdict.wrong_reads = 1,
            |verdict: &mut Verdict| verdict.stale_reads = 1,
            |verdict: &mut Verdict| verdict.undone_reads = 1,
            |verdict: &mut Verdict| verdict.unverified_keys = 1,
        ] {
            let mut spoiled = Verdict::default();
            spoil(&mut spoiled);
            assert!(!spoiled.is_intact());
        }
        assert!(!Verdict::of_a_crash().is_intact());
    }

    #[test]
    fn texts_and_findings_are_bounded() {
        let mut verdict = Verdict::default();
        for number in 0..1000 {
            verdict.error(&format!("MOVED {number}"), 1);
            verdict.finding(|| number.to_string());
        }
        assert_eq!((verdict.errors.len(), verdict.failed()), (MOST_TEXTS + 1, 1000));
        assert_eq!(verdict.findings.len(), MOST_FINDINGS);
        assert!(verdict.to_string().contains("other errors"));
    }
}
