//! A model cluster: nodes that answer as cluster nodes do, slots that move key by key, primaries that die and
//! replicas that take over with everything that was acknowledged.

use super::dice::Dice;
use evenkeel_core::resp::{Args, Limits, Proto, Read, RequestReader, Writer};
use evenkeel_core::topology::{self, Node, NodeIndex, Topology, slot};

/// Number of slots, for arithmetic with indexes.
const SLOTS: usize = topology::SLOTS as usize;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

pub(crate) const SHARDS: usize = 3;
pub(crate) const NODES: usize = SHARDS * 2;

/// A value that a client wrote: its number, unique in the world, and its bytes.
pub(crate) type Id = u32;

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
    moved: HashMap<u16, usize>,
    /// Which node it believes to be each shard's primary.
    primary: [usize; SHARDS],
}

pub(crate) struct Cluster {
    members: Vec<Member>,
    /// The truth: each shard's primary and the data that its two nodes share.
    primary: [usize; SHARDS],
    data: Vec<BTreeMap<Vec<u8>, Vec<u8>>>,
    moved: HashMap<u16, usize>,
    migrations: BTreeMap<u16, Migration>,
    /// When a dead primary's replica takes over.
    takeover: [Option<u64>; SHARDS],
    /// When dead nodes come back.
    back: BTreeMap<usize, u64>,
    /// The last map, and the truth that it shows: slots move once only.
    drawn: Option<(([usize; SHARDS], usize), Topology)>,
    /// Whether it prints what it is asked.
    pub(crate) telling: bool,
    /// How often each value was written.
    pub(crate) executed: HashMap<Id, u32>,
}

pub(crate) fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

pub(crate) fn node_at(addr: SocketAddr) -> usize {
    addr.to_string().split(['.', ':']).nth(3).and_then(|byte| byte.parse::<usize>().ok()).expect("an address")
        - 1
}

fn first_owner(slot: u16) -> usize {
    usize::from(slot) * SHARDS / SLOTS
}

/// The number at the start of a value.
pub(crate) fn id_of(value: &[u8]) -> Id {
    let digits = value.split(|byte| *byte == b':').next().unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|id| id.parse().ok()).expect("values begin with their number")
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let primary = [0, 1, 2];
        let member = |_| Member { up: true, hung: false, refuses: None, moved: HashMap::new(), primary };
        Cluster {
            members: (0..NODES).map(member).collect(),
            primary,
            data: vec![BTreeMap::new(); SHARDS],
            moved: HashMap::new(),
            migrations: BTreeMap::new(),
            takeover: [None; SHARDS],
            back: BTreeMap::new(),
            drawn: None,
            telling: false,
            executed: HashMap::new(),
        }
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.members[node].up
    }

    fn owner(&self, slot: u16) -> usize {
        self.moved.get(&slot).copied().unwrap_or(first_owner(slot))
    }

    /// The map as an observer of every node would draw it now.
    pub(crate) fn map(&mut self) -> Topology {
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

    /// What a client reads of a key in the end.
    pub(crate) fn value(&self, key: &[u8]) -> Option<Id> {
        self.data[self.owner(slot(key))].get(key).map(|value| id_of(value))
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
    pub(crate) fn refuse(&mut self, now: u64, dice: &mut Dice) {
        let node = dice.below(NODES);
        let words =
            dice.pick(&["CLUSTERDOWN The cluster is down", "LOADING Redis is loading the dataset in memory"]);
        self.members[node].refuses = Some((now + 1_000 * (1 + dice.below(30) as u64), words));
    }

    pub(crate) fn is_hung(&self, node: usize) -> bool {
        self.members[node].hung
    }

    /// A primary dies or hangs; returns it if it died. Its replica takes over soon, and it comes back as a replica later.
    pub(crate) fn kill(&mut self, now: u64, dice: &mut Dice) -> Option<usize> {
        let shard = dice.below(SHARDS);
        let node = self.primary[shard];
        if self.takeover[shard].is_some() || self.back.keys().any(|dead| dead % SHARDS == shard) {
            return None;
        }
        let hangs = dice.once_in(3);
        (self.members[node].hung, self.members[node].up) = (hangs, hangs);
        self.takeover[shard] = Some(now + 1_000 * (5 + dice.below(200) as u64));
        self.back.insert(node, now + 1_000 * (250 + dice.below(900) as u64));
        (!hangs).then_some(node)
    }

    /// What is due happens.
    pub(crate) fn tick(&mut self, now: u64) {
        for shard in 0..SHARDS {
            if self.takeover[shard].is_some_and(|due| due <= now) {
                self.takeover[shard] = None;
                let new = (self.primary[shard] + SHARDS) % NODES;
                self.primary[shard] = new;
                self.members[new].primary[shard] = new;
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
        self.tick(u64::MAX / 2);
        while !self.migrations.is_empty() {
            self.move_on(dice);
        }
        for member in &mut self.members {
            (member.refuses, member.primary) = (None, self.primary);
            member.moved = self.moved.clone();
        }
    }

    /// A node answers one request. `asking` is the connection's ASKING flag.
    pub(crate) fn answer(
        &mut self,
        node: usize,
        args: &Args<'_>,
        line: &mut Line,
        now: u64,
        dice: &mut Dice,
    ) {
        let name = args.get(0).to_ascii_uppercase();
        let asking = std::mem::take(&mut line.asking);
        let mut writer = Writer::new(&mut line.outbox, line.proto);
        match name.as_slice() {
            b"HELLO" => {
                line.proto = if args.get(1) == b"3" { Proto::Three } else { Proto::Two };
                let mut writer = Writer::new(&mut line.outbox, line.proto);
                writer.map(1);
                writer.bulk(b"version");
                return writer.bulk(b"7.2.5");
            }
            b"ASKING" => {
                line.asking = true;
                return writer.simple("OK");
            }
            b"DBSIZE" => return writer.integer(self.data[node % SHARDS].len() as i64),
            _ => {}
        }
        let keys: Vec<&[u8]> = match name.as_slice() {
            b"GET" | b"SET" | b"EXISTS" | b"DEL" | b"MGET" | b"MSET" => {
                let step = if name == b"MSET" { 2 } else { 1 };
                let last = if name == b"SET" { 2 } else { args.len() };
                (1..last).step_by(step).map(|at| args.get(at)).collect()
            }
            other => panic!("a node was asked {}", other.escape_ascii()),
        };
        let writes = matches!(name.as_slice(), b"SET" | b"DEL" | b"MSET");
        let refusal = self.refusal(node, &Call { keys: &keys, writes, asking }, now, dice);
        if self.telling {
            let words: Vec<String> =
                args.iter().map(|word| word[..word.len().min(20)].escape_ascii().to_string()).collect();
            println!(
                "{now} node {node} by {} {}: {}",
                line.name,
                words.join(" "),
                refusal.as_deref().unwrap_or("done")
            );
        }
        if let Some(refusal) = refusal {
            return writer.error(refusal);
        }
        // In a migration both ends may execute; the data is where it is.
        let shard = node % SHARDS;
        let data = &mut self.data[shard];
        let mut null_or = |value: Option<&Vec<u8>>| match value {
            Some(value) => writer.bulk(value),
            None => writer.null(),
        };
        match name.as_slice() {
            b"GET" => null_or(data.get(keys[0])),
            b"MGET" => {
                Writer::new(&mut line.outbox, line.proto).array(keys.len());
                for key in keys {
                    match data.get(key) {
                        Some(value) => Writer::new(&mut line.outbox, line.proto).bulk(value),
                        None => Writer::new(&mut line.outbox, line.proto).null(),
                    }
                }
            }
            b"EXISTS" => writer.integer(keys.iter().filter(|key| data.contains_key(**key)).count() as i64),
            b"DEL" => writer.integer(keys.iter().filter(|key| data.remove(**key).is_some()).count() as i64),
            _ => {
                for (at, key) in keys.iter().enumerate() {
                    let value = args.get(2 + 2 * at);
                    *self.executed.entry(id_of(value)).or_default() += 1;
                    data.insert(key.to_vec(), value.to_vec());
                }
                writer.simple("OK");
            }
        }
    }

    /// Why a node does not execute a request (`cluster.c`: `getNodeByQuery`).
    fn refusal(&self, node: usize, call: &Call<'_>, now: u64, dice: &mut Dice) -> Option<String> {
        let Call { keys, writes, asking } = *call;
        let (member, shard, at) = (&self.members[node], node % SHARDS, slot(keys[0]));
        assert!(keys.iter().all(|key| slot(key) == at), "a node was asked for keys of two slots");
        if let Some((until, words)) = member.refuses
            && until > now
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

/// A connection as its node sees it.
#[derive(Default)]
pub(crate) struct Line {
    /// What it is called in a tale.
    pub(crate) name: u64,
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Vec<u8>,
    pub(crate) asking: bool,
    pub(crate) proto: Proto,
}

impl Line {
    /// Has the node answer the first request; false when there is none.
    pub(crate) fn serve(&mut self, node: usize, cluster: &mut Cluster, now: u64, dice: &mut Dice) -> bool {
        let mut spans = Vec::new();
        let inbox = std::mem::take(&mut self.inbox);
        let read = RequestReader::default().read(&inbox, &mut spans, &Limits::SERVER);
        let served = match read {
            Ok(Read::Frame { len }) => {
                cluster.answer(node, &Args::new(&inbox, &spans), self, now, dice);
                self.inbox.extend_from_slice(&inbox[len..]);
                return true;
            }
            Ok(Read::Partial { .. }) => false,
            other => panic!("a node got {other:?}: {}", inbox.escape_ascii()),
        };
        self.inbox = inbox;
        served
    }
}
