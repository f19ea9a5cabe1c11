//! What was measured, as one value: the seed's files, the terminal, `report.json` and `report.html` are made
//! from it. Pure.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::tally::{ByKind, Op, WRONG_VALUE, merge};
use super::target::Facts;
use crate::machine::Machine;

/// Everything about one run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// Version of this layout.
    pub(crate) schema: u32,
    /// Version of evenkeel that measured.
    pub(crate) evenkeel: String,
    /// Name of the run, also in its keys.
    pub(crate) run: String,
    /// Number of the client.
    pub(crate) client: u32,
    /// When it began (UTC).
    pub(crate) started: String,
    /// When it ended (UTC).
    pub(crate) ended: String,
    /// How it ended.
    pub(crate) ending: Ending,
    /// What was measured.
    pub(crate) target: Target,
    /// Where the load came from.
    pub(crate) machine: Machine,
    /// What was asked for.
    pub(crate) arguments: Arguments,
    /// What the figures mean, in sentences.
    pub(crate) method: Vec<String>,
    /// What the reader should know about this run in particular.
    pub(crate) remarks: Vec<String>,
    /// Sums over all sizes.
    pub(crate) totals: Totals,
    /// The figures.
    pub(crate) sizes: Vec<SizeReport>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Ending {
    /// Everything was measured.
    Complete,
    /// The user stopped it.
    Stopped,
}

/// The address and what answers there.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Target {
    /// As given.
    pub(crate) addr: String,
    /// As it says.
    #[serde(flatten)]
    pub(crate) facts: Facts,
}

/// The arguments that shape the figures.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Arguments {
    /// For each of SET and GET at each size.
    pub(crate) seconds: f64,
    /// Connections.
    pub(crate) connections: u64,
    /// Requests in flight on each.
    pub(crate) pipeline: usize,
    /// Threads of the generator.
    pub(crate) threads: u64,
    /// Bytes.
    pub(crate) sizes: Vec<usize>,
    /// Bound of data held on the target at a time.
    pub(crate) max_data_bytes: u64,
    /// Seconds after which a missing answer is a failure.
    pub(crate) timeout_seconds: f64,
    /// Whether the keys stayed.
    pub(crate) keep: bool,
}

/// Sums over all sizes.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Totals {
    /// Requests that ended, rightly or not.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) errors: u64,
    /// Those of them that were answered with a value that was never set there.
    pub(crate) wrong_values: u64,
    /// Failures by kind.
    pub(crate) errors_by_kind: ByKind,
}

/// One value size.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SizeReport {
    /// Length of a value.
    pub(crate) bytes: usize,
    /// The same in bits.
    pub(crate) bits: u64,
    /// Keys that the target confirmed.
    pub(crate) keys: u64,
    /// Why it was not measured; `None` when it was.
    pub(crate) skipped: Option<String>,
    /// Writing.
    pub(crate) set: Option<Figures>,
    /// Reading back.
    pub(crate) get: Option<Figures>,
}

impl SizeReport {
    /// The figures of an operation, where it was measured.
    pub(crate) fn figures(&self, op: Op) -> Option<&Figures> {
        match op {
            Op::Set => self.set.as_ref(),
            Op::Get => self.get.as_ref(),
        }
    }
}

/// The figures of one operation at one size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// How long it took.
    pub(crate) seconds: f64,
    /// Requests that ended.
    pub(crate) requests: u64,
    /// Those that failed.
    pub(crate) errors: u64,
    /// The same in percent of the requests.
    pub(crate) error_percentage: f64,
    /// Successful requests a second.
    pub(crate) requests_per_second: f64,
    /// Bits of values in successful requests a second.
    pub(crate) bandwidth_bits_per_second: f64,
    /// Latency of successful requests; `None` when there were none.
    pub(crate) latency_seconds: Option<Latency>,
    /// Requests in flight on each connection.
    pub(crate) pipeline: usize,
    /// Processors that the generator used, on average.
    pub(crate) generator_cores: f64,
    /// Failures by kind.
    pub(crate) errors_by_kind: ByKind,
}

/// Latency in seconds per request.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) min: f64,
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

/// What a phase gave, from which figures are made.
pub(crate) struct Measured<'a> {
    pub(crate) bytes: usize,
    pub(crate) elapsed: Duration,
    pub(crate) latency: &'a Histogram<u64>,
    pub(crate) failed: u64,
    pub(crate) kinds: ByKind,
    pub(crate) pipeline: usize,
    pub(crate) processor_seconds: f64,
}

impl Figures {
    /// Makes the figures. Only successful requests count for rates and latency.
    pub(crate) fn new(measured: Measured<'_>) -> Figures {
        let seconds = measured.elapsed.as_secs_f64();
        let successes = measured.latency.len();
        let requests = successes + measured.failed;
        let rate = if seconds > 0.0 { successes as f64 / seconds } else { 0.0 };
        let share = if requests > 0 { measured.failed as f64 / requests as f64 } else { 0.0 };
        Figures {
            seconds,
            requests,
            errors: measured.failed,
            error_percentage: share * 100.0,
            requests_per_second: rate,
            bandwidth_bits_per_second: rate * measured.bytes as f64 * 8.0,
            latency_seconds: (successes > 0).then(|| Latency::new(measured.latency)),
            pipeline: measured.pipeline,
            generator_cores: if seconds > 0.0 { measured.processor_seconds / seconds } else { 0.0 },
            errors_by_kind: measured.kinds,
        }
    }
}

impl Latency {
    fn new(nanoseconds: &Histogram<u64>) -> Latency {
        let at = |share| nanoseconds.value_at_quantile(share) as f64 / 1e9;
        Latency {
            min: nanoseconds.min() as f64 / 1e9,
            mean: nanoseconds.mean() / 1e9,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: nanoseconds.max() as f64 / 1e9,
        }
    }
}

impl Totals {
    /// Adds up the figures of all sizes.
    pub(crate) fn of(sizes: &[SizeReport]) -> Totals {
        let mut totals = Totals::default();
        for figures in sizes.iter().flat_map(|size| [&size.set, &size.get]).flatten() {
            totals.requests += figures.requests;
            totals.errors += figures.errors;
            merge(&mut totals.errors_by_kind, &figures.errors_by_kind);
        }
        totals.wrong_values = totals.errors_by_kind.get(WRONG_VALUE).map_or(0, |failures| failures.count);
        totals
    }
}

/// What every report says about its figures.
pub(crate) fn method() -> Vec<String> {
    [
        "The load is a closed loop: each connection keeps its number of requests in flight and sends the next \
         one when an answer has come. A target that stalls is sent less meanwhile, so percentiles show what \
         these connections saw, not what arrivals at a fixed rate would have waited.",
        "Latency is seconds per request, from the request handed to the connection to its whole answer read, \
         kept in a histogram with three significant digits. Only successful requests count for latency, \
         requests per second (IOPS) and bandwidth.",
        "Bandwidth is bits of values per second, without keys and protocol. Sizes are the true sizes of the \
         values: 16 bytes are 128 bits.",
        "GET reads keys that were set at the same size, and every answer is compared with what was set. A value \
         depends on run, key and size, so the value of another key, size or run is noticed and counted as a \
         wrong value.",
        "A request fails when it is answered by an error or a wrong value, when its connection is lost, or when \
         no answer comes in time. An attempt to connect that fails counts as one failed request.",
        "The clock of a phase runs from its start to its last answer. The first batch is counted like all others.",
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::tally::{Failures, empty_histogram};
    use super::*;

    fn kinds(kind: &str, count: u64) -> ByKind {
        ByKind::from([(kind.to_owned(), Failures { count, example: String::new() })])
    }

    fn measured(latency: &Histogram<u64>, failed: u64, kinds: ByKind) -> Measured<'_> {
        let elapsed = Duration::from_secs(2);
        Measured { bytes: 1024, elapsed, latency, failed, kinds, pipeline: 1, processor_seconds: 1.0 }
    }

    #[test]
    fn figures_have_true_units() {
        let mut latency = empty_histogram();
        latency.record_n(100_000, 990).unwrap();
        latency.record_n(5_000_000, 10).unwrap();
        let figures = Figures::new(measured(&latency, 250, kinds("OOM", 250)));
        assert_eq!((figures.requests, figures.errors, figures.error_percentage), (1250, 250, 20.0));
        assert_eq!(figures.requests_per_second, 500.0);
        assert_eq!(figures.bandwidth_bits_per_second, 500.0 * 1024.0 * 8.0);
        assert_eq!(figures.generator_cores, 0.5);
        let latency = figures.latency_seconds.unwrap();
        assert!((latency.p50 - 0.0001).abs() < 1e-6 && (latency.p99 - 0.0001).abs() < 1e-6);
        assert!((latency.p999 - 0.005).abs() < 1e-5 && (latency.mean - 0.000149).abs() < 1e-6);
    }

    #[test]
    fn nothing_measured_divides_by_nothing() {
        let latency = empty_histogram();
        let nothing =
            Figures::new(Measured { elapsed: Duration::ZERO, ..measured(&latency, 0, ByKind::new()) });
        assert_eq!((nothing.error_percentage, nothing.requests_per_second), (0.0, 0.0));
        assert_eq!(nothing.latency_seconds, None);
        let refused = Figures::new(measured(&latency, 7, kinds("NOAUTH", 7)));
        assert_eq!((refused.error_percentage, refused.latency_seconds), (100.0, None));
    }

    #[test]
    fn totals_add_up_and_show_wrong_values() {
        let mut latency = empty_histogram();
        latency.record(1000).unwrap();
        let with = |kinds| Some(Figures::new(measured(&latency, 3, kinds)));
        let sizes = [
            SizeReport {
                set: with(kinds("OOM", 3)),
                get: with(kinds(WRONG_VALUE, 3)),
                ..SizeReport::default()
            },
            SizeReport { set: with(kinds("OOM", 3)), ..SizeReport::default() },
            SizeReport::default(),
        ];
        let totals = Totals::of(&sizes);
        assert_eq!((totals.requests, totals.errors, totals.wrong_values), (12, 9, 3));
        assert_eq!(totals.errors_by_kind["OOM"].count, 6);
    }
}
