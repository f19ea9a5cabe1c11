//! What happened and was done, with the reason: one JSON object a line, append-only.
//!
//! Owns the file and the newest events in memory. Never grows without limit (one older file is kept), and a disk
//! that is full costs the record, not the service.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use crate::status::{Event, Level};

/// Events kept in memory and shown.
const SHOWN: usize = 200;
/// Length at which the file is set aside, in bytes.
const LIMIT: u64 = 4 << 20;
/// Longest text of an event.
const TEXT: usize = 600;

/// The journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    events: VecDeque<Event>,
}

impl Journal {
    /// Opens the file and remembers the newest events in it.
    pub(crate) fn open(path: PathBuf) -> Journal {
        let mut journal = Journal { events: tail(&path).unwrap_or_default(), path, file: None, length: 0 };
        journal.reopen();
        journal
    }

    /// Adds an event. `because` must not be empty for a step.
    pub(crate) fn add(&mut self, at_ms: u64, level: Level, subject: &str, what: &str, because: &str) {
        let short = |text: &str| text.chars().take(TEXT).collect::<String>();
        let event =
            Event { at_ms, level, subject: subject.to_owned(), what: short(what), because: short(because) };
        match level {
            Level::Info => tracing::info!(subject, because, "{what}"),
            Level::Warning => tracing::warn!(subject, because, "{what}"),
            Level::Error => tracing::error!(subject, because, "{what}"),
        }
        self.write(&event);
        self.events.push_front(event);
        self.events.truncate(SHOWN);
    }

    /// The newest events, newest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.iter().cloned().collect()
    }

    fn write(&mut self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        if self.length + line.len() as u64 > LIMIT {
            let _ = fs::rename(&self.path, self.path.with_extension("jsonl.1"));
            self.file = None;
        }
        if self.file.is_none() {
            self.reopen();
        }
        let Some(file) = &mut self.file else { return };
        match file.write_all(&line) {
            Ok(()) => self.length += line.len() as u64,
            Err(error) => {
                tracing::warn!("cannot write {}: {error}", self.path.display());
                self.file = None;
            }
        }
    }

    fn reopen(&mut self) {
        self.file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path).ok();
        self.length = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
    }
}

/// The newest events at the end of a file; half lines are passed over.
fn tail(path: &PathBuf) -> io::Result<VecDeque<Event>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(128 << 10)))?;
    let mut text = Vec::new();
    file.take(128 << 10).read_to_end(&mut text)?;
    let lines = text.split(|byte| *byte == b'\n').rev();
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).take(SHOWN).collect())
}

#[cfg(test)]
mod tests {
    use super::{Journal, Level};

    #[test]
    fn events_survive_a_restart_newest_first() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal.jsonl");
        let mut journal = Journal::open(path.clone());
        for at in 0..300 {
            journal.add(at, Level::Info, "node-1", "start", &"x".repeat(2_000));
        }
        std::fs::write(&path, [std::fs::read(&path).unwrap(), b"{\"half".to_vec()].concat()).unwrap();
        let events = Journal::open(path).events();
        assert!(events.len() > 100, "{}", events.len());
        assert_eq!((events[0].at_ms, events[0].because.len()), (299, 600));
        assert!(events.windows(2).all(|pair| pair[0].at_ms > pair[1].at_ms));
    }

    #[test]
    fn the_file_is_bounded() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal.jsonl");
        let mut journal = Journal::open(path.clone());
        for at in 0..9_000 {
            journal.add(at, Level::Info, "node-1", "start", &"x".repeat(1_000));
        }
        assert!(path.metadata().unwrap().len() <= super::LIMIT);
        assert!(place.path().join("journal.jsonl.1").exists());
    }
}
