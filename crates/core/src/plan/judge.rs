//! Whether what is observed is what is desired, and if not, why, in words.
//!
//! Owns the verdict that the page, `/healthz` and `evenkeel status` show. Never proposes steps.

use std::collections::BTreeMap;

use super::picture::Picture;
use super::{
    Answer, Desired, Duty, Facts, Link, Mark, NodeName, Observed, PeerLink, Process, SLOTS, Seen, Slots,
    State, Wanted,
};

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// Slots whose owner answers and takes writes.
    pub served: Slots,
    /// What is wrong with each node; nodes that are as desired are not in it.
    pub nodes: BTreeMap<NodeName, String>,
    /// What is wrong with the whole.
    pub cluster: Vec<String>,
}

impl Judgement {
    /// Whether every slot is served.
    pub fn serves_all(&self) -> bool {
        self.served.count() == u32::from(SLOTS)
    }

    /// Whether everything is as desired.
    pub fn at_rest(&self) -> bool {
        self.serves_all() && self.nodes.is_empty() && self.cluster.is_empty()
    }
}

/// Compares what is observed with what is desired.
pub fn judge(desired: &Desired, observed: &Observed) -> Judgement {
    judge_picture(&Picture::new(desired, observed, 0))
}

pub(super) fn judge_picture(picture: &Picture<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    for wanted in &picture.desired.nodes {
        let trouble = match picture.at(wanted.addr) {
            None => Some("not looked at yet".to_owned()),
            Some((_, seen)) => trouble(picture, wanted, seen),
        };
        if let Some(trouble) = trouble {
            judgement.nodes.insert(wanted.name.clone(), trouble);
        }
    }
    let serving = picture.owners().filter(|(_, facts)| facts.state == State::Ok);
    judgement.served = serving.fold(Slots::none(), |sum, (_, facts)| sum.plus(facts.own_slots()));
    shards(picture, &mut judgement.cluster);
    judgement
}

fn trouble(picture: &Picture<'_>, wanted: &Wanted, seen: &Seen) -> Option<String> {
    match (&seen.process, &seen.answer) {
        (Process::Absent, _) => Some("not running".to_owned()),
        (Process::Exited { how, .. }, _) => Some(format!("not running: it {how}")),
        (Process::Running { .. }, Answer::Silent { because }) => Some(format!("does not answer: {because}")),
        (Process::Running { .. }, Answer::Loading) => Some("is reading its data from disk".to_owned()),
        (Process::Running { .. }, Answer::Facts(facts)) => {
            view_trouble(picture, wanted, facts).or_else(|| duty_trouble(facts))
        }
    }
}

/// What a node believes that differs from what the others say of themselves.
fn view_trouble(picture: &Picture<'_>, wanted: &Wanted, facts: &Facts) -> Option<String> {
    for (other, theirs) in picture.answering().filter(|(other, _)| other.name != wanted.name) {
        let Some(line) = facts.line(&theirs.id) else { return Some(format!("does not know {}", other.name)) };
        match (line.mark, line.link) {
            (Mark::Failed, _) => return Some(format!("holds {} for dead", other.name)),
            (Mark::Suspected, _) | (Mark::Fine, PeerLink::Down) => {
                return Some(format!("has no connection to {}", other.name));
            }
            (Mark::Fine, PeerLink::Up) => {}
        }
        if &line.slots != theirs.own_slots() {
            let (believed, own) = (&line.slots, theirs.own_slots());
            return Some(format!("believes that {} owns slots {believed}, but it owns {own}", other.name));
        }
    }
    None
}

fn duty_trouble(facts: &Facts) -> Option<String> {
    match (&facts.duty, facts.state) {
        (Duty::Primary, State::Fail) => Some("answers CLUSTERDOWN".to_owned()),
        (Duty::Replica { link: Link::Down { since_s }, .. }, _) => {
            Some(format!("its link to its primary has been down for {since_s} s"))
        }
        (Duty::Replica { link: Link::Never, .. }, _) => Some("has no link to its primary yet".to_owned()),
        (Duty::Primary, State::Ok) => None,
        (Duty::Replica { link: Link::Up, .. }, State::Ok) => None,
        (Duty::Replica { link: Link::Up, .. }, State::Fail) => Some("answers CLUSTERDOWN".to_owned()),
    }
}

/// Shards that are missing, doubled or short of replicas.
fn shards(picture: &Picture<'_>, troubles: &mut Vec<String>) {
    let owners: Vec<_> = picture.owners().collect();
    if owners.len() != picture.desired.shards {
        troubles.push(format!("{} of {} primaries own slots", owners.len(), picture.desired.shards));
    }
    for (at, (wanted, facts)) in owners.iter().enumerate() {
        if let Some((other, _)) =
            owners[at + 1..].iter().find(|(_, other)| other.own_slots().meets(facts.own_slots()))
        {
            troubles.push(format!("{} and {} both claim slots", wanted.name, other.name));
        }
        let copies = picture.replicas_of(&facts.id).count();
        if copies < picture.desired.replicas {
            troubles.push(format!("{} has {copies} of {} replicas", wanted.name, picture.desired.replicas));
        }
    }
}
