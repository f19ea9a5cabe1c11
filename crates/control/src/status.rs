//! What control sees, as one value: the stats page, `/api/status`, `/metrics`, `/healthz` and
//! `evenkeel status` are all made from a [`Status`], so they cannot disagree.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything that is known about the service at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of evenkeel.
    pub version: String,
    /// When this was observed, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// When control started, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The verdict in one word.
    pub health: Health,
    /// Why it is not `Ok`, in words for a person; empty when it is.
    pub because: String,
    /// Server program and its version, e.g. `redis-server 7.0.15`.
    pub server: String,
    /// Shards and replicas a shard that were asked for.
    pub desired: Desired,
    /// Slots (of 16384) whose owner answers and can take writes.
    pub slots_served: u32,
    /// Every node that is wanted or seen, in the order of their names.
    pub nodes: Vec<Node>,
    /// Every gateway that is wanted or seen.
    pub gateways: Vec<Gateway>,
    /// The newest events first, at most 200.
    pub events: Vec<Event>,
}

/// Shards and replicas that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// Number of shards (primaries).
    pub shards: u32,
    /// Replicas of each shard.
    pub replicas: u32,
}

/// The verdict of a node or of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As desired.
    Ok,
    /// Everything is served, but something is missing (a replica, a link).
    Degraded,
    /// Some slots cannot be served, or the node does not answer.
    Down,
    /// Being started or formed.
    Starting,
}

/// What a node does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Owns slots (or could).
    Primary,
    /// Copies a primary.
    Replica,
    /// Not known (never answered).
    Unknown,
}

/// One server process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Name in this deployment, e.g. `node-7001`.
    pub name: String,
    /// The server's own 40-digit cluster id; empty while unknown.
    pub id: String,
    /// Address clients of the node use, e.g. `127.0.0.1:7001`.
    pub addr: String,
    /// Process id where this machine runs it.
    pub pid: Option<u32>,
    /// Primary, replica or unknown.
    pub role: Role,
    /// Name of the primary that it copies.
    pub replica_of: Option<String>,
    /// Inclusive slot ranges that it owns.
    pub slots: Vec<(u16, u16)>,
    /// For a replica: whether the link to its primary is up; for a primary: whether any replica is attached.
    pub link_up: bool,
    /// For a replica: bytes of the replication stream it has not confirmed yet.
    pub lag_bytes: Option<u64>,
    /// Configuration epoch.
    pub epoch: u64,
    /// Memory used and the limit (0 = none), in bytes.
    pub memory: (u64, u64),
    /// Number of keys.
    pub keys: u64,
    /// Commands a second, as the server reports them.
    pub ops_per_s: f64,
    /// Client connections that the server reports.
    pub clients: u64,
    /// Seconds since the server started.
    pub uptime_s: u64,
    /// Verdict.
    pub health: Health,
    /// Why it is not `Ok`; empty when it is.
    pub because: String,
}

/// One gateway, as it answers on its own port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gateway {
    /// Address clients use.
    pub addr: String,
    /// `Ok` when it answers and knows an owner for every slot.
    pub health: Health,
    /// Why it is not `Ok`; empty when it is.
    pub because: String,
    /// Its own counters; `None` while it does not answer.
    pub metrics: Option<evenkeel_core::metric::Snapshot>,
    /// Requests and errors a second over the last observation interval.
    pub requests_per_s: f64,
    /// Error replies a second over the last observation interval.
    pub errors_per_s: f64,
    /// Latency of the requests of the last 10 s in microseconds: p50, p99, p99.9; `None` without requests.
    pub latency_us: Option<(u64, u64, u64)>,
    /// The same by class of command, of those that were asked for.
    #[serde(default)]
    pub class_latency_us: BTreeMap<String, (u64, u64, u64)>,
    /// The same by the address of the node that answered, of reads, writes and scripts.
    #[serde(default)]
    pub node_latency_us: BTreeMap<String, (u64, u64, u64)>,
    /// Requests a second of the last minutes, oldest first, one value a second, at most 300.
    pub history: Vec<f64>,
}

/// Something that happened, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How loud it is.
    pub level: Level,
    /// The thing it is about: a node's or gateway's name, or `cluster`.
    pub subject: String,
    /// What happened or was done.
    pub what: String,
    /// The reason; never empty for a step that control took.
    pub because: String,
}

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As planned.
    Info,
    /// Something is missing, nothing is refused.
    Warning,
    /// Something is refused or lost.
    Error,
}
