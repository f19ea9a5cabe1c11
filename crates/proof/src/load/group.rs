//! What the connections of one group of slots saw: errors, standstill, and the course of time.
//!
//! A drill makes a group of each shard, so that what a fault does to its own shard can be told from what it does to
//! the others.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Length of time that one sample stands for.
pub const SAMPLE: Duration = Duration::from_millis(50);
/// Samples kept; a longer load adds to the last one.
const MOST_SAMPLES: usize = 20_000;

/// What happened in one [`SAMPLE`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Requests answered without an error.
    pub acknowledged: u32,
    /// Requests that failed.
    pub failed: u32,
}

/// What the connections of one group saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Requests answered without an error.
    pub acknowledged: u64,
    /// Failed requests by kind: the error's first word, or what happened to the connection.
    pub errors: BTreeMap<String, u64>,
    /// Requests that failed before the mark.
    pub failed_before: u64,
    /// Longest time that one connection was without a right answer, ended before the mark: the noise of machine
    /// and load.
    pub stall_before: Duration,
    /// The same, ended after the mark.
    pub stall: Duration,
    /// When that longest time began, since the start of the load.
    pub stall_from: Duration,
    /// Longest time, ended after the mark, that no connection of the group had a right answer.
    pub outage: Duration,
    /// The course of time from the start of the load.
    pub samples: Vec<Sample>,
}

/// Which side of the mark it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

/// A group that is being watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) group: Group,
    start: Instant,
    last_success: Instant,
}

impl Watched {
    pub(super) fn new(start: Instant) -> Watched {
        Watched { group: Group::default(), start, last_success: start }
    }

    /// A connection had no right answer from one moment to another, at which it got `answered`.
    pub(super) fn gap(&mut self, side: Side, from: Instant, to: Instant, answered: u64) {
        let stall = to.saturating_duration_since(from);
        match side {
            Side::Before => self.group.stall_before = self.group.stall_before.max(stall),
            Side::After => {
                if stall > self.group.stall {
                    self.group.stall = stall;
                    self.group.stall_from = from.saturating_duration_since(self.start);
                }
                let outage = to.saturating_duration_since(self.last_success);
                self.group.outage = self.group.outage.max(outage);
            }
        }
        if answered > 0 {
            self.last_success = to;
            self.group.acknowledged += answered;
            let sample = self.sample(to);
            sample.acknowledged = sample.acknowledged.saturating_add(answered as u32);
        }
    }

    /// Requests failed.
    pub(super) fn failed(&mut self, side: Side, at: Instant, kind: &str, count: u64) {
        match self.group.errors.get_mut(kind) {
            Some(known) => *known += count,
            // kinds are first words of errors, of which servers have some dozens
            None => drop(self.group.errors.insert(kind.to_owned(), count)),
        }
        match side {
            Side::Before => self.group.failed_before += count,
            Side::After => {}
        }
        let sample = self.sample(at);
        sample.failed = sample.failed.saturating_add(count as u32);
    }

    fn sample(&mut self, at: Instant) -> &mut Sample {
        let since = at.saturating_duration_since(self.start);
        let place = ((since.as_millis() / SAMPLE.as_millis()) as usize).min(MOST_SAMPLES - 1);
        if self.group.samples.len() <= place {
            self.group.samples.resize(place + 1, Sample::default());
        }
        &mut self.group.samples[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standstill_is_told_by_its_side_and_by_its_connection() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watched = Watched::new(start);
        watched.gap(Side::Before, start, at(10), 3);
        // two connections wait 100 ms each, one after the other has been answered
        watched.gap(Side::After, at(10), at(110), 1);
        watched.gap(Side::After, at(70), at(170), 1);
        watched.failed(Side::After, at(171), "UNCERTAIN", 2);
        let group = watched.group;
        assert_eq!(group.stall_before, Duration::from_millis(10));
        assert_eq!((group.stall, group.outage), (Duration::from_millis(100), Duration::from_millis(100)));
        assert_eq!((group.acknowledged, group.failed_before, group.errors["UNCERTAIN"]), (5, 0, 2));
        let samples: Vec<_> = group.samples.iter().map(|one| (one.acknowledged, one.failed)).collect();
        assert_eq!(samples, [(3, 0), (0, 0), (1, 0), (1, 2)]);
    }

    #[test]
    fn samples_are_bounded() {
        let start = Instant::now();
        let mut watched = Watched::new(start);
        watched.gap(Side::After, start, start + Duration::from_secs(90_000), 1);
        assert_eq!(watched.group.samples.len(), MOST_SAMPLES);
    }
}
