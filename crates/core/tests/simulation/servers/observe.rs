//! What control sees of the servers, and what they say of themselves.

use super::{Known, Servers, name};
use crate::line::addr;
use evenkeel_core::config::Persistence;
use evenkeel_core::plan::{
    Answer, Disk, Duty, Facts, Link, Mark, Observed, Own, Peer, PeerLink, PeerRole, Process, Seen, Settings,
    Silence, State,
};
use std::fmt::Write;

impl Servers {
    pub(super) fn observe(&self) -> Observed {
        let seen = |at: usize| {
            let node = &self.nodes[at];
            let answer = if !self.answers(at) {
                Answer::Silent { because: "timed out".into() }
            } else if self.is_loading(at) {
                Answer::Loading
            } else {
                Answer::Facts(Box::new(self.facts(at)))
            };
            let fails = matches!(node.process, Process::Exited { failures: 3.., .. });
            let disk =
                match (node.blank || self.desired.persistence == Persistence::None, node.unreadable && fails)
                {
                    (true, _) if self.recorded && self.desired.persistence != Persistence::None => Disk::Lost,
                    (true, _) => Disk::Blank,
                    (false, true) => Disk::Unreadable,
                    (false, false) => Disk::Kept,
                };
            Seen {
                process: node.process.clone(),
                disk,
                answer,
                silence: self.silence(at),
                started_at: node.since,
                past: None,
                settings: Settings::InForce,
                won_at: node.won_at,
                yielded_at: node.yielded_at,
                wrote: node.wrote.map(|stream| stream.to_string()),
                forced_at: node.forced_at,
            }
        };
        let nodes = (0..self.nodes.len()).map(|at| (self.desired.nodes[at].name.clone(), seen(at))).collect();
        Observed { since: self.began, nodes }
    }

    fn silence(&self, at: usize) -> Option<Silence> {
        let node = &self.nodes[at];
        let owed = self.now.saturating_sub(node.hung_from);
        let hangs = self.up(at) && node.hung_until > self.now && owed > 0;
        if self.up(at) && node.cuts.control > self.now && !hangs {
            return Some(Silence { pings: 9, owed: 720, still: 0 }); // who is out of sight works on
        }
        hangs.then_some(Silence { pings: owed as u32 / 80, owed, still: if node.busy { 0 } else { owed } })
    }

    pub(super) fn facts(&self, at: usize) -> Facts {
        let node = &self.nodes[at];
        let own = self.own(at);
        let peer = |(id, known): (&u64, &Known)| Peer {
            id: name(*id),
            addr: Some(addr(known.at)),
            own: if *id == node.id { Own::Myself } else { Own::Other },
            role: known.of.map_or(PeerRole::Primary, |of| PeerRole::Replica(name(of))),
            mark: Mark::Fine,
            epoch: known.epoch,
            link: if self.up(known.at) && self.nodes[known.at].id == *id && !self.is_cut(at, known.at) {
                PeerLink::Up
            } else {
                PeerLink::Down
            },
            slots: known.slots.clone(),
        };
        let link = match node.link_down {
            None => Link::Up,
            Some(_) if node.offset == 0 => Link::Never,
            Some(since) => Link::Down { since_s: (self.now - since) / 1_000 },
        };
        Facts {
            id: name(node.id),
            state: if self.is_ok(at) { State::Ok } else { State::Fail },
            duty: own.of.map_or(Duty::Primary, |of| Duty::Replica { of: name(of), link }),
            stream: node.stream.to_string(),
            offset: node.offset,
            keys: node.data.len() as u64,
            view: node.view.iter().map(peer).collect(),
        }
    }

    /// Whether one cannot hear the other though both may be well.
    fn is_cut(&self, at: usize, other: usize) -> bool {
        at != other && [at, other].iter().any(|at| self.nodes[*at].cuts.servers > self.now)
    }

    /// What a server answers to CLUSTER NODES.
    pub(super) fn view_text(&self, at: usize) -> String {
        let mut text = String::new();
        for (id, Known { at: place, of, epoch, slots }) in &self.nodes[at].view {
            let myself = if *id == self.nodes[at].id { "myself," } else { "" };
            let (role, of) = of.map_or(("master", "-".to_owned()), |of| ("slave", of.to_string()));
            let addr = addr(*place);
            let _ = write!(text, "{id} {addr}@1 {myself}{role} {of} 0 0 {epoch} connected");
            for (first, last) in slots.ranges() {
                let _ = write!(text, " {first}-{last}");
            }
            text.push('\n');
        }
        text
    }
}
