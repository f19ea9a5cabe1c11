//! One worker: waits, reads what is ready, lets the proxy decide, writes each dirty socket once.

mod arrivals;
mod onward;
mod pipes;

use crate::courier::Courier;
use crate::crew::Crew;
use crate::doors::Listener;
use crate::duct::Duct;
use crate::gather::{self, Part, Running};
use crate::inbox::{Inbox, Message};
use crate::manners::{Manners, Turn};
use crate::sockets::{self, Connection};
use crate::watch::Nudge;
use evenkeel_core::proxy::{Clock, Gather, Output, PipeId, Proxy, SessionId};
use evenkeel_core::topology::Topology;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::thread::set_current_timer_slack;
use std::collections::HashMap;
use std::io::IoSlice;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes read from a socket at a time.
const READ: usize = 64 * 1024;
/// Chunks written to a socket at a time.
const SLICES: usize = 16;
/// Events taken at a time.
const EVENTS: usize = 512;
/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// How long clients may go on to ask during a drain, and how long it may take in all.
const DRAIN_ASKING: Duration = Duration::from_secs(4);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// How long a worker that sleeps waits for a message before it looks after what may be left of its connections.
const ASLEEP: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// How much longer than asked for the system may let a wait last, in nanoseconds.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1000);

/// Kinds of tokens: in the two bits that ids leave free.
const KIND: u64 = 3 << 62;
const CLIENT: u64 = 0;
const PIPE: u64 = 1 << 62;
const LISTENER: u64 = 2 << 62;
const BELL: u64 = 3 << 62;

/// What the workers of one gateway have in common.
pub(crate) struct Shared {
    pub(crate) started: Instant,
    pub(crate) max_clients: usize,
    pub(crate) clients: AtomicUsize,
    pub(crate) crew: Crew,
    pub(crate) next_number: AtomicU64,
    /// Whether some map has come.
    pub(crate) informed: AtomicBool,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) nudge: Nudge,
}

/// Whether a worker works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Awake,
    /// It has no clients, and no connections to nodes.
    Asleep,
}

/// An answer that waits for other workers' parts.
struct Gathering {
    what: Gather,
    /// How many parts there will be.
    wanted: usize,
    session: SessionId,
    seq: u32,
    parts: Vec<Part>,
}

/// How far a drain is.
#[derive(Clone, Copy)]
enum Draining {
    /// What clients have sent is still read and answered.
    Asking { since: Instant },
    /// Only what was admitted is still answered.
    Answering { since: Instant },
}

pub(crate) struct Worker {
    place: usize,
    state: State,
    /// The newest map.
    map: Arc<Topology>,
    proxy: Proxy,
    poll: OwnedFd,
    listeners: Vec<Listener>,
    accept_again: Option<Instant>,
    clients: Vec<Option<Connection>>,
    pipes: Vec<Option<Connection>>,
    connecting: Vec<(PipeId, Instant)>,
    gathering: HashMap<u64, Gathering>,
    next_token: u64,
    shared: Arc<Shared>,
    draining: Option<Draining>,
    /// Clients that were written to during a drain and may be done.
    leaving: Vec<SessionId>,
    /// Clients that may be about to ask during a drain: looked at again a moment later.
    asking: Vec<SessionId>,
    buffer: Box<[u8]>,
    /// Made when the first large reply passes.
    duct: Option<Duct>,
    /// Who carry large requests, and those that have nothing to do.
    couriers: HashMap<SessionId, Courier>,
    spare_couriers: Vec<Courier>,
    /// When the system last had no room for one more.
    no_courier: Option<Instant>,
    dirty_clients: Vec<SessionId>,
    dirty_pipes: Vec<PipeId>,
    unix_offset: (u64, Instant),
}

impl Worker {
    pub(crate) fn new(place: usize, mut proxy: Proxy, shared: Arc<Shared>) -> std::io::Result<Self> {
        let poll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&poll, shared.inboxes[place].bell(), EventData::new_u64(BELL), EventFlags::IN)?;
        let awake = shared.crew.awake();
        proxy.count_workers(awake);
        Ok(Worker {
            place,
            state: state(place, awake),
            map: Arc::new(Topology::empty()),
            proxy,
            poll,
            listeners: Vec::new(),
            accept_again: None,
            clients: Vec::new(),
            pipes: Vec::new(),
            connecting: Vec::new(),
            gathering: HashMap::new(),
            next_token: 0,
            shared,
            draining: None,
            leaving: Vec::new(),
            asking: Vec::new(),
            buffer: vec![0; READ].into(),
            duct: None,
            couriers: HashMap::new(),
            spare_couriers: Vec::new(),
            no_courier: None,
            dirty_clients: Vec::new(),
            dirty_pipes: Vec::new(),
            unix_offset: (unix_now(), Instant::now()),
        })
    }

    /// Works until it is drained.
    pub(crate) fn run(&mut self) {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        let mut manners = Manners::default();
        let mut next_tick = 0;
        self.shared.crew.member(self.place).runs_here();
        let _ = set_current_timer_slack(TIMER_SLACK); // else waits last up to 50 µs longer
        loop {
            events.clear();
            if let Err(error) = self.wait(&mut events, next_tick) {
                return tracing::error!(%error, "epoll_wait failed; the worker ends");
            }
            let now = self.clock();
            self.proxy.begin(now);
            let before = (self.proxy.count_answered(), self.proxy.count_bytes());
            let came = events.len();
            for event in events.drain(..) {
                self.event(event.data.u64(), event.flags);
            }
            if now.steady >= next_tick {
                self.tick();
                next_tick = self.proxy.next_tick();
            }
            self.dismiss();
            self.settle();
            next_tick = next_tick.min(self.proxy.next_tick());
            if self.is_done() {
                return;
            }
            let turn = Turn {
                events: came,
                replies: self.proxy.count_answered() - before.0,
                bytes: self.proxy.count_bytes() - before.1,
            };
            manners.turn_is_over(&turn, || self.free(next_tick));
        }
    }

    /// Microseconds since the gateway started, and since the epoch; the system's time is asked once a second.
    fn clock(&mut self) -> Clock {
        let now = Instant::now();
        if now.duration_since(self.unix_offset.1) > Duration::from_secs(1) {
            self.unix_offset = (unix_now(), now);
        }
        let since = now.duration_since(self.unix_offset.1).as_micros() as u64;
        Clock {
            steady: now.duration_since(self.shared.started).as_micros() as u64,
            unix: self.unix_offset.0 + since,
        }
    }

    /// Waits for events, at most until something has to be done without one.
    fn wait(&self, events: &mut Vec<Event>, next_tick: u64) -> Result<(), Errno> {
        let Some(write) = self.proxy.next_write() else { return self.events(events, &self.sleep(next_tick)) };
        // Less than a millisecond is beyond the clock of epoll_wait (epoll_pwait2 is unknown to older systems), so the
        // wait itself is poll's. Nearly always something is there already.
        self.events(events, &NO_TIME)?;
        let timeout = self.sleep(next_tick.min(write));
        if events.is_empty() && timeout != NO_TIME {
            match poll(&mut [PollFd::new(&self.poll, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => self.events(events, &NO_TIME)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn events(&self, events: &mut Vec<Event>, timeout: &Timespec) -> Result<(), Errno> {
        match epoll::wait(&self.poll, spare_capacity(events), Some(timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn sleep(&self, until: u64) -> Timespec {
        if self.proxy.is_restless() || !self.leaving.is_empty() {
            return NO_TIME;
        }
        if self.state == State::Asleep && self.draining.is_none() {
            return ASLEEP;
        }
        let now = self.shared.started.elapsed().as_micros() as u64;
        let micros = until.saturating_sub(now).min(100_000);
        Timespec { tv_sec: 0, tv_nsec: (micros * 1000) as _ }
    }

    /// For how long nothing has to be done but what others bring.
    fn free(&self, next_tick: u64) -> Duration {
        let until = self.proxy.next_write().map_or(next_tick, |write| write.min(next_tick));
        Duration::from_nanos(self.sleep(until).tv_nsec as u64)
    }

    fn event(&mut self, token: u64, flags: EventFlags) {
        match token & KIND {
            CLIENT => self.client_event(token, flags),
            PIPE => self.pipe_event(token, flags),
            LISTENER => self.accept((token & !KIND) as usize),
            _ => self.messages(),
        }
    }

    fn client_event(&mut self, token: u64, flags: EventFlags) {
        let id = SessionId::from_u64(token & !KIND);
        let Some(connection) = find(&mut self.clients, id.index(), token) else { return };
        let greets = connection.is_shaking_hands();
        if flags.contains(EventFlags::IN) && self.pass_onward(id) {
            // It went from socket to socket.
        } else if flags.contains(EventFlags::IN) {
            let Some(connection) = find(&mut self.clients, id.index(), token) else { return };
            // What goes on to a node in pieces, is read into what it will be written from.
            let mut chunk = if connection.is_plain() { self.proxy.client_room(id) } else { None };
            let read = match &mut chunk {
                Some(chunk) => sockets::fill(&connection.fd, chunk),
                None => {
                    let most = self.proxy.client_most(id).min(self.buffer.len());
                    connection.read(&mut self.buffer[..most])
                }
            };
            match read {
                Ok(0) => {
                    self.proxy.client_ended(id);
                    self.flush_client(id);
                }
                Ok(len) => {
                    match chunk {
                        Some(chunk) => self.proxy.client_filled(id, chunk),
                        None => self.proxy.client_bytes(id, &self.buffer[..len]),
                    }
                    self.update_client(id);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.lose_client(id),
            }
        } else if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            return self.lose_client(id);
        }
        let owes = find(&mut self.clients, id.index(), token).is_some_and(|connection| connection.owes());
        if flags.contains(EventFlags::OUT) || owes {
            self.flush_client(id);
        }
        if greets {
            // A signature takes milliseconds: others who come meanwhile go to workers that may have nothing to do.
            (0..self.listeners.len()).for_each(|at| self.accept(at));
        }
    }

    fn lose_client(&mut self, id: SessionId) {
        self.proxy.client_lost(id);
        self.close_client(id);
    }

    fn close_client(&mut self, id: SessionId) {
        if let Some(mut connection) = take(&mut self.clients, id.index(), CLIENT | id.as_u64()) {
            connection.say_goodbye();
            self.count_gone();
            self.forget(id);
        }
    }

    /// Stops or starts to read a client as the proxy wants it.
    fn update_client(&mut self, id: SessionId) {
        if let Some(Some(connection)) = self.clients.get_mut(id.index())
            && connection.token == CLIENT | id.as_u64()
        {
            connection.want_read(&self.poll, self.proxy.client_wants_read(id));
        }
    }

    fn flush_client(&mut self, id: SessionId) {
        let token = CLIENT | id.as_u64();
        let mut more = true;
        while more {
            let Some(connection) = find(&mut self.clients, id.index(), token) else { return };
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.proxy.client_output(id, &mut slices);
            let written = connection.write(&slices[..filled]);
            let wanted: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            match written {
                Ok(len) => more = self.proxy.client_wrote(id, len) && len == wanted,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(_) => return self.lose_client(id),
            }
        }
        let unsent = self.proxy.client_unsent(id) > 0;
        let reads = self.proxy.client_wants_read(id);
        if let Some(Some(connection)) = self.clients.get_mut(id.index())
            && connection.token == token
        {
            let writes = unsent || connection.owes();
            connection.want(&self.poll, reads, writes);
            if self.draining.is_some() {
                self.leaving.push(id);
            }
        }
    }

    /// During a drain, lets those clients go that have all their replies and have sent nothing more.
    fn dismiss(&mut self) {
        for id in std::mem::take(&mut self.leaving) {
            if self.proxy.client_will_ask(id) {
                self.asking.push(id);
                continue;
            }
            while self.proxy.client_is_idle(id) {
                let Some(connection) = find(&mut self.clients, id.index(), CLIENT | id.as_u64()) else {
                    break;
                };
                match connection.read(&mut self.buffer) {
                    Ok(0) | Err(Errno::AGAIN) => self.proxy.client_dismissed(id),
                    Ok(len) => self.proxy.client_bytes(id, &self.buffer[..len]),
                    Err(Errno::INTR) => {}
                    Err(_) => self.lose_client(id),
                }
            }
        }
    }

    /// Carries out what the proxy decided and writes, until nothing is left that could be done at once.
    fn settle(&mut self) {
        self.proxy.settle();
        let outputs: Vec<Output> = self.proxy.outputs().collect();
        for output in outputs {
            self.carry_out(output);
        }
        let mut pipes = std::mem::take(&mut self.dirty_pipes);
        self.proxy.dirty_pipes(&mut pipes);
        pipes.iter().for_each(|id| self.flush_pipe(*id));
        self.dirty_pipes = pipes;
        let mut clients = std::mem::take(&mut self.dirty_clients);
        self.proxy.dirty_clients(&mut clients);
        clients.iter().for_each(|id| self.flush_client(*id));
        self.dirty_clients = clients;
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { pipe, addr } => self.connect(pipe, addr),
            Output::ClosePipe(id) => {
                take(&mut self.pipes, id.index(), PIPE | id.as_u64());
                self.connecting.retain(|(pipe, _)| *pipe != id);
            }
            Output::CloseClient(id) => self.close_client(id),
            Output::Recall(id) => self.recall(id),
            Output::Forget(id) => self.forget(id),
            Output::Learn => self.shared.nudge.send(),
            Output::Gather { what, session, seq } => {
                let token = self.next_token;
                self.next_token += 1;
                // Those who sleep have counted before, and a pause holds when they wake; but clients they have none.
                let wanted = match what {
                    Gather::Receivers(_) | Gather::Info(_) => self.shared.crew.awake(),
                    Gather::Metrics
                    | Gather::Clients(_)
                    | Gather::Kill(_)
                    | Gather::Pause(_)
                    | Gather::Unblock { .. } => self.shared.inboxes.len(),
                };
                for inbox in &self.shared.inboxes[..wanted] {
                    inbox.send(Message::Ask { from: self.place, what: what.clone(), token });
                }
                self.gathering.insert(token, Gathering { what, wanted, session, seq, parts: Vec::new() });
            }
            Output::Tell(tidings) => {
                let others = self.shared.inboxes.iter().enumerate().filter(|(place, _)| *place != self.place);
                others.for_each(|(_, inbox)| inbox.send(Message::Tidings(tidings.clone())));
            }
            Output::Report(text) => tracing::warn!("{text}"),
        }
    }

    fn tick(&mut self) {
        self.proxy.count_clients(self.shared.clients.load(Ordering::Relaxed));
        self.proxy.tick();
        self.leaving.append(&mut self.asking);
        let now = Instant::now();
        while let Some(at) = self.connecting.iter().position(|(_, since)| now - *since > CONNECT_TIMEOUT) {
            let (id, _) = self.connecting.swap_remove(at);
            self.lose_pipe(id, "it did not accept the connection within 1 s");
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            for (at, listener) in self.listeners.iter().enumerate() {
                let token = EventData::new_u64(LISTENER | at as u64);
                let _ = epoll::add(&self.poll, &listener.socket, token, EventFlags::IN); // or it is there
            }
        }
        if let Some(Draining::Asking { since }) = self.draining
            && since.elapsed() > DRAIN_ASKING
        {
            self.draining = Some(Draining::Answering { since });
            self.proxy.drain_at_once();
        }
    }

    fn messages(&mut self) {
        for message in self.shared.inboxes[self.place].take() {
            match message {
                Message::Adopt(topology) => {
                    self.map = topology;
                    if self.state == State::Awake {
                        self.proxy.adopt(self.map.clone());
                        self.shared.informed.store(true, Ordering::Relaxed);
                    }
                }
                Message::Listen(listeners) => self.listen(listeners),
                Message::Welcome(newcomer) => self.welcome(newcomer),
                Message::Workers(awake) => self.count_workers(awake),
                Message::Learned(lexicon) => self.proxy.learned(lexicon),
                Message::Ask { from, what, token } => {
                    let part = Part::of(&mut self.proxy, &what, self.state);
                    self.shared.inboxes[from].send(Message::Told { token, part });
                }
                Message::Told { token, part } => self.told(token, part),
                Message::Tidings(tidings) => self.proxy.told(&tidings),
                Message::Drain => self.drain(),
            }
        }
    }

    /// So many workers are awake: this one may have been woken by it, or may sleep.
    fn count_workers(&mut self, awake: usize) {
        self.proxy.count_workers(awake);
        let before = std::mem::replace(&mut self.state, state(self.place, awake));
        match (before, self.state) {
            (State::Asleep, State::Awake) => self.proxy.adopt(self.map.clone()),
            // Without nodes it keeps no connections to them.
            (State::Awake, State::Asleep) => self.proxy.adopt(Arc::new(Topology::empty())),
            (State::Awake, State::Awake) | (State::Asleep, State::Asleep) => {}
        }
        self.shared.crew.member(self.place).knows(awake);
    }

    fn told(&mut self, token: u64, part: Part) {
        let Some(gathering) = self.gathering.get_mut(&token) else { return };
        gathering.parts.push(part);
        if gathering.parts.len() == gathering.wanted
            && let Some(done) = self.gathering.remove(&token)
        {
            match done.what {
                Gather::Unblock { reason, .. } => {
                    let found = gather::unblocked(&done.parts);
                    self.proxy.unblocked(done.session, done.seq, reason, &found);
                }
                Gather::Metrics
                | Gather::Clients(_)
                | Gather::Kill(_)
                | Gather::Pause(_)
                | Gather::Info(_)
                | Gather::Receivers(_) => {
                    let proto = self.proxy.client_proto(done.session);
                    let (workers, since) = (self.shared.crew.awake(), self.shared.started.elapsed());
                    let running = Running { workers, since };
                    let reply = gather::reply(&done.what, &done.parts, proto, running);
                    self.proxy.answer(done.session, done.seq, &reply);
                }
            }
        }
    }

    /// Whether a drain is over: not before all workers' clients are gone, who may ask for what this one knows.
    fn is_done(&self) -> bool {
        match self.draining {
            None => false,
            Some(Draining::Asking { since } | Draining::Answering { since }) => {
                let nobody = self.proxy.clients() == 0 && self.shared.clients.load(Ordering::Relaxed) == 0;
                nobody || since.elapsed() > DRAIN_TIMEOUT
            }
        }
    }
}

/// What a worker does when so many are awake.
fn state(place: usize, awake: usize) -> State {
    if place < awake { State::Awake } else { State::Asleep }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Puts a connection in its place; returns what was there.
fn put(list: &mut Vec<Option<Connection>>, index: usize, connection: Connection) -> Option<Connection> {
    if list.len() <= index {
        list.resize_with(index + 1, || None);
    }
    list[index].replace(connection)
}

fn find(list: &mut [Option<Connection>], index: usize, token: u64) -> Option<&mut Connection> {
    list.get_mut(index)?.as_mut().filter(|connection| connection.token == token)
}

/// Takes a connection out; dropping it closes it and takes it off the poll.
fn take(list: &mut [Option<Connection>], index: usize, token: u64) -> Option<Connection> {
    let place = list.get_mut(index)?;
    if place.as_ref()?.token == token { place.take() } else { None }
}
