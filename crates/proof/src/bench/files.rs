//! The seed's four files, and how files are written so that a reader never finds half of one.
//!
//! `results-<op>-clientN.txt` is a JSON array with one object for each size; it is replaced as a whole after
//! every phase. `results-raw-<op>-clientN.txt` is a JSON array too, one object a line, streamed while the
//! load runs. Names of the fields are the seed's; the units are bits, percent, successful requests per second,
//! seconds per request and bits per second, and seconds since the Unix epoch for START and END.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::BenchError;
use super::report::{Report, SizeReport};
use super::tally::{Batch, Op};

/// One size in `results-<op>-clientN.txt`.
#[derive(Debug, PartialEq, Serialize)]
struct Row {
    #[serde(rename = "NUM OF BITS")]
    bits: u64,
    #[serde(rename = "ERROR PERCENTAGE")]
    error_percentage: f64,
    #[serde(rename = "IOPS")]
    iops: f64,
    #[serde(rename = "LATENCY")]
    latency: Option<f64>,
    #[serde(rename = "BANDWIDTH")]
    bandwidth: f64,
}

/// One batch in `results-raw-<op>-clientN.txt`.
#[derive(Debug, PartialEq, Serialize)]
struct RawRow {
    #[serde(rename = "COUNT")]
    count: u64,
    #[serde(rename = "NUM OF BITS")]
    bits: u64,
    #[serde(rename = "ERRORS")]
    errors: u64,
    #[serde(rename = "START")]
    start: f64,
    #[serde(rename = "END")]
    end: f64,
}

/// Turns moments into times of day.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    zero: Instant,
    since_epoch: Duration,
}

impl Clock {
    /// Reads both clocks now.
    pub(crate) fn now() -> Clock {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { zero: Instant::now(), since_epoch }
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn seconds(self, at: Instant) -> u64 {
        self.micros(at) / 1_000_000
    }

    fn micros(self, at: Instant) -> u64 {
        (self.since_epoch + at.saturating_duration_since(self.zero)).as_micros() as u64
    }

    fn fine_seconds(self, at: Instant) -> f64 {
        self.micros(at) as f64 / 1e6
    }
}

/// A raw file that grows while the load runs.
struct RawFile {
    path: PathBuf,
    out: BufWriter<File>,
    count: u64,
    /// Sign before the next record: opening bracket, then commas.
    sign: &'static str,
}

impl RawFile {
    fn create(path: PathBuf) -> Result<RawFile, BenchError> {
        let out = File::create(&path).map_err(|source| BenchError::Write { path: path.clone(), source })?;
        Ok(RawFile { path, out: BufWriter::new(out), count: 0, sign: "[\n" })
    }

    fn push(&mut self, batch: &Batch, bytes: usize, clock: Clock) -> Result<(), BenchError> {
        self.count += batch.requests;
        let row = RawRow {
            count: self.count,
            bits: bytes as u64 * 8,
            errors: batch.errors,
            start: clock.fine_seconds(batch.start),
            end: clock.fine_seconds(batch.end),
        };
        let sign = std::mem::replace(&mut self.sign, ",\n");
        self.out
            .write_all(sign.as_bytes())
            .and_then(|()| serde_json::to_writer(&mut self.out, &row).map_err(io::Error::from))
            .map_err(|source| BenchError::Write { path: self.path.clone(), source })
    }

    fn finish(&mut self) -> Result<(), BenchError> {
        let end = if self.count == 0 { "[]\n" } else { "\n]\n" };
        self.out
            .write_all(end.as_bytes())
            .and_then(|()| self.out.flush())
            .map_err(|source| BenchError::Write { path: self.path.clone(), source })
    }
}

/// All files of one run.
pub(crate) struct Files {
    dir: PathBuf,
    client: u32,
    clock: Clock,
    raw: [RawFile; 2],
}

impl Files {
    /// Makes the directory and opens the files that grow.
    pub(crate) fn create(dir: &Path, client: u32, clock: Clock) -> Result<Files, BenchError> {
        std::fs::create_dir_all(dir).map_err(|source| BenchError::Write { path: dir.to_owned(), source })?;
        let raw = |op: Op| RawFile::create(dir.join(format!("results-raw-{}-client{client}.txt", op.file())));
        Ok(Files { dir: dir.to_owned(), client, clock, raw: [raw(Op::Set)?, raw(Op::Get)?] })
    }

    /// Adds a batch to the raw file of its operation.
    pub(crate) fn batch(&mut self, op: Op, bytes: usize, batch: &Batch) -> Result<(), BenchError> {
        let clock = self.clock;
        self.raw_of(op).push(batch, bytes, clock)
    }

    /// Writes the figures so far of one operation.
    pub(crate) fn results(&self, op: Op, sizes: &[SizeReport]) -> Result<(), BenchError> {
        let name = format!("results-{}-client{}.txt", op.file(), self.client);
        replace(&self.dir.join(name), results(op, sizes).as_bytes())
    }

    /// Closes the raw files.
    pub(crate) fn finish(&mut self) -> Result<(), BenchError> {
        self.raw.iter_mut().try_for_each(RawFile::finish)
    }

    /// Writes `report.json` and `report.html`; gives the path of the page. Clients other than the first have
    /// their number in the names, so that several can share a directory.
    pub(crate) fn report(&self, report: &Report, page: &str) -> Result<PathBuf, BenchError> {
        let suffix = if self.client == 1 { String::new() } else { format!("-client{}", self.client) };
        let json = serde_json::to_string_pretty(report).expect("a report has only keys that JSON takes");
        replace(&self.dir.join(format!("report{suffix}.json")), json.as_bytes())?;
        let path = self.dir.join(format!("report{suffix}.html"));
        replace(&path, page.as_bytes())?;
        Ok(path)
    }

    fn raw_of(&mut self, op: Op) -> &mut RawFile {
        match op {
            Op::Set => &mut self.raw[0],
            Op::Get => &mut self.raw[1],
        }
    }
}

/// The text of `results-<op>-clientN.txt`.
fn results(op: Op, sizes: &[SizeReport]) -> String {
    let rows: Vec<Row> = sizes
        .iter()
        .filter_map(|size| {
            let figures = size.figures(op)?;
            Some(Row {
                bits: size.bits,
                error_percentage: figures.error_percentage,
                iops: figures.requests_per_second,
                latency: figures.latency_seconds.map(|latency| latency.mean),
                bandwidth: figures.bandwidth_bits_per_second,
            })
        })
        .collect();
    let mut text = serde_json::to_string_pretty(&rows).expect("rows have only keys that JSON takes");
    text.push('\n');
    text
}

/// Replaces a file as a whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), BenchError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(|source| BenchError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::super::report::{Figures, Measured};
    use super::super::tally::{ByKind, empty_histogram};
    use super::*;

    fn sizes() -> Vec<SizeReport> {
        let mut latency = empty_histogram();
        latency.record_n(200_000, 3000).unwrap();
        let set = Figures::new(Measured {
            bytes: 16,
            elapsed: Duration::from_secs(3),
            latency: &latency,
            failed: 1000,
            kinds: ByKind::new(),
            pipeline: 1,
            processor_seconds: 0.0,
        });
        vec![
            SizeReport { bytes: 16, bits: 128, set: Some(set), ..SizeReport::default() },
            SizeReport { bytes: 32, bits: 256, skipped: Some("no room".to_owned()), ..SizeReport::default() },
        ]
    }

    #[test]
    fn results_have_the_seeds_fields_and_true_units() {
        let rows: serde_json::Value = serde_json::from_str(&results(Op::Set, &sizes())).unwrap();
        let row = &rows[0];
        assert_eq!(rows.as_array().unwrap().len(), 1, "what was not measured has no row");
        assert_eq!(row.as_object().unwrap().len(), 5);
        assert_eq!((&row["NUM OF BITS"], &row["ERROR PERCENTAGE"]), (&128.into(), &25.0.into()));
        assert_eq!((&row["IOPS"], &row["BANDWIDTH"]), (&1000.0.into(), &128_000.0.into()));
        assert!((row["LATENCY"].as_f64().unwrap() - 0.0002).abs() < 1e-6);
        assert_eq!(results(Op::Get, &sizes()), "[]\n");
    }

    #[test]
    fn raw_files_are_one_array_with_a_running_count() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::now();
        let mut files = Files::create(&dir.path().join("new/one"), 3, clock).unwrap();
        let start = clock.zero;
        for (requests, errors) in [(1000, 0), (1000, 4), (17, 1)] {
            let batch = Batch { requests, errors, start, end: start + Duration::from_millis(1500) };
            files.batch(Op::Set, 16, &batch).unwrap();
        }
        files.finish().unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join("new/one").join(name)).unwrap();
        let text = read("results-raw-set-client3.txt");
        assert_eq!(text.lines().count(), 5, "a record a line: {text}");
        let rows: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&rows[2]["COUNT"], &rows[2]["ERRORS"]), (&2017.into(), &1.into()));
        assert_eq!(rows[1]["NUM OF BITS"], 128);
        let took = rows[0]["END"].as_f64().unwrap() - rows[0]["START"].as_f64().unwrap();
        assert!((took - 1.5).abs() < 1e-5);
        assert_eq!(read("results-raw-get-client3.txt"), "[]\n");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = Files::create(Path::new("/proc/none"), 1, Clock::now()).err().unwrap();
        assert!(error.to_string().contains("/proc/none"), "{error}");
    }
}
