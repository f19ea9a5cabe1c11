//! The course of one run on one axis: answers and failures of each shard, and what control and the drill noted.

use std::collections::BTreeSet;

use evenkeel_control::status::{Event, Level};

use super::figures::Moments;
use crate::load::{SAMPLE, Verdict};

/// Events kept of one run.
const MOST_EVENTS: usize = 300;

/// The course of one run; all times in milliseconds, 0 is the fault.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Timeline {
    /// When the load began.
    pub(crate) begin_ms: i64,
    /// Length of a sample.
    pub(crate) sample_ms: u64,
    /// When the fault was over.
    pub(crate) over_ms: i64,
    /// When all was as before.
    pub(crate) healed_ms: Option<i64>,
    /// Each shard's answers and failures.
    pub(crate) shards: Vec<Lane>,
    /// What was noted, oldest first.
    pub(crate) events: Vec<Mark>,
}

/// One shard's answers and failures in each sample.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Lane {
    pub(crate) slots: String,
    pub(crate) struck: bool,
    pub(crate) acknowledged: Vec<u32>,
    pub(crate) failed: Vec<u32>,
}

/// Something that was noted.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Mark {
    pub(crate) at_ms: i64,
    pub(crate) level: Level,
    pub(crate) subject: String,
    pub(crate) what: String,
    pub(crate) because: String,
}

impl Timeline {
    pub(crate) fn new(
        verdict: &Verdict,
        names: &[String],
        struck: &BTreeSet<usize>,
        moments: Moments,
        mut events: Vec<Event>,
    ) -> Timeline {
        let since = |at: u64| at as i64 - moments.struck as i64;
        let lanes = verdict.groups.iter().enumerate().map(|(at, group)| Lane {
            slots: names.get(at).cloned().unwrap_or_default(),
            struck: struck.contains(&at),
            acknowledged: group.samples.iter().map(|sample| sample.acknowledged).collect(),
            failed: group.samples.iter().map(|sample| sample.failed).collect(),
        });
        events.sort_by_key(|event| event.at_ms);
        let marks = events.into_iter().take(MOST_EVENTS).map(|event| Mark {
            at_ms: since(event.at_ms),
            level: event.level,
            subject: event.subject,
            what: event.what,
            because: event.because,
        });
        Timeline {
            begin_ms: since(verdict.began_ms),
            sample_ms: SAMPLE.as_millis() as u64,
            over_ms: since(moments.over),
            healed_ms: moments.healed.map(since),
            shards: lanes.collect(),
            events: marks.collect(),
        }
    }

    /// When the last sample ends.
    pub(crate) fn end_ms(&self) -> i64 {
        let samples = self.shards.iter().map(|lane| lane.acknowledged.len()).max().unwrap_or(0);
        self.begin_ms + (samples as u64 * self.sample_ms) as i64
    }
}
