//! What a person orders on top of the configuration: planned failovers, restarts, and losses that are accepted.
//!
//! Owns which orders are taken, and when one is done. An order is a wish about the state, not a list of steps: the
//! rungs see it among what is desired and get there step by step, so it survives whatever happens on the way.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::picture::Picture;
use super::{Desired, Duty, Facts, NodeName, Observed, PLANNED, Wanted, judge, plan};
use crate::config::Persistence;

/// Most orders that are open at a time.
const OPEN: usize = 32;
/// How long a loss stays accepted, in milliseconds.
const ACCEPTED: u64 = 600_000;

/// What was asked for, as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Request {
    /// Give a shard another primary.
    Failover {
        /// A node, or the number of a shard in the order of the slots, from 1.
        target: String,
    },
    /// Give nodes new processes.
    Restart {
        /// A node, or `all`.
        target: String,
    },
    /// Go on without the data of a node that nobody has any more.
    AcceptLoss {
        /// The node, or `all` whose data is lost.
        node: String,
    },
}

/// An order that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub id: u64,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What is wished for.
    pub what: What,
}

/// A wish about the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// `from` no longer owns slots; `to` does, or its best replica.
    Failover {
        /// The primary.
        from: NodeName,
        /// The replica that takes over, where one was named.
        to: Option<NodeName>,
    },
    /// The process of each of these nodes is younger than the order.
    Restart {
        /// The nodes.
        nodes: Vec<NodeName>,
    },
    /// These nodes may start empty.
    AcceptLoss {
        /// The nodes.
        nodes: Vec<NodeName>,
    },
}

/// How far an order is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not yet done.
    Open,
    /// Done: what came of it.
    Done(String),
    /// Given up, and why.
    Failed(String),
}

/// Takes a request, or says why not.
pub fn admit(desired: &Desired, observed: &Observed, request: &Request, now: u64) -> Result<What, String> {
    if desired.orders.len() >= OPEN {
        return Err(format!("{OPEN} orders are open already, expected fewer"));
    }
    let picture = Picture::new(desired, observed, now);
    match request {
        Request::Failover { target } => failover(&picture, target),
        Request::Restart { target } => restart(&picture, target),
        Request::AcceptLoss { node } => {
            let mut nodes = plan(desired, observed, now).losses;
            if node != "all" {
                let name = &named(desired, node)?.name;
                nodes.retain(|lost| lost == name);
            }
            match nodes.is_empty() {
                true => Err(format!("no data of {node} is known to be lost: there is nothing to accept")),
                false => Ok(What::AcceptLoss { nodes }),
            }
        }
    }
}

/// How far an order is at this moment.
pub fn progress(desired: &Desired, observed: &Observed, order: &Order, now: u64) -> Progress {
    let picture = Picture::new(desired, observed, now);
    let age = now.saturating_sub(order.at);
    match &order.what {
        What::Failover { from, to } => moved(&picture, from, to.as_ref(), age),
        What::Restart { nodes } => {
            let wanted: BTreeSet<&NodeName> = nodes.iter().collect();
            let young = |(name, seen): (&NodeName, &super::Seen)| {
                seen.started_at > order.at || !wanted.contains(name)
            };
            if observed.nodes.iter().all(young) && judge(desired, observed).at_rest() {
                Progress::Done(format!("{} of {} nodes have new processes", nodes.len(), nodes.len()))
            } else {
                Progress::Open
            }
        }
        What::AcceptLoss { nodes } => {
            let answers =
                |name: &NodeName| observed.nodes.get(name).is_some_and(|seen| seen.facts().is_some());
            match (nodes.iter().all(answers) && judge(desired, observed).serves_all(), age > ACCEPTED) {
                (true, _) => {
                    Progress::Done("every slot is served again, by nodes that have started empty".to_owned())
                }
                (false, true) => {
                    Progress::Failed(format!("not every slot is served after {} s", ACCEPTED / 1_000))
                }
                (false, false) => Progress::Open,
            }
        }
    }
}

fn moved(picture: &Picture<'_>, from: &NodeName, to: Option<&NodeName>, age: u64) -> Progress {
    let owns = |name: &NodeName| picture.owners().any(|(wanted, _)| &wanted.name == name);
    let Some(old) = picture.desired.nodes.iter().find(|wanted| &wanted.name == from) else {
        return Progress::Failed(format!("{from} is no longer wanted"));
    };
    let patience = PLANNED.max(6 * picture.desired.node_timeout.0);
    if !owns(from) && picture.is_idle_to_most(old) {
        return match to {
            Some(to) if !owns(to) => {
                Progress::Failed(format!("another node than {to} took over from {from}"))
            }
            Some(to) => Progress::Done(format!("{to} owns the slots of {from}")),
            None => Progress::Done(format!("{from} owns no slots any more, its replica took over")),
        };
    }
    if age > patience {
        Progress::Failed(format!("{from} still owns its slots after {} s", patience / 1_000))
    } else {
        Progress::Open
    }
}

fn named<'a>(desired: &'a Desired, name: &str) -> Result<&'a Wanted, String> {
    desired.nodes.iter().find(|wanted| wanted.name.0 == name).ok_or_else(|| {
        let names: Vec<&str> = desired.nodes.iter().map(|wanted| wanted.name.0.as_str()).collect();
        format!("there is no node {name:?}, expected one of {}", names.join(", "))
    })
}

fn failover(picture: &Picture<'_>, target: &str) -> Result<What, String> {
    let mut owners: Vec<(&Wanted, &Facts)> = picture.owners().collect();
    owners.sort_by_key(|(_, facts)| facts.own_slots().ranges().first().copied());
    let (from, facts, to) = match target.parse::<usize>() {
        Ok(number) => {
            let shard = number.checked_sub(1).and_then(|at| owners.get(at));
            let (from, facts) =
                shard.ok_or_else(|| format!("there is no shard {number}, expected 1..={}", owners.len()))?;
            (*from, *facts, None)
        }
        Err(_) => {
            let node = named(picture.desired, target)?;
            let facts =
                picture.answering().find(|(wanted, _)| wanted.name == node.name).map(|(_, facts)| facts);
            let facts = facts.ok_or_else(|| format!("{target} does not answer"))?;
            match &facts.duty {
                Duty::Primary if facts.own_slots().is_empty() => {
                    return Err(format!("{target} owns no slots and copies nobody"));
                }
                Duty::Primary => (node, facts, None),
                Duty::Replica { of, .. } => {
                    let primary = owners.iter().find(|(_, owner)| &owner.id == of);
                    let (from, facts) =
                        primary.ok_or_else(|| format!("the primary of {target} does not answer"))?;
                    (*from, *facts, Some(node.name.clone()))
                }
            }
        }
    };
    let open = picture
        .desired
        .orders
        .iter()
        .find(|order| matches!(&order.what, What::Failover { from: other, .. } if other == &from.name));
    match open {
        Some(order) => Err(format!("order {} moves the slots of {} already", order.id, from.name)),
        None if picture.replicas_of(&facts.id).next().is_none() => {
            Err(format!("{} has no replica that answers and could take over", from.name))
        }
        None => Ok(What::Failover { from: from.name.clone(), to }),
    }
}

fn restart(picture: &Picture<'_>, target: &str) -> Result<What, String> {
    let nodes: Vec<NodeName> = match target {
        "all" => picture.desired.nodes.iter().map(|wanted| wanted.name.clone()).collect(),
        name => vec![named(picture.desired, name)?.name.clone()],
    };
    // refused where it could never be done without a loss, not where it has to wait
    if picture.desired.persistence == Persistence::None && picture.desired.replicas == 0 {
        return Err(
            "cluster.persistence is \"none\" and cluster.replicas is 0: a restart would lose the data"
                .to_owned(),
        );
    }
    Ok(What::Restart { nodes })
}
