//! Commands over the whole cluster: the same request to every primary, or to every node.
//!
//! A primary's part goes by its lowest slot: where the primary dies, the part waits for who takes over. A replica's
//! part is an errand: it is for that node or for nobody.

use super::fold::{Asked, Fan, Need};
use super::forward::{Admit, resend};
use super::info::nodes_asked;
use super::merge::Policy;
use super::pipe::{Resend, Ticket, Work};
use super::{Proxy, SessionId};
use crate::command::{Command, Fold, Scope};
use crate::resp::{Args, ErrorReply, parse_u64};
use crate::topology::{NodeIndex, SLOTS};

/// RANDOMKEY and DBSIZE as they are sent.
const RANDOMKEY: &[u8] = b"*1\r\n$9\r\nRANDOMKEY\r\n";
const DBSIZE: &[u8] = b"*1\r\n$6\r\nDBSIZE\r\n";

/// Settings by which evenkeel finds its nodes and is let in, or that say who copies whom. Prefixes.
const OWN_SETTINGS: &[&str] = &[
    "bind",
    "cluster-",
    "masterauth",
    "masteruser",
    "port",
    "primaryauth",
    "primaryuser",
    "replica-announce-",
    "replicaof",
    "requirepass",
    "slave-announce-",
    "slaveof",
    "tls-port",
];
/// Settings of the cluster that may be changed while it runs.
const FREE_SETTINGS: &[&str] = &[
    "cluster-allow-pubsubshard-when-down",
    "cluster-allow-reads-when-down",
    "cluster-link-sendbuf-limit",
    "cluster-migration-barrier",
    "cluster-require-full-coverage",
];

impl Proxy {
    /// The same request to several nodes.
    pub(super) fn every(
        &mut self,
        id: SessionId,
        command: &'static Command,
        (scope, fold): (Scope, Fold),
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        if fold == Fold::Youngest && args.get(2).eq_ignore_ascii_case(b"reset") {
            return self.every(id, command, (Scope::Nodes, Fold::AllOk), frame, args);
        }
        if let (Fold::Info, Some(frame)) = (fold, nodes_asked(args)) {
            return self.every(id, command, (Scope::Nodes, Fold::Texts), &frame, args);
        }
        let primaries = self.topology.primaries();
        if primaries.is_empty() {
            return self.came_early(id);
        }
        let Some(trunk) = self.may_send(id) else { return Admit::Stopped };
        if primaries.iter().any(|(_, lowest)| self.is_crowded(id, *lowest, trunk)) {
            return Admit::Stopped;
        }
        let others: Vec<NodeIndex> = match scope {
            Scope::Primaries | Scope::Aside => Vec::new(),
            Scope::Nodes => self.others(),
        };
        let asked = |node: NodeIndex, need| Asked { addr: self.topology.node(node).addr, need };
        let fan = Fan {
            fold,
            asked: primaries
                .iter()
                .map(|(node, _)| asked(*node, Need::Must))
                .chain(others.iter().map(|node| asked(*node, Need::May)))
                .collect(),
            most: most(fold, args),
        };
        let frames: &[&[u8]] = if fold == Fold::Weighted { &[RANDOMKEY, DBSIZE] } else { &[frame] };
        let must = primaries.len() * frames.len();
        let parts = must + others.len();
        let resend = resend(command.access);
        let Some((merge, ticket)) = self.begin_merge(id, Policy::Fan(fan), resend, parts) else {
            return Admit::Yes;
        };
        if resend == Resend::Never
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.note_writes_everywhere(self.now.steady);
        }
        for (place, (node, lowest)) in primaries.into_iter().enumerate() {
            for (at, frame) in frames.iter().enumerate() {
                let part = (place * frames.len() + at) as u32;
                match scope {
                    Scope::Primaries | Scope::Nodes => {
                        let work = Work::Part { merge, part };
                        self.dispatch(Ticket { slot: lowest, work, ..ticket }, frame);
                    }
                    Scope::Aside => {
                        self.send_errand(
                            node,
                            Ticket { work: Work::Errand { merge, part }, ..ticket },
                            frame,
                        );
                    }
                }
            }
        }
        for (at, node) in others.into_iter().enumerate() {
            let work = Work::Errand { merge, part: (must + at) as u32 };
            self.send_errand(node, Ticket { work, ..ticket }, frame);
        }
        Admit::Yes
    }

    /// The nodes that own no slot.
    fn others(&self) -> Vec<NodeIndex> {
        let owners = self.topology.primaries();
        let owns = |node: &NodeIndex| owners.iter().any(|(owner, _)| owner == node);
        (0..self.topology.nodes().len()).map(|at| NodeIndex(at as u16)).filter(|node| !owns(node)).collect()
    }

    /// CONFIG SET: on every node, so that a replica that takes over goes by it too.
    pub(super) fn settings(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        let own = args.iter().skip(2).step_by(2).find(|name| is_own_setting(name));
        match own {
            Some(name) => {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                self.refuse(id, &ErrorReply::OwnSetting(&name))
            }
            None => {
                self.suspect_nodes();
                self.every(id, command, (Scope::Nodes, Fold::AllOk), frame, args)
            }
        }
    }

    /// A command whose argument 2 is a slot.
    pub(super) fn by_slot_number(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        match crate::resp::parse_i64(args.get(2)) {
            Some(slot) if (0..i64::from(SLOTS)).contains(&slot) => {
                self.forward(id, slot as u16, frame, command)
            }
            Some(_) => self.refuse(id, &ErrorReply::InvalidSlot),
            None => self.refuse(id, &ErrorReply::NotAnInteger),
        }
    }
}

fn is_own_setting(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    let free = FREE_SETTINGS.iter().any(|free| name == free.as_bytes());
    !free && OWN_SETTINGS.iter().any(|own| name.starts_with(own.as_bytes()))
}

/// How many entries of a log the client wants (`slowlog.c`: 10 where it does not say, -1 for all).
fn most(fold: Fold, args: &Args<'_>) -> usize {
    if !matches!(fold, Fold::Newest | Fold::Youngest) {
        return usize::MAX;
    }
    match args.get(2) {
        b"" => 10,
        count => parse_u64(count).map_or(usize::MAX, |count| count as usize),
    }
}
