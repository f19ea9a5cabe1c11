//! What goes wrong with servers, with control, and between them.

use super::{Known, Server, Servers};
use crate::trace::Who;
use evenkeel_core::config::Persistence;
use evenkeel_core::plan::{Process, Request, Slots};
use std::collections::BTreeMap;

impl Servers {
    /// Anything goes wrong, on top of what is wrong already.
    pub(crate) fn fault(&mut self) {
        let at = self.below(self.nodes.len() as u64) as usize;
        match self.below(18) {
            0..=5 => self.kill(at),
            6 => (0..3).for_each(|_| {
                let at = self.below(self.nodes.len() as u64) as usize;
                self.kill(at);
            }),
            7 | 8 => self.hang(at),
            9 => self.restart_control(),
            10 => (0..self.nodes.len())
                .filter(|at| self.own(*at).of.is_none())
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|at| self.kill(at)),
            11 => (0..self.nodes.len()).for_each(|at| self.kill(at)),
            12 if self.desired.persistence == Persistence::Aof
                && self.is_believed_replica(at)
                && self.is_quiet() =>
            {
                self.kill(at);
                self.say(Who::Node(at), "cannot read its data any more");
                self.nodes[at].unreadable = true;
            }
            13 => {
                let target = if self.below(2) == 0 { "all".to_owned() } else { format!("n{at:02}") };
                self.order(&Request::Restart { target });
            }
            14 | 15 => self.order(&Request::Failover { target: format!("n{at:02}") }),
            _ if self.is_quiet() => {
                if self.below(3) == 0 {
                    (0..self.nodes.len()).for_each(|at| self.kill(at));
                }
                self.kill(at);
                self.say(Who::Node(at), "loses its directory");
                let id = self.number();
                self.nodes[at].formerly = Some(self.nodes[at].id);
                self.nodes[at].id = id;
                self.nodes[at].view =
                    BTreeMap::from([(id, Known { at, of: None, epoch: 0, slots: Slots::none() })]);
                self.nodes[at].disk = 0;
                self.nodes[at].blank = true;
            }
            _ => {}
        }
    }

    /// Whether it copies a primary, and others have heard of that.
    fn is_believed_replica(&self, at: usize) -> bool {
        let id = self.nodes[at].id;
        let heard =
            |other: &Server| other.id != id && other.view.get(&id).is_some_and(|known| known.of.is_some());
        self.own(at).of.is_some() && self.nodes.iter().any(heard)
    }

    /// One thing goes wrong, of those that cost nothing that a replica has confirmed.
    pub(crate) fn single_fault(&mut self) {
        let mut at = self.below(self.nodes.len() as u64) as usize;
        if let (false, Some(of), true) = (self.owns(at), self.own(at).of, self.below(2) == 0) {
            at = self.nodes[at].view.get(&of).map_or(at, |known| known.at);
        }
        match self.below(18) {
            0..=4 => self.kill(at),
            5 | 6 => self.hang(at),
            7 => self.restart_control(),
            8..=10 => self.cut(at),
            11 | 12 => self.stall(at),
            13 | 14 => self.alarm(),
            15 => {
                let target = if self.below(2) == 0 { "all".to_owned() } else { format!("n{at:02}") };
                self.order(&Request::Restart { target });
            }
            _ => self.order(&Request::Failover { target: format!("n{at:02}") }),
        }
    }

    /// A process ends. What it has sent to its replicas gets there, or some of it.
    pub(super) fn kill(&mut self, at: usize) {
        if !self.up(at) {
            return;
        }
        self.say(Who::Node(at), "is killed");
        self.nodes[at].struck = true;
        for replica in
            (0..self.nodes.len()).filter(|replica| self.source(*replica) == Some(at)).collect::<Vec<_>>()
        {
            self.nodes[replica].left = self.nodes[replica].copies;
            if self.gets(replica, at) {
                let most = self.dice.pick(&[0, 1, 5, 1000]);
                self.replicate_from(replica, at, most);
            }
        }
        self.died.push(at);
        self.nodes[at].hung_until = 0;
        self.nodes[at].process =
            Process::Exited { at: self.now, how: "was killed by signal 9".into(), failures: 0 };
    }

    fn hang(&mut self, at: usize) {
        let (now, until) = (self.now, self.now + 200 + self.below(4_000));
        (self.nodes[at].hung_from, self.nodes[at].hung_until) = (now, until);
        self.nodes[at].busy = self.below(3) == 0;
        self.nodes[at].struck = true;
        let how = if self.nodes[at].busy { "computes" } else { "hangs" };
        self.say(Who::Node(at), format!("{how} for {} ms", until - now));
    }

    /// Some who spoke with a server cannot any more.
    pub(crate) fn cut(&mut self, at: usize) {
        let until = self.now + 200 + self.below(6_000);
        let whom = self.below(7) + 1;
        let cuts = &mut self.nodes[at].cuts;
        for (bit, (name, cut)) in
            [("servers", &mut cuts.servers), ("control", &mut cuts.control), ("gateway", &mut cuts.gateway)]
                .into_iter()
                .enumerate()
        {
            if whom & 1 << bit > 0 {
                *cut = until;
                self.trace
                    .words(Who::Node(at), format!("is cut off from {name} for {} ms", until - self.now));
            }
        }
        self.nodes[at].struck = true;
    }

    /// A replica falls behind, and nobody sees that but by how far it has come.
    fn stall(&mut self, at: usize) {
        let stalled = 300 + self.below(4_000);
        self.nodes[at].stalled_until = self.now + stalled;
        self.say(Who::Node(at), format!("gets nothing of what it should copy for {stalled} ms"));
    }

    /// Somebody promotes the furthest replica beside its primary, which works: what only that one has is lost.
    fn alarm(&mut self) {
        let at = self.below(self.nodes.len() as u64) as usize;
        let Some(primary) = self.source(at).filter(|_| self.lively(at)) else { return };
        let copies = (0..self.nodes.len()).filter(|copy| self.source(*copy) == Some(primary));
        let Some(at) = copies.max_by_key(|copy| self.nodes[*copy].data.len()) else { return };
        if !self.lively(at) {
            return;
        }
        self.nodes[primary].struck = true;
        self.say(Who::Node(at), format!("is promoted by a stranger beside n{primary:02}"));
        self.promote(at);
        // a second fault before the replies are there that the deposed one gave would be two at a time
        self.calm_until = self.now + 2_000;
    }

    fn restart_control(&mut self) {
        self.say(Who::Control, "starts again");
        let now = self.now;
        self.began = self.began.max(now);
        for node in &mut self.nodes {
            if matches!(node.process, Process::Exited { .. }) {
                node.process = Process::Absent;
            }
            node.won_at = node.won_at.map(|_| now);
        }
    }

    /// Every fault is over.
    pub(crate) fn mend(&mut self) {
        for node in &mut self.nodes {
            (node.cuts, node.hung_until) = (super::Cuts::default(), node.hung_until.min(self.now));
            node.stalled_until = 0;
        }
        self.calm_until = 0;
    }

    /// Whether nothing is wrong, and every replica has what its primary has.
    pub(crate) fn is_whole(&self) -> bool {
        let now = self.now;
        let well = |at: usize| {
            let (node, source) = (&self.nodes[at], self.source(at));
            let cut = node.cuts.servers.max(node.cuts.control).max(node.cuts.gateway) > now;
            let behind = source.is_some_and(|source| self.nodes[source].data.len() > node.data.len() + 20);
            !cut && node.hung_until <= now && !behind
        };
        self.calm_until <= now && (0..self.nodes.len()).all(well) && self.is_quiet()
    }
}
