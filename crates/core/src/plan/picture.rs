//! One moment, with the questions that every rung asks about it.
//!
//! Owns the reading of an [`Observed`]: who answers, who is dead, who owns what in whose eyes. Never proposes steps.

use std::net::SocketAddr;

use super::{
    Answer, Desired, Duty, Facts, NodeId, NodeName, Observed, Order, Own, Peer, PeerRole, Process, Seen,
    Slots, Wanted, What,
};

pub(super) struct Picture<'a> {
    pub(super) desired: &'a Desired,
    pub(super) now: u64,
    since: u64,
    nodes: Vec<(&'a Wanted, Option<&'a Seen>)>,
}

/// What the living believe about a node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nobody who answers knows it.
    Unknown,
    /// Most of those whose word counts show it without slots.
    Idle,
    /// It is still shown as the owner of slots.
    Owner { id: NodeId, slots: Slots },
}

impl<'a> Picture<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, now: u64) -> Self {
        let nodes = desired.nodes.iter().map(|wanted| (wanted, observed.nodes.get(&wanted.name))).collect();
        Picture { desired, now, since: observed.since, nodes }
    }

    /// Every wanted node with what was seen of it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&'a Wanted, &'a Seen)> + '_ {
        self.nodes.iter().filter_map(|(wanted, seen)| Some((*wanted, (*seen)?)))
    }

    /// Wanted nodes that answered everything.
    pub(super) fn answering(&self) -> impl Iterator<Item = (&'a Wanted, &'a Facts)> + '_ {
        self.nodes().filter_map(|(wanted, seen)| Some((wanted, seen.facts()?)))
    }

    /// Whether a wanted node answered everything.
    pub(super) fn answers(&self, node: &Wanted) -> bool {
        self.answering().any(|(wanted, _)| wanted.name == node.name)
    }

    /// Whether every wanted node answered everything.
    pub(super) fn all_answer(&self) -> bool {
        self.answering().count() == self.desired.nodes.len()
    }

    /// Wanted nodes that have a process but gave no facts.
    pub(super) fn unknown(&self) -> impl Iterator<Item = &'a Wanted> + '_ {
        let unknown = |seen: &Seen| !seen.is_dead() && seen.facts().is_none();
        self.nodes().filter(move |(_, seen)| unknown(seen)).map(|(wanted, _)| wanted)
    }

    /// Answering primaries that own slots by their own account.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&'a Wanted, &'a Facts)> + '_ {
        self.answering().filter(|(_, facts)| facts.duty == Duty::Primary && !facts.own_slots().is_empty())
    }

    /// Those whose word about ownership counts: the owners, or where there is none everyone who answers.
    fn voices(&self) -> Vec<&'a Facts> {
        let owners: Vec<_> = self.owners().map(|(_, facts)| facts).collect();
        if owners.is_empty() { self.answering().map(|(_, facts)| facts).collect() } else { owners }
    }

    /// What the living believe about the node at an address, going by ids other than `except`.
    pub(super) fn standing(&self, addr: SocketAddr, except: Option<&NodeId>) -> Standing {
        let voices = self.voices();
        let lines: Vec<&Peer> = voices
            .iter()
            .filter_map(|facts| {
                let lines =
                    facts.view.iter().filter(|peer| peer.addr == Some(addr) && Some(&peer.id) != except);
                lines.filter(|peer| peer.role != PeerRole::Handshake).max_by_key(|peer| peer.slots.count())
            })
            .collect();
        let owning = lines.iter().max_by_key(|peer| (!peer.slots.is_empty(), peer.epoch));
        let idle = lines.iter().filter(|peer| peer.slots.is_empty()).count();
        match owning {
            Some(peer) if !peer.slots.is_empty() && idle * 2 <= voices.len() => {
                Standing::Owner { id: peer.id.clone(), slots: peer.slots.clone() }
            }
            claim => match self.successor(&voices, addr, except) {
                Some(peer) => Standing::Owner { id: peer.id.clone(), slots: peer.slots.clone() },
                None => claim.map_or(Standing::Unknown, |_| Standing::Idle),
            },
        }
    }

    /// An owner of slots that is none of those who answer, when all do, and that nobody has an address of.
    pub(super) fn ghost(&self) -> Option<&'a Peer> {
        if !self.all_answer() {
            return None;
        }
        let lines = || self.answering().flat_map(|(_, facts)| &facts.view);
        let is_nowhere = |ghost: &Peer| lines().all(|peer| peer.id != ghost.id || peer.addr.is_none());
        let is_nobody = |ghost: &Peer| self.answering().all(|(_, facts)| facts.id != ghost.id);
        lines().find(|peer| !peer.slots.is_empty() && is_nobody(peer) && is_nowhere(peer))
    }

    /// The node at an address as those see it that copy it, where it took slots over of which most others have not heard
    /// yet: its predecessor may be the only one that knows. The latest claim of anyone counts.
    fn successor(&self, voices: &[&Facts], addr: SocketAddr, except: Option<&NodeId>) -> Option<&'a Peer> {
        let claimed = |claim: &Peer| {
            let lines = voices.iter().flat_map(|facts| &facts.view);
            let others = lines.filter(|peer| peer.id != claim.id && peer.slots.meets(&claim.slots));
            others.map(|peer| peer.epoch).max()
        };
        let claims = self.answering().filter_map(|(_, facts)| {
            let Duty::Replica { of, .. } = &facts.duty else { return None };
            facts.line(of).filter(|peer| peer.addr == Some(addr) && Some(&peer.id) != except)
        });
        let newest = claims.filter(|peer| !peer.slots.is_empty()).max_by_key(|peer| peer.epoch)?;
        claimed(newest).is_none_or(|epoch| newest.epoch > epoch).then_some(newest)
    }

    /// Whether most of those whose word counts show a node without slots.
    pub(super) fn is_idle_to_most(&self, wanted: &Wanted) -> bool {
        match self.standing(wanted.addr, None) {
            Standing::Idle => true,
            Standing::Unknown | Standing::Owner { .. } => false,
        }
    }

    /// Answering nodes that copy a primary by their own account.
    pub(super) fn replicas_of<'p>(
        &'p self,
        id: &'p NodeId,
    ) -> impl Iterator<Item = (&'a Wanted, &'a Facts)> + 'p {
        self.answering().filter(move |(_, facts)| matches!(&facts.duty, Duty::Replica { of, .. } if of == id))
    }

    /// Whether nobody who answers knows the node at `addr` as a replica of anyone or as an owner of slots, but for these
    /// slots, which it may have owned: it may copy whoever has them now and not be known as that yet.
    pub(super) fn has_no_place(&self, addr: SocketAddr, slots: &Slots) -> bool {
        let free = |peer: &Peer| peer.slots.is_empty() || peer.slots.meets(slots);
        let idle = |peer: &Peer| free(peer) && !matches!(peer.role, PeerRole::Replica(_));
        self.answering().all(|(_, facts)| facts.view.iter().filter(|peer| peer.addr == Some(addr)).all(idle))
    }

    /// Whether an id that answers nowhere any more is known to a few only, and copied by nobody, when everyone answers: the
    /// others have forgotten it, since its slots went to another one. Who was away then has not heard of that, and will not if
    /// that other one is gone too; for its sake slots would look taken that nobody serves.
    pub(super) fn is_a_memory(&self, id: &NodeId) -> bool {
        let knowing = self.answering().filter(|(_, facts)| facts.knows(id)).count();
        self.all_answer() && 2 * knowing < self.answering().count() && self.replicas_of(id).next().is_none()
    }

    /// Whether someone who answers believes that the node at `addr` copies `id`.
    pub(super) fn believed_replica(&self, addr: SocketAddr, id: &NodeId) -> bool {
        let copies =
            |peer: &Peer| peer.addr == Some(addr) && matches!(&peer.role, PeerRole::Replica(of) if of == id);
        self.answering().any(|(_, facts)| facts.view.iter().any(copies))
    }

    /// The wanted node at an address.
    pub(super) fn at(&self, addr: SocketAddr) -> Option<(&'a Wanted, &'a Seen)> {
        self.nodes().find(|(wanted, _)| wanted.addr == addr)
    }

    /// The order by which the loss of a node's data was accepted.
    pub(super) fn accepted(&self, node: &NodeName) -> Option<u64> {
        let accepts =
            |order: &&Order| matches!(&order.what, What::AcceptLoss { nodes } if nodes.contains(node));
        self.desired.orders.iter().find(accepts).map(|order| order.id)
    }

    /// Its place in the list of wanted nodes.
    pub(super) fn place(&self, wanted: &Wanted) -> usize {
        self.desired.nodes.iter().position(|node| node.name == wanted.name).unwrap_or(0)
    }

    /// Whether a death is so new that the living may still be about to answer.
    pub(super) fn is_fresh(&self, dead: &Seen, within: u64) -> bool {
        let since = match &dead.process {
            Process::Running { .. } => return false,
            Process::Absent => self.since,
            Process::Exited { at, .. } => *at,
        };
        self.now < since.saturating_add(within)
    }

    /// Slots that someone owns in anyone's eyes.
    pub(super) fn assigned(&self) -> Slots {
        let lines = self.answering().flat_map(|(_, facts)| &facts.view);
        Slots::new(lines.flat_map(|peer| peer.slots.ranges().iter().copied()))
    }
}

impl Seen {
    /// Its answers, where it gave all.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.answer {
            Answer::Facts(facts) => Some(facts),
            Answer::Silent { .. } | Answer::Loading => None,
        }
    }

    /// How many times in a row it was started in vain.
    pub fn failures(&self) -> u32 {
        match &self.process {
            Process::Exited { failures, .. } => *failures,
            Process::Running { .. } | Process::Absent => 0,
        }
    }

    /// How it ended, in words.
    pub fn how(&self) -> &str {
        match &self.process {
            Process::Exited { how, .. } => how,
            Process::Running { .. } => "runs",
            Process::Absent => "is not running",
        }
    }

    /// Whether there is proof that it is dead.
    pub fn is_dead(&self) -> bool {
        match &self.process {
            Process::Running { .. } => false,
            Process::Absent | Process::Exited { .. } => true,
        }
    }
}

impl Facts {
    /// Its own line of its view.
    pub fn own(&self) -> Option<&Peer> {
        self.view.iter().find(|peer| peer.own == Own::Myself)
    }

    /// The slots it owns by its own account.
    pub fn own_slots(&self) -> &Slots {
        static NONE: Slots = Slots::none();
        self.own().map_or(&NONE, |peer| &peer.slots)
    }

    /// What it believes about another.
    pub fn line(&self, id: &NodeId) -> Option<&Peer> {
        self.view.iter().find(|peer| &peer.id == id)
    }

    /// Whether it knows another by more than a handshake.
    pub fn knows(&self, id: &NodeId) -> bool {
        self.line(id).is_some_and(|peer| peer.role != PeerRole::Handshake)
    }
}
