//! The configuration: what was written in TOML becomes a [`Config`] in which nothing is half-valid.
//!
//! Owns every key, its default, its limits and the errors about it. Never opens a file: text comes in with the
//! name of the file it came from. A key that is not known, or a value that cannot be meant, is refused.

mod check;
mod raw;
mod units;

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Serialize, Serializer};

pub use units::{Bytes, Millis};

/// The checked configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// The Redis Cluster.
    pub cluster: Cluster,
    /// The one address that clients use.
    pub gateway: Gateway,
    /// The page and its API.
    pub web: Web,
    /// What runs the server processes.
    pub engine: Engine,
}

/// `[cluster]`: how many servers, and how each is set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// Number of primaries.
    pub shards: u16,
    /// Replicas of each primary.
    pub replicas: u16,
    /// Which server program to run.
    pub server: Program,
    /// Port of the first node; the others follow, and each node's bus port is 10000 above its port.
    pub base_port: u16,
    /// Most memory for the data of one node; 0 sets no limit.
    pub memory: Bytes,
    /// What a node does when its memory is full.
    pub eviction: Eviction,
    /// What a node writes to disk.
    pub persistence: Persistence,
    /// Silence after which the servers themselves call one of them dead.
    pub node_timeout: Millis,
    /// How long a server may do nothing while it owes answers, before evenkeel ends it; 0 for ever.
    pub hang: Millis,
}

/// `[gateway]`: the address that clients use, and its limits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Gateway {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Worker threads.
    pub threads: Threads,
    /// How long a request may wait for its shard to come back.
    pub hold: Millis,
    /// What a write's reply waits for.
    pub durability: Durability,
    /// How long it waits for a replica.
    pub durability_wait: Millis,
    /// Most client connections at a time.
    pub max_clients: u32,
    /// Most connections to nodes that belong to one client each at a time.
    pub max_private: u32,
    /// Whether equal reads that wait at the same time are sent once.
    pub merge_reads: bool,
    /// Whether clients must give a password.
    pub auth: Auth,
    /// Where clients may come encrypted, besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Names that clients can log in with, besides `default` and the nodes' own users.
    pub users: Vec<User>,
}

/// `gateway.tls`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tls {
    /// Address that encrypted clients connect to.
    pub listen: SocketAddr,
    /// File with the certificate.
    pub cert: String,
    /// File with its key.
    pub key: String,
    /// File with certificates of those who vouch for clients; with it, every client needs a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// What writes of encrypted clients wait for, where that is not `gateway.durability`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// One of `gateway.users`. Passwords stand in files, never in the configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// What clients call themselves.
    pub name: String,
    /// The file with the password that they must give.
    pub password_file: String,
    /// Whom of the nodes' users their requests come from; `None`: `default`.
    #[serde(skip_serializing_if = "Option::is_none", flatten)]
    pub node: Option<NodeUser>,
    /// What the replies of its writes wait for; `None`: as `gateway.durability` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
}

/// What a write's reply waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The primary.
    #[default]
    Async,
    /// A replica too.
    Replicated,
}

/// A user of the nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NodeUser {
    /// Its name.
    pub user: String,
    /// The file with its password.
    pub user_password_file: String,
}

/// `[web]`: the page.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Web {
    /// Address of the page.
    pub listen: SocketAddr,
    /// Whether the page asks for a password.
    pub auth: Auth,
}

/// `[engine]`: what runs the servers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Engine {
    /// The kind of engine.
    pub kind: EngineKind,
}

/// Which server program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `valkey-server` or `redis-server`, whichever is found first on PATH.
    Auto,
    /// This name on PATH, or this path.
    Named(String),
}

/// What a node does when its memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // the server's own words
pub enum Eviction {
    Noeviction,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
}

/// What a node writes to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Persistence {
    /// Nothing: data lives in memory and in the replicas.
    None,
    /// Snapshots from time to time and at a stop.
    Rdb,
    /// Every write, flushed once a second.
    Aof,
}

/// Number of worker threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// Chosen by the machine's cores.
    Auto,
    /// Exactly so many.
    Count(u16),
}

/// Whether a listener asks for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// None on a loopback address, a generated one on any other.
    Auto,
    /// Never.
    None,
    /// Always: the generated one that lies in the directory's secrets file.
    Password,
}

/// What runs the server processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Processes on this machine.
    #[default]
    Process,
}

/// Why a configuration was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A value that is not possible.
    #[error("{file}:{line}: {key} is {value}, expected {expected}")]
    Wrong {
        /// File as it was named.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// `section.key`.
        key: &'static str,
        /// The value as it was written.
        value: String,
        /// What would have been right.
        expected: String,
    },
    /// A key or section that does not exist.
    #[error("{file}:{line}: `{written}`: {what}")]
    Unknown {
        /// File as it was named.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// The line as it was written.
        written: String,
        /// What is wrong with it and what would be right.
        what: String,
    },
    /// Text that is not TOML.
    #[error("{file}:{line}: not TOML: {what}")]
    Syntax {
        /// File as it was named.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// The parser's reason.
        what: String,
    },
}

impl Config {
    /// Reads and checks a configuration; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Config, ConfigError> {
        check::parse(text, file)
    }

    /// The effective configuration as TOML: every key, with the value in force.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain tables of strings and integers are always TOML")
    }

    /// Number of nodes.
    pub fn nodes(&self) -> u16 {
        self.cluster.shards * (1 + self.cluster.replicas)
    }

    /// The port of every node, in order.
    pub fn ports(&self) -> impl Iterator<Item = u16> + use<> {
        self.cluster.base_port..self.cluster.base_port + self.nodes()
    }
}

impl Auth {
    /// Whether a listener on this address asks for a password.
    pub fn applies(self, listen: SocketAddr) -> bool {
        match self {
            Auth::Auto => !listen.ip().is_loopback(),
            Auth::None => false,
            Auth::Password => true,
        }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            shards: 3,
            replicas: 1,
            server: Program::Auto,
            base_port: 7001,
            memory: Bytes(0),
            eviction: Eviction::Noeviction,
            persistence: Persistence::Aof,
            node_timeout: Millis(5_000),
            hang: Millis(400),
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Gateway {
            listen: loopback(7010),
            threads: Threads::Auto,
            hold: Millis(10_000),
            durability: Durability::Async,
            durability_wait: Millis(1_000),
            max_clients: 10_000,
            max_private: 10_000,
            merge_reads: true,
            auth: Auth::Auto,
            tls: None,
            users: Vec::new(),
        }
    }
}

impl Default for Web {
    fn default() -> Self {
        Web { listen: loopback(7020), auth: Auth::Auto }
    }
}

impl Eviction {
    /// Every policy, as the server spells it.
    pub const ALL: [(&'static str, Eviction); 8] = [
        ("noeviction", Eviction::Noeviction),
        ("allkeys-lru", Eviction::AllkeysLru),
        ("allkeys-lfu", Eviction::AllkeysLfu),
        ("allkeys-random", Eviction::AllkeysRandom),
        ("volatile-lru", Eviction::VolatileLru),
        ("volatile-lfu", Eviction::VolatileLfu),
        ("volatile-random", Eviction::VolatileRandom),
        ("volatile-ttl", Eviction::VolatileTtl),
    ];

    /// As the server spells it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, policy)| *policy == self).map_or("noeviction", |(name, _)| name)
    }
}

impl Persistence {
    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Persistence::None => "none",
            Persistence::Rdb => "rdb",
            Persistence::Aof => "aof",
        }
    }
}

impl Serialize for Program {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Program::Auto => out.serialize_str("auto"),
            Program::Named(name) => out.serialize_str(name),
        }
    }
}

impl Serialize for Threads {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Threads::Auto => out.serialize_str("auto"),
            Threads::Count(count) => out.serialize_u16(*count),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

#[cfg(test)]
mod tests;
