//! Engines: what runs the server processes.
//!
//! Owns the one trait of the house and the error of an engine. Never knows why a server is started or stopped.

mod conf;
mod identity;
mod kin;
mod process;
mod snapshot;
mod spawn;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use evenkeel_core::plan::{Disk, NodeName, Observed, Past, Process, Settings};
use tokio::sync::Notify;

pub use process::{Lifetime, ProcessEngine, stop_leftovers};

/// What runs servers.
pub trait Engine: Send + Sync + 'static {
    /// The process and the disk of every node at this moment.
    fn bodies(&self) -> BTreeMap<NodeName, Body>;

    /// Told whenever a process has ended.
    fn nudge(&self) -> Arc<Notify>;

    /// Starts a node's server. That it runs shows in [`Engine::bodies`], that it works in its answers.
    fn start(&self, node: &NodeName) -> impl Future<Output = Result<(), EngineError>> + Send;

    /// Ends a node's server at once. That it has ended shows in [`Engine::bodies`].
    fn kill(&self, node: &NodeName) -> Result<(), EngineError>;

    /// Asks a node's server to save its data and end; it is killed if it does not within a minute.
    fn end(&self, node: &NodeName) -> Result<(), EngineError>;

    /// Takes note that a running server was given the settings that it lacked.
    fn configured(&self, node: &NodeName) -> Result<(), EngineError>;

    /// Writes down who a dead node is, from the record.
    fn identify(&self, node: &NodeName) -> Result<(), EngineError>;

    /// Puts on record who is who, at a moment when all is well.
    fn note(&self, observed: &Observed);

    /// Moves the data of a dead node's server out of the way, in place of what was set aside before.
    fn set_aside(&self, node: &NodeName) -> Result<(), EngineError>;

    /// Takes note that a node has answered since it was started.
    fn answered(&self, node: &NodeName);

    /// Ends all servers so that their data is saved, and waits for them.
    fn stop(&self) -> impl Future<Output = ()> + Send;
}

/// What can be known of a node without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its process.
    pub process: Process,
    /// What its disk holds; of interest while the process is dead.
    pub disk: Disk,
    /// When the process was started, in milliseconds since the Unix epoch; 0 when that is not known.
    pub started_at: u64,
    /// What its disk says of it, from before the process was started.
    pub past: Option<Past>,
    /// Its settings beside those that are asked for.
    pub settings: Settings,
}

/// Why a server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not one of the wanted nodes.
    #[error("{0} is not a node of this engine")]
    Unknown(NodeName),
    /// It saves its data to end, and must not be disturbed.
    #[error("{0} is saving its data to end, which may take a while")]
    Ending(NodeName),
    /// It runs already.
    #[error("{node} runs already with process id {pid}")]
    Runs {
        /// The node.
        node: NodeName,
        /// Its process.
        pid: u32,
    },
    /// Something else listens where it should.
    #[error(
        "port {port} of {node} is in use by another program: stop that program, or choose other ports with \
         cluster.base-port (and another --dir)"
    )]
    PortTaken {
        /// The node.
        node: NodeName,
        /// The port: the node's own, or its bus.
        port: u16,
    },
    /// It runs, but not where it should.
    #[error(
        "{node} runs with process id {pid} on port {port}: ports can be changed only while no server runs, stop them \
         first (`evenkeel down`)"
    )]
    Elsewhere {
        /// The node.
        node: NodeName,
        /// Its process.
        pid: u32,
        /// Its port.
        port: u16,
    },
    /// The file in which the server keeps its identity cannot be understood.
    #[error(
        "{file} is damaged ({what}): put it back from a copy, or move the directory {dir} away, and {node} starts \
         anew and copies the data of its shard from the others"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong with it.
        what: String,
        /// The node's directory.
        dir: String,
        /// The node.
        node: NodeName,
    },
    /// The system refused.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried, on what.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
}
