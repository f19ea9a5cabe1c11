//! Does bytes: the worker loop, sockets, the topology watch and the drain of the gateway.
//!
//! What happens to a request is decided in `evenkeel-core`; here are only threads and system calls. One thread a
//! worker, each with its own clients and its own connections to the nodes; the first one accepts for all. One thread
//! watches the nodes for a new map, one counts how many workers are needed ([`crew`]). Between them: messages in [`inbox`], nothing shared.
//!
//! ```no_run
//! # use evenkeel_gateway::{Gateway, Settings};
//! let settings = Settings::new("127.0.0.1:7010".parse().unwrap(), vec!["127.0.0.1:7001".parse().unwrap()]);
//! let gateway = Gateway::start(settings)?; // returns once it listens
//! gateway.drain(); // finish what is in flight, close, join
//! # Ok::<(), evenkeel_gateway::StartError>(())
//! ```

mod courier;
mod crew;
mod doors;
mod duct;
mod gather;
mod handover;
mod inbox;
mod manners;
mod sockets;
mod tls;
mod watch;
mod worker;

use crew::{Crew, Lookout};
use doors::Doors;
use evenkeel_core::proxy::{self, Proxy};
pub use evenkeel_core::proxy::{Durability, Login, NamedUser};
pub use handover::{Offer, Predecessor};
use inbox::{Inbox, Message};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
pub use tls::{TlsError, TlsSettings};
use worker::{Shared, Worker};

/// What a gateway needs to start. Secrets come in as values and are never logged.
#[derive(Clone)]
pub struct Settings {
    /// Address that clients connect to.
    pub listen: SocketAddr,
    /// Where clients may come encrypted, besides.
    pub tls: Option<TlsSettings>,
    /// Nodes to learn the topology from at first; any one that answers is enough.
    pub seeds: Vec<SocketAddr>,
    /// Password of the nodes' default user.
    pub node_password: Option<String>,
    /// Password that clients must give; `None` lets everyone in.
    pub client_password: Option<String>,
    /// Names that clients may log in with, besides `default` and the nodes' own users.
    pub users: Vec<NamedUser>,
    /// Worker threads; 0: one, and one more whenever all are full, up to the machine's cores.
    pub workers: usize,
    /// What the replies of writes wait for, where a user has nothing else.
    pub durability: Durability,
    /// How long they wait for a replica.
    pub durability_wait: Duration,
    /// Most client connections at a time.
    pub max_clients: usize,
    /// Most connections to nodes that belong to one client each at a time.
    pub max_private: usize,
    /// How long a request may wait for its shard to come back.
    pub hold: Duration,
    /// Whether equal reads that wait at the same time are sent once.
    pub merge_reads: bool,
}

impl Settings {
    /// Settings with every default.
    pub fn new(listen: SocketAddr, seeds: Vec<SocketAddr>) -> Self {
        Settings {
            listen,
            tls: None,
            seeds,
            node_password: None,
            client_password: None,
            users: Vec::new(),
            workers: 0,
            durability: Durability::Async,
            durability_wait: Duration::from_secs(1),
            max_clients: 10_000,
            max_private: 10_000,
            hold: Duration::from_secs(10),
            merge_reads: true,
        }
    }

    /// How many workers there are at first and at most. A second worker halves the batches that make a gateway cheap
    /// (measured: up to 31 % more CPU a request on two cores), so there is one until it is full.
    fn worker_counts(&self) -> (usize, usize) {
        match self.workers {
            0 => (1, std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_WORKERS))),
            workers => (workers, workers),
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
    /// TLS was asked for and cannot be spoken.
    #[error("gateway.tls: {0}")]
    Tls(#[from] TlsError),
    /// The listeners of another gateway could not be taken over.
    #[error("cannot take over from the gateway at {addr}: {what}; that one goes on")]
    Handover {
        /// Where it listens.
        addr: SocketAddr,
        /// What is wrong.
        what: String,
    },
    /// A thread, epoll or eventfd could not be made.
    #[error("the gateway could not start: {0}")]
    System(#[from] std::io::Error),
}

/// Most workers that a gateway has unless it is told how many.
const MOST_WORKERS: usize = 256;

/// Longest that requests wait for others to go to their node with them, while others are under way.
const COMPANY: Duration = Duration::from_micros(300);

/// How long a gateway that takes over may need to learn who owns the slots.
const LEARNING: Duration = Duration::from_secs(5);

/// A running gateway.
pub struct Gateway {
    shared: Arc<Shared>,
    /// Its listening sockets, to be handed to a successor; closed once it no longer accepts.
    doors: Doors,
    workers: Vec<JoinHandle<()>>,
    watch: Option<watch::Watch>,
    lookout: Option<Lookout>,
}

impl Gateway {
    /// Listens, starts the workers and the topology watch, and returns.
    pub fn start(settings: Settings) -> Result<Gateway, StartError> {
        let doors = Doors::open(&settings, Vec::new())?;
        let gateway = Gateway::run(&settings, doors)?;
        gateway.accept()?;
        tracing::info!(listen = %gateway.listen(), workers = gateway.shared.crew.awake(), at_most = gateway.workers.len(), "the gateway listens");
        Ok(gateway)
    }

    /// Takes the listeners of another process over, begins to accept once it knows who owns the slots, and tells the
    /// other one to drain.
    pub fn take_over(settings: Settings, mut predecessor: Predecessor) -> Result<Gateway, StartError> {
        let addr = predecessor.addr;
        let failed = |what: String| StartError::Handover { addr, what };
        if addr != settings.listen {
            return Err(failed(format!("the address asked for is {}", settings.listen)));
        }
        let inherited = std::mem::take(&mut predecessor.listeners);
        let doors = Doors::open(&settings, inherited)?;
        let gateway = Gateway::run(&settings, doors)?;
        let begun = Instant::now();
        while !gateway.shared.informed.load(Ordering::Relaxed) {
            if begun.elapsed() > LEARNING {
                return Err(failed(format!(
                    "no node says who owns the slots within {} s",
                    LEARNING.as_secs()
                )));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        gateway.accept()?;
        predecessor.dismiss().map_err(|error| failed(error.to_string()))?;
        tracing::info!(listen = %addr, "the gateway has taken over");
        Ok(gateway)
    }

    /// Starts the threads; nobody accepts yet.
    fn run(settings: &Settings, doors: Doors) -> Result<Gateway, StartError> {
        sockets::raise_file_limit(settings.max_clients + settings.max_private);
        let (awake, count) = settings.worker_counts();
        let inboxes = (0..count).map(|_| Inbox::new().map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let watch = watch::Watch::start(settings, inboxes.clone())?;
        let shared = Arc::new(Shared {
            started: Instant::now(),
            max_clients: settings.max_clients,
            clients: AtomicUsize::new(0),
            crew: Crew::new(count, awake),
            next_number: AtomicU64::new(1),
            informed: AtomicBool::new(false),
            inboxes,
            nudge: watch.nudge(),
        });
        let mut workers = Vec::new();
        for place in 0..count {
            let proxy = Proxy::new(proxy_settings(settings, count), seed(place));
            let mut worker = Worker::new(place, proxy, shared.clone())?;
            let name = format!("gateway-{place}");
            workers.push(std::thread::Builder::new().name(name).spawn(move || worker.run())?);
        }
        let lookout = if count > 1 { Some(Lookout::start(shared.clone())?) } else { None };
        Ok(Gateway { shared, doors, workers, watch: Some(watch), lookout })
    }

    /// Has the first worker accept clients, for itself and the others.
    fn accept(&self) -> std::io::Result<()> {
        self.shared.inboxes[0].send(Message::Listen(self.doors.listeners()?));
        Ok(())
    }

    /// Offers the listeners to a successor at a path, which only this user can open.
    pub fn offer(&self, path: &Path) -> std::io::Result<Offer> {
        Offer::open(path, self.doors.clone())
    }

    /// The address at which clients come encrypted.
    pub fn tls_listen(&self) -> Option<SocketAddr> {
        self.doors.encrypted()
    }

    /// The address that it listens on (the real port where 0 was asked for).
    pub fn listen(&self) -> SocketAddr {
        self.doors.addr()
    }

    /// Refuses new connections, answers everything that was sent (5 s at most), closes each client once it has its
    /// replies, and joins the threads.
    pub fn drain(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.doors.close();
        if let Some(lookout) = self.lookout.take() {
            lookout.stop();
        }
        // It tells the others, once nobody more comes.
        self.shared.inboxes[0].send(Message::Drain);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                tracing::error!("a gateway worker had panicked");
            }
        }
        if let Some(watch) = self.watch.take() {
            watch.stop();
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop();
    }
}

fn proxy_settings(settings: &Settings, workers: usize) -> proxy::Settings {
    proxy::Settings {
        node_password: settings.node_password.clone(),
        client_password: settings.client_password.clone(),
        users: settings.users.clone(),
        hold: settings.hold.as_micros() as u64,
        workers,
        durability: settings.durability,
        tls_durability: settings.tls.as_ref().and_then(|tls| tls.durability),
        durability_wait: settings.durability_wait.as_micros() as u64,
        max_lent: settings.max_private,
        company: COMPANY.as_micros() as u64,
        merge_reads: settings.merge_reads,
        ..proxy::Settings::default()
    }
}

/// A number that differs from start to start and from worker to worker; nothing secret hangs on it.
fn seed(place: usize) -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_usize(place);
    hasher.finish()
}
