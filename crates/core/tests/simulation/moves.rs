//! A model cluster: nodes that answer as cluster nodes do, slots that move key by key, primaries that die and
//! replicas that take over with everything that was acknowledged.

use super::dice::Dice;
use super::line::{Id, Knock, Line, Nodes, Served, addr, execute, id_of, keys_of, said};
use super::trace::{Trace, Who};
use evenkeel_core::resp::Args;
use evenkeel_core::topology::{self, Node, NodeIndex, Topology, slot};

/// Number of slots, for arithmetic with indexes.
const SLOTS: usize = topology::SLOTS as usize;
use std::collections::{BTreeMap, HashMap};

pub(crate) const SHARDS: usize = 3;
pub(crate) const NODES: usize = SHARDS * 2;

/// Where a slot's migration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Keys are being moved.
    Moving,
    /// The target owns the slot; the source does not know yet.
    Taken,
}

/// What is asked of a node.
struct Call<'a> {
    keys: &'a [&'a [u8]],
    writes: bool,
    asking: bool,
}

#[derive(Clone, Copy, Debug)]
struct Migration {
    from: usize,
    to: usize,
    stage: Stage,
}

/// What one node is and believes.
struct Member {
    up: bool,
    /// Whether it takes bytes and does nothing.
    hung: bool,
    /// Until when it refuses, and in which words.
    refuses: Option<(u64, &'static str)>,
    /// Which shard it believes to own a slot that is not with its first owner any more.
    moved: BTreeMap<u16, usize>,
    /// Which node it believes to be each shard's primary.
    primary: [usize; SHARDS],
}

pub(crate) struct Cluster {
    members: Vec<Member>,
    /// The truth: each shard's primary and the data that its two nodes share.
    primary: [usize; SHARDS],
    data: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    moved: BTreeMap<u16, usize>,
    migrations: BTreeMap<u16, Migration>,
    /// When a dead primary's replica takes over.
    takeover: [Option<u64>; SHARDS],
    /// When its primary last handed its slots over.
    wavered: [u64; SHARDS],
    /// When each node last refused what it had not the slots for.
    refused: [u64; NODES],
    /// When dead nodes come back.
    back: BTreeMap<usize, u64>,
    /// The last map, and the truth that it shows: slots move once only.
    drawn: Option<(([usize; SHARDS], usize), Topology)>,
    /// How often each value was written.
    executed: HashMap<Id, u32>,
    pub(crate) now: u64,
    trace: Trace,
}

fn first_owner(slot: u16) -> usize {
    usize::from(slot) * SHARDS / SLOTS
}

impl Cluster {
    pub(crate) fn new(trace: Trace) -> Self {
        let primary = [0, 1, 2];
        let member = |_| Member { up: true, hung: false, refuses: None, moved: BTreeMap::new(), primary };
        Cluster {
            members: (0..NODES).map(member).collect(),
            primary,
            data: vec![BTreeMap::new(); SHARDS],
            moved: BTreeMap::new(),
            migrations: BTreeMap::new(),
            takeover: [None; SHARDS],
            wavered: [0; SHARDS],
            refused: [0; NODES],
            back: BTreeMap::new(),
            drawn: None,
            executed: HashMap::new(),
            now: 0,
            trace,
        }
    }

    fn owner(&self, slot: u16) -> usize {
        self.moved.get(&slot).copied().unwrap_or(first_owner(slot))
    }

    /// The map as an observer of every node would draw it now.
    pub(crate) fn truth(&mut self) -> Topology {
        let version = (self.primary, self.moved.len());
        if self.drawn.as_ref().is_none_or(|(drawn, _)| *drawn != version) {
            self.drawn = Some((version, self.draw()));
        }
        self.drawn.as_ref().map(|(_, map)| map.clone()).expect("it was just drawn")
    }

    fn draw(&self) -> Topology {
        let mut owners: Vec<usize> = (0..SLOTS).map(|slot| self.primary[slot * SHARDS / SLOTS]).collect();
        for (slot, shard) in &self.moved {
            owners[usize::from(*slot)] = self.primary[*shard];
        }
        let nodes = (0..NODES).map(|node| {
            let primary = self.primary[node % SHARDS];
            let replica_of = (primary != node).then(|| format!("{primary:040}"));
            Node { id: format!("{node:040}"), addr: addr(node), replica_of, epoch: 1 }
        });
        Topology::new(nodes.collect(), |slot| Some(NodeIndex(owners[usize::from(slot)] as u16)))
    }

    /// Something happens to slots, or nodes hear of what happened. `slots` are those in use.
    pub(crate) fn shift(&mut self, slots: &[u16], dice: &mut Dice) {
        match dice.below(10) {
            0 => {
                let at = slots[dice.below(slots.len())];
                let (from, to) = (self.owner(at), dice.below(SHARDS));
                // Once only: a slot that comes back could find requests that were sent before it left.
                if from != to && !self.moved.contains_key(&at) && !self.migrations.contains_key(&at) {
                    self.migrations.insert(at, Migration { from, to, stage: Stage::Moving });
                }
            }
            1..=5 => self.move_on(dice),
            _ => {
                // One node hears one thing.
                let node = dice.below(NODES);
                self.members[node].primary = self.primary;
                if let Some((at, shard)) = self.moved.iter().min_by_key(|_| dice.below(100)) {
                    self.hear(node, *at, *shard);
                }
            }
        }
    }

    fn hear(&mut self, node: usize, at: u16, shard: usize) {
        // The source hears by the end of the migration, not before.
        if self.migrations.get(&at).is_none_or(|migration| migration.from != node % SHARDS) {
            self.members[node].moved.insert(at, shard);
        }
    }

    /// One migration goes one step on.
    fn move_on(&mut self, dice: &mut Dice) {
        let Some(at) = self.migrations.keys().min_by_key(|_| dice.below(100)).copied() else { return };
        let Migration { from, to, stage } = self.migrations[&at];
        if !self.members[self.primary[from]].up || !self.members[self.primary[to]].up {
            return;
        }
        let next =
            self.data[from].keys().filter(|key| slot(key) == at).min_by_key(|_| dice.below(100)).cloned();
        match (next, stage) {
            (Some(key), _) => {
                let value = self.data[from].remove(&key).expect("the key was just found");
                self.data[to].insert(key, value);
            }
            (None, Stage::Moving) => {
                self.moved.insert(at, to);
                for node in [to, to + SHARDS] {
                    self.members[node].moved.insert(at, to);
                }
                if let Some(migration) = self.migrations.get_mut(&at) {
                    migration.stage = Stage::Taken;
                }
            }
            (None, Stage::Taken) => {
                self.migrations.remove(&at);
                for node in [from, from + SHARDS] {
                    self.members[node].moved.insert(at, to);
                }
            }
        }
    }

    /// A node refuses everything for a while.
    pub(crate) fn refuse(&mut self, dice: &mut Dice) {
        let node = dice.below(NODES);
        let words =
            dice.pick(&["CLUSTERDOWN The cluster is down", "LOADING Redis is loading the dataset in memory"]);
        self.members[node].refuses = Some((self.now + 1_000 * (1 + dice.below(30) as u64), words));
    }

    /// A primary dies or hangs; returns it if it died. Its replica takes over soon, and it comes back as a replica later.
    pub(crate) fn kill(&mut self, dice: &mut Dice) -> Option<usize> {
        let now = self.now;
        let shard = dice.below(SHARDS);
        let node = self.primary[shard];
        let wavers = now < self.wavered[shard] + 400_000;
        if wavers || self.takeover[shard].is_some() || self.back.keys().any(|dead| dead % SHARDS == shard) {
            return None;
        }
        let hangs = dice.once_in(3);
        (self.members[node].hung, self.members[node].up) = (hangs, hangs);
        self.takeover[shard] = Some(now + 1_000 * (5 + dice.below(200) as u64));
        self.back.insert(node, now + 1_000 * (250 + dice.below(900) as u64));
        self.trace.words(Who::Node(node), if hangs { "hangs" } else { "dies" });
        (!hangs).then_some(node)
    }

    /// A primary hands its slots over and gets them back a moment later, once in a while: what waited at one of the two
    /// when the other had them is refused there or not.
    pub(crate) fn waver(&mut self, dice: &mut Dice) {
        let shard = dice.below(SHARDS);
        let node = self.primary[shard];
        let troubled = self.takeover[shard].is_some() || self.back.keys().any(|dead| dead % SHARDS == shard);
        // one that was refused at the heir, and is on its way to the primary, could come there after what followed it to the heir
        let astray = self.now < self.refused[(node + SHARDS) % NODES] + 200_000;
        if troubled || astray || self.now < self.wavered[shard] + 400_000 {
            return;
        }
        self.wavered[shard] = self.now;
        self.trace.words(Who::Node(node), "hands its slots over");
        self.change_primary(shard);
        self.takeover[shard] = Some(self.now + 1_000 + dice.below(15_000) as u64);
    }

    fn change_primary(&mut self, shard: usize) {
        let old = self.primary[shard];
        let new = (old + SHARDS) % NODES;
        self.primary[shard] = new;
        self.trace.words(Who::Node(new), "takes over");
        for node in [old, new] {
            self.members[node].primary[shard] = new;
        }
    }

    /// What is due happens.
    pub(crate) fn tick(&mut self, now: u64) {
        self.now = now;
        for shard in 0..SHARDS {
            if self.takeover[shard].is_some_and(|due| due <= now) {
                self.takeover[shard] = None;
                self.change_primary(shard);
            }
        }
        let due: Vec<usize> =
            self.back.iter().filter(|(_, due)| **due <= now).map(|(node, _)| *node).collect();
        for node in due {
            self.back.remove(&node);
            (self.members[node].up, self.members[node].hung) = (true, false);
            self.members[node].primary = self.primary;
            self.members[node].refuses =
                Some((now + 20_000, "LOADING Redis is loading the dataset in memory"));
        }
    }

    /// Everything that is wrong comes right.
    pub(crate) fn heal(&mut self, dice: &mut Dice) {
        let now = self.now;
        self.tick(u64::MAX / 2);
        self.now = now;
        while !self.migrations.is_empty() {
            self.move_on(dice);
        }
        for member in &mut self.members {
            (member.refuses, member.primary) = (None, self.primary);
            member.moved = self.moved.clone();
        }
    }

    /// Why a node does not execute a request (`cluster.c`: `getNodeByQuery`).
    fn refusal(&self, node: usize, call: &Call<'_>, dice: &mut Dice) -> Option<String> {
        let Call { keys, writes, asking } = *call;
        let (member, shard, at) = (&self.members[node], node % SHARDS, slot(keys[0]));
        assert!(keys.iter().all(|key| slot(key) == at), "a node was asked for keys of two slots");
        if let Some((until, words)) = member.refuses
            && until > self.now
        {
            return Some(words.to_owned());
        }
        let believed = member.moved.get(&at).copied().unwrap_or(first_owner(at));
        let moved = format!("MOVED {at} {}", addr(member.primary[believed]));
        if self.primary[shard] != node {
            let readonly = writes && dice.below(5) == 0;
            let words = "READONLY You can't write against a read only replica.".to_owned();
            return Some(if readonly { words } else { moved });
        }
        let here = keys.iter().filter(|key| self.data[shard].contains_key(**key)).count();
        let missing = keys.len() - here;
        match self.migrations.get(&at) {
            Some(migration) if migration.from == shard && missing > 0 => {
                let ask = format!("ASK {at} {}", addr(member.primary[migration.to]));
                Some(if here > 0 {
                    "TRYAGAIN Multiple keys request during rehashing of slot".to_owned()
                } else {
                    ask
                })
            }
            Some(migration) if migration.from == shard => None,
            Some(migration) if migration.to == shard && migration.stage == Stage::Moving => match asking {
                true if keys.len() > 1 && missing > 0 => {
                    Some("TRYAGAIN Multiple keys request during rehashing of slot".to_owned())
                }
                true => None,
                false => Some(moved),
            },
            _ if believed == shard => None,
            _ => Some(moved),
        }
    }
}

impl Nodes for Cluster {
    fn answer(&mut self, node: usize, args: &Args<'_>, line: &mut Line, dice: &mut Dice) -> Served {
        let asking = std::mem::take(&mut line.asking);
        let Some((keys, writes)) = keys_of(args) else {
            self.answer_about_itself(node, args, line);
            return Served::Yes;
        };
        self.trace.bytes(Who::Node(node), "is asked", &said(args));
        if let Some(refusal) = self.refusal(node, &Call { keys: &keys, writes, asking }, dice) {
            self.trace.bytes(Who::Node(node), "refuses", refusal.as_bytes());
            if self.primary[node % SHARDS] != node {
                self.refused[node] = self.now;
            }
            line.writer().error(refusal);
            return Served::Yes;
        }
        // In a migration both ends may execute; the data is where it is.
        let executed = &mut self.executed;
        execute(args, &keys, line, &mut self.data[node % SHARDS], |_, value| {
            if let Some(value) = value {
                *executed.entry(id_of(value)).or_default() += 1;
            }
        });
        Served::Yes
    }

    fn knock(&self, node: usize) -> Knock {
        if self.members[node].up { Knock::Opened } else { Knock::Refused }
    }

    fn works(&self, node: usize) -> bool {
        !self.members[node].hung
    }

    fn reaches(&self, _node: usize) -> bool {
        true
    }

    fn map(&mut self, last: &Topology, _dice: &mut Dice) -> Option<Topology> {
        let map = self.truth();
        (map != *last).then_some(map)
    }

    fn value(&self, key: &[u8]) -> Option<Id> {
        self.data[self.owner(slot(key))].get(key).map(|value| id_of(value))
    }

    fn executed(&self, id: Id) -> u32 {
        self.executed.get(&id).copied().unwrap_or(0)
    }

    fn has_lost(&self, _key: &[u8]) -> bool {
        false
    }
}

impl Cluster {
    fn answer_about_itself(&self, node: usize, args: &Args<'_>, line: &mut Line) {
        match args.get(0).to_ascii_uppercase().as_slice() {
            b"HELLO" => line.greet(args),
            b"ASKING" => {
                line.asking = true;
                line.writer().simple("OK");
            }
            b"DBSIZE" => line.writer().integer(self.data[node % SHARDS].len() as i64),
            other => panic!("a node was asked {}", other.escape_ascii()),
        }
    }
}
