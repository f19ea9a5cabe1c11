//! The map of the cluster that requests are routed by. Immutable: a new one replaces it.

use super::SLOTS;
use std::net::SocketAddr;

/// A node's place in [`Topology::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The 40-digit id.
    pub id: String,
    /// Address for clients.
    pub addr: SocketAddr,
    /// Id of the primary that it copies; `None` for a primary.
    pub replica_of: Option<String>,
    /// Configuration epoch under which its slots were claimed.
    pub epoch: u64,
}

/// Which primary owns which slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    nodes: Vec<Node>,
    owners: Box<[u16]>,
    /// Every owner with its lowest slot.
    primaries: Box<[(NodeIndex, u16)]>,
    fingerprint: u64,
}

/// No owner is known.
const NOBODY: u16 = u16::MAX;

impl Topology {
    /// A map in which nobody owns anything.
    pub fn empty() -> Self {
        Topology {
            nodes: Vec::new(),
            owners: vec![NOBODY; usize::from(SLOTS)].into(),
            primaries: Box::default(),
            fingerprint: 0,
        }
    }

    /// A map of `nodes` (at most 65534) in which `owner` tells the owner of each slot.
    pub fn new(nodes: Vec<Node>, owner: impl Fn(u16) -> Option<NodeIndex>) -> Self {
        debug_assert!(nodes.len() < usize::from(NOBODY));
        let owners: Box<[u16]> = (0..SLOTS).map(|slot| owner(slot).map_or(NOBODY, |node| node.0)).collect();
        let mut seen = vec![false; nodes.len()];
        let mut primaries = Vec::new();
        for (slot, owner) in owners.iter().enumerate().filter(|(_, owner)| **owner != NOBODY) {
            if !std::mem::replace(&mut seen[usize::from(*owner)], true) {
                primaries.push((NodeIndex(*owner), slot as u16));
            }
        }
        let fingerprint = fingerprint(&nodes, &owners);
        Topology { nodes, owners, primaries: primaries.into(), fingerprint }
    }

    /// A number for who owns which slot by which claim: the same in every gateway that goes by this map, another one
    /// (but for chance) after every failover and every move of a slot.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The primary that owns a slot.
    #[inline]
    pub fn owner(&self, slot: u16) -> Option<NodeIndex> {
        match self.owners[usize::from(slot)] {
            NOBODY => None,
            node => Some(NodeIndex(node)),
        }
    }

    /// A node by its index.
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[usize::from(index.0)]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every primary that owns a slot, with its lowest slot, in the order of these.
    pub fn primaries(&self) -> Vec<(NodeIndex, u16)> {
        self.primaries.to_vec()
    }

    /// The number of the shard of an owner of slots, from 1 in the order of the lowest slots, as `evenkeel failover`
    /// takes it; 0 for who owns none.
    pub fn shard(&self, owner: NodeIndex) -> usize {
        self.primaries.iter().position(|(primary, _)| *primary == owner).map_or(0, |at| at + 1)
    }

    /// The lowest slot above `slot` whose owner is neither nobody nor the owner of `slot` or of a lower slot.
    pub fn next_primary(&self, slot: u16) -> Option<u16> {
        self.primaries.iter().map(|(_, lowest)| *lowest).find(|lowest| *lowest > slot)
    }

    /// Number of slots with an owner.
    pub fn covered(&self) -> usize {
        self.owners.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// Inclusive ranges of slots that a node owns.
    pub fn ranges(&self, node: NodeIndex) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for slot in (0..SLOTS).filter(|slot| self.owner(*slot) == Some(node)) {
            match ranges.last_mut() {
                Some(last) if last.1 + 1 == slot => last.1 = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }
}

/// Runs of slots with one owner, each with the owner's id and epoch, by FNV-1a.
fn fingerprint(nodes: &[Node], owners: &[u16]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |bytes: &[u8]| {
        bytes.iter().for_each(|byte| hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    };
    let mut slot = 0usize;
    for run in owners.chunk_by(|a, b| a == b) {
        add(&(slot as u16).to_le_bytes());
        if let Some(owner) = nodes.get(usize::from(run[0])) {
            add(owner.id.as_bytes());
            add(&owner.epoch.to_le_bytes());
        }
        slot += run.len();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::{Node, NodeIndex, Topology};

    fn map(epoch: u64, border: u16) -> Topology {
        let node = |id: &str, port: u16, epoch| Node {
            id: id.to_owned(),
            addr: ([127, 0, 0, 1], port).into(),
            replica_of: None,
            epoch,
        };
        let nodes = vec![node("a", 1, epoch), node("b", 2, 1)];
        Topology::new(nodes, |slot| Some(NodeIndex(u16::from(slot >= border))))
    }

    #[test]
    fn every_change_of_owners_or_claims_changes_the_fingerprint() {
        let (one, same) = (map(1, 100), map(1, 100));
        assert_eq!(one.fingerprint(), same.fingerprint());
        for other in [map(2, 100), map(1, 101), Topology::empty()] {
            assert_ne!(one.fingerprint(), other.fingerprint());
        }
    }
}
