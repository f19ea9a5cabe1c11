//! Parts of the end-to-end tests: a cluster of real servers, a gateway or a whole service in front of it, and a
//! client that speaks bytes.
//!
//! Everything is a test's own: directories, free loopback ports (bus ports 10000 above), processes, which are ended
//! by their id. Tests of one file run one after another ([`alone`]): they measure, and the machine may be small.

#![allow(dead_code, reason = "each test file uses some of the parts")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a part that fails has to fail the test")]

pub mod cluster;
#[path = "../ports/mod.rs"]
pub mod ports;
pub mod raw;
#[path = "../server/mod.rs"]
pub mod server;
pub mod service;

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen.
pub const SOON: Duration = Duration::from_secs(60);

/// Keeps the other tests of this file waiting.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a switch such as `EVENKEEL_FULL=1` is on.
pub fn switched_on(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| value == "1")
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Waits until `test` holds.
pub fn wait_until(what: &str, mut test: impl FnMut() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < SOON, "waited {SOON:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a future on a small runtime.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// `median / least / most` of some durations, in milliseconds.
pub fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    format!(
        "{:.0} / {:.0} / {:.0} ms of {}",
        millis(times.len() / 2),
        millis(0),
        millis(times.len() - 1),
        times.len()
    )
}
