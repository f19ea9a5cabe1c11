//! Feels the pulse of every running server: one open connection each, a ping several times within `cluster.hang`.
//!
//! Owns how silence is measured. Never decides what follows of it (core's plan does), and never blames a server for
//! a silence that is our own: when this loop itself was late, or the server computes, the count begins again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::plan::{Desired, NodeName, Process, Silence};
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use crate::engine::Body;

/// Pings in one `cluster.hang`.
const BEATS: u32 = 5;
/// Pings that are sent at most before one is answered.
const OWED: u32 = 64;
/// Unanswered pings after which nobody waits for other answers of the server.
const LOST: u32 = 2;
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// The pulses of all running servers.
#[derive(Debug)]
pub(crate) struct Pulses {
    password: String,
    limit: Duration,
    nudge: Arc<Notify>,
    nodes: BTreeMap<NodeName, Pulse>,
}

#[derive(Debug)]
struct Pulse {
    pid: u32,
    told: watch::Receiver<Option<Silence>>,
    task: JoinHandle<()>,
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Pulses {
    pub(crate) fn new(password: String, limit: Duration, nudge: Arc<Notify>) -> Pulses {
        Pulses { password, limit, nudge, nodes: BTreeMap::new() }
    }

    /// Begins with processes that are new and ends with those that are gone.
    pub(crate) fn attend(&mut self, desired: &Desired, bodies: &BTreeMap<NodeName, Body>) {
        let running = |name: &NodeName| match bodies.get(name)?.process {
            Process::Running { pid } => Some(pid),
            Process::Absent | Process::Exited { .. } => None,
        };
        self.nodes.retain(|name, pulse| running(name) == Some(pulse.pid));
        if self.limit.is_zero() {
            return;
        }
        for wanted in &desired.nodes {
            if let (Some(pid), false) = (running(&wanted.name), self.nodes.contains_key(&wanted.name)) {
                let (tell, told) = watch::channel(None);
                let patient = Patient {
                    addr: wanted.addr,
                    pid,
                    greeting: greeting(&self.password),
                    limit: self.limit,
                    nudge: Arc::clone(&self.nudge),
                    tell,
                    answered: false,
                    debt: None,
                };
                let task = tokio::spawn(patient.attend());
                self.nodes.insert(wanted.name.clone(), Pulse { pid, told, task });
            }
        }
    }

    /// What a server owes now.
    pub(crate) fn silence(&self, node: &NodeName) -> Option<Silence> {
        *self.nodes.get(node)?.told.borrow()
    }

    /// Resolves once a server has missed so many pings that its other answers need not be waited for.
    pub(crate) fn lost(&self, node: &NodeName) -> impl Future<Output = ()> + Send + use<> {
        let told = self.nodes.get(node).map(|pulse| pulse.told.clone());
        async move {
            if let Some(mut told) = told
                && told.wait_for(|silence| silence.is_some_and(|silence| silence.pings >= LOST)).await.is_ok()
            {
                return;
            }
            std::future::pending::<()>().await;
        }
    }
}

/// One server under watch.
struct Patient {
    addr: SocketAddr,
    pid: u32,
    greeting: Vec<u8>,
    limit: Duration,
    nudge: Arc<Notify>,
    tell: watch::Sender<Option<Silence>>,
    /// A process that never answered is starting, not hanging.
    answered: bool,
    debt: Option<Debt>,
}

/// Pings without an answer.
#[derive(Clone, Copy)]
struct Debt {
    pings: u32,
    since: Instant,
    still: Instant,
    /// Processor time of the server when it was last looked at.
    ticks: u64,
}

impl Patient {
    async fn attend(mut self) {
        let every = self.limit / BEATS;
        loop {
            if let Ok(Ok(stream)) = timeout(self.limit, TcpStream::connect(self.addr)).await {
                self.converse(stream, every).await;
            }
            // whoever closes a connection is not hanging; a process that ended shows by itself
            self.debt = None;
            self.tell.send_replace(None);
            sleep(every).await;
        }
    }

    /// Pings until the connection ends.
    async fn converse(&mut self, mut stream: TcpStream, every: Duration) {
        let _ = stream.set_nodelay(true);
        if stream.write_all(&self.greeting).await.is_err() {
            return;
        }
        let (mut last, mut buffer) = (Instant::now(), [0; 1024]);
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.debt.map_or(last, |debt| debt.still + self.limit);
            tokio::select! {
                biased;
                read = stream.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(len) => self.answer(&buffer[..len]),
                },
                _ = ticks.tick() => {
                    let late = last.elapsed() > every * 2;
                    last = Instant::now();
                    self.look(every, late.then_some(last));
                    if self.debt.is_none_or(|debt| debt.pings < OWED) && stream.try_write(PING).is_ok() {
                        self.owe();
                    }
                    self.publish();
                }
                () = sleep_until(due), if self.debt.is_some() && due > last => {
                    let late = last.elapsed() > every * 2;
                    last = Instant::now();
                    self.look(every, late.then_some(last));
                    self.publish();
                }
            }
        }
    }

    /// Every answer is one line. Whoever answers anything is alive.
    fn answer(&mut self, bytes: &[u8]) {
        self.answered = true;
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u32;
        let now = Instant::now();
        self.debt = self.debt.and_then(|debt| {
            let pings = debt.pings.saturating_sub(lines);
            (pings > 0).then_some(Debt { pings, since: now, still: now, ..debt })
        });
        self.publish();
    }

    fn owe(&mut self) {
        match &mut self.debt {
            Some(debt) => debt.pings += 1,
            None => {
                let now = Instant::now();
                self.debt = Some(Debt { pings: 1, since: now, still: now, ticks: 0 });
            }
        }
    }

    /// Forgives what was our own lateness, and the time in which the server computed.
    fn look(&mut self, every: Duration, late: Option<Instant>) {
        let Some(debt) = &mut self.debt else { return };
        if let Some(now) = late {
            (debt.since, debt.still) = (now, now);
        }
        if let Some((state, ticks)) = effort(self.pid) {
            // the system counts hundredths of a second
            let busy = debt.ticks > 0 && (ticks - debt.ticks.min(ticks)) * 20 >= every.as_millis() as u64;
            if state == b'R' || busy {
                debt.still = Instant::now();
            }
            debt.ticks = ticks.max(1);
        }
    }

    fn publish(&self) {
        let millis = |since: Instant| since.elapsed().as_millis() as u64;
        let silence = self.debt.filter(|_| self.answered).map(|debt| Silence {
            pings: debt.pings,
            owed: millis(debt.since),
            still: millis(debt.still),
        });
        // a ping on its way is no news
        let silence = silence.filter(|silence| silence.pings > 1 || silence.owed > 0);
        self.tell.send_if_modified(|told| std::mem::replace(told, silence) != silence);
        if silence.is_some_and(|silence| silence.still >= self.limit.as_millis() as u64) {
            self.nudge.notify_one();
        }
    }
}

/// The state letter of a process's main thread, and its processor time in hundredths of a second.
fn effort(pid: u32) -> Option<(u8, u64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?.bytes().next()?;
    let mut times = fields.skip(10).map(|field| field.parse::<u64>().ok());
    Some((state, times.next()?? + times.next()??))
}

fn greeting(password: &str) -> Vec<u8> {
    format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::effort;

    #[test]
    fn the_effort_of_a_process_is_read() {
        let (state, _) = effort(std::process::id()).unwrap();
        assert!(b"RSD".contains(&state), "{}", char::from(state));
        let (state, ticks) = effort(1).unwrap();
        assert!(b"RSDT".contains(&state), "{} {ticks}", char::from(state));
        assert_eq!(effort(u32::MAX), None);
    }
}
