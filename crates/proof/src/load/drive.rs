//! The connections of a load: they send, wait, connect again, and have every answer judged.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::book::{Counter, Register};
use super::group::{Side, Watched};
use super::judge::{Ask, Books, Judged, VERSION, Values, When, kind_text};
use super::list::List;
use super::names::Names;
use super::route::Redirects;
use super::{LoadOptions, Signs, Verdict};
use crate::link::{Door, Link, Lost, Turn};
use crate::noise::Noise;
use crate::wire;

/// How often a waiting connection looks at the clock and at the stop sign.
const BEAT: Duration = Duration::from_millis(20);
/// First and longest pause before a lost connection is made again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// Runs a load until it is told to stop, reads every key once more and gives the verdict.
pub(super) fn run(
    runtime: &Runtime,
    doors: Vec<Door>,
    run: &str,
    options: &LoadOptions,
    signs: &Arc<Signs>,
) -> Verdict {
    let start = Instant::now();
    let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let everywhere = [Vec::new()];
    let groups = if options.groups.is_empty() { &everywhere[..] } else { &options.groups[..] };
    let value_size = options.value_size.max(2 * VERSION);
    let shared = Rc::new(Shared {
        doors,
        noise: Noise::new(options.seed, value_size),
        value_size,
        depth: options.pipeline.max(1),
        pause: options.pause,
        redirects: options.redirects,
        signs: Arc::clone(signs),
        seen: RefCell::new(Seen {
            verdict: Verdict { began_ms: began.as_millis() as u64, ..Verdict::default() },
            last_success: start,
            groups: groups.iter().map(|_| Watched::new(start)).collect(),
        }),
    });
    let lanes: Vec<_> = (0..options.connections.max(1))
        .map(|place| {
            let prefix = format!("evenkeel:load:{run}:{place}:");
            let group = place % groups.len();
            let names = Names::new(&prefix, options.key_space.max(1), &groups[group]);
            Lane::new(Rc::clone(&shared), names, place, group)
        })
        .collect();
    LocalSet::new().block_on(runtime, async {
        let working = lanes.into_iter().map(|mut lane| {
            spawn_local(async move {
                lane.work().await;
                lane
            })
        });
        let lanes = all(working.collect()).await;
        let now = Instant::now();
        shared.seen.borrow_mut().verdict.ran = now - start;
        lanes.iter().for_each(|lane| lane.gap(now, 0));
        let until = now + options.settle;
        let settling = lanes.into_iter().map(|mut lane| spawn_local(async move { lane.settle(until).await }));
        all(settling.collect()).await;
    });
    shared.seen.take().told()
}

async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::with_capacity(tasks.len());
    for task in tasks {
        results.push(task.await.expect("a lane does not panic"));
    }
    results
}

/// What all connections have in common.
struct Shared {
    doors: Vec<Door>,
    noise: Noise,
    value_size: usize,
    depth: usize,
    pause: Duration,
    redirects: Redirects,
    signs: Arc<Signs>,
    seen: RefCell<Seen>,
}

/// The verdict in the making.
struct Seen {
    verdict: Verdict,
    last_success: Instant,
    groups: Vec<Watched>,
}

impl Default for Seen {
    fn default() -> Seen {
        Seen { verdict: Verdict::default(), last_success: Instant::now(), groups: Vec::new() }
    }
}

impl Seen {
    /// A connection had no right answer from one moment to another.
    fn gap(&mut self, from: Instant, to: Instant) {
        self.verdict.longest_stall = self.verdict.longest_stall.max(to.saturating_duration_since(from));
        let outage = to.saturating_duration_since(self.last_success);
        self.verdict.longest_outage = self.verdict.longest_outage.max(outage);
    }

    fn told(self) -> Verdict {
        Verdict { groups: self.groups.into_iter().map(|watched| watched.group).collect(), ..self.verdict }
    }
}

/// A request on its way.
struct Flight {
    ask: Ask,
    key: usize,
    sent: Instant,
}

/// What the answer to a request was.
enum Heard {
    /// One for its client.
    Judged(Judged),
    /// That the server behind this door has the key: it was not executed.
    Elsewhere(usize),
}

/// A connection and its keys.
struct Lane {
    shared: Rc<Shared>,
    names: Names,
    place: u64,
    group: usize,
    /// Which of the addresses it uses.
    door: usize,
    link: Option<Link>,
    registers: Vec<Register>,
    counters: Vec<Counter>,
    lists: Vec<List>,
    flights: VecDeque<Flight>,
    /// Requests to be sent to where they were referred to, in their order, and that door.
    again: VecDeque<(Ask, usize)>,
    referred: Option<usize>,
    when: When,
    step: usize,
    pause: Duration,
    last_success: Instant,
}

impl Lane {
    fn new(shared: Rc<Shared>, names: Names, place: usize, group: usize) -> Lane {
        let keys = names.registers.len();
        let groups = shared.seen.borrow().groups.len().max(1);
        Lane {
            shared,
            names,
            place: place as u64,
            group,
            // where there are several addresses, each group uses every one from the start
            door: place / groups,
            link: None,
            registers: vec![Register::default(); keys],
            counters: vec![Counter::default(); keys],
            lists: vec![List::default(); keys],
            flights: VecDeque::new(),
            again: VecDeque::new(),
            referred: None,
            when: When::Running,
            step: 0,
            pause: PAUSE.0,
            last_success: Instant::now(),
        }
    }

    fn is_stopped(&self) -> bool {
        self.shared.signs.stop.load(Ordering::Relaxed)
    }

    fn side(&self) -> Side {
        if self.shared.signs.marked.load(Ordering::Relaxed) { Side::After } else { Side::Before }
    }

    fn door(&self) -> &Door {
        &self.shared.doors[self.door % self.shared.doors.len()]
    }

    /// This connection has had no right answer until now, at which it got `answered`.
    fn gap(&self, now: Instant, answered: u64) {
        let seen = &mut *self.shared.seen.borrow_mut();
        seen.gap(self.last_success, now);
        seen.groups[self.group].gap(self.side(), self.last_success, now, answered);
    }

    /// Loads until the stop sign, through lost connections.
    async fn work(&mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_stopped() {
            match self.flow(&mut beat).await {
                Ok(()) => return,
                Err(lost) => self.crash(&lost),
            }
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
    }

    async fn flow(&mut self, beat: &mut Interval) -> Result<(), Lost> {
        loop {
            self.connect().await?;
            if self.flights.is_empty() && self.link.as_ref().is_some_and(Link::is_closed) {
                // as a client does that looks before it sends
                return Err(Lost::Closed);
            }
            while !self.is_stopped() && self.referred.is_none() && self.flights.len() < self.shared.depth {
                self.send_next();
            }
            if self.flights.is_empty() {
                return Ok(());
            }
            let before = self.flights.len();
            let answered = self.turn(beat).await?;
            let refused = match self.shared.redirects {
                // a client that looks for the right server does not ask without a rest
                Redirects::Followed => self.flights.len() < before,
                Redirects::Errors => false,
            };
            let signs = &self.shared.signs;
            signs.failed.store(self.shared.seen.borrow().verdict.failed(), Ordering::Relaxed);
            signs.acknowledged.fetch_add(answered, Ordering::Relaxed);
            if (answered > 0 || refused) && !self.shared.pause.is_zero() {
                sleep(self.shared.pause).await;
            }
        }
    }

    /// Connects where that is not done, and to the server that it was referred to once it waits for nothing here.
    async fn connect(&mut self) -> Result<(), Lost> {
        if self.flights.is_empty()
            && let Some(door) = self.referred.take()
        {
            (self.door, self.link) = (door, None);
        }
        if self.link.is_none() {
            self.link = Some(Link::open(self.door(), self.shared.value_size).await?);
        }
        Ok(())
    }

    /// Waits once and judges what has come; gives the number of requests that were answered without an error.
    async fn turn(&mut self, beat: &mut Interval) -> Result<u64, Lost> {
        let Some(link) = &mut self.link else { return Err(Lost::Closed) };
        if link.turn(beat).await? == Turn::Beat {
            let patience = self.door().patience;
            let silent = self.flights.front().is_some_and(|oldest| oldest.sent.elapsed() > patience);
            return if silent { Err(Lost::Silent(patience)) } else { Ok(0) };
        }
        let (now, mut answered) = (Instant::now(), 0);
        while let Some(&Flight { ask, key, .. }) = self.flights.front() {
            let seen = &mut *self.shared.seen.borrow_mut();
            let mut books = Books {
                key,
                register: &mut self.registers[key],
                counter: &mut self.counters[key],
                list: &mut self.lists[key],
                values: Values { noise: &self.shared.noise, place: self.place, size: self.shared.value_size },
                when: self.when,
                verdict: &mut seen.verdict,
            };
            let Some(link) = &mut self.link else { return Err(Lost::Closed) };
            let shared = &self.shared;
            let heard = link.reply(|reply| match shared.redirects.door(reply, &shared.doors) {
                Some(door) => Heard::Elsewhere(door),
                None => Heard::Judged(books.judge(ask, reply)),
            })?;
            let Some(heard) = heard else { break };
            self.flights.pop_front();
            match heard {
                Heard::Judged(Judged::Answered) => answered += 1,
                Heard::Elsewhere(door) => {
                    self.referred = Some(door);
                    // in the end whatever was not read is asked for again anyway
                    if self.when == When::Running {
                        self.again.push_back((ask, key));
                    }
                }
                Heard::Judged(Judged::Failed(_)) if self.when == When::Settling => {}
                Heard::Judged(Judged::Failed(kind)) => {
                    seen.groups[self.group].failed(self.side(), now, kind_text(&kind), 1);
                }
            }
        }
        if answered > 0 {
            if self.when == When::Running {
                self.gap(now, answered);
            }
            self.shared.seen.borrow_mut().last_success = now;
            self.last_success = now;
            self.pause = PAUSE.0;
        }
        Ok(answered)
    }

    fn send_next(&mut self) {
        if let Some((ask, key)) = self.again.pop_front() {
            let ask = match ask {
                Ask::Read { .. } => Ask::Read { ceiling: self.registers[key].sent() },
                Ask::Write { .. } | Ask::Add | Ask::Push { .. } | Ask::Count => ask,
            };
            return self.send(ask, key);
        }
        let key = self.step / 5 % self.registers.len();
        let register = &mut self.registers[key];
        let ask = match self.step % 5 {
            1 => Ask::Write { version: register.next() },
            3 => Ask::Add,
            4 => self.lists[key].next().map_or(Ask::Add, |element| Ask::Push { element }),
            _ => Ask::Read { ceiling: register.sent() },
        };
        self.step += 1;
        self.send(ask, key);
    }

    fn send(&mut self, ask: Ask, key: usize) {
        let Some(link) = &mut self.link else { return };
        let shared = &self.shared;
        let register = self.names.registers[key].as_bytes();
        let counter = self.names.counters[key].as_bytes();
        let out = link.outbox();
        match ask {
            Ask::Read { .. } => wire::command(out, &[b"GET", register]),
            Ask::Count => wire::command(out, &[b"GET", counter]),
            Ask::Add => wire::command(out, &[b"INCR", counter]),
            Ask::Push { element } => {
                let list = self.names.lists[key].as_bytes();
                wire::command(out, &[b"RPUSH", list, element.to_string().as_bytes()]);
            }
            Ask::Write { version } => {
                let values = Values { noise: &shared.noise, place: self.place, size: shared.value_size };
                wire::command(out, &[b"SET", register, &values.write(key, version)]);
            }
        }
        self.flights.push_back(Flight { ask, key, sent: Instant::now() });
    }

    /// The connection is gone: writes on their way are uncertain.
    fn crash(&mut self, lost: &Lost) {
        let (now, side) = (Instant::now(), self.side());
        let seen = &mut *self.shared.seen.borrow_mut();
        let failed = self.flights.len() as u64;
        self.link = None;
        self.door += 1;
        let unnoticed = match (self.shared.redirects, lost) {
            (Redirects::Errors, _) | (Redirects::Followed, Lost::Closed | Lost::Socket(_)) => true,
            // who found nobody at the address of its keys has a request to send
            (
                Redirects::Followed,
                Lost::Connect(_) | Lost::Silent(_) | Lost::Garbage(_) | Lost::Refused(_),
            ) => false,
        };
        if failed == 0 && self.shared.doors.len() > 1 && unnoticed {
            // no request was on its way, and there is another address: nobody would call that a failure
            seen.verdict.moved += 1;
            return;
        }
        seen.verdict.error(&lost.to_string(), failed.max(1));
        seen.groups[self.group].failed(side, now, lost.kind(), failed.max(1));
        self.shared.signs.failed.store(seen.verdict.failed(), Ordering::Relaxed);
        for flight in self.flights.drain(..) {
            match flight.ask {
                Ask::Write { version } => self.registers[flight.key].uncertain(version),
                Ask::Add => self.counters[flight.key].uncertain(),
                // which it is until it is acknowledged
                Ask::Push { .. } => {}
                Ask::Read { .. } | Ask::Count => continue,
            }
            seen.verdict.uncertain_writes += 1;
        }
    }

    /// Reads every key once more, trying again until each was answered, and removes them all.
    async fn settle(&mut self, until: Instant) {
        self.when = When::Settling;
        let mut unread: Vec<(Ask, usize)> = (0..self.registers.len())
            .flat_map(|key| [(Ask::Read { ceiling: self.registers[key].sent() }, key), (Ask::Count, key)])
            .collect();
        while !unread.is_empty() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(timeout(left, self.read(&mut unread)).await, Ok(Ok(()))) {
                self.link = None;
                self.door += 1;
                self.flights.clear();
                sleep(PAUSE.1).await;
            }
        }
        let mut lists: Vec<usize> = (0..self.lists.len()).collect();
        while !lists.is_empty() && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            if !matches!(timeout(left, self.read_lists(&mut lists)).await, Ok(Ok(()))) {
                self.link = None;
                self.door += 1;
                sleep(PAUSE.1).await;
            }
        }
        self.shared.seen.borrow_mut().verdict.unverified_keys += (unread.len() + lists.len()) as u64;
        let left = until.saturating_duration_since(Instant::now()).max(BEAT);
        // Keys that stay behind have names of their own and hurt no later load.
        let _ = timeout(left, self.remove()).await;
    }

    /// Reads from the end of the list, until it is empty or an answer is an error.
    async fn read(&mut self, unread: &mut Vec<(Ask, usize)>) -> Result<(), Lost> {
        self.connect().await?;
        let mut beat = interval(BEAT);
        while let Some(&(ask, key)) = unread.last() {
            self.send(ask, key);
            let mut answered = 0;
            while !self.flights.is_empty() {
                answered += self.turn(&mut beat).await?;
            }
            if answered == 0 {
                sleep(BEAT).await;
                return Ok(());
            }
            unread.pop();
        }
        Ok(())
    }

    /// Reads whole lists from the end of `unread`, until it is empty or an answer is an error.
    async fn read_lists(&mut self, unread: &mut Vec<usize>) -> Result<(), Lost> {
        self.connect().await?;
        let patience = self.door().patience;
        while let Some(&key) = unread.last() {
            let Some(link) = &mut self.link else { return Err(Lost::Closed) };
            let name = self.names.lists[key].as_bytes();
            let answers = link.call(&[b"LRANGE", name, b"0", b"-1"], patience).await?;
            let seen = &mut *self.shared.seen.borrow_mut();
            let mut books = Books {
                key,
                register: &mut self.registers[key],
                counter: &mut self.counters[key],
                list: &mut self.lists[key],
                values: Values { noise: &self.shared.noise, place: self.place, size: self.shared.value_size },
                when: self.when,
                verdict: &mut seen.verdict,
            };
            if !books.judge_list(&answers) {
                return Err(Lost::Closed);
            }
            unread.pop();
        }
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), Lost> {
        self.connect().await?;
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut count = 0;
        for name in self.names.all() {
            wire::command(link.outbox(), &[b"UNLINK", name.as_bytes()]);
            count += 1;
        }
        link.answers(count).await.map(drop)
    }
}
