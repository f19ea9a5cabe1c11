//! Nodes put in order: each primary with its replicas, and who owns which slot. Pure.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use super::health::SLOTS;
use crate::status::{Health, Node, Role};

/// Number of colours that the style knows for shards.
const COLOURS: usize = 8;
/// From this many pieces on, the slot map is drawn in less detail.
const PIECES: usize = 512;
/// Slots that become one in less detail.
const COARSE: usize = 16;

/// All shards in the order of their slots, so that a shard keeps its place and colour over a failover.
pub(super) struct Shards<'a> {
    pub(super) all: Vec<Shard<'a>>,
    /// Nodes that belong to no shard: replicas of nobody, primaries without slots and their replicas.
    pub(super) loose: Vec<&'a Node>,
    /// Which shard owns each slot.
    owners: Vec<Option<usize>>,
}

/// A primary that owns slots, with its replicas.
pub(super) struct Shard<'a> {
    pub(super) primary: &'a Node,
    pub(super) replicas: Vec<&'a Node>,
    /// Index of its colour.
    pub(super) colour: usize,
}

/// Neighbouring slots of which the same is true.
pub(super) type Piece = (RangeInclusive<usize>, Held);

/// Who holds a slot. The order is that of loudness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Held {
    /// By this shard, which can serve it.
    Served(usize),
    /// By this shard, which cannot serve it now.
    Stopped(usize),
    /// By nobody.
    Nobody,
}

impl<'a> Shards<'a> {
    pub(super) fn new(nodes: &'a [Node]) -> Self {
        let mut primaries: Vec<&Node> = nodes
            .iter()
            .filter(|node| match node.role {
                Role::Primary | Role::Unknown => !node.slots.is_empty(),
                Role::Replica => false,
            })
            .collect();
        primaries.sort_by_key(|node| (node.slots.iter().map(|range| range.0).min(), &node.name));
        let mut all: Vec<Shard<'_>> = primaries
            .into_iter()
            .enumerate()
            .map(|(at, primary)| Shard { primary, replicas: Vec::new(), colour: at % COLOURS })
            .collect();
        let by_name: HashMap<&str, usize> =
            all.iter().enumerate().map(|(at, shard)| (shard.primary.name.as_str(), at)).collect();
        let mut loose = Vec::new();
        for node in nodes {
            let home = node.replica_of.as_deref().and_then(|name| by_name.get(name));
            match (by_name.contains_key(node.name.as_str()), home) {
                (true, _) => {}
                (false, Some(&at)) => all[at].replicas.push(node),
                (false, None) => loose.push(node),
            }
        }
        let owners = owners(&all);
        Self { all, loose, owners }
    }

    /// The slots from the first to the last, in pieces as large as possible; tiny pieces are merged where
    /// there are very many, and then the loudest of a group wins.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let held: Vec<Held> = self.owners.iter().map(|owner| self.held(*owner)).collect();
        let exact = runs(&held, 1);
        if exact.len() <= PIECES {
            return exact;
        }
        let coarse: Vec<Held> = held.chunks(COARSE).filter_map(|group| group.iter().max().copied()).collect();
        runs(&coarse, COARSE)
    }

    /// Slot ranges that nobody owns.
    pub(super) fn uncovered(&self) -> Vec<(u16, u16)> {
        let owned: Vec<bool> = self.owners.iter().map(Option::is_some).collect();
        let pieces = runs(&owned, 1).into_iter().filter(|(_, owned)| !owned);
        pieces.map(|(slots, _)| (*slots.start() as u16, *slots.end() as u16)).collect()
    }

    fn held(&self, owner: Option<usize>) -> Held {
        let Some(at) = owner else { return Held::Nobody };
        match self.all[at].primary.health {
            Health::Ok | Health::Degraded => Held::Served(at),
            Health::Down | Health::Starting => Held::Stopped(at),
        }
    }
}

/// The ranges without what cannot be: a node's answer may be nonsense.
pub(super) fn real(ranges: &[(u16, u16)]) -> impl Iterator<Item = (u16, u16)> {
    let last_slot = (SLOTS - 1) as u16;
    let ranges = ranges.iter().map(move |(first, last)| (*first, (*last).min(last_slot)));
    ranges.filter(|(first, last)| first <= last)
}

/// How many slots the ranges hold.
pub(super) fn size(ranges: &[(u16, u16)]) -> u64 {
    real(ranges).map(|(first, last)| u64::from(last - first) + 1).sum()
}

fn owners(all: &[Shard<'_>]) -> Vec<Option<usize>> {
    let mut owners = vec![None; SLOTS as usize];
    for (at, shard) in all.iter().enumerate() {
        for (first, last) in real(&shard.primary.slots) {
            owners[usize::from(first)..=usize::from(last)].fill(Some(at));
        }
    }
    owners
}

/// Equal neighbours together, each value standing for `width` slots.
fn runs<T: Copy + PartialEq>(values: &[T], width: usize) -> Vec<(RangeInclusive<usize>, T)> {
    let mut at = 0;
    let groups = values.chunk_by(|left, right| left == right).map(|group| {
        let first = at;
        at += group.len() * width;
        (first..=at - 1, group[0])
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::{Held, Shards};
    use crate::status::{Health, Node, Role};

    fn node(name: &str, role: Role, of: Option<&str>, slots: &[(u16, u16)]) -> Node {
        Node {
            name: name.to_owned(),
            id: String::new(),
            addr: String::new(),
            pid: None,
            role,
            replica_of: of.map(str::to_owned),
            slots: slots.to_vec(),
            link_up: true,
            lag_bytes: None,
            epoch: 0,
            memory: (0, 0),
            keys: 0,
            ops_per_s: 0.0,
            clients: 0,
            uptime_s: 0,
            health: Health::Ok,
            because: String::new(),
        }
    }

    #[test]
    fn orders_shards_by_slots_and_leaves_strangers_loose() {
        let nodes = [
            node("a", Role::Replica, Some("d"), &[]),
            node("b", Role::Primary, None, &[(8192, 16383)]),
            node("c", Role::Replica, Some("nobody"), &[]),
            node("d", Role::Primary, None, &[(0, 8191)]),
            node("e", Role::Primary, None, &[]),
        ];
        let shards = Shards::new(&nodes);
        let names: Vec<_> = shards.all.iter().map(|shard| shard.primary.name.as_str()).collect();
        assert_eq!(names, ["d", "b"]);
        assert_eq!(shards.all[0].replicas[0].name, "a");
        assert_eq!(shards.loose.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["c", "e"]);
        assert_eq!(shards.pieces(), [(0..=8191, Held::Served(0)), (8192..=16383, Held::Served(1))]);
        assert!(shards.uncovered().is_empty());
    }

    #[test]
    fn tells_what_nobody_serves() {
        let mut nodes = [node("a", Role::Primary, None, &[(0, 99), (200, 300)])];
        nodes[0].health = Health::Down;
        let shards = Shards::new(&nodes);
        let held: Vec<_> = shards.pieces().into_iter().map(|(_, held)| held).collect();
        assert_eq!(held, [Held::Stopped(0), Held::Nobody, Held::Stopped(0), Held::Nobody]);
        assert_eq!(shards.uncovered(), [(100, 199), (301, 16383)]);
    }

    #[test]
    fn survives_nonsense_and_many_pieces() {
        let odd: Vec<(u16, u16)> = (0..16_384).step_by(2).map(|slot| (slot, slot)).collect();
        let nodes = [
            node("a", Role::Primary, None, &odd),
            node("b", Role::Primary, None, &[(9, 3), (16_384, 65_535), (65_535, 0)]),
        ];
        let shards = Shards::new(&nodes);
        assert_eq!(shards.pieces(), [(0..=16_383, Held::Nobody)], "the loudest of each group wins");
        assert_eq!(shards.uncovered().len(), 8192);
    }
}
