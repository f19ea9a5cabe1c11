//! What the user sees while it runs: a bar with the time left on a terminal, and a table row for each phase.
//!
//! The bar is drawn on standard error and only on a terminal; rows go to standard output, or to standard
//! error where standard output is for the report.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Output;
use super::report::Figures;
use super::tally::Op;
use crate::units;

/// The bar and the rows.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    output: Output,
    /// Time of all phases that are over, and of all phases.
    done: Duration,
    all: Duration,
    last: (Instant, u64),
    rate: f64,
}

impl Progress {
    /// A run whose phases take `all` together.
    pub(crate) fn new(all: Duration, output: Output) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(all.as_millis() as u64);
            bar.set_style(
                ProgressStyle::with_template("{bar:32} {percent:>3}%  {msg}")
                    .expect("the template is a constant that indicatif accepts"),
            );
            bar
        });
        Progress { bar, output, done: Duration::ZERO, all, last: (Instant::now(), 0), rate: 0.0 }
    }

    /// A line for people.
    pub(crate) fn say(&self, line: &str) {
        let print = || {
            // A reader that has gone away must not stop the measurement, nor the removal of keys.
            let _ = match self.output {
                Output::Table => writeln!(std::io::stdout(), "{line}"),
                Output::Json => writeln!(std::io::stderr(), "{line}"),
            };
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// The head of the table.
    pub(crate) fn head(&self) {
        self.say(&format!(
            "{:>8}  {:<3} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9}  {}",
            "VALUE", "OP", "REQUESTS/S", "BANDWIDTH", "MEAN", "P50", "P99", "P99.9", "ERRORS"
        ));
    }

    /// The row of a phase that is over.
    pub(crate) fn row(&self, bytes: usize, op: Op, figures: &Figures) {
        self.say(&row(bytes, op, figures));
    }

    /// A phase begins.
    pub(crate) fn begin(&mut self) {
        self.last = (Instant::now(), 0);
        self.rate = 0.0;
    }

    /// Shows a running phase: how long it runs and its successes and failures.
    pub(crate) fn show(&mut self, bytes: usize, op: Op, ran: Duration, (ok, failed): (u64, u64)) {
        let Some(bar) = &self.bar else { return };
        let since = self.last.0.elapsed().as_secs_f64();
        if since >= 0.5 {
            self.rate = ok.saturating_sub(self.last.1) as f64 / since;
            self.last = (Instant::now(), ok);
        }
        let position = self.done + ran;
        let left = self.all.saturating_sub(position).as_secs_f64().ceil() as u64;
        bar.set_position(position.as_millis() as u64);
        bar.set_message(format!(
            "{} {}  {}/s  {} failed  {} left",
            op.name(),
            units::bytes(bytes as u64),
            units::grouped(self.rate as u64),
            units::grouped(failed),
            units::left(left)
        ));
    }

    /// A phase of this length is over, or will not be.
    pub(crate) fn end(&mut self, phase: Duration) {
        self.done += phase;
    }

    /// Shows what is being done beside measuring.
    pub(crate) fn doing(&self, what: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(what.to_owned());
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn row(bytes: usize, op: Op, figures: &Figures) -> String {
    let latency = figures.latency_seconds;
    let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), units::seconds);
    let errors = match figures.errors {
        0 => "0".to_owned(),
        _ => {
            let kinds: Vec<_> = figures
                .errors_by_kind
                .iter()
                .map(|(kind, failures)| format!("{kind} {}", units::grouped(failures.count)))
                .collect();
            format!("{:.3}% ({})", figures.error_percentage, kinds.join(", "))
        }
    };
    format!(
        "{:>8}  {:<3} {:>13} {:>13} {:>9} {:>9} {:>9} {:>9}  {}",
        units::bytes(bytes as u64),
        op.name(),
        units::grouped(figures.requests_per_second.round() as u64),
        units::bits_per_second(figures.bandwidth_bits_per_second),
        time(latency.map(|latency| latency.mean)),
        time(latency.map(|latency| latency.p50)),
        time(latency.map(|latency| latency.p99)),
        time(latency.map(|latency| latency.p999)),
        errors
    )
}

#[cfg(test)]
mod tests {
    use super::super::report::Measured;
    use super::super::tally::{ByKind, Failures, empty_histogram};
    use super::*;

    #[test]
    fn a_row_names_failures_by_kind() {
        let mut latency = empty_histogram();
        latency.record_n(71_000, 999_000).unwrap();
        let failures = Failures { count: 1000, example: String::new() };
        let figures = Figures::new(Measured {
            bytes: 4096,
            elapsed: Duration::from_secs(10),
            latency: &latency,
            failed: 1000,
            kinds: ByKind::from([("MOVED".to_owned(), failures)]),
            pipeline: 1,
            processor_seconds: 0.0,
        });
        let row = row(4096, Op::Set, &figures);
        assert!(row.starts_with("   4 KiB  SET        99,900   3.27 Gbit/s"), "{row}");
        assert!(row.ends_with("0.100% (MOVED 1,000)"), "{row}");
    }
}
