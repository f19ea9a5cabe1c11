//! What each step does to the simulated world, and the safety rules that it must not break there.

use super::{Known, Servers, TIMEOUT};
use evenkeel_core::config::Persistence;
use evenkeel_core::plan::{NodeName, Process, Promotion, Slots, Step, What};

impl Servers {
    pub(super) fn at(&self, name: &NodeName) -> usize {
        self.desired.nodes.iter().position(|node| &node.name == name).expect("known")
    }

    pub(super) fn act(&mut self, step: &Step) {
        let at = self.at(step.node());
        if !matches!(step, Step::Start { .. } | Step::Kill { .. } | Step::SetAside { .. })
            && !self.answers(at)
        {
            return;
        }
        match step {
            Step::Start { .. } => self.start(at),
            Step::Kill { .. } => {
                let hangs = self.nodes[at].hung_until + self.tick > self.now && !self.nodes[at].busy;
                assert!(hangs, "a server that works is ended");
                self.kill(at);
            }
            Step::Stop { .. } => self.stop(at),
            Step::Configure { .. } => panic!("nothing differs"),
            Step::Switch { from, .. } => self.switch(at, self.at(from)),
            Step::Identify { .. } => panic!("no identity is lost without its data"),
            Step::SetAside { .. } => {
                assert!(!self.up(at), "the data of a running server is moved");
                let owned: Vec<_> = (0..self.nodes.len()).filter(|other| self.answers(*other)).collect();
                let id = self.nodes[at].id;
                let owner = |other: &&usize| {
                    self.nodes[**other].view.get(&id).is_some_and(|known| !known.slots.is_empty())
                };
                assert!(owned.iter().filter(owner).count() * 2 <= owned.len(), "an owner's data is moved");
                (self.nodes[at].unreadable, self.nodes[at].blank, self.nodes[at].disk) = (false, true, 0);
            }
            Step::Promote { by, .. } => self.judge_promotion(at, *by),
            Step::Forget { id, .. } => {
                let id: u64 = id.0.parse().expect("known");
                assert!(self.nodes.iter().all(|node| node.id != id), "an id in use is forgotten");
                self.nodes[at].view.remove(&id);
            }
            Step::Raise { .. } => self.raise(at),
            Step::SetEpoch { epoch, .. } => {
                let id = self.nodes[at].id;
                assert!(self.nodes[at].view.len() == 1, "an epoch is set on a node that knows others");
                self.nodes[at].view.get_mut(&id).expect("known").epoch = *epoch;
            }
            Step::AddSlots { slots, .. } => {
                let id = self.nodes[at].id;
                let owned =
                    (0..self.nodes.len()).any(|other| other != at && self.own(other).slots.meets(slots));
                assert!(!owned, "slots that have an owner are given away");
                let own = self.nodes[at].view.get_mut(&id).expect("known");
                own.slots = own.slots.plus(slots);
            }
            Step::Meet { peers, .. } => {
                for peer in peers.iter().map(|peer| self.at(peer)).collect::<Vec<_>>() {
                    if self.meets(at, peer) {
                        self.meet(at, peer);
                    }
                }
            }
            Step::Replicate { id, .. } => {
                assert!(self.own(at).slots.is_empty(), "a primary with slots is made a replica");
                let copies = self.own(at).of.is_some();
                assert!(copies || self.nodes[at].data.len() == 0, "a node with data is made a replica");
                let own = self.nodes[at].id;
                let now = self.now;
                let node = &mut self.nodes[at];
                node.view.get_mut(&own).expect("known").of = Some(id.0.parse().expect("a number"));
                (node.link_down, node.copies) = (Some(now), None);
            }
        }
    }

    fn stop(&mut self, at: usize) {
        assert!(
            self.desired.orders.iter().any(|order| matches!(order.what, What::Restart { .. })),
            "a server is stopped without an order",
        );
        let owns = !self.own(at).slots.is_empty();
        assert!(!owns || self.desired.replicas == 0, "a primary is stopped that could be replaced");
        assert!(
            !owns || self.desired.persistence != Persistence::None,
            "a primary is stopped that keeps nothing"
        );
        self.nodes[at].disk = self.nodes[at].data.len();
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
        assert!(!self.up(at), "a second server is started over a live one");
        if self.desired.persistence == Persistence::None {
            let id = self.nodes[at].id;
            let owner = (0..self.nodes.len())
                .filter(|other| self.up(*other))
                .all(|other| self.nodes[other].view.get(&id).is_none_or(|known| !known.slots.is_empty()));
            for other in 0..self.nodes.len() {
                let copy =
                    self.up(other) && self.own(other).of == Some(id) && self.nodes[other].data.len() > 0;
                assert!(!(owner && copy), "n{at:02} starts empty while n{other:02} holds its data",);
            }
            self.nodes[at].disk = 0;
        }
        let (now, fails) = (self.now, self.below(12) == 0 || self.nodes[at].unreadable);
        let [run, stream] = [self.number(), self.number()];
        let node = &mut self.nodes[at];
        if let (true, Process::Exited { failures, .. }) = (fails, node.process.clone()) {
            node.process =
                Process::Exited { at: now, how: "exited with status 1".into(), failures: failures + 1 };
            return;
        }
        (node.process, node.since) = (Process::Running { pid: 1 }, now);
        (node.offset, node.link_down, node.copies, node.left) = (0, Some(now), None, None);
        (node.run, node.stream, node.before) = (run, stream, None);
        (node.blank, node.paused_until, node.lone_since) = (false, 0, None);
        let (kept, others) =
            (node.disk, (0..self.nodes.len()).filter(|other| *other != at).collect::<Vec<_>>());
        self.note_losses(at, &others, kept);
        let node = &mut self.nodes[at];
        node.data.cut(kept);
        (node.won_at, node.forced_at) = (None, None);
    }

    /// As CLUSTER BUMPEPOCH: above all that it knows of, unless it is there already.
    fn raise(&mut self, at: usize) {
        let top = self.nodes[at].view.values().map(|known| known.epoch).max().unwrap_or(0);
        let id = self.nodes[at].id;
        let own = self.nodes[at].view.get_mut(&id).expect("it knows itself");
        assert!(!own.slots.is_empty(), "who owns nothing raises its epoch");
        own.epoch = if own.epoch == top { top } else { top + 1 };
    }

    /// The primary holds writes back until the replica has everything, and the others vote.
    fn switch(&mut self, at: usize, from: usize) {
        let now = self.now;
        let long_ago = |since: Option<u64>, limit: u64| since.is_none_or(|since| now - since >= limit);
        assert!(long_ago(self.nodes[at].won_at, 4 * TIMEOUT), "a recent winner takes over");
        assert!(
            long_ago(self.nodes[from].yielded_at, 2 * TIMEOUT),
            "a primary gives its slots away too soon",
        );
        assert!(long_ago(self.nodes[at].forced_at, 2 * TIMEOUT), "a switch is repeated too soon");
        self.nodes[at].forced_at = Some(now);
        if !self.answers(from)
            || self.own(at).of != Some(self.nodes[from].id)
            || self.source(at) != Some(from)
        {
            return;
        }
        self.nodes[from].paused_until = now + if self.below(8) == 0 { 500 } else { 10_000 };
        if self.nodes[from].paused_until > now + 500 && self.gets(at, from) {
            self.replicate_from(at, from, usize::MAX);
            // it was asked how far it is, and writes its log before it answers (server.c `beforeSleep`)
            self.nodes[at].disk = self.nodes[at].data.len();
            self.promote(at);
            self.rumour(at, from);
        } else {
            self.nodes[from].paused_until = now + 500;
        }
    }

    fn judge_promotion(&mut self, at: usize, by: Promotion) {
        let Some(of) = self.own(at).of else { return };
        let old = (0..self.nodes.len()).find(|old| self.nodes[*old].id == of);
        assert!(old.is_none_or(|old| !self.up(old)), "a replica is promoted beside a living primary");
        let synced =
            |other: usize| old.is_some_and(|old| self.nodes[other].left == Some(self.nodes[old].run));
        for other in (0..self.nodes.len()).filter(|other| *other != at && self.own(*other).of == Some(of)) {
            let better = self.nodes[other].data.len() > self.nodes[at].data.len() && synced(other);
            let answers = self.answers(other) && !self.is_loading(other);
            assert!(!(better && answers), "n{at:02} is promoted, and n{other:02} has more");
        }
        let now = self.now;
        match by {
            Promotion::Takeover => self.promote(at),
            Promotion::Force => {
                let tried = self.nodes[at].forced_at.replace(now);
                assert!(
                    tried.is_none_or(|tried| now - tried >= 2 * TIMEOUT),
                    "an election is repeated too soon",
                );
                let won = self.nodes[at].won_at.is_none_or(|won| now - won >= 4 * TIMEOUT);
                assert!(won, "a recent winner stands again");
                if self.majority(at) {
                    self.promote(at);
                }
            }
        }
    }
}
