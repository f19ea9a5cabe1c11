//! Desired and observed state in, the next safe steps out.
//!
//! Owns every decision about the cluster. Never remembers anything between two calls, never reads a clock: a step
//! has succeeded when the next observation shows it. What is not known is never taken for dead.
//!
//! ```text
//! the ladder; the first rung with work ends the climb
//!   balance   even load over the nodes                        (has no rung yet)
//!   scale     more or fewer shards and replicas               (has no rung yet)
//!   upgrade   one node after the other, replicas first        upgrade.rs
//!   create    epochs, slots, MEET, REPLICATE                  create.rs
//!   heal      end what hangs, replace dead primaries,         hang.rs, heal.rs
//!             restart what is dead
//! ```

#[cfg(test)]
mod cases;
mod create;
mod hang;
mod heal;
mod judge;
mod order;
mod picture;
mod upgrade;
mod users;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use crate::topology::{Mark, NodeId, Own, Peer, PeerLink, PeerRole, SLOTS, Slots, ViewError, parse_view};
pub use judge::{Judgement, judge};
pub use order::{Order, Progress, Request, What, admit, progress};
pub use users::{Change, Users, Voice, align};

use crate::config::{Config, Millis, Persistence};
use picture::Picture;

/// How long a planned failover is tried at least, in milliseconds.
const PLANNED: u64 = 60_000;

/// Name of a node in this deployment, e.g. `node-7001`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(pub String);

/// What the operator asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// Every node; the first `shards` of them are the primaries of a new cluster.
    pub nodes: Vec<Wanted>,
    /// Number of primaries.
    pub shards: usize,
    /// Replicas of each primary.
    pub replicas: usize,
    /// The servers' own time-out.
    pub node_timeout: Millis,
    /// How long a server may do nothing while it owes answers; 0 for ever.
    pub hang: Millis,
    /// What the servers keep on disk.
    pub persistence: Persistence,
    /// What a person ordered and is not done yet.
    pub orders: Vec<Order>,
}

/// A node that should exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: NodeName,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// Everything that was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// When somebody began to look: the death of an `Absent` process may be that young.
    pub since: u64,
    /// Every wanted node.
    pub nodes: BTreeMap<NodeName, Seen>,
}

/// What was seen of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its process, from whoever runs it.
    pub process: Process,
    /// What its disk holds, which matters while it is dead.
    pub disk: Disk,
    /// Its own answers.
    pub answer: Answer,
    /// The pings that it owes an answer to.
    pub silence: Option<Silence>,
    /// When its process was started; 0 when that is not known.
    pub started_at: u64,
    /// What its disk says of it, from before its process was started.
    pub past: Option<Past>,
    /// Whether it runs with the settings that are asked for.
    pub settings: Settings,
    /// When this process was last seen to become a primary.
    pub won_at: Option<u64>,
    /// When the node, by whatever process, was last seen to stop being a primary.
    pub yielded_at: Option<u64>,
    /// The stream that it wrote as a primary when it last answered; none where it was a replica then. A promotion
    /// begins a new stream, so whoever has this one was in sync with it since (replication.c `shiftReplicationId`).
    pub wrote: Option<String>,
    /// When it was last asked to become a primary by an election.
    pub forced_at: Option<u64>,
}

/// A node's process. `Absent` and `Exited` are proofs of death.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Process {
    /// It exists.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// There is none, and none was started yet.
    Absent,
    /// It ended.
    Exited {
        /// When, in milliseconds since the Unix epoch.
        at: u64,
        /// How, and the last words of its log.
        how: String,
        /// How many times in a row it ended without ever having answered.
        failures: u32,
    },
}

/// What a disk says of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// Its id.
    pub id: NodeId,
    /// The primary that it copied.
    pub of: Option<NodeId>,
    /// How far its data goes, where the disk says so.
    pub written: Option<Written>,
}

/// Data up to a place in a replication stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The stream: a primary and its replicas have the same.
    pub stream: String,
    /// The place.
    pub offset: u64,
}

/// Settings of a running server beside those that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// The same.
    InForce,
    /// These keys and values are missing, and can be set while it runs.
    Adjustable(Vec<(String, String)>),
    /// This can change with a new process only.
    Fixed(String),
}

/// Pings without an answer, from a process that has answered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// How many.
    pub pings: u32,
    /// Since the first of them, in milliseconds.
    pub owed: u64,
    /// For how much of that, up to now, the process did not even compute.
    pub still: u64,
}

/// What a dead node's disk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// Its identity and its data: it can be started in place.
    Kept,
    /// Files are there, but the server ended again and again over them without ever answering.
    Unreadable,
    /// Its data without its identity, which is on record: with that it can be started in place.
    Nameless,
    /// Nothing, though the record says that it kept data: a person may be able to put that back.
    Lost,
    /// Nothing that would have to be there: it would come back empty, and whoever copies it would throw the data away.
    Blank,
}

/// A node's own answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// None this time.
    Silent {
        /// Why, in words.
        because: String,
    },
    /// It is still reading its data from disk.
    Loading,
    /// Everything that was asked.
    Facts(Box<Facts>),
}

/// What a node says about itself and the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its cluster id.
    pub id: NodeId,
    /// Whether it takes writes as far as the cluster is concerned (`cluster_state`).
    pub state: State,
    /// What it does.
    pub duty: Duty,
    /// The replication stream that it writes, or that it got its data from.
    pub stream: String,
    /// Its position in the replication stream.
    pub offset: u64,
    /// Number of keys.
    pub keys: u64,
    /// What it believes about every node, itself included.
    pub view: Vec<Peer>,
}

/// A node's `cluster_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Serves.
    Ok,
    /// Answers CLUSTERDOWN.
    Fail,
}

/// What a node does, by its own account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Primary.
    Primary,
    /// Replica of `of`.
    Replica {
        /// The primary's id.
        of: NodeId,
        /// Its link.
        link: Link,
    },
}

/// A replica's link to its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Connected and in sync.
    Up,
    /// It has not been up since the process started: what the replica has, it has from its own disk.
    Never,
    /// Down for so many seconds.
    Down {
        /// Seconds.
        since_s: u64,
    },
}

/// The rungs that exist, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// What is broken is repaired.
    Heal,
    /// What is missing is made.
    Create,
    /// What is old is renewed.
    Upgrade,
}

/// What to do next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The rung that has work; `None` when there is nothing to do.
    pub rung: Option<Rung>,
    /// Steps to take now, in this order.
    pub steps: Vec<Planned>,
    /// What has to wait, for time or for a person.
    pub waits: Vec<Wait>,
    /// Nodes whose data is gone, as far as anyone knows: a person has to accept that, or to put it back.
    pub losses: Vec<NodeName>,
}

/// A step and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// Why.
    pub because: String,
}

/// Something that is not as desired and gets no step now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The node, or `None` for the cluster.
    pub subject: Option<NodeName>,
    /// What it waits for, or what a person has to do.
    pub because: String,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start the server process.
    Start {
        /// Which.
        node: NodeName,
    },
    /// End a server that hangs, so that there is proof of its death.
    Kill {
        /// Which.
        node: NodeName,
    },
    /// End a server in order, its data saved; *heal* starts it again.
    Stop {
        /// Which.
        node: NodeName,
    },
    /// Change settings of a running server.
    Configure {
        /// Which.
        node: NodeName,
        /// Keys and values.
        changes: Vec<(String, String)>,
    },
    /// Let a replica take over from its living primary, without a loss.
    Switch {
        /// The replica.
        node: NodeName,
        /// The primary.
        from: NodeName,
    },
    /// Move data that cannot be read out of the way (it is kept), so that the node can copy its shard anew.
    SetAside {
        /// Which.
        node: NodeName,
    },
    /// Write down who a node is, from the record, where its own file is gone.
    Identify {
        /// Which.
        node: NodeName,
    },
    /// Make a replica the primary of its shard.
    Promote {
        /// The replica.
        node: NodeName,
        /// How.
        by: Promotion,
    },
    /// Make a node forget an id that no longer exists.
    Forget {
        /// The node that forgets.
        node: NodeName,
        /// What it forgets.
        id: NodeId,
    },
    /// Give an owner of slots an epoch above all that it knows of (CLUSTER BUMPEPOCH).
    Raise {
        /// Which.
        node: NodeName,
    },
    /// Give a fresh node its own configuration epoch.
    SetEpoch {
        /// Which.
        node: NodeName,
        /// The epoch.
        epoch: u64,
    },
    /// Give slots that nobody owns to a primary.
    AddSlots {
        /// Which.
        node: NodeName,
        /// The slots.
        slots: Slots,
    },
    /// Introduce a node to others.
    Meet {
        /// The node that is told.
        node: NodeName,
        /// The nodes it is told about.
        peers: Vec<NodeName>,
    },
    /// Make a primary without slots a replica.
    Replicate {
        /// Which.
        node: NodeName,
        /// The primary it copies from now on.
        primary: NodeName,
        /// That primary's id.
        id: NodeId,
    },
}

/// How a replica becomes a primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// At once, without votes: needs proof that the old primary is dead.
    Takeover,
    /// By the vote of a majority of the primaries.
    Force,
}

/// The next safe steps. `now` is in milliseconds since the Unix epoch.
pub fn plan(desired: &Desired, observed: &Observed, now: u64) -> Plan {
    let picture = Picture::new(desired, observed, now);
    let mut plan = Plan::default();
    for (rung, climb) in [
        (Rung::Heal, heal::heal as fn(&Picture<'_>, &mut Plan)),
        (Rung::Create, create::create),
        (Rung::Upgrade, upgrade::upgrade),
    ] {
        climb(&picture, &mut plan);
        if !plan.steps.is_empty() {
            plan.rung = Some(rung);
            break;
        }
    }
    plan
}

impl Desired {
    /// What a configuration asks for, with every node on this machine. Nodes are named by the port that they had at
    /// first: the first of them had `named_from`.
    pub fn of(config: &Config, named_from: u16) -> Desired {
        let node = |(port, named): (u16, u16)| Wanted {
            name: NodeName(format!("node-{named}")),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        Desired {
            nodes: config.ports().zip(named_from..).map(node).collect(),
            shards: config.cluster.shards.into(),
            replicas: config.cluster.replicas.into(),
            node_timeout: config.cluster.node_timeout,
            hang: config.cluster.hang,
            persistence: config.cluster.persistence,
            orders: Vec::new(),
        }
    }
}

impl Plan {
    fn step(&mut self, step: Step, because: impl Into<String>) {
        self.steps.push(Planned { step, because: because.into() });
    }

    fn wait(&mut self, subject: &NodeName, because: impl Into<String>) {
        self.waits.push(Wait { subject: Some(subject.clone()), because: because.into() });
    }

    fn wait_all(&mut self, because: impl Into<String>) {
        self.waits.push(Wait { subject: None, because: because.into() });
    }
}

impl Step {
    /// The node that the step is done to.
    pub fn node(&self) -> &NodeName {
        match self {
            Step::Start { node }
            | Step::Kill { node }
            | Step::Stop { node }
            | Step::Configure { node, .. }
            | Step::Switch { node, .. }
            | Step::SetAside { node }
            | Step::Identify { node }
            | Step::Promote { node, .. }
            | Step::Forget { node, .. }
            | Step::Raise { node }
            | Step::SetEpoch { node, .. }
            | Step::AddSlots { node, .. }
            | Step::Meet { node, .. }
            | Step::Replicate { node, .. } => node,
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Start { .. } => out.write_str("start the server"),
            Step::Kill { .. } => out.write_str("end the server that hangs"),
            Step::Stop { .. } => out.write_str("stop the server"),
            Step::Configure { changes, .. } => {
                let set: Vec<String> = changes.iter().map(|(key, value)| format!("{key} {value}")).collect();
                write!(out, "set {}", set.join(", "))
            }
            Step::Switch { from, .. } => write!(out, "take over from {from}"),
            Step::SetAside { .. } => out.write_str("set its data aside"),
            Step::Identify { .. } => out.write_str("restore its identity"),
            Step::Promote { by: Promotion::Takeover, .. } => out.write_str("promote by takeover"),
            Step::Promote { by: Promotion::Force, .. } => out.write_str("promote by election"),
            Step::Forget { id, .. } => write!(out, "forget {id}"),
            Step::Raise { .. } => out.write_str("raise its epoch"),
            Step::SetEpoch { epoch, .. } => write!(out, "set configuration epoch {epoch}"),
            Step::AddSlots { slots, .. } => write!(out, "own slots {slots}"),
            Step::Meet { peers, .. } => {
                let names: Vec<&str> = peers.iter().map(|peer| peer.0.as_str()).collect();
                write!(out, "meet {}", names.join(", "))
            }
            Step::Replicate { primary, .. } => write!(out, "replicate {primary}"),
        }
    }
}
