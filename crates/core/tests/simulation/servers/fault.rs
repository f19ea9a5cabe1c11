//! What goes wrong with servers, with control, and between them.

use super::{Known, Server, Servers, TIMEOUT};
use crate::trace::Who;
use evenkeel_core::config::Persistence;
use evenkeel_core::plan::{Process, Request, Slots};
use std::collections::BTreeMap;

/// Slots that go to and fro.
#[derive(Clone, Copy, Debug)]
pub(super) struct Swing {
    pub(super) shard: usize,
    pub(super) until: u64,
    pub(super) trap: Trap,
}

/// Whether the primary dies as soon as the replica that would follow it has won a moment ago, and another primary cannot
/// be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trap {
    None,
    Set,
}

impl Servers {
    /// Anything goes wrong, on top of what is wrong already.
    pub(crate) fn fault(&mut self) {
        let at = self.below(self.nodes.len() as u64) as usize;
        match self.below(21) {
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
            18..=20 => self.swing(Trap::Set),
            _ if self.is_quiet() => {
                if self.below(3) == 0 {
                    (0..self.nodes.len()).for_each(|at| self.kill(at));
                }
                self.lose_directory(at);
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
        match self.below(21) {
            0..=4 => self.kill(at),
            5 | 6 => self.hang(at),
            7 => self.restart_control(),
            8..=10 => self.cut(at),
            11 | 12 => self.stall(at),
            13 | 14 => self.alarm(),
            15 => self.lose_directory(at),
            16 => self.swing(Trap::None),
            17 => {
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

    fn lose_directory(&mut self, at: usize) {
        self.kill(at);
        self.say(Who::Node(at), "loses its directory");
        let id = self.number();
        let node = &mut self.nodes[at];
        node.formerly = Some(std::mem::replace(&mut node.id, id));
        node.view = BTreeMap::from([(id, Known { at, of: None, epoch: 0, slots: Slots::none() })]);
        (node.disk, node.blank, node.struck) = (0, true, true);
        let others: Vec<usize> = (0..self.nodes.len()).filter(|other| *other != at).collect();
        self.note_losses(at, &others, 0);
    }

    /// People cannot make up their minds: a shard's slots go to and fro for a while.
    fn swing(&mut self, trap: Trap) {
        if self.desired.replicas > 0 {
            let shard = self.below(self.desired.shards as u64) as usize;
            self.swing = Some(Swing { shard, until: self.now + 1_000 + self.below(8_000), trap });
        }
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

    /// The trap snaps: `at` owns the slots that swing.
    pub(super) fn snap(&mut self, at: usize) {
        let (now, id) = (self.now, self.nodes[at].id);
        let recent = |other: &Server| other.won_at.is_some_and(|won| now < won + 3 * TIMEOUT);
        let waits = (0..self.nodes.len()).any(|other| {
            self.own(other).of == Some(id) && recent(&self.nodes[other]) && self.source(other) == Some(at)
        });
        let other = (0..self.nodes.len()).find(|other| *other != at && self.owns(*other));
        if let (true, Some(other)) = (waits, other) {
            self.kill(at);
            self.nodes[other].cuts.control = now + 1_000 + self.below(2_000);
            self.say(Who::Node(other), "is out of control's sight");
            self.swing = None;
        }
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
        (self.calm_until, self.swing) = (0, None);
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
