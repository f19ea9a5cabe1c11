//! Runs worlds by the thousand, and says which of them broke a rule and what came before that.
//!
//! `EVENKEEL_SEEDS=1000000` is how many worlds of a kind are run, `EVENKEEL_FROM=10000` where they begin;
//! `EVENKEEL_SEED=17` runs one and tells everything that happens in it.

use super::trace::Trace;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// So many failing seeds are enough to begin with.
const ENOUGH: usize = 20;
/// The traces of so many of them are shown.
const TOLD: usize = 2;

/// What was counted in a world, or in many.
#[derive(Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        *self.0.entry(what).or_default() += count;
    }
}

struct Failure {
    seed: u64,
    why: String,
    trace: Option<String>,
}

/// Runs the worlds of a kind on every core; panics when one of them does.
pub(crate) fn run(everyday: u64, play: impl Fn(u64, &Trace) -> Tally + Sync) {
    if let Some(seed) = number("EVENKEEL_SEED") {
        println!("{:?}", play(seed, &Trace::new(true)));
        return;
    }
    let from = number("EVENKEEL_FROM").unwrap_or(0);
    let end = from + number("EVENKEEL_SEEDS").unwrap_or(everyday);
    let (next, threads) = (AtomicU64::new(from), std::thread::available_parallelism().map_or(1, usize::from));
    let work = || {
        let (mut tally, mut failures) = (Tally::default(), Vec::new());
        while failures.len() < ENOUGH {
            let seed = next.fetch_add(1, Relaxed);
            if seed >= end {
                break;
            }
            let trace = Trace::new(false);
            match catch_unwind(AssertUnwindSafe(|| play(seed, &trace))) {
                Ok(counted) => counted.0.into_iter().for_each(|(what, count)| tally.add(what, count)),
                Err(panic) => {
                    let why = panic.downcast_ref::<String>().cloned();
                    let why = why.or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
                    let trace = (failures.len() < TOLD).then(|| trace.to_string());
                    failures.push(Failure { seed, why: why.unwrap_or_default(), trace });
                }
            }
        }
        (tally, failures)
    };
    let done: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("worlds panic inside only")).collect()
    });
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    for (counted, failed) in done {
        counted.0.into_iter().for_each(|(what, count)| tally.add(what, count));
        failures.extend(failed);
    }
    println!("{} worlds: {tally:?}", end - from);
    report(failures);
}

fn report(mut failures: Vec<Failure>) {
    failures.sort_by_key(|failure| failure.seed);
    for failure in failures.iter().rev() {
        if let Some(trace) = &failure.trace {
            println!("== seed {}\n{trace}", failure.seed);
        }
        println!("== seed {}: {}", failure.seed, failure.why);
    }
    let seeds: Vec<u64> = failures.iter().map(|failure| failure.seed).collect();
    assert!(seeds.is_empty(), "seeds {seeds:?} broke a rule; EVENKEEL_SEED={} tells all of one", seeds[0]);
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}
