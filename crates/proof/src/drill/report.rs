//! Everything that is known after the drills, as one value: `drill.json`, the page and the table are made from it.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Outcome;
use super::args::{Plan, Where};
use super::catalogue::Cast;
use super::figures::Figures;
use super::judge::{Durability, Times, median};
use super::timeline::Timeline;
use crate::machine::Machine;
use crate::units;

/// The report of all drills.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    /// Version of this format.
    pub(crate) schema: u32,
    /// Version of evenkeel.
    pub(crate) evenkeel: String,
    /// `held`, `broken`, `unable` or `stopped`.
    pub(crate) verdict: &'static str,
    #[serde(skip)]
    pub(crate) outcome: Outcome,
    pub(crate) started: String,
    pub(crate) ended: String,
    /// What was drilled.
    pub(crate) target: String,
    /// Clients of the load.
    pub(crate) clients: usize,
    /// Whether times were judged.
    pub(crate) times: Times,
    pub(crate) machine: Machine,
    pub(crate) drills: Vec<DrillReport>,
}

/// Who was drilled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// evenkeel.
    Evenkeel,
    /// The servers alone, to compare.
    RedisAlone,
}

/// One drill.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct DrillReport {
    pub(crate) name: &'static str,
    /// Who was drilled.
    pub(crate) who: Who,
    /// What writes waited for: the class by which losses are judged.
    pub(crate) durability: Durability,
    pub(crate) about: &'static str,
    pub(crate) promises: Vec<String>,
    /// Promises that did not hold.
    pub(crate) breaches: Vec<String>,
    /// Why it could not be run.
    pub(crate) unable: Option<String>,
    pub(crate) summary: Summary,
    pub(crate) runs: Vec<Run>,
}

/// One run of one drill.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Run {
    pub(crate) figures: Figures,
    pub(crate) timeline: Timeline,
}

/// The runs of one drill together.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) acknowledged_writes: u64,
    pub(crate) lost_writes: u64,
    pub(crate) doubled_writes: u64,
    pub(crate) stale_reads: u64,
    pub(crate) undone_reads: u64,
    pub(crate) uncertain_writes: u64,
    /// Failed requests by kind, everywhere.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Longest time that a client of a struck shard was without a right answer, run by run.
    pub(crate) stall_ms: Option<Spread>,
    /// The same of the other shards.
    pub(crate) elsewhere_ms: Option<Spread>,
    /// The same of all before the fault.
    pub(crate) noise_ms: Option<Spread>,
    /// From the end of the fault until all was as before.
    pub(crate) heal_ms: Option<Spread>,
}

/// Median, least and most of one figure over the runs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        let median = median(&mut figures)?;
        Some(Spread { median, least: *figures.first()?, most: *figures.last()? })
    }
}

impl Report {
    pub(crate) fn begin(machine: Machine, plan: &Plan) -> Report {
        Report {
            schema: 1,
            evenkeel: env!("CARGO_PKG_VERSION").to_owned(),
            verdict: "held",
            outcome: Outcome::Held,
            started: now(),
            ended: String::new(),
            target: match &plan.place {
                Where::Own(given) if given.is_empty() => "a deployment of its own".to_owned(),
                Where::Own(given) => {
                    let given: Vec<String> =
                        given.iter().map(|(key, value)| format!("{key} = {value}")).collect();
                    format!("a deployment of its own with {}", given.join(", "))
                }
                Where::Running(dir) => format!("the deployment in {}", dir.display()),
            },
            clients: plan.clients,
            times: if machine.is_busy() { Times::Busy } else { plan.times_count },
            machine,
            drills: Vec::new(),
        }
    }

    /// What was done with times, where they were not judged.
    pub(crate) fn remark(&self) -> Option<&'static str> {
        match self.times {
            Times::Judged => None,
            Times::Told => Some("Times were not judged, as was asked for."),
            Times::Busy => Some(
                "Times were not judged: this machine was busy with other things (see its load before), and what takes \
                 long then says little.",
            ),
        }
    }

    /// Whether servers were drilled alone as well.
    pub(crate) fn has_alone(&self) -> bool {
        self.drills.iter().any(|drill| drill.who == Who::RedisAlone)
    }

    /// Adds a drill; the worst decides how all of them ended.
    pub(crate) fn add(&mut self, drill: DrillReport) {
        let outcome = match (drill.breaches.is_empty(), &drill.unable) {
            (false, _) => Outcome::Broken,
            (true, Some(_)) => Outcome::Unable,
            (true, None) => Outcome::Held,
        };
        match (self.outcome, outcome) {
            (Outcome::Held, worse) | (Outcome::Unable, worse @ Outcome::Broken) => self.outcome = worse,
            (Outcome::Unable | Outcome::Broken | Outcome::Stopped, _) => {}
        }
        self.drills.push(drill);
    }

    pub(crate) fn stopped(&mut self) {
        self.outcome = Outcome::Stopped;
    }

    pub(crate) fn end(&mut self) {
        self.ended = now();
        self.verdict = match self.outcome {
            Outcome::Held => "held",
            Outcome::Unable => "unable",
            Outcome::Broken => "broken",
            Outcome::Stopped => "stopped",
        };
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl DrillReport {
    pub(crate) fn begin(cast: &Cast) -> DrillReport {
        DrillReport {
            name: cast.drill.name,
            who: if cast.drill.is_judged() { Who::Evenkeel } else { Who::RedisAlone },
            durability: cast.durability,
            about: cast.drill.about,
            promises: match cast.drill.is_judged() {
                true => cast.drill.promises.words(cast.durability),
                false => vec!["nothing: this is what there would be without evenkeel".to_owned()],
            },
            breaches: Vec::new(),
            unable: None,
            summary: Summary::default(),
            runs: Vec::new(),
        }
    }

    /// Its name and class for people.
    pub(crate) fn title(&self) -> String {
        match (self.who, self.durability) {
            (Who::Evenkeel, Durability::Async) => self.name.to_owned(),
            (Who::Evenkeel, Durability::Replicated) | (Who::RedisAlone, _) => {
                format!("{}, {}", self.name, self.class())
            }
        }
    }

    /// What was drilled with which promises, in a word.
    pub(crate) fn class(&self) -> &'static str {
        match self.who {
            Who::Evenkeel => self.durability.word(),
            Who::RedisAlone => "Redis alone",
        }
    }

    /// Its place on the page.
    pub(crate) fn anchor(&self) -> String {
        format!("{}-{}", self.name, self.class().replace(' ', "-"))
    }

    /// Whether a run ended without everything being as before.
    pub(crate) fn unhealed(&self) -> bool {
        self.runs.iter().any(|run| run.figures.heal_ms.is_none())
    }

    /// Sums up and judges.
    pub(crate) fn conclude(&mut self, cast: &Cast, times: Times) {
        let runs: Vec<&Figures> = self.runs.iter().map(|run| &run.figures).collect();
        self.breaches = match self.who {
            Who::Evenkeel => cast.drill.promises.breaches(&runs, times, cast.durability),
            Who::RedisAlone => Vec::new(),
        };
        self.summary = Summary::of(&runs);
    }

    /// The verdict in a word or two.
    pub(crate) fn word(&self) -> &'static str {
        match (self.breaches.is_empty(), self.unable.is_some(), self.runs.is_empty(), self.who) {
            (false, _, _, _) => "broken",
            (true, true, _, _) => "unable",
            (true, false, true, _) => "not run",
            (true, false, false, Who::Evenkeel) => "held",
            (true, false, false, Who::RedisAlone) => "to compare",
        }
    }

    /// The verdict in a few words.
    pub(crate) fn verdict(&self) -> String {
        match (self.breaches.as_slice(), &self.unable) {
            ([], None) => self.word().to_owned(),
            ([], Some(why)) => format!("could not be run: {why}"),
            ([first], _) => format!("broken: {first}"),
            ([first, rest @ ..], _) => format!("broken: {first}, and {} more", rest.len()),
        }
    }
}

impl Summary {
    fn of(runs: &[&Figures]) -> Summary {
        let sum = |pick: fn(&Figures) -> u64| runs.iter().map(|run| pick(run)).sum();
        let spread = |pick: fn(&Figures) -> Option<f64>| Spread::of(runs.iter().filter_map(|run| pick(run)));
        let mut errors = BTreeMap::new();
        for (kind, count) in runs.iter().flat_map(|run| run.errors.iter().chain(&run.errors_elsewhere)) {
            *errors.entry(kind.clone()).or_insert(0) += count;
        }
        Summary {
            acknowledged_writes: sum(|run| run.acknowledged_writes),
            lost_writes: sum(|run| run.lost_writes),
            doubled_writes: sum(|run| run.doubled_writes),
            stale_reads: sum(|run| run.stale_reads),
            undone_reads: sum(|run| run.undone_reads),
            uncertain_writes: sum(|run| run.uncertain_writes),
            errors,
            stall_ms: spread(|run| run.stall_ms),
            elsewhere_ms: spread(|run| run.elsewhere_ms),
            noise_ms: spread(|run| Some(run.noise_ms)),
            heal_ms: spread(|run| run.heal_ms.map(|heal| heal as f64)),
        }
    }
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    units::timestamp(since.map_or(0, |since| since.as_secs()))
}
