//! Shows how far a start has come: a spinner on a terminal, plain lines elsewhere.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::time::Duration;

use crate::say::say;
use evenkeel_control::status::{Health, Level, Status};
use indicatif::{ProgressBar, ProgressStyle};

/// The progress of one start.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: String,
    told: BTreeSet<String>,
}

impl Progress {
    pub(crate) fn begin() -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
            let bar = ProgressBar::new_spinner()
                .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Progress { bar, last: String::new(), told: BTreeSet::new() }
    }

    pub(crate) fn show(&mut self, status: &Status) {
        for node in status.nodes.iter().filter(|node| node.health == Health::Down && node.pid.is_none()) {
            let words = format!("{}: {}", node.name, node.because);
            if self.told.len() < 100 && self.told.insert(words.clone()) {
                self.line(&words);
            }
        }
        // what a start does beyond the ordinary, and why: a promotion, a restored identity, a question to a person
        let told = status.events.iter().rev().filter(|event| match event.level {
            Level::Info => false,
            Level::Warning | Level::Error => event.at_ms >= status.since_ms && event.subject != "cluster",
        });
        for event in told.filter(|event| !event.what.contains('→')) {
            let words = format!("{}: {}: {}", event.subject, event.what, event.because);
            if self.told.len() < 100 && self.told.insert(words.clone()) {
                self.line(&words);
            }
        }
        let words = stage(status);
        if words != self.last {
            match &self.bar {
                Some(bar) => bar.set_message(words.clone()),
                None => say(format_args!("{words}")),
            }
            self.last = words;
        }
    }

    pub(crate) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&self, words: &str) {
        match &self.bar {
            Some(bar) => bar.println(words),
            None => say(format_args!("{words}")),
        }
    }
}

fn stage(status: &Status) -> String {
    let (all, answering) =
        (status.nodes.len(), status.nodes.iter().filter(|node| !node.id.is_empty()).count());
    if status.nodes.is_empty() {
        "starting servers".to_owned()
    } else if answering < all {
        format!("starting servers: {answering} of {all} answer")
    } else if status.slots_served < 16_384 {
        format!("forming the cluster: {} of 16384 slots served", status.slots_served)
    } else if let Some(node) = status.nodes.iter().find(|node| node.health != Health::Ok) {
        let waiting = status.nodes.iter().filter(|node| node.health != Health::Ok).count();
        format!("nodes agree and copy: {waiting} to go, such as {}", node.name)
    } else if status.gateways.iter().any(|gateway| gateway.health != Health::Ok) {
        "waiting for the gateway".to_owned()
    } else {
        "almost there".to_owned()
    }
}
