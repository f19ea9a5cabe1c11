//! One connection's closed loop: keeps `depth` requests in flight and checks every answer.
//!
//! It counts into the tally of its thread and never prints. Lost connections are made again with a growing,
//! bounded pause. Hot: one clock reading a turn, no allocation while answers are right.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::keys::{Names, Ring};
use super::tally::{Fault, Op, Tally};
use crate::link::{Answer, Door, Link, Lost, Turn};
use crate::noise::Noise;
use crate::wire::{self, Reply};

/// How often a waiting connection looks at the clock.
const BEAT: Duration = Duration::from_millis(50);
/// First and longest pause before a lost connection is made again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Requests are encoded until this much is unsent; the rest waits for the socket.
const OUTBOX: usize = 256 * 1024;
/// How long answers are waited for after the user has asked to stop.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// Keys removed by one command.
const REMOVED_AT_ONCE: usize = 128;

/// How often the user has asked to stop: once ends the measurement, twice also the removal of keys.
pub(crate) type Stop = Arc<AtomicU8>;

/// What all connections do at the same time.
#[derive(Clone)]
pub(crate) struct Phase {
    pub(crate) op: Op,
    pub(crate) size: usize,
    /// Keys of all connections together.
    pub(crate) keys: u64,
    /// Requests in flight on each connection.
    pub(crate) depth: usize,
    pub(crate) names: Names,
    pub(crate) noise: Arc<Noise>,
    pub(crate) start: Instant,
    pub(crate) until: Instant,
    pub(crate) stop: Stop,
}

impl Phase {
    fn is_open(&self, now: Instant) -> bool {
        now < self.until && self.stop.load(Ordering::Relaxed) == 0
    }
}

/// A request on its way.
struct Flight {
    sent: Instant,
    key: u64,
}

/// One connection with its keys; it outlives phases.
pub(crate) struct Lane {
    door: Arc<Door>,
    place: (u64, u64),
    link: Option<Link>,
    ring: Ring,
    names: Names,
    flights: VecDeque<Flight>,
    pause: Duration,
}

impl Lane {
    /// Connection number `place.0` of `place.1`, not yet open.
    pub(crate) fn new(door: Arc<Door>, place: (u64, u64), depth: usize) -> Lane {
        let flights = VecDeque::with_capacity(depth);
        Lane {
            door,
            place,
            link: None,
            ring: Ring::new(1, 0, 1),
            names: Names::new("", 0),
            flights,
            pause: PAUSE.0,
        }
    }

    /// Keys that the target has confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.ring.confirmed()
    }

    /// Works through one phase.
    pub(crate) async fn measure(&mut self, phase: &Phase, tally: &RefCell<Tally>) {
        match phase.op {
            Op::Set => {
                self.ring = Ring::new(phase.keys, self.place.0, self.place.1);
                self.names = phase.names.clone();
            }
            Op::Get => self.ring.rewind(),
        }
        if let Some(link) = &mut self.link {
            link.make_room(phase.size);
        }
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while phase.is_open(Instant::now()) {
            if self.link.is_none() {
                match Link::open(&self.door, phase.size).await {
                    Ok(link) => self.link = Some(link),
                    Err(lost) => {
                        tally.borrow_mut().failure(&not_connected(lost), Instant::now());
                        self.rest(phase).await;
                        continue;
                    }
                }
            }
            match self.flow(phase, tally, &mut beat).await {
                Ok(()) => return,
                Err(lost) => self.crash(lost, tally),
            }
            self.rest(phase).await;
        }
    }

    /// Keeps requests flowing until the phase is over and every answer is there.
    async fn flow(&mut self, phase: &Phase, tally: &RefCell<Tally>, beat: &mut Interval) -> Result<(), Lost> {
        let mut now = Instant::now();
        loop {
            if phase.is_open(now) {
                self.fill(phase, now);
            } else if self.flights.is_empty() {
                return Ok(());
            }
            let Some(link) = &mut self.link else { return Err(Lost::Closed) };
            let turn = link.turn(beat).await?;
            now = Instant::now();
            match turn {
                Turn::Moved => self.take(phase, &mut tally.borrow_mut(), now)?,
                Turn::Beat => self.check_patience(phase, now)?,
            }
        }
    }

    /// Encodes requests up to the depth.
    fn fill(&mut self, phase: &Phase, now: Instant) {
        let Some(link) = &mut self.link else { return };
        while self.flights.len() < phase.depth && link.unsent() < OUTBOX {
            let out = link.outbox();
            let key = match phase.op {
                Op::Set => {
                    let key = self.ring.next_to_write();
                    out.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
                    self.names.write(out, key);
                    wire::bulk_start(out, phase.size);
                    phase.noise.write(out, key, 0, phase.size);
                    out.extend_from_slice(b"\r\n");
                    key
                }
                Op::Get => {
                    let key = self.ring.next_to_read();
                    out.extend_from_slice(b"*2\r\n$3\r\nGET\r\n");
                    self.names.write(out, key);
                    key
                }
            };
            self.flights.push_back(Flight { sent: now, key });
        }
    }

    /// Judges every answer that has come.
    fn take(&mut self, phase: &Phase, tally: &mut Tally, now: Instant) -> Result<(), Lost> {
        let Some(link) = &mut self.link else { return Ok(()) };
        loop {
            let key = self.flights.front().map(|flight| flight.key);
            let judged = link.reply(|reply| key.map(|key| judge(phase, key, reply)))?;
            let Some(judged) = judged else { return Ok(()) };
            let (Some(judged), Some(flight)) = (judged, self.flights.pop_front()) else {
                return Err(Lost::Garbage(wire::Garbage(b'+')));
            };
            match judged {
                Ok(()) => {
                    tally.success(now - flight.sent, now);
                    self.pause = PAUSE.0;
                    if phase.op == Op::Set {
                        self.ring.confirm(flight.key);
                    }
                }
                Err(fault) => tally.failure(&fault, now),
            }
        }
    }

    fn check_patience(&self, phase: &Phase, now: Instant) -> Result<(), Lost> {
        let stopping = phase.stop.load(Ordering::Relaxed) > 0;
        let patience = if stopping { self.door.patience.min(LAST_WAIT) } else { self.door.patience };
        match self.flights.front() {
            Some(oldest) if now - oldest.sent > patience => Err(Lost::Silent(patience)),
            Some(_) | None => Ok(()),
        }
    }

    /// The connection is gone: every request on its way has failed.
    fn crash(&mut self, lost: Lost, tally: &RefCell<Tally>) {
        self.link = None;
        let fault = match lost {
            Lost::Silent(_) => Fault::NoAnswer(lost.to_string()),
            Lost::Garbage(_) => Fault::Unexpected(lost.to_string()),
            Lost::Connect(_) | Lost::Closed | Lost::Socket(_) | Lost::Refused(_) => {
                Fault::ConnectionLost(lost.to_string())
            }
        };
        let now = Instant::now();
        for _ in self.flights.drain(..) {
            tally.borrow_mut().failure(&fault, now);
        }
    }

    async fn rest(&mut self, phase: &Phase) {
        let left = phase.until.saturating_duration_since(Instant::now());
        tokio::time::sleep(self.pause.min(left)).await;
        self.pause = (self.pause * 2).min(PAUSE.1);
    }

    /// Removes every key of the last size that may be on the target; gives the number of confirmed ones that
    /// it could not remove.
    pub(crate) async fn remove(&mut self, stop: &AtomicU8) -> u64 {
        let keys: Vec<u64> = self.ring.written().collect();
        let mut left = self.ring.confirmed();
        // A plain node of a cluster refuses keys of several slots in one command.
        let mut at_once = REMOVED_AT_ONCE;
        for some in keys.chunks(REMOVED_AT_ONCE) {
            let mut tries = 3;
            while tries > 0 && stop.load(Ordering::Relaxed) < 2 {
                match self.unlink(some, at_once).await {
                    Ok(refused) if at_once > 1 && refused.contains(&true) => at_once = 1,
                    Ok(refused) => {
                        let gone = some.iter().zip(refused.iter().chain(std::iter::repeat(&false)));
                        left -=
                            gone.filter(|(key, refused)| !**refused && self.ring.has(**key)).count() as u64;
                        break;
                    }
                    Err(_) => {
                        tries -= 1;
                        self.link = None;
                        tokio::time::sleep(PAUSE.0 * 10).await;
                    }
                }
            }
            if self.link.is_none() || stop.load(Ordering::Relaxed) > 1 {
                break;
            }
        }
        self.ring = Ring::new(1, 0, 1);
        left
    }

    /// Removes keys, several in a command; for each command whether it was refused.
    async fn unlink(&mut self, keys: &[u64], at_once: usize) -> Result<Vec<bool>, Lost> {
        let link = match &mut self.link {
            Some(link) => link,
            empty @ None => empty.insert(Link::open(&self.door, 0).await?),
        };
        for some in keys.chunks(at_once) {
            wire::command_start(link.outbox(), some.len() + 1);
            link.outbox().extend_from_slice(b"$6\r\nUNLINK\r\n");
            for key in some {
                self.names.write(link.outbox(), *key);
            }
        }
        let patience = self.door.patience;
        let answers = tokio::time::timeout(patience, link.answers(keys.len().div_ceil(at_once)))
            .await
            .map_err(|_| Lost::Silent(patience))??;
        Ok(answers.iter().map(|answer| matches!(answer, Answer::Error(_))).collect())
    }
}

/// Whether a reply is right for the request for `key`.
fn judge(phase: &Phase, key: u64, reply: Reply<'_>) -> Result<(), Fault> {
    match (phase.op, reply) {
        (Op::Set, Reply::Status(b"OK")) => Ok(()),
        (Op::Get, Reply::Bulk(value)) if phase.noise.is(value, key, 0, phase.size) => Ok(()),
        (Op::Get, Reply::Bulk(value)) => Err(Fault::WrongValue(format!(
            "key {key} of {} bytes was answered with {} bytes that were never set there",
            phase.size,
            value.len()
        ))),
        (Op::Get, Reply::Nil) => Err(Fault::Missing(format!("key {key} was set and is gone"))),
        (_, Reply::Error(text)) => Err(Fault::Error {
            code: wire::error_code(text).to_owned(),
            text: String::from_utf8_lossy(text).into_owned(),
        }),
        (_, Reply::Status(_) | Reply::Integer(_) | Reply::Bulk(_) | Reply::Nil | Reply::Array(_)) => {
            Err(Fault::Unexpected(format!("{} was answered with another kind of reply", phase.op.name())))
        }
    }
}

fn not_connected(lost: Lost) -> Fault {
    match lost {
        Lost::Refused(text) => Fault::Error { code: wire::error_code(text.as_bytes()).to_owned(), text },
        Lost::Connect(_) | Lost::Closed | Lost::Socket(_) | Lost::Silent(_) | Lost::Garbage(_) => {
            Fault::NoConnection(lost.to_string())
        }
    }
}

/// Runs one phase on all lanes of a thread, side by side.
pub(crate) async fn side_by_side(lanes: Vec<Lane>, phase: Rc<Phase>, tally: Rc<RefCell<Tally>>) -> Vec<Lane> {
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|mut lane| {
            let (phase, tally) = (Rc::clone(&phase), Rc::clone(&tally));
            tokio::task::spawn_local(async move {
                lane.measure(&phase, &tally).await;
                lane
            })
        })
        .collect();
    let mut lanes = Vec::with_capacity(tasks.len());
    for task in tasks {
        lanes.push(task.await.expect("a lane does not panic"));
    }
    lanes
}
