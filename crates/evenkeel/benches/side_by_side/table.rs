//! A run as plain tables.

use crate::record::{Record, Sample, Spread, Table};
use crate::stage::{DIRECT, HAPROXY};

/// Head of a column, and a line's cell in it.
type Column = (&'static str, fn(&Table, usize) -> String);

const COLUMNS: [Column; 12] = [
    ("target", |table, at| table.lines[at].target.clone()),
    ("requests/s", |table, at| plain(table, at, 0, |sample| sample.per_second)),
    ("p50 ms", |table, at| plain(table, at, 3, |sample| sample.p50_ms)),
    ("p99 ms", |table, at| plain(table, at, 3, |sample| sample.p99_ms)),
    ("proxy µs", |table, at| plain(table, at, 2, |sample| sample.proxy_us)),
    ("servers µs", |table, at| plain(table, at, 2, |sample| sample.servers_us)),
    ("client µs", |table, at| plain(table, at, 2, |sample| sample.client_us)),
    ("proxy CPU / HAProxy", |table, at| ratio(table, at, HAPROXY, |sample| sample.proxy_us)),
    ("requests per CPU second of everything / direct", |table, at| {
        ratio(table, at, DIRECT, |sample| 1.0 / sample.everything_us())
    }),
    ("requests/s / direct", |table, at| ratio(table, at, DIRECT, |sample| sample.per_second)),
    ("proxy MiB at most", |table, at| plain(table, at, 1, |sample| sample.peak_mib.unwrap_or(f64::NAN))),
    ("system calls", |table, at| plain(table, at, 2, |sample| sample.calls.unwrap_or(f64::NAN))),
];

pub(crate) fn print(record: &Record) {
    println!("{}", record.machine);
    for table in &record.tables {
        let rounds = table.lines.first().map_or(0, |line| line.samples.len());
        println!("\n{}: medians of {rounds} rounds; of ratios, least to most in brackets\n", table.load);
        row(COLUMNS.iter().map(|(head, _)| (*head).to_owned()));
        row(COLUMNS.iter().map(|(head, _)| (if *head == "target" { "---" } else { "--:" }).to_owned()));
        for at in 0..table.lines.len() {
            row(COLUMNS.iter().map(|(_, cell)| cell(table, at)));
        }
    }
    if record.idle.is_empty() {
        return;
    }
    println!("\nMemory of an idle connection that was used once, and of the process before\n");
    println!("| target | KiB a connection | MiB before |\n|---|--:|--:|");
    for idle in &record.idle {
        println!("| {} | {:.2} | {:.1} |", idle.target, idle.kib_each, idle.mib_before);
    }
}

fn row(cells: impl Iterator<Item = String>) {
    println!("| {} |", cells.collect::<Vec<_>>().join(" | "));
}

fn plain(table: &Table, at: usize, digits: usize, figure: fn(&Sample) -> f64) -> String {
    let spread = Spread::of(table.lines[at].samples.iter().map(figure));
    let shown = spread.filter(|spread| spread.median > 0.0);
    shown.map_or_else(|| "-".to_owned(), |spread| format!("{:.digits$}", spread.median))
}

fn ratio(table: &Table, at: usize, to: &str, figure: fn(&Sample) -> f64) -> String {
    let spread = table.ratio(&table.lines[at].target, to, figure);
    let shown = spread.filter(|spread| spread.median > 0.0);
    shown.map_or_else(
        || "-".to_owned(),
        |spread| format!("{:.2} ({:.2}–{:.2})", spread.median, spread.least, spread.most),
    )
}
