//! Promises as data, and the judgement of what was seen by them. Pure.

use std::collections::BTreeMap;

use super::figures::Figures;

/// What has to hold in every run of a drill.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// Acknowledged writes that may be missing afterwards.
    pub(crate) lost: Loss,
    /// Kinds of errors that clients of the struck shards may see.
    pub(crate) errors: &'static [&'static str],
    /// Longest time that a client of a struck shard is without a right answer.
    pub(crate) stall: Limit,
    /// The same for clients of the other shards, which see no errors at all.
    pub(crate) elsewhere: Limit,
    /// Longest time from the end of the fault until all is as before, in milliseconds.
    pub(crate) heal_ms: u64,
}

/// What a write's acknowledgement waits for while a drill runs: the class of its promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// The primary.
    #[default]
    Async,
    /// A replica too.
    Replicated,
}

impl Durability {
    /// As the configuration writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Durability::Async => "async",
            Durability::Replicated => "replicated",
        }
    }
}

/// What clients are told with durability `replicated` where no replica has confirmed a write, or none is there to.
const UNCONFIRMED: [&str; 2] = ["UNREPLICATED", "NOREPLICAS"];

/// `gateway.durability-wait` of a drill's own gateways, in milliseconds.
const CONFIRMATION: u64 = 1_000;

/// Acknowledged writes that may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// None.
    None,
    /// Those of the last second before the fault: the disk is written once a second.
    LastSecond,
    /// They are counted and not judged, for this reason.
    Told(&'static str),
}

/// Most milliseconds, each time and for the median of five or more runs. Twice the noise that was measured before
/// the fault is allowed on top: the time after the fault is the longer one, and meets more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) median_ms: u64,
    pub(crate) most_ms: u64,
}

/// What is done with times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Times {
    /// They are judged.
    Judged,
    /// They are told only, since that was asked for.
    Told,
    /// They are told only: the machine was busy with other things before the first drill.
    Busy,
}

/// Runs from which on a median says something.
const ENOUGH: usize = 5;

impl Promises {
    /// Of a drill that is done to compare: everything is told, nothing is judged.
    pub(crate) const NONE: Promises = Promises {
        lost: Loss::Told("nothing is promised of it"),
        errors: &[],
        stall: Limit { median_ms: 0, most_ms: 0 },
        elsewhere: Limit { median_ms: 0, most_ms: 0 },
        heal_ms: 60_000,
    };

    /// The promises for a person.
    pub(crate) fn words(&self, durability: Durability) -> Vec<String> {
        let mut words = vec![match self.may_lose(durability) {
            Loss::None => "no acknowledged write is lost".to_owned(),
            Loss::LastSecond => "no acknowledged write older than a second is lost".to_owned(),
            Loss::Told(why) => format!("lost acknowledged writes are counted, not judged: {why}"),
        }];
        if durability == Durability::Replicated {
            words.push(
                "a value that was read before its write was acknowledged may be gone; that is counted"
                    .to_owned(),
            );
        }
        words.push("nothing is applied twice, no value is wrong".to_owned());
        let kinds = self.may_fail(durability);
        words.push(match kinds.as_slice() {
            [] => "no client sees an error".to_owned(),
            kinds => {
                format!("clients of the struck shards see no error but {}, others none", kinds.join(", "))
            }
        });
        let limit = |limit: Limit| format!("{} ms, median {} ms", limit.most_ms, limit.median_ms);
        words.push(format!(
            "nobody waits longer than {}; elsewhere {}",
            limit(self.may_stall(durability)),
            limit(self.elsewhere)
        ));
        words.push(format!("all is as before within {} s", self.heal_ms as f64 / 1e3));
        words
    }

    /// What did not hold in these runs of one drill; empty when everything did.
    pub(crate) fn breaches(&self, runs: &[&Figures], times: Times, durability: Durability) -> Vec<String> {
        let mut breaches = Vec::new();
        for (number, run) in runs.iter().enumerate() {
            let here = self.run_breaches(run, times, durability);
            breaches.extend(here.into_iter().map(|what| match runs.len() {
                1 => what,
                _ => format!("run {}: {what}", number + 1),
            }));
        }
        if times == Times::Judged && runs.len() >= ENOUGH {
            breaches.extend(medians(
                "clients of the struck shards",
                self.may_stall(durability),
                runs,
                |run| run.stall_ms,
            ));
            breaches
                .extend(medians("clients of the other shards", self.elsewhere, runs, |run| run.elsewhere_ms));
        }
        breaches
    }

    /// What an acknowledgement by a replica means: nothing of it is lost while either of the two lives.
    fn may_lose(&self, durability: Durability) -> Loss {
        match (self.lost, durability) {
            (Loss::Told(_), Durability::Replicated) => Loss::None,
            (lost, Durability::Async | Durability::Replicated) => lost,
        }
    }

    /// Until the old primary is back as a replica nobody can confirm a write: its client waits `gateway.durability-wait`
    /// longer, until it is told.
    fn may_stall(&self, durability: Durability) -> Limit {
        let Limit { median_ms, most_ms } = self.stall;
        let wait = match durability {
            Durability::Async => 0,
            Durability::Replicated => CONFIRMATION,
        };
        Limit { median_ms: median_ms + wait, most_ms: most_ms + wait }
    }

    fn may_fail(&self, durability: Durability) -> Vec<&'static str> {
        let told: &[&str] = match durability {
            Durability::Async => &[],
            Durability::Replicated => &UNCONFIRMED,
        };
        self.errors.iter().chain(told).copied().collect()
    }

    fn run_breaches(&self, run: &Figures, times: Times, durability: Durability) -> Vec<String> {
        let mut found = Vec::new();
        let mut more_than = |count: u64, allowed: u64, what: &str| {
            if count > allowed {
                found.push(format!("{count} {what}"));
            }
        };
        let undone = match (self.lost, durability) {
            (Loss::None, Durability::Async) => 0,
            (_, Durability::Replicated) | (Loss::LastSecond | Loss::Told(_), _) => u64::MAX,
        };
        let (lost, old) = match self.may_lose(durability) {
            Loss::None => (0, 0),
            // what was lost is also read as an old value until it is written again
            Loss::LastSecond => (run.last_second_writes, u64::MAX),
            Loss::Told(_) => (u64::MAX, u64::MAX),
        };
        more_than(run.lost_writes, lost, "acknowledged writes were lost");
        more_than(run.stale_reads, old, "reads gave an older value than was acknowledged");
        more_than(
            run.undone_reads,
            undone,
            "values had been read before they were acknowledged and were gone",
        );
        more_than(run.doubled_writes, 0, "writes were applied twice");
        more_than(run.wrong_reads, 0, "values were wrong");
        more_than(run.unread_keys, 0, "keys could not be read in the end");
        more_than(run.failed_before, 0, "requests failed before the fault");
        found.extend(run.failed.clone());
        found.extend(unexpected(&run.errors, &self.may_fail(durability), "struck"));
        found.extend(unexpected(&run.errors_elsewhere, &[], "other"));
        match (times, run.heal_ms) {
            (_, None) => found.push("it did not heal".to_owned()),
            (Times::Judged, Some(heal)) if heal > self.heal_ms => {
                found.push(format!("it took {heal} ms to heal, promised are {}", self.heal_ms));
            }
            (Times::Judged | Times::Told | Times::Busy, Some(_)) => {}
        }
        if times == Times::Judged {
            found.extend(over(
                "a client of a struck shard",
                self.may_stall(durability).most_ms,
                run.stall_ms,
                run.noise_ms,
            ));
            found.extend(over(
                "a client of another shard",
                self.elsewhere.most_ms,
                run.elsewhere_ms,
                run.noise_ms,
            ));
        }
        found
    }
}

fn unexpected<'a>(
    seen: &'a BTreeMap<String, u64>,
    allowed: &'a [&str],
    whose: &'a str,
) -> impl Iterator<Item = String> + 'a {
    let unexpected = seen.iter().filter(|(kind, _)| !allowed.contains(&kind.as_str()));
    unexpected.map(move |(kind, count)| format!("clients of {whose} shards saw {count} × {kind}"))
}

fn over(who: &str, limit: u64, seen: Option<f64>, noise: f64) -> Option<String> {
    let seen = seen.filter(|seen| *seen > limit as f64 + 2.0 * noise)?;
    Some(format!("{who} waited {seen:.0} ms, promised are {limit} and the noise was {noise:.0}"))
}

fn medians(who: &str, limit: Limit, runs: &[&Figures], pick: fn(&Figures) -> Option<f64>) -> Option<String> {
    let mut seen: Vec<f64> = runs.iter().filter_map(|run| pick(run)).collect();
    let mut noise: Vec<f64> = runs.iter().map(|run| run.noise_ms).collect();
    let (seen, noise) = (median(&mut seen)?, median(&mut noise)?);
    (seen > limit.median_ms as f64 + 2.0 * noise).then(|| {
        let limit = limit.median_ms;
        format!("{who} waited {seen:.0} ms in the median, promised are {limit} and the noise was {noise:.0}")
    })
}

/// The middle of some figures, sorted on the way.
pub(crate) fn median(figures: &mut [f64]) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() % 2 {
        _ if figures.is_empty() => None,
        1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMISES: Promises = Promises {
        lost: Loss::None,
        errors: &["UNCERTAIN"],
        stall: Limit { median_ms: 20, most_ms: 150 },
        elsewhere: Limit { median_ms: 10, most_ms: 20 },
        heal_ms: 30_000,
    };

    fn good() -> Figures {
        Figures {
            stall_ms: Some(15.0),
            elsewhere_ms: Some(8.0),
            noise_ms: 5.0,
            heal_ms: Some(3_000),
            last_second_writes: 40,
            errors: BTreeMap::from([("UNCERTAIN".to_owned(), 3)]),
            ..Figures::default()
        }
    }

    fn one(kind: &str) -> BTreeMap<String, u64> {
        BTreeMap::from([(kind.to_owned(), 1)])
    }

    fn breaches(promises: &Promises, spoil: fn(&mut Figures)) -> Vec<String> {
        let mut run = good();
        spoil(&mut run);
        promises.breaches(&[&run], Times::Judged, Durability::Async)
    }

    #[test]
    fn what_holds_is_no_breach() {
        assert_eq!(breaches(&PROMISES, |_| {}), Vec::<String>::new());
        assert_eq!(breaches(&PROMISES, |run| run.stall_ms = Some(159.0)).len(), 0, "noise is allowed on top");
    }

    #[test]
    fn every_figure_that_is_promised_can_break_it() {
        for (spoil, word) in [
            ((|run: &mut Figures| run.lost_writes = 1) as fn(&mut Figures), "lost"),
            (|run| run.stale_reads = 1, "older value"),
            (|run| run.undone_reads = 1, "were gone"),
            (|run| run.doubled_writes = 1, "twice"),
            (|run| run.wrong_reads = 1, "wrong"),
            (|run| run.unread_keys = 1, "read in the end"),
            (|run| run.failed_before = 1, "before the fault"),
            (|run| run.errors = one("UNAVAILABLE"), "struck shards saw 1 × UNAVAILABLE"),
            (|run| run.errors_elsewhere = one("UNCERTAIN"), "other shards saw"),
            (|run| run.stall_ms = Some(161.0), "struck shard waited"),
            (|run| run.elsewhere_ms = Some(31.0), "another shard waited"),
            (|run| run.heal_ms = Some(30_001), "to heal"),
            (|run| run.heal_ms = None, "did not heal"),
            (|run| run.failed = Some("`evenkeel restart all` failed".to_owned()), "restart all"),
        ] {
            let found = breaches(&PROMISES, spoil);
            assert!(found.len() == 1 && found[0].contains(word), "{word}: {found:?}");
        }
    }

    #[test]
    fn losses_are_judged_by_what_may_be_lost() {
        let last = Promises { lost: Loss::LastSecond, ..PROMISES };
        let told = Promises { lost: Loss::Told("because"), ..PROMISES };
        let some: fn(&mut Figures) = |run| (run.lost_writes, run.stale_reads) = (40, 7);
        let many: fn(&mut Figures) = |run| (run.lost_writes, run.stale_reads) = (41, 7);
        assert_eq!((breaches(&last, some).len(), breaches(&last, many).len()), (0, 1));
        assert_eq!(breaches(&told, many).len(), 0);
        assert_eq!(breaches(&told, |run| run.doubled_writes = 1).len(), 1);
    }

    #[test]
    fn what_a_replica_confirmed_is_not_lost_and_what_none_did_is_told() {
        let told = Promises { lost: Loss::Told("because"), ..PROMISES };
        let judged = |run: &Figures, durability| told.breaches(&[run], Times::Judged, durability).len();
        let lost = Figures { lost_writes: 1, ..good() };
        assert_eq!((judged(&lost, Durability::Async), judged(&lost, Durability::Replicated)), (0, 1));
        let slow = Figures { stall_ms: Some(1_100.0), ..good() };
        assert_eq!((judged(&slow, Durability::Async), judged(&slow, Durability::Replicated)), (1, 0));
        let unconfirmed = Figures { errors: one("UNREPLICATED"), undone_reads: 1, ..good() };
        assert_eq!(
            (judged(&unconfirmed, Durability::Async), judged(&unconfirmed, Durability::Replicated)),
            (1, 0)
        );
        let words = told.words(Durability::Replicated).join("; ");
        assert!(words.contains("no acknowledged write is lost") && words.contains("NOREPLICAS"), "{words}");
    }

    #[test]
    fn medians_are_judged_from_five_runs_on() {
        let slow = Figures { stall_ms: Some(60.0), ..good() };
        let judged = |count| PROMISES.breaches(&vec![&slow; count], Times::Judged, Durability::Async);
        assert_eq!((judged(4).len(), judged(5).len()), (0, 1));
        let told =
            PROMISES.breaches(&[&Figures { stall_ms: Some(9e9), ..good() }], Times::Told, Durability::Async);
        assert_eq!(told.len(), 0, "times are not judged where that was asked for");
    }

    #[test]
    fn the_middle_is_found() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }
}
