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
        Topology { nodes, owners, primaries: primaries.into() }
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
