//! Model servers that form a cluster: processes and disks, views and epochs that spread by rumour, elections, replication
//! that lags behind, data that a restart without persistence loses and that a replica throws away when it follows an
//! empty primary. The real planner looks at them and has its steps done.
//!
//! Time is in milliseconds.

mod act;
mod control;
mod data;
mod fault;
mod gossip;
mod observe;
mod serve;

use super::dice::Dice;
use super::line::{Id, addr};
use super::trace::{Trace, Who};
pub(crate) use data::Store;
use evenkeel_core::config::{Millis, Persistence};
use evenkeel_core::plan::{Desired, NodeId, NodeName, Process, Slots, Wanted, judge};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The servers' own time-out.
pub(crate) const TIMEOUT: u64 = 1_000;

/// What a server knows of a server.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    at: usize,
    of: Option<u64>,
    epoch: u64,
    slots: Slots,
}

/// Until when a server cannot be reached, by whom.
#[derive(Clone, Copy, Debug, Default)]
struct Cuts {
    servers: u64,
    control: u64,
    gateway: u64,
}

#[derive(Clone, Debug)]
struct Server {
    id: u64,
    process: Process,
    /// Which process this is: unique in the world.
    run: u64,
    since: u64,
    hung_from: u64,
    hung_until: u64,
    /// It computes while it hangs.
    busy: bool,
    cuts: Cuts,
    /// Since when it hears no majority of the primaries.
    lone_since: Option<u64>,
    /// Until when its writes wait, because it is about to hand its slots over.
    paused_until: u64,
    view: BTreeMap<u64, Known>,
    data: Store,
    /// How much of that is on its disk.
    disk: usize,
    blank: bool,
    /// Its id before it lost its directory.
    formerly: Option<u64>,
    unreadable: bool,
    offset: u64,
    /// The names of its replication stream, and of the one before, which ended at a place.
    stream: u64,
    before: Option<(u64, usize)>,
    link_down: Option<u64>,
    /// The process that it copies, while its link is up.
    copies: Option<u64>,
    /// The one that it copied until that ended.
    left: Option<u64>,
    /// Until when nothing of what its primary sends gets there, though its link is up.
    stalled_until: u64,
    won_at: Option<u64>,
    yielded_at: Option<u64>,
    /// The stream that control last saw it write.
    wrote: Option<u64>,
    forced_at: Option<u64>,
    /// Whether a fault has struck it: only that excuses a loss.
    struck: bool,
}

/// Where writes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writes {
    /// Each primary that takes writes makes one up at each tick, and its replicas have it at once.
    MadeUp,
    /// Clients write; replicas lag behind.
    Clients,
}

pub(crate) struct Servers {
    pub(crate) desired: Desired,
    nodes: Vec<Server>,
    writes: Writes,
    pub(crate) now: u64,
    /// Milliseconds between two ticks.
    pub(crate) tick: u64,
    began: u64,
    dice: Dice,
    next_id: u64,
    /// Whether all was well once: from then on it is on record who kept data.
    recorded: bool,
    /// Since when somebody is asked about a loss.
    asked: u64,
    swing: Option<fault::Swing>,
    /// Until when it is too early for another fault.
    calm_until: u64,
    /// Processes that ended since it was last asked.
    pub(crate) died: Vec<usize>,
    executed: HashMap<Id, u32>,
    /// Keys of which a write is lost, and those writes of clients.
    lossy: HashSet<Vec<u8>>,
    pub(crate) lost: HashSet<Id>,
    trace: Trace,
}

impl Servers {
    /// Servers that were never started.
    pub(crate) fn new(
        seed: u64,
        (shards, replicas): (usize, usize),
        persistence: Persistence,
        trace: &Trace,
    ) -> Self {
        let count = shards * (1 + replicas);
        let wanted = |at: usize| Wanted { name: NodeName(format!("n{at:02}")), addr: addr(at) };
        let desired = Desired {
            nodes: (0..count).map(wanted).collect(),
            shards,
            replicas,
            node_timeout: Millis(TIMEOUT),
            hang: Millis(400),
            persistence,
            orders: Vec::new(),
        };
        let began = 1_000_000;
        trace.clock(began * 1_000);
        Servers {
            desired,
            nodes: (0..count).map(Server::new).collect(),
            writes: Writes::MadeUp,
            now: began,
            tick: 100,
            began,
            dice: Dice::new(seed ^ 0x5eed),
            next_id: 1_000,
            recorded: false,
            asked: 0,
            swing: None,
            calm_until: 0,
            died: Vec::new(),
            executed: HashMap::new(),
            lossy: HashSet::new(),
            lost: HashSet::new(),
            trace: trace.clone(),
        }
    }

    /// The same as a cluster that has been up for a while, written to by clients.
    pub(crate) fn formed(self) -> Self {
        let Desired { shards, .. } = self.desired;
        let count = self.nodes.len();
        let known = |at: usize| {
            let of = (at >= shards).then(|| (at % shards) as u64 + 1);
            let slots = if of.is_none() { Slots::share(at, shards) } else { Slots::none() };
            (at as u64 + 1, Known { at, of, epoch: (at % shards) as u64 + 1, slots })
        };
        let view: BTreeMap<u64, Known> = (0..count).map(known).collect();
        let long_ago = self.now - 100_000;
        let mut nodes = self.nodes;
        for (at, node) in nodes.iter_mut().enumerate() {
            (node.process, node.since, node.view) = (Process::Running { pid: 1 }, long_ago, view.clone());
            (node.blank, node.offset, node.stream) = (false, 1, (at % shards) as u64 + 1);
            node.copies = (at >= shards).then(|| nodes_run(at % shards));
        }
        Servers { nodes, writes: Writes::Clients, tick: 50, recorded: true, ..self }
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.dice.below(limit as usize) as u64
    }

    fn say(&self, who: Who, what: impl Into<Box<str>>) {
        self.trace.words(who, what);
    }

    /// Sets the time, in milliseconds.
    pub(crate) fn clock(&mut self, now: u64) {
        self.now = now;
    }

    fn up(&self, at: usize) -> bool {
        matches!(self.nodes[at].process, Process::Running { .. })
    }

    /// Runs and is not hung.
    fn lively(&self, at: usize) -> bool {
        self.up(at) && self.nodes[at].hung_until <= self.now && self.nodes[at].since + 50 <= self.now
    }

    /// Whether control gets an answer.
    fn answers(&self, at: usize) -> bool {
        self.lively(at) && self.nodes[at].cuts.control <= self.now
    }

    /// Whether two servers hear each other.
    fn meets(&self, one: usize, other: usize) -> bool {
        let open = |at: usize| self.lively(at) && self.nodes[at].cuts.servers <= self.now;
        self.lively(one) && (one == other || open(one) && open(other))
    }

    fn own(&self, at: usize) -> &Known {
        &self.nodes[at].view[&self.nodes[at].id]
    }

    fn owns(&self, at: usize) -> bool {
        !self.own(at).slots.is_empty()
    }

    fn is_loading(&self, at: usize) -> bool {
        self.nodes[at].since + 200 > self.now
    }

    /// Whether it takes requests as far as the cluster is concerned.
    fn is_ok(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let fresh = node.since + 2_000 > self.now && node.view.len() > 1;
        !fresh && node.lone_since.is_none_or(|since| since + TIMEOUT > self.now)
    }

    /// Whether all is as desired.
    pub(crate) fn is_quiet(&self) -> bool {
        judge(&self.desired, &self.observe()).at_rest()
    }

    /// One tick of every server's own life: replication, rumours, elections.
    pub(crate) fn live(&mut self) {
        for at in 0..self.nodes.len() {
            if self.lively(at) {
                self.live_one(at);
            }
        }
    }

    fn live_one(&mut self, at: usize) {
        let now = self.now;
        self.nodes[at].lone_since =
            if self.majority(at) { None } else { self.nodes[at].lone_since.or(Some(now)) };
        match self.own(at).of {
            Some(of) => self.copy(at, of),
            // One that knows nobody does not see every slot served, so it takes no writes.
            None if self.writes == Writes::MadeUp
                && self.owns(at)
                && self.nodes[at].since + 2_000 <= now
                && self.nodes[at].view.len() > 1 =>
            {
                let change = data::Change { number: self.number(), by: at, key: [].into(), value: None };
                self.nodes[at].data.push(change);
                self.nodes[at].offset += 1;
            }
            None => {}
        }
        // the last change may not be written yet, but what was stays so
        let node = &mut self.nodes[at];
        node.disk = node.data.len().saturating_sub(1).max(node.disk.min(node.data.len()));
        for other in 0..self.nodes.len() {
            if other != at && self.meets(at, other) && self.below(10) < 6 {
                self.rumour(at, other);
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// As in real life: whoever answers at the address of the primary is copied, empty or not.
    fn copy(&mut self, at: usize, of: u64) {
        let place = self.nodes[at].view.get(&of).map(|known| known.at);
        match place
            .filter(|p| *p != at && self.meets(at, *p) && self.own(*p).of.is_none() && !self.is_loading(*p))
        {
            Some(primary) => {
                if self.nodes[at].copies != Some(self.nodes[primary].run) {
                    self.attach(at, primary, of);
                }
                if self.writes == Writes::MadeUp {
                    self.replicate_from(at, primary, usize::MAX);
                }
            }
            None => {
                let now = self.now;
                self.nodes[at].copies = None;
                let _ = self.nodes[at].link_down.get_or_insert(now);
                self.elect_by_itself(at, of);
            }
        }
    }

    /// A replica's link comes up: it goes on where it was, or throws away what it has and copies everything.
    fn attach(&mut self, at: usize, primary: usize, of: u64) {
        let [replica, source] = [at, primary].map(|at| &self.nodes[at]);
        let shard = &replica.view[&of].slots;
        let heir = (0..self.nodes.len()).any(|heir| {
            self.up(heir) && self.nodes[heir].data.len() > 0 && self.own(heir).slots.meets(shard)
        });
        // where replicas do not lag, only one that has lost its memory has nothing
        let wipes =
            self.writes == Writes::MadeUp && source.data.len() == 0 && replica.data.len() > 5 && !heir;
        assert!(!wipes, "n{at:02} throws its data away for the empty n{primary:02}");
        let same = replica.stream == source.stream
            || source
                .before
                .is_some_and(|(stream, end)| stream == replica.stream && replica.data.len() <= end);
        let (stream, run) = (source.stream, source.run);
        if same {
            assert!(
                replica.data.is_start_of(&source.data),
                "n{at:02} and n{primary:02} differ in one stream"
            );
            let ended = (replica.stream, replica.data.len());
            if ended.0 != stream {
                self.nodes[at].before = Some(ended);
            }
        } else {
            let copy = source.data.clone();
            self.trace.bytes(Who::Node(at), "copies everything anew", b"");
            let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != at).collect();
            self.note_losses(at, &others, 0);
            (self.nodes[at].data, self.nodes[at].before) = (copy, None);
        }
        let node = &mut self.nodes[at];
        (node.stream, node.copies, node.link_down) = (stream, Some(run), None);
        self.replicate_from(at, primary, 0);
    }

    /// A replica gets some of what its primary has executed.
    fn replicate_from(&mut self, at: usize, primary: usize, most: usize) {
        let source = std::mem::take(&mut self.nodes[primary].data);
        let ahead = self.nodes[primary].offset;
        let node = &mut self.nodes[at];
        node.data.follow(&source, most);
        node.offset = ahead.saturating_sub((source.len() - node.data.len()) as u64).max(1);
        self.nodes[primary].data = source;
    }

    /// The primary that a replica is attached to at this moment.
    fn source(&self, at: usize) -> Option<usize> {
        let run = self.nodes[at].copies?;
        (0..self.nodes.len()).find(|other| self.nodes[*other].run == run && self.own(*other).of.is_none())
    }

    /// Whether what its primary sends gets to a replica.
    fn gets(&self, at: usize, primary: usize) -> bool {
        self.meets(at, primary) && self.nodes[at].stalled_until <= self.now
    }

    /// Some replica gets a little of what it lacks.
    pub(crate) fn replicate(&mut self) {
        let at = self.dice.below(self.nodes.len());
        let most = self.dice.pick(&[1, 3, 1000]);
        if let Some(primary) = self.source(at).filter(|primary| self.gets(at, *primary)) {
            self.replicate_from(at, primary, most);
        }
    }

    /// What a server has from a place on, and none of these others, is gone for good, or may be.
    fn note_losses(&mut self, at: usize, others: &[usize], from: usize) {
        // the memory of a process that is gone is no copy, where nothing is on disk
        let counts = |other: &&usize| self.up(**other) || self.desired.persistence != Persistence::None;
        let stores: Vec<&Store> =
            others.iter().filter(counts).map(|other| &self.nodes[*other].data).collect();
        let gone = self.nodes[at].data.beyond(from, &stores);
        if gone.is_empty() {
            return;
        }
        let words: Vec<String> = gone.iter().map(|change| change.key.escape_ascii().to_string()).collect();
        self.trace.words(Who::Node(at), format!("alone had writes to {}", words.join(" ")));
        for change in gone.iter().filter(|change| !change.key.is_empty()) {
            self.lossy.insert(change.key.to_vec());
            self.lost.extend(change.value.as_ref().map(|value| super::line::id_of(value)));
        }
        let odd = gone.iter().find(|change| !self.nodes[change.by].struck);
        assert!(odd.is_none(), "{odd:?} is lost with n{at:02}, and no fault has struck who executed it");
    }
}

impl Server {
    fn new(at: usize) -> Self {
        let id = at as u64 + 1;
        Server {
            id,
            process: Process::Absent,
            run: nodes_run(at),
            since: 0,
            hung_from: 0,
            hung_until: 0,
            busy: false,
            cuts: Cuts::default(),
            lone_since: None,
            paused_until: 0,
            view: BTreeMap::from([(id, Known { at, of: None, epoch: 0, slots: Slots::none() })]),
            data: Store::default(),
            disk: 0,
            blank: true,
            formerly: None,
            unreadable: false,
            offset: 0,
            stream: id, // 0 is what a server says that has no former one
            before: None,
            link_down: None,
            copies: None,
            left: None,
            stalled_until: 0,
            won_at: None,
            yielded_at: None,
            wrote: None,
            forced_at: None,
            struck: false,
        }
    }
}

/// The first process of a server.
fn nodes_run(at: usize) -> u64 {
    500 + at as u64
}

fn name(id: u64) -> NodeId {
    NodeId(id.to_string())
}
