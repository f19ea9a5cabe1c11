//! One worker's whole gateway as a value.
//!
//! Bytes of clients and nodes go in, bytes for clients and nodes and a few [`Output`]s come out; the shell around it
//! (crate `evenkeel-gateway`) only moves bytes. A turn is: [`Proxy::begin`], any number of events,
//! [`Proxy::settle`], then the shell carries out [`Proxy::outputs`] and writes what [`Proxy::dirty_pipes`] and
//! [`Proxy::dirty_clients`] name.
//!
//! ```text
//! client_bytes ─► request::pump ─► command::lookup ─► route ─┬─► forward ──► pipe queue ─► node
//!                                                            ├─► split/every ─► merge      │
//!                                                            └─► local ─► reply            ▼
//! client queue ◄─ deliver (in request order) ◄─ redirect::judge ◄─ replies ◄────────── pipe_bytes
//!                                                     └─► park (held, asked again)
//! ```
//!
//! Budget of an ordinary request: no allocation, its bytes copied once to the pipe, its reply once to the client
//! (twice when it comes before its turn).

mod arena;
mod blocking;
mod buffer;
mod busy;
mod company;
mod deliver;
mod durable;
mod early;
mod errand;
mod events;
mod every;
mod express;
mod fold;
mod forward;
mod gate;
mod hot;
mod info;
mod inquiry;
mod lane;
mod local;
mod login;
mod merge;
mod mode;
mod monitor;
mod mute;
mod onward;
mod order;
mod park;
mod pause;
mod pipe;
mod pubsub;
mod redirect;
mod replies;
mod request;
mod scan;
mod session;
mod split;
mod stall;
mod stream;
mod through;
mod timing;
mod tracking;
mod transaction;
mod trunk;
mod upstream;

#[cfg(test)]
mod tests;

use crate::command::Lexicon;
use crate::metric::{COUNT, Metric};
use crate::resp::{Proto, Span};
use crate::topology::Topology;
use arena::{Arena, Id};
use blocking::{Losses, Waits};
pub use blocking::{Reason, Unblocked};
use buffer::Pool;
pub use durable::Durability;
use durable::{Confirmer, ConfirmerId};
use early::Early;
use hot::Hot;
use merge::Merge;
use monitor::Monitors;
use order::Strays;
use park::Park;
use pipe::Pipe;
use pubsub::Pubsub;
use session::Session;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use timing::Timings;
use trunk::{Tenancy, Trunk, TrunkId};
use upstream::Link;

/// Which client connection.
pub type SessionId = Id<session::Session>;
/// Which connection to a node.
pub type PipeId = Id<pipe::Pipe>;
pub use info::Info;
pub use local::{Filter, Kill};
pub use monitor::Tidings;
pub use onward::Onward;
pub use pause::{Pause, Paused};
pub use pubsub::Count;
pub use through::Through;
pub use trunk::Login;

pub(crate) type MergeId = Id<Merge>;

/// What a worker's gateway is told once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Password of the nodes' default user.
    pub node_password: Option<String>,
    /// Password that clients must give; `None` lets everyone in.
    pub client_password: Option<String>,
    /// Names that clients may log in with, besides `default` and the nodes' own users.
    pub users: Vec<NamedUser>,
    /// When the replies of writes are handed on, where a user has nothing else.
    pub durability: Durability,
    /// The same of clients that come encrypted, where it is another.
    pub tls_durability: Option<Durability>,
    /// How long such a reply may wait for a replica, in microseconds.
    pub durability_wait: u64,
    /// How long a request may wait for its shard, in microseconds.
    pub hold: u64,
    /// Most bytes of held requests.
    pub hold_bytes: usize,
    /// Largest request that is collected whole although it could not be streamed, in bytes.
    pub collect: u64,
    /// Largest request that travels with the others instead of on a connection of its own, in bytes.
    pub ordinary: u64,
    /// Largest request that is sent on a connection of its own without asking the node first whether it may come: one
    /// that is kept until it is answered, so that it can be sent elsewhere.
    pub unasked: u64,
    /// Least bytes of a large reply's or request's rest that pass from socket to socket without being read: below, a read
    /// and a write are as cheap.
    pub unread: u64,
    /// Most bytes of replies that are put together from several nodes at a time.
    pub merged: usize,
    /// Unread reply bytes of one client after which the pipe that brings more is not read on; four times as much
    /// where others wait behind it.
    pub ahead: usize,
    /// Unread bytes of messages and replies after which a subscriber is closed.
    pub unread_messages: usize,
    /// How many workers the gateway has at most.
    pub workers: usize,
    /// Most connections to nodes that all workers together lend to one client each at a time.
    pub max_lent: usize,
    /// How long others may wait behind a client that leaves its replies unread, in microseconds in all.
    pub slow_reader: u64,
    /// Longest that requests wait for others to go to their node with them, in microseconds; 0: they never do.
    pub company: u64,
    /// Whether equal reads that wait at the same time are sent once.
    pub merge_reads: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            node_password: None,
            client_password: None,
            users: Vec::new(),
            durability: Durability::Async,
            tls_durability: None,
            durability_wait: 1_000_000,
            hold: 10_000_000,
            hold_bytes: 64 * 1024 * 1024,
            collect: 64 * 1024 * 1024,
            ordinary: 64 * 1024,
            unasked: 4 * 1024 * 1024,
            unread: 16 * 1024,
            merged: 256 * 1024 * 1024,
            ahead: 8 * 1024 * 1024,
            unread_messages: 32 * 1024 * 1024,
            workers: 1,
            max_lent: 10_000,
            slow_reader: 2_000_000,
            company: 0,
            merge_reads: true,
        }
    }
}

/// A user that the gateway knows by itself, and the node's user that it stands for.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedUser {
    /// What the client says.
    pub name: String,
    /// What the client has to say.
    pub password: String,
    /// Whom its requests come from at the nodes; `None`: the gateway's own user.
    pub login: Option<Login>,
    /// When the replies of its writes are handed on, if otherwise than the others'.
    pub durability: Option<Durability>,
}

impl std::fmt::Debug for NamedUser {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "NamedUser({})", self.name) // never the password
    }
}

/// The time of a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    /// Microseconds that never run backwards.
    pub steady: u64,
    /// Microseconds since the Unix epoch.
    pub unix: u64,
}

/// What the shell must do besides moving bytes.
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the node at `addr`; then `pipe_opened` or `pipe_lost` with `pipe`.
    Connect { pipe: PipeId, addr: SocketAddr },
    /// Close a connection to a node that is forgotten here already.
    ClosePipe(PipeId),
    /// Close a client's connection that is forgotten here already.
    CloseClient(SessionId),
    /// Give back what has passed unread of this client's request: [`Proxy::client_recalled`].
    Recall(SessionId),
    /// What has passed unread of this client's request need not be kept any longer.
    Forget(SessionId),
    /// Something does not fit the map: ask the nodes for a new one soon.
    Learn,
    /// Ask all workers for `what`, then call [`Proxy::answer`] with the result for request `seq` of `session`.
    Gather { what: Gather, session: SessionId, seq: u32 },
    /// Tell all other workers ([`Proxy::told`]).
    Tell(Tidings),
    /// Something that an operator should read in the log.
    Report(String),
}

/// What all workers have to be asked for.
#[expect(missing_docs, reason = "each variant says what its fields are")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gather {
    /// Counters: `EVENKEEL METRICS`.
    Metrics,
    /// Clients: `CLIENT LIST`.
    Clients(Filter),
    /// Close clients: `CLIENT KILL`.
    Kill(Kill),
    /// Have requests wait, or (`None`) wait no longer: `CLIENT PAUSE`, `CLIENT UNPAUSE`.
    Pause(Option<Pause>),
    /// Receivers of a channel: PUBLISH and its kin. Each worker says [`Proxy::receivers`].
    Receivers(Count),
    /// Clients that wait for the end of a pause: INFO. Each worker says [`Proxy::waiting_for_pause`].
    Info(Info),
    /// Who can end the wait of this client: `CLIENT UNBLOCK`; then [`Proxy::unblocked`], not `answer`.
    Unblock { number: u64, reason: Reason },
}

/// One worker's gateway.
pub struct Proxy {
    settings: Settings,
    now: Clock,
    sessions: Arena<Session>,
    pipes: Arena<Pipe>,
    merges: Arena<Merge>,
    /// Bytes of replies that wait for the other parts of theirs.
    merging: usize,
    pool: Pool,
    park: Park,
    pubsub: Pubsub,
    monitors: Monitors,
    strays: Strays,
    topology: Arc<Topology>,
    /// How many workers may have clients: the others sleep.
    awake: usize,
    /// Clients of the gateway's other workers, as the shell counted them last.
    elsewhere: usize,
    /// Commands that the table lacks.
    lexicon: Arc<Lexicon>,
    /// Counts what may make a later request overtake an earlier one: a new map, a new shared pipe.
    epoch: u32,
    /// Addresses of the nodes that own slots.
    primaries: Vec<SocketAddr>,
    trunks: Arena<Trunk>,
    /// The gateway's own trunks, by protocol.
    base: [TrunkId; 2],
    /// The trunk on which passwords are checked.
    door: TrunkId,
    links: HashMap<SocketAddr, Link>,
    /// Private connections that nobody uses.
    idle: Vec<PipeId>,
    /// How many private connections are lent, and how many pipes are not read because a client does not read.
    lent: usize,
    stalled: usize,
    /// Connections that a script has blocked for long, and the slot that it was sent for.
    scripts: Vec<(PipeId, u16)>,
    lane_waiters: Vec<SessionId>,
    /// A pause that clients asked for, and those whose requests wait for its end.
    pause: Option<Pause>,
    paused: Vec<SessionId>,
    /// Clients whose requests wait for the first map.
    early: Vec<Early>,
    waits: Waits,
    losses: Losses,
    confirmers: Arena<Confirmer>,
    /// Those with something to ask at the end of the turn.
    rounds: Vec<ConfirmerId>,
    /// Clients whose WATCH waits for its node.
    watch_waiters: Vec<SessionId>,
    /// Clients that are tracked.
    trackers: Vec<SessionId>,
    /// Bytes of all queued transactions.
    queued: usize,
    /// Until when nodes are thought to refuse writes, in microseconds.
    suspicious_until: u64,
    /// Clients and pipes with something to write (or whose state the shell should look at again).
    dirty_clients: Vec<SessionId>,
    dirty_pipes: Vec<PipeId>,
    /// Pipes whose requests wait for company, and when the first of them has to go.
    held: Vec<PipeId>,
    held_until: Option<u64>,
    /// The pipe of the last such requests that went.
    written_last: PipeId,
    resume: Vec<SessionId>,
    outputs: Vec<Output>,
    counts: [u64; COUNT],
    timings: Timings,
    hot: Hot,
    /// Scratch space, kept so that nothing is allocated per request.
    spans: Vec<Span>,
    scratch: Vec<u8>,
    /// Version that the nodes say they are.
    version: String,
    /// What the nodes call themselves: `redis` or `valkey`.
    server: String,
    dice: u64,
    draining: bool,
    /// When a drain began, in microseconds; 0: there is none.
    drained: u64,
    /// When idle memory was last given back, in microseconds.
    trimmed: u64,
}

impl Proxy {
    /// A gateway that knows no node yet. `seed` is any number: it decides what RANDOMKEY draws.
    pub fn new(settings: Settings, seed: u64) -> Self {
        let mut trunks = Arena::default();
        Proxy {
            park: Park::new(settings.hold_bytes),
            pubsub: Pubsub::default(),
            monitors: Monitors::default(),
            strays: Strays::default(),
            awake: settings.workers,
            settings,
            now: Clock::default(),
            sessions: Arena::default(),
            pipes: Arena::default(),
            merges: Arena::default(),
            merging: 0,
            pool: Pool::default(),
            topology: Arc::new(Topology::empty()),
            elsewhere: 0,
            lexicon: Arc::default(),
            epoch: 0,
            primaries: Vec::new(),
            base: [Proto::Two, Proto::Three]
                .map(|proto| trunks.insert(Trunk::new(proto, None, Tenancy::Shared))),
            door: trunks.insert(Trunk::new(Proto::Two, None, Tenancy::Shared)),
            trunks,
            links: HashMap::new(),
            idle: Vec::new(),
            lent: 0,
            stalled: 0,
            scripts: Vec::new(),
            lane_waiters: Vec::new(),
            pause: None,
            paused: Vec::new(),
            early: Vec::new(),
            waits: Waits::default(),
            losses: Losses::default(),
            confirmers: Arena::default(),
            rounds: Vec::new(),
            watch_waiters: Vec::new(),
            trackers: Vec::new(),
            queued: 0,
            suspicious_until: 0,
            dirty_clients: Vec::new(),
            dirty_pipes: Vec::new(),
            held: Vec::new(),
            held_until: None,
            written_last: PipeId::NONE,
            resume: Vec::new(),
            outputs: Vec::new(),
            counts: [0; COUNT],
            timings: Timings::default(),
            hot: Hot::default(),
            spans: Vec::new(),
            scratch: Vec::new(),
            version: "7.0.0".to_owned(),
            server: "redis".to_owned(),
            dice: seed | 1,
            draining: false,
            drained: 0,
            trimmed: 0,
        }
    }

    /// Starts a turn: everything until the next call happens at this time.
    pub fn begin(&mut self, now: Clock) {
        self.now = now;
        self.add(Metric::Turns, 1);
    }

    #[inline]
    fn add(&mut self, metric: Metric, value: u64) {
        self.counts[metric as usize] += value;
    }

    /// The value of every metric, by discriminant.
    pub fn counts(&self) -> [u64; COUNT] {
        let mut counts = self.counts;
        counts[Metric::Clients as usize] = self.sessions.len() as u64;
        counts[Metric::Withheld as usize] = self.withheld() as u64;
        counts[Metric::Blocked as usize] = self.waits.count as u64;
        counts[Metric::Upstreams as usize] = self.pipes.len() as u64;
        counts[Metric::InFlight as usize] =
            self.pipes.iter().map(|(_, pipe)| pipe.tickets.len() as u64).sum();
        counts[Metric::ParkedNow as usize] = self.park.len() as u64;
        counts[Metric::ParkedBytes as usize] = self.park.bytes() as u64;
        counts[Metric::Subscriptions as usize] = self.pubsub.subscriptions() as u64;
        counts
    }

    /// Requests that were answered so far.
    pub fn count_answered(&self) -> u64 {
        self.counts[Metric::Requests as usize]
    }

    /// Bytes that clients and nodes have sent so far.
    pub fn count_bytes(&self) -> u64 {
        self.counts[Metric::ClientBytesIn as usize] + self.counts[Metric::NodeBytesIn as usize]
    }

    /// The map in use.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// From now on these commands are known beside the table's.
    pub fn learned(&mut self, lexicon: Arc<Lexicon>) {
        self.lexicon = lexicon;
    }

    /// So many workers may have clients from now on.
    pub fn count_workers(&mut self, awake: usize) {
        self.awake = awake.max(1);
    }

    /// This worker's share of the connections that may be lent.
    fn max_lent(&self) -> usize {
        self.settings.max_lent.div_ceil(self.awake)
    }

    /// So many clients the whole gateway has now.
    pub fn count_clients(&mut self, total: usize) {
        self.elsewhere = total.saturating_sub(self.sessions.len());
    }

    /// What the shell must do; empties the list.
    pub fn outputs(&mut self) -> std::vec::Drain<'_, Output> {
        self.outputs.drain(..)
    }

    /// Takes the list of clients to write to into `list`, which is emptied first.
    pub fn dirty_clients(&mut self, list: &mut Vec<SessionId>) {
        list.clear();
        std::mem::swap(list, &mut self.dirty_clients);
        for id in list.iter() {
            if let Some(session) = self.sessions.get_mut(*id) {
                session.dirty = false;
            }
        }
    }

    /// Takes the list of pipes to write to into `list`, which is emptied first. Those whose requests wait for company
    /// follow later: [`Proxy::next_write`].
    pub fn dirty_pipes(&mut self, list: &mut Vec<PipeId>) {
        list.clear();
        std::mem::swap(list, &mut self.dirty_pipes);
        for id in list.iter() {
            if let Some(pipe) = self.pipes.get_mut(*id) {
                pipe.dirty = false;
            }
        }
        if self.settings.company > 0 {
            self.keep_company(list);
        }
    }

    /// A number below `below` that nobody can guess without the seed (xorshift64*).
    fn draw(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice >> 12;
        self.dice ^= self.dice << 25;
        self.dice ^= self.dice >> 27;
        self.dice.wrapping_mul(0x2545_f491_4f6c_dd1d) % below.max(1)
    }
}
