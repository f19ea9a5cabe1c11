//! The figures of a run: every sample kept, ratios made inside a round, as JSON to read again.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// What one measurement gave; times in microseconds of processor time for a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) proxy_us: f64,
    pub(crate) servers_us: f64,
    pub(crate) client_us: f64,
    /// The proxy's memory at its highest.
    pub(crate) peak_mib: Option<f64>,
    /// System calls of the proxy for a request.
    pub(crate) calls: Option<f64>,
}

impl Sample {
    pub(crate) fn everything_us(&self) -> f64 {
        self.proxy_us + self.servers_us + self.client_us
    }

    fn to_json(self) -> Value {
        json!({
            "per_second": self.per_second, "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "proxy_us": self.proxy_us, "servers_us": self.servers_us, "client_us": self.client_us,
            "peak_mib": self.peak_mib, "calls": self.calls,
        })
    }

    fn from_json(value: &Value) -> Sample {
        let figure = |name: &str| value[name].as_f64().unwrap_or(f64::NAN);
        Sample {
            per_second: figure("per_second"),
            p50_ms: figure("p50_ms"),
            p99_ms: figure("p99_ms"),
            proxy_us: figure("proxy_us"),
            servers_us: figure("servers_us"),
            client_us: figure("client_us"),
            peak_mib: value["peak_mib"].as_f64(),
            calls: value["calls"].as_f64(),
        }
    }
}

/// The samples of one target under one load, a round each.
pub(crate) struct Line {
    pub(crate) target: String,
    pub(crate) samples: Vec<Sample>,
}

/// One load.
pub(crate) struct Table {
    pub(crate) load: String,
    pub(crate) lines: Vec<Line>,
}

/// Idle connections of one target.
pub(crate) struct Idle {
    pub(crate) target: String,
    pub(crate) kib_each: f64,
    pub(crate) mib_before: f64,
}

/// Everything that a run has measured.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) machine: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) idle: Vec<Idle>,
}

/// Median, least and most of the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` without a single figure.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }
}

impl Table {
    pub(crate) fn line(&self, target: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.target == target)
    }

    /// A figure of one target divided by that of another in the same round.
    pub(crate) fn ratio(&self, of: &str, to: &str, figure: fn(&Sample) -> f64) -> Option<Spread> {
        let (of, to) = (self.line(of)?, self.line(to)?);
        Spread::of(of.samples.iter().zip(&to.samples).map(|(of, to)| figure(of) / figure(to)))
    }
}

impl Record {
    pub(crate) fn write(&self, path: &Path) {
        let tables = self.tables.iter().map(|table| {
            let lines = table.lines.iter().map(|line| {
                let samples: Vec<Value> = line.samples.iter().map(|sample| sample.to_json()).collect();
                json!({ "target": line.target, "samples": samples })
            });
            json!({ "load": table.load, "lines": lines.collect::<Vec<_>>() })
        });
        let idle = self.idle.iter().map(
            |idle| json!({ "target": idle.target, "kib_each": idle.kib_each, "mib_before": idle.mib_before }),
        );
        let all = json!({
            "machine": self.machine,
            "tables": tables.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
        });
        let text = serde_json::to_string_pretty(&all).expect("figures are values");
        fs::write(path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub(crate) fn read(path: &Path) -> Record {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let all: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let tables = list(&all["tables"]).map(|table| {
            let lines = list(&table["lines"]).map(|line| Line {
                target: word(&line["target"]),
                samples: list(&line["samples"]).map(Sample::from_json).collect(),
            });
            Table { load: word(&table["load"]), lines: lines.collect() }
        });
        let idle = list(&all["idle"]).map(|idle| Idle {
            target: word(&idle["target"]),
            kib_each: idle["kib_each"].as_f64().unwrap_or(f64::NAN),
            mib_before: idle["mib_before"].as_f64().unwrap_or(f64::NAN),
        });
        Record { machine: word(&all["machine"]), tables: tables.collect(), idle: idle.collect() }
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
