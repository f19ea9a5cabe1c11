//! The run itself: for each size SET, then GET, then the keys are removed.
//!
//! Knows the order of things and nothing of sockets: the crew does the work, `files` keeps what comes in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::args::{Afterwards, Plan};
use super::crew::{Crew, Note};
use super::drive::{Phase, Stop};
use super::files::Files;
use super::keys::{FILL_PERCENT, Memory, Names, room};
use super::progress::Progress;
use super::report::{Figures, Measured, SizeReport};
use super::tally::{ByKind, Op, empty_histogram, merge};
use super::{BenchError, target};
use crate::link::Link;
use crate::machine::processor_seconds;
use crate::noise::Noise;
use crate::units;

/// How often the bar is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// One run over all sizes.
pub(crate) struct Sweep<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) run: &'a str,
    pub(crate) noise: Arc<Noise>,
    pub(crate) crew: Crew,
    pub(crate) files: Files,
    pub(crate) progress: Progress,
    pub(crate) stop: Stop,
    /// Memory of the target as it was last known.
    pub(crate) memory: Option<Memory>,
    /// What is known so far.
    pub(crate) sizes: Vec<SizeReport>,
    /// What the reader should know.
    pub(crate) remarks: Vec<String>,
}

impl Sweep<'_> {
    /// Measures every size until the user stops it. The keys of a size are removed whatever happens to it.
    pub(crate) fn run(&mut self, runtime: &Runtime) -> Result<(), BenchError> {
        self.progress.head();
        for &bytes in &self.plan.sizes {
            if self.stopped() {
                break;
            }
            let memory = self.memory(runtime);
            self.sizes.push(SizeReport { bytes, bits: bytes as u64 * 8, ..SizeReport::default() });
            let in_flight = self.plan.connections * (self.plan.depth(bytes) * bytes) as u64;
            let Some(keys) = room(memory, self.plan.data_per_size(), in_flight, bytes) else {
                self.skip(bytes, memory, in_flight);
                continue;
            };
            let measured = self.size(bytes, keys);
            if self.plan.afterwards == Afterwards::Remove {
                self.remove(bytes);
            }
            measured?;
        }
        Ok(())
    }

    /// Whether the user has asked to stop.
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) > 0
    }

    fn size(&mut self, bytes: usize, keys: u64) -> Result<(), BenchError> {
        for op in Op::ALL {
            if self.stopped() {
                break;
            }
            let (figures, confirmed) = self.phase(op, bytes, keys)?;
            self.progress.row(bytes, op, &figures);
            if let Some(size) = self.sizes.last_mut() {
                size.keys = confirmed;
                match op {
                    Op::Set => size.set = Some(figures),
                    Op::Get => size.get = Some(figures),
                }
            }
            self.files.results(op, &self.sizes)?;
        }
        Ok(())
    }

    /// Measures one operation at one size; also gives the number of keys that are on the target.
    fn phase(&mut self, op: Op, bytes: usize, keys: u64) -> Result<(Figures, u64), BenchError> {
        let pipeline = self.plan.depth(bytes);
        let start = Instant::now();
        let phase = Phase {
            op,
            size: bytes,
            keys,
            depth: pipeline,
            names: Names::new(self.run, bytes),
            noise: Arc::clone(&self.noise),
            start,
            until: start + self.plan.time,
            stop: Arc::clone(&self.stop),
        };
        let processor_before = processor_seconds();
        self.progress.begin();
        self.crew.measure(&phase);
        let (mut latency, mut failed, mut kinds) = (empty_histogram(), 0, ByKind::new());
        let (mut end, mut confirmed, mut written) = (start, 0, Ok(()));
        let mut working = self.crew.threads();
        while working > 0 {
            match self.crew.notes.recv_timeout(DRAW) {
                // After a failed write the rest is only taken from the channel, so that the threads can end.
                Ok(Note::Batch(batch)) if written.is_ok() => {
                    written = self.files.batch(op, bytes, &batch);
                    if written.is_err() {
                        self.stop.fetch_max(1, Ordering::Relaxed);
                    }
                }
                Ok(Note::Counted(count, keys)) => {
                    latency.add(&count.latency).expect("all histograms have the same bounds");
                    failed += count.failed;
                    merge(&mut kinds, &count.kinds);
                    end = end.max(count.end);
                    confirmed += keys;
                    working -= 1;
                }
                Ok(Note::Batch(_) | Note::Removed(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(BenchError::Crew),
            }
            self.progress.show(bytes, op, start.elapsed().min(self.plan.time), self.crew.live());
        }
        self.progress.end(self.plan.time);
        written?;
        // A phase in which the last answers were missing lasted as long as it was meant to.
        let end = if self.stopped() { end } else { end.max(phase.until) };
        let figures = Figures::new(Measured {
            bytes,
            elapsed: end - start,
            latency: &latency,
            failed,
            kinds,
            pipeline,
            processor_seconds: processor_seconds() - processor_before,
        });
        Ok((figures, confirmed))
    }

    fn remove(&mut self, bytes: usize) {
        if self.stopped() {
            self.progress.say("stopping early; the keys are being removed (once more Ctrl-C leaves them)");
        }
        self.progress.doing(&format!("removing the keys of {}", units::bytes(bytes as u64)));
        self.crew.remove(&self.stop);
        let (mut working, mut left) = (self.crew.threads(), 0);
        while working > 0 {
            match self.crew.notes.recv() {
                Ok(Note::Removed(keys)) => {
                    left += keys;
                    working -= 1;
                }
                Ok(Note::Batch(_) | Note::Counted(..)) => {}
                Err(_) => return,
            }
        }
        if left > 0 {
            self.remarks.push(format!(
                "{} keys named evenkeel:bench:{}:{bytes}:* could not be removed from the target.",
                units::grouped(left),
                self.run
            ));
        }
    }

    fn skip(&mut self, bytes: usize, memory: Option<Memory>, in_flight: u64) {
        let limit = match memory {
            Some(Memory { used, max }) if max > 0 => format!(
                "beside {} in flight ({} of maxmemory {} in use, at most {FILL_PERCENT}% is filled)",
                units::bytes(in_flight),
                units::bytes(used),
                units::bytes(max)
            ),
            Some(_) | None => format!("within --max-data {}", units::bytes(self.plan.data_per_size())),
        };
        let why = format!("Not measured: the target has no room for one value {limit}.");
        self.progress.end(self.plan.time * 2);
        self.progress.say(&format!("{:>8}  {why}", units::bytes(bytes as u64)));
        if let Some(size) = self.sizes.last_mut() {
            size.skipped = Some(why);
        }
    }

    /// Memory of the target at this moment, or as it was last known while it does not answer.
    fn memory(&mut self, runtime: &Runtime) -> Option<Memory> {
        let door = &self.plan.door;
        let asked = runtime.block_on(async {
            let mut link = Link::open(door, 0).await?;
            target::ask(&mut link, door.patience).await
        });
        if let Ok((_, Some(memory))) = asked {
            self.memory = Some(memory);
        }
        self.memory
    }
}
