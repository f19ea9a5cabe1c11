//! CLIENT TRACKING: the nodes tell a client which of the keys that it has read have changed (`tracking.c`).
//!
//! A node remembers for a connection what was read on it. So a client that is tracked has a trunk of its own: on each
//! of its connections tracking is switched on before anything else, and what the nodes say there is the client's
//! ([`hear`]). A connection that is lost takes a node's memory with it: then the client is told to forget everything, and
//! goes on with a new one.
//!
//! ```text
//! client (RESP3)            ─► its trunk: HELLO 3, CLIENT TRACKING ON …      ─► nodes
//!        ▲───────────────────────── >invalidate ◄───────────────────────────────┘
//! client (REDIRECT n)       ─► its trunk: HELLO …, CLIENT TRACKING ON REDIRECT e … ─► nodes
//! client n ◄── >invalidate ◄─── its ear:   HELLO 3; this connection's number is e  ◄────┘
//! ```
//!
//! Who asks for other options, or for the other protocol while another client hears of its keys, keeps its
//! connections and what nodes remember of them ([`adjust`]).

mod adjust;
mod caching;
mod hear;
mod options;

pub(super) use caching::Caching;
use options::Options;

use super::forward::{Admit, full};
use super::session::Stop;
use super::trunk::{Login, Tenancy, Trunk, TrunkId};
use super::upstream::Way;
use super::{Proxy, SessionId};
use crate::command::{Command, Fold, Scope};
use crate::resp::{Args, ErrorReply, Proto, TrackingError, Writer};
use crate::topology::NodeIndex;
use std::net::SocketAddr;

/// A request that every node answers with +OK and that changes nothing.
const READWRITE: &[u8] = b"*1\r\n$9\r\nREADWRITE\r\n";

/// What a client wants to be told.
#[derive(Debug)]
pub(crate) struct Tracking {
    options: Options,
    /// The client that hears it instead, where it was last.
    target: Option<SessionId>,
    /// Whether that client is gone.
    is_broken: bool,
    caching: Option<Caching>,
    /// The number of its next request when it was last told to forget everything, if that was behind all replies.
    forgot: Option<u32>,
}

impl Tracking {
    /// Whether this client needs connections of its own: somebody hears what nodes say on them.
    fn is_heard(&self, proto: Proto) -> bool {
        proto == Proto::Three || self.options.redirect.is_some()
    }

    /// The number of the client that hears it, for CLIENT LIST.
    pub(crate) fn redirect(&self) -> i64 {
        self.options.redirect.map_or(0, |number| number as i64)
    }

    /// How CLIENT LIST marks it: tracked, to whom nobody listens, or by prefixes.
    pub(crate) fn letters(&self) -> impl Iterator<Item = char> {
        let broken = self.is_broken.then_some('R');
        let bcast = self.options.bcast.then_some('B');
        std::iter::once('t').chain(broken).chain(bcast)
    }
}

impl Proxy {
    fn tracking(&mut self, id: SessionId) -> Option<&mut Tracking> {
        self.sessions.get_mut(id)?.extra.as_mut()?.tracking.as_deref_mut()
    }

    pub(super) fn client_tracking(
        &mut self,
        id: SessionId,
        command: &'static Command,
        args: &Args<'_>,
    ) -> Admit {
        // It changes the connections that requests go by: those under way are waited for.
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = full(session).or_else(|| (session.under_way() > 0).then_some(Stop::Quiet)) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let wanted = match Options::parse(args) {
            Ok(wanted) => wanted,
            Err(error) => return self.refuse(id, &error),
        };
        let redirect = wanted.as_ref().and_then(|wanted| wanted.redirect);
        let target = redirect.and_then(|number| self.client_by_number(number));
        if redirect.is_some() && target.is_none() {
            return self.refuse(id, &ErrorReply::Tracking(TrackingError::NoTarget));
        }
        let Some(wanted) = wanted else {
            self.end_tracking(id);
            return self.reply_with(id, |out| out.simple("OK"));
        };
        let before = self.tracking(id).map(|tracking| tracking.options.clone());
        let options = match wanted.after(before.as_ref()) {
            Ok(options) => options,
            Err(error) => return self.refuse(id, &error),
        };
        if before.as_ref().is_some_and(|before| *before == options) && redirect.is_none() {
            return self.reply_with(id, |out| out.simple("OK"));
        }
        let bcast = options.bcast;
        if let Some(session) = self.sessions.get_mut(id) {
            let tracking = Tracking { options, target, is_broken: false, caching: None, forgot: None };
            session.extra.get_or_insert_default().tracking = Some(Box::new(tracking));
        }
        if !self.trackers.contains(&id) {
            self.trackers.push(id);
        }
        if !before.is_some_and(|before| self.adjust(id, &before)) {
            self.retrunk(id);
        }
        if !bcast {
            return self.reply_with(id, |out| out.simple("OK"));
        }
        // Changes that are made from now on have to be heard: every node has to know before the client does.
        self.every(id, command, (Scope::Primaries, Fold::AllOk), READWRITE, args)
    }

    fn client_by_number(&self, number: u64) -> Option<SessionId> {
        self.sessions.iter().find(|(_, session)| session.number == number).map(|(id, _)| id)
    }

    /// Tracks a client no longer.
    pub(super) fn end_tracking(&mut self, id: SessionId) {
        let Some(extra) = self.sessions.get_mut(id).and_then(|session| session.extra.as_mut()) else {
            return;
        };
        if extra.tracking.take().is_none() {
            return;
        }
        self.trackers.retain(|tracker| *tracker != id);
        self.retrunk(id);
        self.tidy(id);
    }

    /// Puts a client on the trunk that its tracking needs, with the user and protocol that it has. Nothing of it may be
    /// under way.
    fn retrunk(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let (proto, trunk) = (session.proto, session.trunk);
        let login = self.login_of(trunk).cloned();
        let trunk = self.trunk_for(id, proto, login.as_ref());
        self.join_trunk(id, trunk);
    }

    /// The trunk of a client with this protocol and user: shared, or its own while it is tracked.
    pub(super) fn trunk_for(&mut self, id: SessionId, proto: Proto, login: Option<&Login>) -> TrunkId {
        let Some(tracking) = self.tracking(id).filter(|tracking| tracking.is_heard(proto)) else {
            return self.shared_trunk(proto, login);
        };
        let mut trunk = Trunk::new(proto, login.cloned(), Tenancy::Of(id));
        if tracking.options.redirect.is_none() {
            trunk.prelude.push(tracking.options.request(None));
        } else {
            let ear = self.new_trunk(Trunk::new(Proto::Three, login.cloned(), Tenancy::Of(id)));
            self.enter_trunk(ear);
            trunk.ear = Some(ear);
        }
        self.new_trunk(trunk)
    }

    /// What goes first on a new connection of a trunk with an ear; `None` while the ear does not hear that node.
    pub(super) fn ear_prelude(&mut self, addr: SocketAddr, trunk: TrunkId) -> Option<Vec<u8>> {
        let (ear, tenancy) = self.trunks.get(trunk).map(|trunk| (trunk.ear, trunk.tenancy))?;
        let (Some(ear), Tenancy::Of(client)) = (ear, tenancy) else { return Some(Vec::new()) };
        let node = self.topology.nodes().iter().position(|node| node.addr == addr)?;
        let Way::Pipe(pipe) = self.way_to(NodeIndex(node as u16), ear) else { return None };
        let number = self.pipes.get(pipe)?.number?;
        Some(self.tracking(client)?.options.request(Some(number)))
    }

    /// Has clients that hear of every change connected to every primary.
    pub(super) fn tracking_tick(&mut self) {
        if self.trackers.is_empty() {
            return;
        }
        let primaries = self.topology.primaries();
        for at in 0..self.trackers.len() {
            let id = self.trackers[at];
            let all = self.tracking(id).is_some_and(|tracking| tracking.options.bcast);
            let Some(trunk) = self.sessions.get(id).map(|session| session.trunk).filter(|_| all) else {
                continue;
            };
            for (node, _) in &primaries {
                let _ = self.way_to(*node, trunk);
            }
        }
    }

    pub(super) fn client_getredir(&mut self, id: SessionId) -> Admit {
        let redirect = self.tracking(id).map_or(-1, |tracking| tracking.redirect());
        self.reply_with(id, |out| out.integer(redirect))
    }

    pub(super) fn client_trackinginfo(&mut self, id: SessionId) -> Admit {
        // A word for the request behind this one: asking does not count.
        let next = self.sessions.get(id).map_or(0, |session| session.upcoming().wrapping_add(1));
        let (flags, redirect, prefixes) = match self.tracking(id) {
            None => (vec!["off"], -1, Vec::new()),
            Some(tracking) => {
                let caching = tracking.caching.is_some_and(|caching| caching.is_for(next));
                let flags = tracking.options.flags(caching, tracking.is_broken);
                (flags, tracking.redirect(), tracking.options.prefixes.clone())
            }
        };
        self.reply_with(id, |out| info(out, &flags, redirect, &prefixes))
    }
}

fn info(out: &mut Writer<'_>, flags: &[&str], redirect: i64, prefixes: &[Vec<u8>]) {
    out.map(3);
    out.bulk(b"flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk(flag.as_bytes()));
    out.bulk(b"redirect");
    out.integer(redirect);
    out.bulk(b"prefixes");
    out.array(prefixes.len());
    prefixes.iter().for_each(|prefix| out.bulk(prefix));
}
