//! Does clusters: observes the nodes, plans, acts, and shows a person what it sees.
//!
//! ```text
//! engine (processes) ──nudge──► reconcile ◄── observe (reads) ── nodes
//! door ─► orders ──────────────►   │     ◄── pulse (pings)
//!                                  │ core::plan
//!                                  ├─► act ─► engine, nodes
//!                                  ├─► journal
//!                                  └─► watch<Arc<Status>> ─► page, API, `evenkeel status`
//! ```

mod act;
pub mod door;
pub mod engine;
mod gatewatch;
pub mod home;
mod journal;
mod observe;
pub mod orders;
mod pulse;
mod reconcile;
mod report;
pub mod server;
pub mod status;
mod switch;
mod users;
mod vitals;
pub mod web;

use std::sync::Arc;

use evenkeel_core::config::Config;
use evenkeel_core::plan::Desired;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use gatewatch::Watched;

use door::Door;
use engine::{Engine as _, EngineError, Lifetime, ProcessEngine};
use home::{Home, HomeError};
use journal::Journal;
use observe::Eyes;
use orders::Orders;
use reconcile::{Loop, Said};
use report::Frame;
use server::Server;
use status::{Health, Status};

/// Why control did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The door for orders.
    #[error("cannot listen for orders in {dir}: {source}")]
    Door {
        /// The directory.
        dir: String,
        /// The system's reason.
        source: std::io::Error,
    },
}

/// A running control.
#[derive(Debug)]
pub struct Control {
    status: watch::Receiver<Arc<Status>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    engine: Arc<ProcessEngine>,
    door: Door,
    // the directory stays locked until the servers have ended
    home: Home,
}

impl Control {
    /// Adopts or starts the servers and keeps them as the configuration wants them. Returns at once; what comes of
    /// it shows in [`Control::status`]. Needs a tokio runtime.
    pub fn start(
        config: &Config,
        home: Home,
        server: Server,
        lifetime: Lifetime,
        gateways: Vec<Watched>,
    ) -> Result<Control, StartError> {
        let named_from = home.suits(config)?;
        let mut desired = Desired::of(config, named_from);
        let title = server.title();
        let engine = ProcessEngine::new(server, config.cluster.clone(), &desired, &home, lifetime)?;
        engine.check_ports()?;
        let engine = Arc::new(engine);
        let now = now_ms();
        let (orders, open, desk) = Orders::open(home.dir().join("orders.json"));
        desired.orders = open;
        let (publish, status) = watch::channel(Arc::new(blank(&desired, &title, now)));
        let (stop, stopped) = watch::channel(false);
        let door = Door::open(home.dir(), desk, status.clone());
        let door =
            door.map_err(|source| StartError::Door { dir: home.dir().display().to_string(), source })?;
        let gateways = gateways.into_iter().map(watch_in_background).collect();
        let looping = Loop {
            eyes: Eyes::new(&desired, home.secrets().node_password.clone(), engine.nudge(), now),
            desired,
            engine: Arc::clone(&engine),
            journal: Journal::open(home.journal_path()),
            orders,
            gateways,
            frame: Frame { server: title, since_ms: now },
            publish,
            status_path: Home::status_path(home.dir()),
            said: Said::default(),
            users: users::Register::default(),
        };
        let task = tokio::spawn(looping.run(stopped));
        Ok(Control { status, stop, task, engine, door, home })
    }

    /// The newest status, and word of each new one.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }

    /// The directory.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Ends the loop, then the servers (their data is saved), and waits for both.
    pub async fn stop(self) {
        drop(self.door);
        self.stop.send_replace(true);
        let _ = self.task.await;
        self.engine.stop().await;
        let _ = std::fs::remove_file(Home::status_path(self.home.dir()));
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn watch_in_background(watched: Watched) -> watch::Receiver<status::Gateway> {
    let (tell, told) = watch::channel(gatewatch::unasked(watched.addr));
    tokio::spawn(gatewatch::watch_gateway(watched, tell));
    told
}

/// The status before the first look.
fn blank(desired: &Desired, server: &str, now: u64) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at_ms: now,
        since_ms: now,
        health: Health::Starting,
        because: "not looked at yet".to_owned(),
        server: server.to_owned(),
        desired: status::Desired { shards: desired.shards as u32, replicas: desired.replicas as u32 },
        slots_served: 0,
        nodes: Vec::new(),
        gateways: Vec::new(),
        events: Vec::new(),
    }
}
