//! What each step does to the simulated world, and the safety rules that it must not break there.

use super::super::{NodeName, Process, Promotion, Slots, Step, What};
use super::{Known, TICK, TIMEOUT, World};
use crate::config::Persistence;

impl World {
    pub(super) fn at(&self, name: &NodeName) -> usize {
        self.desired.nodes.iter().position(|node| &node.name == name).unwrap()
    }

    pub(super) fn act(&mut self, step: &Step) {
        let at = self.at(step.node());
        if !matches!(step, Step::Start { .. } | Step::Kill { .. } | Step::SetAside { .. }) && !self.lively(at)
        {
            return;
        }
        match step {
            Step::Start { .. } => self.start(at),
            Step::Kill { .. } => {
                let hangs = self.nodes[at].hung_until + TICK > self.now && !self.nodes[at].busy;
                self.check(hangs, "a server that works is ended");
                self.kill(at);
            }
            Step::Stop { .. } => self.stop(at),
            Step::Configure { .. } => self.check(false, "nothing differs"),
            Step::Switch { from, .. } => self.switch(at, self.at(from)),
            Step::Identify { .. } => self.check(false, "no identity is lost without its data"),
            Step::SetAside { .. } => {
                self.check(!self.up(at), "the data of a running server is moved");
                let owned: Vec<_> = (0..self.nodes.len()).filter(|other| self.lively(*other)).collect();
                let id = self.nodes[at].id;
                let owner = |other: &&usize| {
                    self.nodes[**other].view.get(&id).is_some_and(|known| !known.slots.is_empty())
                };
                self.check(owned.iter().filter(owner).count() * 2 <= owned.len(), "an owner's data is moved");
                (self.nodes[at].unreadable, self.nodes[at].blank, self.nodes[at].disk) = (false, true, 0);
            }
            Step::Promote { by, .. } => self.judge_promotion(at, *by),
            Step::Forget { id, .. } => {
                let id: u64 = id.0.parse().unwrap();
                self.check(self.nodes.iter().all(|node| node.id != id), "an id in use is forgotten");
                self.nodes[at].view.remove(&id);
            }
            Step::SetEpoch { epoch, .. } => {
                let id = self.nodes[at].id;
                self.check(self.nodes[at].view.len() == 1, "an epoch is set on a node that knows others");
                self.nodes[at].view.get_mut(&id).unwrap().epoch = *epoch;
            }
            Step::AddSlots { slots, .. } => {
                let id = self.nodes[at].id;
                let owned =
                    (0..self.nodes.len()).any(|other| other != at && self.own(other).slots.meets(slots));
                self.check(!owned, "slots that have an owner are given away");
                let own = self.nodes[at].view.get_mut(&id).unwrap();
                own.slots = own.slots.plus(slots);
            }
            Step::Meet { peers, .. } => {
                for peer in peers.iter().map(|peer| self.at(peer)).collect::<Vec<_>>() {
                    if self.lively(peer) {
                        self.meet(at, peer);
                    }
                }
            }
            Step::Replicate { id, .. } => {
                self.check(self.own(at).slots.is_empty(), "a primary with slots is made a replica");
                let copies = self.own(at).of.is_some();
                self.check(copies || self.nodes[at].data == 0, "a node with data is made a replica");
                let own = self.nodes[at].id;
                self.nodes[at].view.get_mut(&own).unwrap().of = Some(id.0.parse().unwrap());
            }
        }
    }

    fn stop(&mut self, at: usize) {
        self.check(
            self.desired.orders.iter().any(|order| matches!(order.what, What::Restart { .. })),
            "a server is stopped without an order",
        );
        let owns = !self.own(at).slots.is_empty();
        self.check(!owns || self.desired.replicas == 0, "a primary is stopped that could be replaced");
        self.check(!owns || self.persistence != Persistence::None, "a primary is stopped that keeps nothing");
        self.nodes[at].disk = self.nodes[at].data;
        self.kill(at);
    }

    fn meet(&mut self, at: usize, peer: usize) {
        for (a, b) in [(at, peer), (peer, at)] {
            let (id, known) = (self.nodes[b].id, self.own(b).clone());
            self.nodes[a].view.entry(id).or_insert(Known { slots: Slots::none(), ..known });
            self.rumour(b, a);
        }
    }

    fn start(&mut self, at: usize) {
        self.check(!self.up(at), "a second server is started over a live one");
        if self.persistence == Persistence::None {
            let id = self.nodes[at].id;
            let owner = (0..self.nodes.len())
                .filter(|other| self.up(*other))
                .all(|other| self.nodes[other].view.get(&id).is_none_or(|known| !known.slots.is_empty()));
            for other in 0..self.nodes.len() {
                let copy = self.up(other) && self.own(other).of == Some(id) && self.nodes[other].data > 0;
                self.check(
                    !(owner && copy),
                    &format!("n{at:02} starts empty while n{other:02} holds its data"),
                );
            }
            self.nodes[at].disk = 0;
        }
        let (now, fails) = (self.now, self.below(12) == 0 || self.nodes[at].unreadable);
        let node = &mut self.nodes[at];
        if let (true, Process::Exited { failures, .. }) = (fails, node.process.clone()) {
            node.process =
                Process::Exited { at: now, how: "exited with status 1".into(), failures: failures + 1 };
            return;
        }
        (node.process, node.since) = (Process::Running { pid: 1 }, now);
        (node.data, node.offset, node.link_down) = (node.disk, 0, Some(now));
        node.blank = false;
        (node.won_at, node.forced_at) = (None, None);
    }

    /// The primary holds writes back until the replica has everything, and the others vote.
    fn switch(&mut self, at: usize, from: usize) {
        let now = self.now;
        let long_ago = |since: Option<u64>, limit: u64| since.is_none_or(|since| now - since >= limit);
        self.check(long_ago(self.nodes[at].won_at, 4 * TIMEOUT), "a recent winner takes over");
        self.check(
            long_ago(self.nodes[from].yielded_at, 2 * TIMEOUT),
            "a primary gives its slots away too soon",
        );
        self.check(long_ago(self.nodes[at].forced_at, 2 * TIMEOUT), "a switch is repeated too soon");
        self.nodes[at].forced_at = Some(now);
        if self.lively(from) && self.own(at).of == Some(self.nodes[from].id) && self.majority(at) {
            (self.nodes[at].data, self.nodes[at].offset) = (self.nodes[from].data, self.nodes[from].offset);
            self.promote(at);
            self.rumour(at, from);
        }
    }

    fn judge_promotion(&mut self, at: usize, by: Promotion) {
        let Some(of) = self.own(at).of else { return };
        let old = (0..self.nodes.len()).find(|old| self.nodes[*old].id == of);
        self.check(old.is_none_or(|old| !self.up(old)), "a replica is promoted beside a living primary");
        for other in (0..self.nodes.len()).filter(|other| *other != at && self.own(*other).of == Some(of)) {
            let better =
                self.nodes[other].offset > self.nodes[at].offset && self.nodes[other].link_down.is_none();
            let answers = self.lively(other) && self.nodes[other].since + 200 <= self.now;
            self.check(!(better && answers), "a replica with less data is promoted");
        }
        let now = self.now;
        match by {
            Promotion::Takeover => self.promote(at),
            Promotion::Force => {
                let tried = self.nodes[at].forced_at.replace(now);
                self.check(
                    tried.is_none_or(|tried| now - tried >= 2 * TIMEOUT),
                    "an election is repeated too soon",
                );
                let won = self.nodes[at].won_at.is_none_or(|won| now - won >= 4 * TIMEOUT);
                self.check(won, "a recent winner stands again");
                if self.majority(at) {
                    self.promote(at);
                }
            }
        }
    }
}
