//! Makes a [`Status`] of what was seen and judged.
//!
//! Owns the words and verdicts that people read. Pure: no sockets, no clock.

use evenkeel_core::plan::{Desired, Duty, Facts, Judgement, NodeName, Process, Seen, State};

use crate::observe::Look;
use crate::status::{self, Gateway, Health, Node, Role, Status};
use crate::vitals::Vitals;

/// What is said about the service as a whole, and does not change from look to look.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) server: String,
    pub(crate) since_ms: u64,
}

/// Whether everything was as desired at least once since control started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Forming,
    Formed,
}

/// The status of this moment, without its events: they are the journal's.
pub(crate) fn report(
    frame: &Frame,
    stage: Stage,
    desired: &Desired,
    look: &Look,
    judgement: &Judgement,
    gateways: Vec<Gateway>,
    now: u64,
) -> Status {
    let nodes: Vec<Node> = desired
        .nodes
        .iter()
        .filter_map(|wanted| {
            let seen = look.observed.nodes.get(&wanted.name)?;
            let trouble = judgement.nodes.get(&wanted.name).cloned();
            Some(node(&wanted.name, wanted.addr.to_string(), seen, look, trouble))
        })
        .collect();
    let (health, because) = verdict(stage, judgement, &gateways);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at_ms: now,
        since_ms: frame.since_ms,
        health,
        because,
        server: frame.server.clone(),
        desired: status::Desired { shards: desired.shards as u32, replicas: desired.replicas as u32 },
        slots_served: judgement.served.count(),
        nodes,
        gateways,
        events: Vec::new(),
    }
}

fn verdict(stage: Stage, judgement: &Judgement, gateways: &[Gateway]) -> (Health, String) {
    let mut troubles: Vec<String> = judgement.cluster.clone();
    troubles.extend(judgement.nodes.iter().map(|(name, trouble)| format!("{name} {trouble}")));
    let lame: Vec<&Gateway> = gateways.iter().filter(|gateway| gateway.health != Health::Ok).collect();
    troubles.extend(lame.iter().map(|gateway| format!("gateway {} {}", gateway.addr, gateway.because)));
    let missing = u32::from(evenkeel_core::plan::SLOTS) - judgement.served.count();
    if missing > 0 {
        troubles.insert(0, format!("{missing} slots cannot be served"));
    }
    let unreachable = !gateways.is_empty() && lame.len() == gateways.len();
    let health = match (stage, missing > 0 || unreachable, troubles.is_empty()) {
        (_, false, true) => Health::Ok,
        (Stage::Forming, _, _) => Health::Starting,
        (Stage::Formed, true, _) => Health::Down,
        (Stage::Formed, false, false) => Health::Degraded,
    };
    let more = troubles.len().saturating_sub(3);
    troubles.truncate(3);
    if more > 0 {
        troubles.push(format!("and {more} more"));
    }
    (health, troubles.join("; "))
}

fn node(name: &NodeName, addr: String, seen: &Seen, look: &Look, trouble: Option<String>) -> Node {
    let vitals = look.vitals.get(name).cloned().unwrap_or_default();
    let facts = seen.facts();
    let (role, replica_of, link_up) = duty(facts, &vitals, look);
    let lag_bytes = replica_of.as_ref().and_then(|primary| {
        let primary = look.vitals.get(&NodeName(primary.clone()))?;
        Some(primary.offset.saturating_sub(vitals.offset))
    });
    let (health, because) = node_verdict(seen, facts, &vitals, trouble);
    Node {
        name: name.0.clone(),
        id: facts.map(|facts| facts.id.0.clone()).unwrap_or_default(),
        addr,
        pid: match seen.process {
            Process::Running { pid } => Some(pid),
            Process::Absent | Process::Exited { .. } => None,
        },
        role,
        replica_of,
        slots: facts.map(|facts| facts.own_slots().ranges().to_vec()).unwrap_or_default(),
        link_up,
        lag_bytes,
        epoch: facts.and_then(|facts| facts.own()).map_or(0, |own| own.epoch),
        memory: vitals.memory,
        keys: vitals.keys,
        ops_per_s: vitals.ops_per_s,
        clients: vitals.clients,
        uptime_s: vitals.uptime_s,
        health,
        because,
    }
}

fn duty(facts: Option<&Facts>, vitals: &Vitals, look: &Look) -> (Role, Option<String>, bool) {
    match facts.map(|facts| &facts.duty) {
        None => (Role::Unknown, None, false),
        Some(Duty::Primary) => (Role::Primary, None, vitals.attached > 0),
        Some(Duty::Replica { of, .. }) => {
            let named = |(name, seen): (&NodeName, &Seen)| {
                seen.facts().filter(|facts| &facts.id == of).map(|_| name.0.clone())
            };
            (Role::Replica, look.observed.nodes.iter().find_map(named), vitals.link_up)
        }
    }
}

fn node_verdict(
    seen: &Seen,
    facts: Option<&Facts>,
    vitals: &Vitals,
    trouble: Option<String>,
) -> (Health, String) {
    let Some(trouble) = trouble else { return (Health::Ok, String::new()) };
    let health = match (&seen.process, facts) {
        (Process::Running { .. }, Some(facts))
            if facts.duty == Duty::Primary && facts.state == State::Fail =>
        {
            Health::Down
        }
        (Process::Running { .. }, Some(_)) => Health::Degraded,
        (Process::Running { .. }, None) if vitals.loading => Health::Starting,
        (Process::Running { .. }, None) => Health::Down,
        (Process::Absent, _) => Health::Starting,
        (Process::Exited { .. }, _) => Health::Down,
    };
    (health, trouble)
}
