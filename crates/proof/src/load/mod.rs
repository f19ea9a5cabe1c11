//! A verifying load: many connections write unique values and read them back while something else breaks or
//! reshards the cluster behind an address.
//!
//! Every key belongs to one connection, so each knows exactly what its keys may hold. *Registers* carry a
//! growing version, which shows values that went back; *counters* are only incremented, which shows
//! increments that were lost or applied twice; *lists* are only appended to, which shows which element it was and
//! in which order they came. In the end every key is read once more.
//!
//! ```text
//! GET register ─► SET register ─► GET register ─► INCR counter ─► RPUSH list ─► the next key …   (pipelined)
//! ```
//! Connections can be spread over groups of slots, which are then watched apart ([`Group`]).
//!
//! It never decides what is acceptable: [`Verdict`] says what was seen, the test or drill judges.

mod book;
mod drive;
mod group;
mod judge;
mod list;
mod names;
mod route;
mod verdict;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

pub use group::{Group, SAMPLE, Sample};
pub use route::Redirects;
pub use verdict::Verdict;

use crate::link::Door;

/// How a load is made.
#[derive(Clone)]
pub struct LoadOptions {
    /// Connections, each with keys of its own.
    pub connections: usize,
    /// Requests in flight on each connection.
    pub pipeline: usize,
    /// Registers, and as many counters and lists, of each connection.
    pub key_space: usize,
    /// Bytes of a register's value, at least 32.
    pub value_size: usize,
    /// User to log in as.
    pub user: Option<String>,
    /// Password to log in with.
    pub password: Option<String>,
    /// Makes the values of this load its own.
    pub seed: u64,
    /// How long an answer is waited for before the connection is given up.
    pub patience: Duration,
    /// Rest of each connection after it has read answers, to leave processor time to what is tested.
    pub pause: Duration,
    /// How long the last reading of all keys may take in the end.
    pub settle: Duration,
    /// Inclusive slot ranges that are watched apart, such as each shard's: connections take turns, and all keys of
    /// one lie in its group. None means one group of all slots.
    pub groups: Vec<Vec<(u16, u16)>>,
    /// Further addresses of the same service. Who loses its connection tries the next one; with none of them,
    /// the same again.
    pub other_addrs: Vec<String>,
    /// What is done when a server says that another one has the key.
    pub redirects: Redirects,
    /// Network namespace in which the connections are made, as a file; `None` for this process's own.
    pub network: Option<PathBuf>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            connections: 8,
            pipeline: 4,
            key_space: 64,
            value_size: 64,
            user: None,
            password: None,
            seed: 1,
            patience: Duration::from_secs(10),
            pause: Duration::ZERO,
            settle: Duration::from_secs(20),
            groups: Vec::new(),
            other_addrs: Vec::new(),
            redirects: Redirects::Errors,
            network: None,
        }
    }
}

/// A load; see [`Load::start`].
pub struct Load;

impl Load {
    /// Starts the load against `addr` (`host:port`) on a thread of its own; it runs until it is stopped.
    pub fn start(addr: impl Into<String>, options: LoadOptions) -> io::Result<LoadHandle> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let signs = Arc::new(Signs::default());
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let addrs = std::iter::once(addr.into()).chain(options.other_addrs.iter().cloned());
        let doors: Vec<Door> = addrs
            .map(|addr| Door {
                addr,
                user: options.user.clone(),
                password: options.password.clone(),
                patience: options.patience,
            })
            .collect();
        let run = format!("{:x}-{millis:x}", options.seed);
        let (give, verdict) = oneshot::channel();
        let shared = Arc::clone(&signs);
        std::thread::Builder::new().name("load".to_owned()).spawn(move || {
            if let Some(network) = &options.network
                && crate::drill::lab::enter(network).is_err()
            {
                // without a verdict it counts as a bug of the load
                return;
            }
            // Nobody waits for the verdict of a load whose handle was dropped.
            let _ = give.send(drive::run(&runtime, doors, &run, &options, &shared));
        })?;
        Ok(LoadHandle { signs, verdict: Some(verdict) })
    }
}

/// What the load and its handle tell each other.
#[derive(Default)]
struct Signs {
    stop: AtomicBool,
    marked: AtomicBool,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

/// A running load. Dropping it stops the load too, without a verdict.
pub struct LoadHandle {
    signs: Arc<Signs>,
    verdict: Option<oneshot::Receiver<Verdict>>,
}

impl LoadHandle {
    /// Requests that were answered rightly so far.
    pub fn acknowledged(&self) -> u64 {
        self.signs.acknowledged.load(Ordering::Relaxed)
    }

    /// Requests that failed so far.
    pub fn failed(&self) -> u64 {
        self.signs.failed.load(Ordering::Relaxed)
    }

    /// From now on standstill and failures count as the fault's; see [`Group`].
    pub fn mark(&self) {
        self.signs.marked.store(true, Ordering::Relaxed);
    }

    /// Waits until `more` further requests were answered rightly; `false` when that takes longer than `within`.
    pub async fn wait_for(&self, more: u64, within: Duration) -> bool {
        let (wanted, start) = (self.acknowledged() + more, Instant::now());
        while self.acknowledged() < wanted {
            if start.elapsed() > within {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Stops the load, reads every key once more, removes the keys and says what was seen.
    pub async fn stop(mut self) -> Verdict {
        self.signs.stop.store(true, Ordering::Relaxed);
        let verdict =
            self.verdict.take().expect("the verdict is taken only here, and stop consumes the handle");
        verdict.await.unwrap_or_else(|_| Verdict::of_a_crash())
    }
}

impl Drop for LoadHandle {
    fn drop(&mut self) {
        self.signs.stop.store(true, Ordering::Relaxed);
    }
}
