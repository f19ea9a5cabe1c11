//! Watches the gateway the way everyone else does: by asking its own port.
//!
//! Owns the rates, percentiles and the history that are made from its counters. Never shares memory with it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::metric::{BUCKETS, Histogram, Metric, Snapshot, quantile};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _};
use tokio::sync::watch;

use crate::observe::plain;
use crate::status::{Gateway, Health};

const EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(500);
/// Seconds that the percentiles look back.
const WINDOW: usize = 10;
/// Seconds of history.
const HISTORY: usize = 300;
const SLOTS: u32 = 16_384;

/// A gateway to watch.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Where it listens, as a client on this machine reaches it.
    pub addr: SocketAddr,
    /// What clients must give.
    pub password: Option<String>,
}

/// Asks once a second until nobody listens any more.
pub(crate) async fn watch_gateway(watched: Watched, tell: watch::Sender<Gateway>) {
    let mut memory = Memory::default();
    let mut connection = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = tell.closed() => return,
        }
        let asked = tokio::time::timeout(PATIENCE, ask(&watched, connection.take())).await;
        let answer = match asked {
            Ok(Ok((open, snapshot))) => {
                connection = Some(open);
                Ok(snapshot)
            }
            Ok(Err(because)) => Err(because),
            Err(_) => Err("it took longer than 500 ms".to_owned()),
        };
        let seen = memory.fold(watched.addr, answer);
        tell.send_replace(seen);
    }
}

/// A gateway that nobody has asked yet.
pub(crate) fn unasked(addr: SocketAddr) -> Gateway {
    Gateway {
        addr: addr.to_string(),
        health: Health::Starting,
        because: "not asked yet".to_owned(),
        metrics: None,
        requests_per_s: 0.0,
        errors_per_s: 0.0,
        latency_us: None,
        class_latency_us: BTreeMap::new(),
        node_latency_us: BTreeMap::new(),
        history: Vec::new(),
    }
}

async fn ask(
    watched: &Watched,
    connection: Option<MultiplexedConnection>,
) -> Result<(MultiplexedConnection, Snapshot), String> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => connect(watched).await.map_err(|error| plain(&error))?,
    };
    let mut command = redis::cmd("EVENKEEL");
    let text: String =
        command.arg("METRICS").query_async(&mut connection).await.map_err(|error| plain(&error))?;
    let snapshot =
        serde_json::from_str(&text).map_err(|error| format!("its metrics cannot be read: {error}"))?;
    Ok((connection, snapshot))
}

async fn connect(watched: &Watched) -> redis::RedisResult<MultiplexedConnection> {
    let mut settings = redis::RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(password) = &watched.password {
        settings = settings.set_password(password);
    }
    let address = format!("redis://{}", watched.addr).into_connection_info()?;
    let client = Client::open(address.set_redis_settings(settings))?;
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// The last snapshots and what was made from them.
#[derive(Debug, Default)]
struct Memory {
    last: VecDeque<Snapshot>,
    history: VecDeque<f64>,
}

impl Memory {
    fn fold(&mut self, addr: SocketAddr, answer: Result<Snapshot, String>) -> Gateway {
        let mut gateway = unasked(addr);
        match answer {
            Err(because) => {
                self.last.clear();
                (gateway.health, gateway.because) = (Health::Down, format!("does not answer: {because}"));
                self.note(0.0);
            }
            Ok(snapshot) => {
                // another process, or one that began again: its counters begin again
                if self
                    .last
                    .back()
                    .is_some_and(|last| last.pid != snapshot.pid || last.uptime_s > snapshot.uptime_s)
                {
                    self.last.clear();
                }
                if let Some(last) = self.last.back() {
                    gateway.requests_per_s = rate(last, &snapshot, Metric::Requests);
                    gateway.errors_per_s = rate(last, &snapshot, Metric::Errors);
                }
                if let Some(first) = self.last.front() {
                    gateway.latency_us = latency(first, &snapshot);
                    gateway.class_latency_us = latencies(&first.classes, &snapshot.classes);
                    gateway.node_latency_us = latencies(&first.nodes, &snapshot.nodes);
                }
                (gateway.health, gateway.because) = match snapshot.slots_known {
                    SLOTS => (Health::Ok, String::new()),
                    known => (Health::Down, format!("knows an owner for {known} of {SLOTS} slots")),
                };
                self.note(gateway.requests_per_s);
                self.last.push_back(snapshot.clone());
                if self.last.len() > WINDOW {
                    self.last.pop_front();
                }
                gateway.metrics = Some(snapshot);
            }
        }
        gateway.history = self.history.iter().copied().collect();
        gateway
    }

    fn note(&mut self, rate: f64) {
        self.history.push_back(rate);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }
}

fn rate(before: &Snapshot, now: &Snapshot, metric: Metric) -> f64 {
    let value = |snapshot: &Snapshot| snapshot.values.get(metric.name()).copied().unwrap_or(0);
    let seconds = now.uptime_s - before.uptime_s;
    if seconds > 0.0 { value(now).saturating_sub(value(before)) as f64 / seconds } else { 0.0 }
}

fn latency(before: &Snapshot, now: &Snapshot) -> Option<(u64, u64, u64)> {
    let at = |snapshot: &Snapshot, bucket: usize| snapshot.latency.get(bucket).copied().unwrap_or(0);
    let counts: Vec<u64> =
        (0..BUCKETS).map(|bucket| at(now, bucket).saturating_sub(at(before, bucket))).collect();
    percentiles(&counts)
}

fn percentiles(counts: &[u64]) -> Option<(u64, u64, u64)> {
    Some((quantile(counts, 0.5)?, quantile(counts, 0.99)?, quantile(counts, 0.999)?))
}

/// The percentiles of each histogram that has grown.
fn latencies(
    before: &BTreeMap<String, Histogram>,
    now: &BTreeMap<String, Histogram>,
) -> BTreeMap<String, (u64, u64, u64)> {
    let grown = |name: &str, histogram: &Histogram| {
        let before = before.get(name);
        let mut counts = vec![0; BUCKETS];
        for (bucket, count) in histogram {
            let was = before.and_then(|before| before.get(bucket)).copied().unwrap_or(0);
            if let Some(grown) = counts.get_mut(*bucket) {
                *grown = count.saturating_sub(was);
            }
        }
        percentiles(&counts)
    };
    now.iter().filter_map(|(name, histogram)| Some((name.clone(), grown(name, histogram)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Health, Memory, Snapshot};
    use evenkeel_core::metric::{bucket, upper_bound};

    fn snapshot(uptime_s: f64, requests: u64, slow: u64) -> Snapshot {
        let mut latency = vec![0; BUCKETS];
        latency[bucket(100)] = requests - slow;
        latency[bucket(5_000)] = slow;
        let values = [("requests".to_owned(), requests), ("errors".to_owned(), slow)].into();
        let writes = [(bucket(5_000), slow)].into();
        let reads = [(bucket(100), requests - slow), (usize::MAX, 1)].into(); // an answer may be nonsense
        let classes = [("read".to_owned(), reads), ("write".to_owned(), writes)].into();
        Snapshot { pid: 1, uptime_s, values, latency, classes, slots_known: 16_384, ..Snapshot::default() }
    }

    #[test]
    fn rates_and_percentiles_come_from_differences() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let mut memory = Memory::default();
        assert_eq!(memory.fold(addr, Ok(snapshot(10.0, 1_000, 1_000))).latency_us, None);
        let gateway = memory.fold(addr, Ok(snapshot(12.0, 3_000, 1_020)));
        assert_eq!((gateway.requests_per_s, gateway.errors_per_s), (1_000.0, 10.0));
        let (p50, p99, p999) = gateway.latency_us.unwrap();
        assert!(p50 < 120 && p99 < 120 && p999 > 4_900, "{p50} {p99} {p999}");
        assert_eq!(gateway.health, Health::Ok);
        let classes: Vec<(&str, u64)> =
            gateway.class_latency_us.iter().map(|(name, latency)| (name.as_str(), latency.1)).collect();
        assert_eq!(classes, [("read", upper_bound(bucket(100))), ("write", upper_bound(bucket(5_000)))]);
        let again = memory.fold(addr, Ok(snapshot(1.0, 10, 0)));
        assert_eq!((again.requests_per_s, again.latency_us), (0.0, None), "a restart is not a negative rate");
        let gone = memory.fold(addr, Err("it refuses connections".into()));
        assert_eq!((gone.health, gone.history.len()), (Health::Down, 4));
    }
}
