//! How servers hear of each other, and elect.

use super::{Known, Servers, TIMEOUT};
use crate::trace::Who;
use evenkeel_core::plan::Slots;

impl Servers {
    /// `from` tells `to` about itself, and a little about others.
    pub(super) fn rumour(&mut self, from: usize, to: usize) {
        let (id, told) = (self.nodes[from].id, self.own(from).clone());
        if !self.nodes[to].view.contains_key(&id) {
            return;
        }
        let strangers: Vec<(u64, Known)> = self.nodes[from]
            .view
            .iter()
            .filter(|(id, known)| !self.nodes[to].view.contains_key(id) && self.nodes[known.at].id == **id)
            .map(|(id, known)| (*id, Known { slots: Slots::none(), of: None, ..known.clone() }))
            .collect();
        self.nodes[to].view.extend(strangers);
        self.learn(to, id, &told);
        // the receiver knows better: the sender is told
        let better: Vec<(u64, Known)> = self.nodes[to]
            .view
            .iter()
            .filter(|(other, known)| {
                **other != id && known.epoch > told.epoch && known.slots.meets(&told.slots)
            })
            .map(|(id, known)| (*id, known.clone()))
            .collect();
        for (id, known) in better {
            self.learn(from, id, &known);
        }
        let (mine, theirs) = (self.own(to).clone(), self.own(from).epoch);
        if mine.of.is_none() && told.of.is_none() && mine.epoch == theirs && self.nodes[to].id < id {
            let top = self.nodes[to].view.values().map(|known| known.epoch).max().unwrap_or(0);
            let own = self.nodes[to].id;
            self.nodes[to].view.get_mut(&own).expect("it knows itself").epoch = top + 1;
        }
    }

    fn learn(&mut self, at: usize, id: u64, told: &Known) {
        let own = self.nodes[at].id;
        if id == own {
            return;
        }
        let mut gained = told.slots.clone();
        for (other, known) in &self.nodes[at].view {
            if *other != id && known.epoch >= told.epoch {
                gained = gained.minus(&known.slots);
            }
        }
        let (before, now) = (self.own(at).clone(), self.now);
        let leader = before.of.unwrap_or(own);
        let node = &mut self.nodes[at];
        let led = node.view.get(&leader).map(|known| known.slots.clone()).unwrap_or_default();
        for known in node.view.values_mut() {
            known.slots = known.slots.minus(&gained);
        }
        node.view.insert(id, Known { slots: gained.clone(), ..told.clone() });
        let left = node.view.get(&leader).map(|known| known.slots.clone()).unwrap_or_default();
        // the shard that this node serves or copies has gone to `id`: follow it
        if !led.is_empty() && left.is_empty() && gained.meets(&led) {
            if node.view[&own].of.is_none() {
                node.yielded_at = Some(now);
            }
            node.view.get_mut(&own).expect("it knows itself").of = Some(id);
            (node.link_down, node.copies) = (Some(now), None);
        }
    }

    /// What the servers do without us, long after a death. The replica that is furthest stands first.
    pub(super) fn elect_by_itself(&mut self, at: usize, of: u64) {
        let long = self.nodes[at].link_down.is_some_and(|since| self.now > since + 3 * TIMEOUT);
        let ahead = |other: usize| {
            let further = self.nodes[other].offset > self.nodes[at].offset;
            further && self.own(other).of == Some(of) && self.meets(at, other) && self.has_votes(other, of)
        };
        if (0..self.nodes.len()).any(ahead) {
            return;
        }
        if long && self.nodes[at].offset > 0 && self.has_votes(at, of) && self.below(10) == 0 {
            self.say(Who::Node(at), format!("is elected by gossip in place of {of}"));
            self.promote(at);
        }
    }

    /// Whether most owners are there, own something still and would vote: not for one whose primary's slots have another
    /// owner since (cluster.c `clusterSendFailoverAuthIfNeeded`).
    fn has_votes(&self, at: usize, of: u64) -> bool {
        let claimed = &self.nodes[at].view[&of];
        if claimed.slots.is_empty() {
            return false; // nor does one stand whose primary owns nothing any more (`clusterHandleSlaveFailover`)
        }
        let newer = |known: &Known| known.epoch > claimed.epoch && known.slots.meets(&claimed.slots);
        self.has_most(at, |voter| self.owns(voter) && !self.nodes[voter].view.values().any(newer))
    }

    pub(super) fn majority(&self, at: usize) -> bool {
        self.has_most(at, |_| true)
    }

    /// Whether most of those that are owners in this one's eyes are there, as who they were, and such.
    fn has_most(&self, at: usize, such: impl Fn(usize) -> bool) -> bool {
        let owners: Vec<(&u64, &Known)> =
            self.nodes[at].view.iter().filter(|(_, known)| !known.slots.is_empty()).collect();
        let there = owners.iter().filter(|(id, known)| {
            self.meets(at, known.at) && self.nodes[known.at].id == **id && such(known.at)
        });
        there.count() > owners.len() / 2
    }

    pub(super) fn promote(&mut self, at: usize) {
        let own = self.nodes[at].id;
        let Some(of) = self.own(at).of else { return };
        let top = self.nodes[at].view.values().map(|known| known.epoch).max().unwrap_or(0);
        let slots = self.nodes[at].view.get(&of).map(|known| known.slots.clone()).unwrap_or_default();
        let (now, node) = (self.now, &mut self.nodes[at]);
        if let Some(old) = node.view.get_mut(&of) {
            old.slots = Slots::none();
        }
        *node.view.get_mut(&own).expect("it knows itself") = Known { at, of: None, epoch: top + 1, slots };
        (node.won_at, node.link_down, node.copies) = (Some(now), None, None);
        node.before = Some((node.stream, node.data.len()));
        self.nodes[at].stream = self.number();
        if let Some(old) = (0..self.nodes.len()).find(|old| self.nodes[*old].id == of) {
            self.note_losses(old, &[at], 0);
        }
        for other in 0..self.nodes.len() {
            // who copied the same primary copies the winner from now on: a link that works brings it that word
            let sibling = other != at && self.own(other).of == Some(of);
            if other != at && self.meets(at, other) && (sibling || self.below(10) > 0) {
                self.rumour(at, other);
            }
        }
    }
}
