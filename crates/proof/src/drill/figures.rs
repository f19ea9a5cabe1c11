//! What one run of a drill gave, in figures, made from what the load saw. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::load::{Group, SAMPLE, Verdict};

/// The figures of one run.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Figures {
    /// Requests answered without an error.
    pub(crate) acknowledged: u64,
    /// Those of them that wrote.
    pub(crate) acknowledged_writes: u64,
    /// Writes that their clients were told may or may not have been applied.
    pub(crate) uncertain_writes: u64,
    /// Acknowledged writes that were missing afterwards.
    pub(crate) lost_writes: u64,
    /// About how many writes were acknowledged by struck shards in the last second before the fault.
    pub(crate) last_second_writes: u64,
    /// Writes that were applied twice.
    pub(crate) doubled_writes: u64,
    /// Reads that gave an older value than was acknowledged.
    pub(crate) stale_reads: u64,
    /// Reads that did not show a write any more which had been read before it was acknowledged.
    pub(crate) undone_reads: u64,
    /// Values that were wrong.
    pub(crate) wrong_reads: u64,
    /// Reads of a write of unknown fate that took effect after a newer one.
    pub(crate) late_writes: u64,
    /// Reads that saw a write of unknown fate which the same client had sent behind them.
    pub(crate) early_reads: u64,
    /// Keys that could not be read in the end.
    pub(crate) unread_keys: u64,
    /// Connections that went to another address without a failed request.
    pub(crate) moved_connections: u64,
    /// Failed requests on struck shards, by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Failed requests on the other shards, by kind.
    pub(crate) errors_elsewhere: BTreeMap<String, u64>,
    /// Requests that failed before the fault.
    pub(crate) failed_before: u64,
    /// Longest time that a client of a struck shard was without a right answer.
    pub(crate) stall_ms: Option<f64>,
    /// When that began, seen from the fault.
    pub(crate) stall_at_ms: Option<i64>,
    /// Longest time that all clients of a struck shard were.
    pub(crate) outage_ms: Option<f64>,
    /// Longest time that a client of another shard was without a right answer.
    pub(crate) elsewhere_ms: Option<f64>,
    /// When that began, seen from the fault. Where all shards wait at the same moment, it is the machine that waits.
    pub(crate) elsewhere_at_ms: Option<i64>,
    /// The same of any client before the fault.
    pub(crate) noise_ms: f64,
    /// How long the fault itself took.
    pub(crate) fault_ms: u64,
    /// From its end until all was as before.
    pub(crate) heal_ms: Option<u64>,
    /// What the deployment could not do that the drill asked for.
    pub(crate) failed: Option<String>,
    /// Each shard by itself.
    pub(crate) shards: Vec<ShardFigures>,
    /// First findings of the load in words.
    pub(crate) findings: Vec<String>,
}

/// The figures of one shard.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct ShardFigures {
    /// Its slots.
    pub(crate) slots: String,
    /// Whether the fault was about it.
    pub(crate) struck: bool,
    /// Requests answered without an error.
    pub(crate) acknowledged: u64,
    /// Failed requests by kind.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Longest time that one of its clients was without a right answer after the fault.
    pub(crate) stall_ms: f64,
    /// Longest time that all of them were.
    pub(crate) outage_ms: f64,
    /// Longest time that one was before the fault.
    pub(crate) noise_ms: f64,
}

/// When things happened, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) struck: u64,
    pub(crate) over: u64,
    pub(crate) healed: Option<u64>,
}

impl Figures {
    /// The figures of a run, from what the load saw of each shard.
    pub(crate) fn new(
        verdict: &Verdict,
        names: &[String],
        struck: &BTreeSet<usize>,
        moments: Moments,
    ) -> Figures {
        let groups = || verdict.groups.iter().enumerate();
        let of = |wanted: bool| {
            groups().filter(move |(at, _)| struck.contains(at) == wanted).map(|(_, group)| group)
        };
        let shards = groups().map(|(at, group)| ShardFigures {
            slots: names.get(at).cloned().unwrap_or_default(),
            struck: struck.contains(&at),
            acknowledged: group.acknowledged,
            errors: group.errors.clone(),
            stall_ms: millis(group.stall),
            outage_ms: millis(group.outage),
            noise_ms: millis(group.stall_before),
        });
        let longest = |wanted, pick: fn(&Group) -> Duration| of(wanted).map(pick).max().map(millis);
        let longest_from = |wanted| {
            let group = of(wanted).max_by_key(|group| group.stall)?;
            Some((verdict.began_ms as i64 + group.stall_from.as_millis() as i64) - moments.struck as i64)
        };
        let before = of(true).map(|group| last_second(group, verdict.began_ms, moments.struck)).sum::<u64>();
        let writes = verdict.acknowledged_writes as f64 / verdict.acknowledged.max(1) as f64;
        Figures {
            acknowledged: verdict.acknowledged,
            acknowledged_writes: verdict.acknowledged_writes,
            uncertain_writes: verdict.uncertain_writes,
            lost_writes: verdict.lost_writes,
            last_second_writes: (before as f64 * writes) as u64,
            doubled_writes: verdict.doubled_writes,
            stale_reads: verdict.stale_reads,
            undone_reads: verdict.undone_reads,
            wrong_reads: verdict.wrong_reads,
            late_writes: verdict.late_writes,
            early_reads: verdict.early_reads,
            unread_keys: verdict.unverified_keys,
            moved_connections: verdict.moved,
            errors: kinds(of(true)),
            errors_elsewhere: kinds(of(false)),
            failed_before: groups().map(|(_, group)| group.failed_before).sum(),
            stall_ms: longest(true, |group| group.stall),
            stall_at_ms: longest_from(true),
            outage_ms: longest(true, |group| group.outage),
            elsewhere_ms: longest(false, |group| group.stall),
            elsewhere_at_ms: longest_from(false),
            noise_ms: groups().map(|(_, group)| millis(group.stall_before)).fold(0.0, f64::max),
            fault_ms: moments.over.saturating_sub(moments.struck),
            heal_ms: moments.healed.map(|healed| healed.saturating_sub(moments.over)),
            failed: None,
            shards: shards.collect(),
            findings: verdict.findings.clone(),
        }
    }
}

fn kinds<'a>(groups: impl Iterator<Item = &'a Group>) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for (kind, count) in groups.flat_map(|group| &group.errors) {
        *all.entry(kind.clone()).or_insert(0) += count;
    }
    all
}

/// Requests that were acknowledged in the second before the fault.
fn last_second(group: &Group, began: u64, struck: u64) -> u64 {
    let sample = SAMPLE.as_millis() as u64;
    let (until, count) = ((struck.saturating_sub(began) / sample) as usize, (1_000 / sample) as usize);
    let until = (until + 1).min(group.samples.len());
    let last = &group.samples[until.saturating_sub(count)..until];
    last.iter().map(|sample| u64::from(sample.acknowledged)).sum()
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Sample;

    fn group(stall: u64, errors: &[(&str, u64)]) -> Group {
        Group {
            acknowledged: 10,
            stall: Duration::from_millis(stall),
            stall_from: Duration::from_millis(if stall == 70 { 70 } else { 0 }),
            errors: errors.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect(),
            samples: vec![Sample { acknowledged: 2, failed: 0 }; 100],
            ..Group::default()
        }
    }

    #[test]
    fn struck_shards_are_told_from_the_others() {
        let verdict = Verdict {
            began_ms: 1_000,
            acknowledged: 10,
            acknowledged_writes: 5,
            groups: vec![group(9, &[]), group(70, &[("UNCERTAIN", 2)]), group(12, &[("OOM", 1)])],
            ..Verdict::default()
        };
        let names = ["a", "b", "c"].map(str::to_owned);
        let moments = Moments { struck: 4_000, over: 4_100, healed: Some(6_100) };
        let figures = Figures::new(&verdict, &names, &BTreeSet::from([1]), moments);
        assert_eq!((figures.stall_ms, figures.elsewhere_ms), (Some(70.0), Some(12.0)));
        assert_eq!((figures.errors["UNCERTAIN"], figures.errors_elsewhere["OOM"]), (2, 1));
        assert_eq!((figures.stall_at_ms, figures.elsewhere_at_ms), (Some(-2_930), Some(-3_000)));
        assert_eq!((figures.fault_ms, figures.heal_ms), (100, Some(2_000)));
        assert_eq!(figures.last_second_writes, 20, "half of 20 samples with 2 requests each");
        let everywhere = Figures::new(&verdict, &names, &BTreeSet::from([0, 1, 2]), moments);
        assert_eq!(everywhere.elsewhere_ms, None);
    }
}
