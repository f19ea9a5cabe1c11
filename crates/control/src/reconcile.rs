//! The loop: a nudge or a second → look → plan → act → journal → publish.
//!
//! Owns the pace, and the notes of what was already said. Never decides what to do (core's plan does) and never
//! believes that a step has worked before the next look shows it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::plan::{self, Desired, Duty, Judgement, NodeName, Plan, Process, Seen, Step};
use tokio::sync::watch;

use crate::act::act;
use crate::engine::Engine;
use crate::home::write_whole;
use crate::journal::Journal;
use crate::now_ms;
use crate::observe::{Eyes, Look};
use crate::orders::{Asked, Orders};
use crate::report::{Frame, Stage, report};
use crate::status::{Gateway, Health, Level, Status};
use crate::users::Register;

/// Pause when nothing is wrong, while something is being waited for, and after a step.
const PACE: [Duration; 3] = [Duration::from_secs(1), Duration::from_millis(100), Duration::from_millis(20)];
/// A start that takes longer than this is no start any more but trouble, in milliseconds.
const FORMING: u64 = 20_000;
/// How often the status is written to disk at most.
const ON_DISK: u64 = 1_000;

/// The reconcile loop of one cluster.
pub(crate) struct Loop<E> {
    pub(crate) desired: Desired,
    pub(crate) engine: Arc<E>,
    pub(crate) eyes: Eyes,
    pub(crate) journal: Journal,
    pub(crate) orders: Orders,
    pub(crate) gateways: Vec<watch::Receiver<Gateway>>,
    pub(crate) frame: Frame,
    pub(crate) publish: watch::Sender<Arc<Status>>,
    pub(crate) status_path: PathBuf,
    pub(crate) said: Said,
    pub(crate) users: Register,
}

/// What the journal was told already, so that it tells transitions and not repetitions.
#[derive(Debug)]
pub(crate) struct Said {
    stage: Stage,
    health: Option<Health>,
    nodes: BTreeMap<NodeName, String>,
    steps: Vec<(Step, String)>,
    waits: Vec<String>,
    losses: Vec<NodeName>,
    written_ms: u64,
}

impl Default for Said {
    fn default() -> Self {
        Said {
            stage: Stage::Forming,
            health: None,
            nodes: BTreeMap::new(),
            steps: Vec::new(),
            waits: Vec::new(),
            losses: Vec::new(),
            written_ms: 0,
        }
    }
}

impl<E: Engine> Loop<E> {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let nudge = self.engine.nudge();
        let mut asked = None;
        loop {
            let pace = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                pace = self.round(asked.take()) => pace,
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = nudge.notified() => {}
                order = self.orders.asked() => asked = Some(order),
                () = tokio::time::sleep(pace) => {}
            }
        }
    }

    async fn round(&mut self, asked: Option<Asked>) -> Duration {
        let look = self.eyes.look(&self.desired, &self.engine.bodies(), now_ms).await;
        for name in look.vitals.keys() {
            self.engine.answered(name);
        }
        self.tell_nodes(&look);
        let (desired, journal) = (&mut self.desired, &mut self.journal);
        if let Some(asked) = asked {
            self.orders.take(asked, desired, &look.observed, journal, now_ms());
        }
        self.orders.follow(desired, &look.observed, journal, now_ms());
        let plan = plan::plan(&self.desired, &look.observed, now_ms());
        self.carry_out(&plan).await;
        let mut judgement = plan::judge(&self.desired, &look.observed);
        let calm = judgement.at_rest();
        if calm {
            self.engine.note(&look.observed);
        }
        self.tell_losses(&plan);
        explain(&mut judgement, &plan, &look);
        if plan.steps.is_empty() {
            self.users.tend(&self.desired, &look, &mut self.eyes, &mut self.journal, now_ms()).await;
        }
        self.tell_waits(&plan);
        self.publish(&look, &judgement);
        match (plan.steps.is_empty(), calm && self.desired.orders.is_empty()) {
            (true, true) => PACE[0],
            (true, false) => PACE[1],
            (false, _) => PACE[2],
        }
    }

    /// Takes the steps in their order. One that fails does not stop the others: the next look judges all.
    async fn carry_out(&mut self, plan: &Plan) {
        let mut said = Vec::new();
        for planned in &plan.steps {
            let now = now_ms();
            let done = act(&planned.step, &self.desired, self.engine.as_ref(), &mut self.eyes, now).await;
            let outcome = done.as_ref().err().cloned().unwrap_or_default();
            let mark = (planned.step.clone(), outcome.clone());
            if !self.said.steps.contains(&mark) {
                let what = planned.step.to_string();
                let subject = &planned.step.node().0;
                match done {
                    Ok(()) => self.journal.add(now, level(&planned.step), subject, &what, &planned.because),
                    Err(error) => {
                        let what = format!("{what} failed");
                        self.journal.add(
                            now,
                            Level::Warning,
                            subject,
                            &what,
                            &format!("{error} ({})", planned.because),
                        );
                    }
                }
            }
            said.push(mark);
        }
        self.said.steps = said;
    }

    /// A choice that is left to a person is told at once, whatever else goes on.
    fn tell_losses(&mut self, plan: &Plan) {
        for node in plan.losses.iter().filter(|node| !self.said.losses.contains(node)) {
            let wait = plan.waits.iter().find(|wait| wait.subject.as_ref() == Some(node));
            let because = wait.map_or("", |wait| wait.because.as_str());
            self.journal.add(now_ms(), Level::Error, &node.0, "waits for a decision", because);
        }
        self.said.losses.clone_from(&plan.losses);
    }

    fn tell_waits(&mut self, plan: &Plan) {
        let line = |wait: &plan::Wait| {
            let subject = wait.subject.as_ref().map_or("cluster", |name| name.0.as_str());
            (subject.to_owned(), wait.because.clone())
        };
        let waits: Vec<(String, String)> = plan.waits.iter().map(line).collect();
        let marks: Vec<String> =
            waits.iter().map(|(subject, because)| format!("{subject} {because}")).collect();
        // while it is being formed, waiting is all that happens
        if self.said.stage == Stage::Formed {
            for ((subject, because), _) in
                waits.iter().zip(&marks).filter(|(_, mark)| !self.said.waits.contains(mark))
            {
                self.journal.add(now_ms(), Level::Info, subject, "has to wait", because);
            }
            self.said.waits = marks;
        }
    }

    /// Notes every change of a node's state.
    fn tell_nodes(&mut self, look: &Look) {
        for (name, seen) in &look.observed.nodes {
            let state = state(seen);
            let before = self.said.nodes.insert(name.clone(), state.clone());
            if before.as_ref() == Some(&state)
                || (before.is_none() && matches!(seen.process, Process::Absent))
            {
                continue;
            }
            let (level, because) = match &seen.process {
                Process::Exited { how, .. } => (Level::Warning, format!("its process {how}")),
                Process::Running { pid } if before.is_none() => {
                    (Level::Info, format!("process {pid} was running already and is ours again"))
                }
                Process::Running { .. } | Process::Absent => (Level::Info, String::new()),
            };
            let before = before.unwrap_or_else(|| "unknown".to_owned());
            self.journal.add(now_ms(), level, &name.0, &format!("{before} → {state}"), &because);
        }
    }

    fn publish(&mut self, look: &Look, judgement: &Judgement) {
        let now = now_ms();
        let gateways: Vec<Gateway> = self.gateways.iter().map(|gateway| gateway.borrow().clone()).collect();
        let mut status = report(&self.frame, self.said.stage, &self.desired, look, judgement, gateways, now);
        if status.health == Health::Ok || now > self.frame.since_ms + FORMING {
            self.said.stage = Stage::Formed;
        }
        let changed = self.said.health != Some(status.health);
        if changed {
            let level = match status.health {
                Health::Ok | Health::Starting => Level::Info,
                Health::Degraded => Level::Warning,
                Health::Down => Level::Error,
            };
            self.journal.add(now, level, "cluster", &format!("is {}", word(status.health)), &status.because);
            self.said.health = Some(status.health);
        }
        status.events = self.journal.events();
        if changed || now >= self.said.written_ms + ON_DISK {
            self.said.written_ms = now;
            let text = serde_json::to_vec(&status).unwrap_or_default();
            if let Err(error) = write_whole(&self.status_path, &text, 0o600) {
                tracing::warn!("cannot write {}: {error}", self.status_path.display());
            }
        }
        self.publish.send_replace(Arc::new(status));
    }
}

/// Adds what the plan waits for, and what servers complain of, to what is wrong.
fn explain(judgement: &mut Judgement, plan: &Plan, look: &Look) {
    for wait in &plan.waits {
        match &wait.subject {
            None => judgement.cluster.push(wait.because.clone()),
            Some(node) if plan.losses.contains(node) => {
                judgement.nodes.insert(node.clone(), wait.because.clone());
            }
            // of a dead node the way it died says more
            Some(node) if look.observed.nodes.get(node).is_some_and(|seen| seen.facts().is_some()) => {
                judgement.nodes.insert(node.clone(), wait.because.clone());
            }
            Some(node) => drop(judgement.nodes.entry(node.clone()).or_insert_with(|| wait.because.clone())),
        }
    }
    for (node, vitals) in &look.vitals {
        if let Some(complaint) = &vitals.complaint {
            judgement.nodes.insert(node.clone(), complaint.clone());
        }
    }
}

/// A node's state in a few words.
fn state(seen: &Seen) -> String {
    match (&seen.process, seen.facts().map(|facts| &facts.duty)) {
        (Process::Absent, _) => "absent".to_owned(),
        (Process::Exited { .. }, _) => "dead".to_owned(),
        (Process::Running { .. }, None) => "silent".to_owned(),
        (Process::Running { .. }, Some(Duty::Primary)) => "primary".to_owned(),
        (Process::Running { .. }, Some(Duty::Replica { .. })) => "replica".to_owned(),
    }
}

fn level(step: &Step) -> Level {
    match step {
        Step::Promote { .. } | Step::Kill { .. } | Step::SetAside { .. } | Step::Identify { .. } => {
            Level::Warning
        }
        Step::Start { .. }
        | Step::Stop { .. }
        | Step::Configure { .. }
        | Step::Switch { .. }
        | Step::Forget { .. }
        | Step::Raise { .. }
        | Step::SetEpoch { .. }
        | Step::AddSlots { .. }
        | Step::Meet { .. }
        | Step::Replicate { .. } => Level::Info,
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "degraded",
        Health::Down => "down",
        Health::Starting => "starting",
    }
}
