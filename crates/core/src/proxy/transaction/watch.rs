//! WATCH: keys that must not change before EXEC.
//!
//! A server remembers watched keys for a connection, so a client that watches has one of its own to the node of its
//! keys until EXEC, UNWATCH or DISCARD. Only WATCH and the transaction itself go over it: what the client asks in
//! between goes the ordinary way, so its own writes count as anybody's, as they do on a server.
//!
//! ```text
//! Seeking ──connection──► Asking ──+OK──► Watching ──EXEC, UNWATCH, DISCARD──► (given back)
//!    ▲                      │ MOVED, ASK, lost  │ lost, or moved with more keys
//!    └──────────────────────┘                   └──► Broken: EXEC answers null, as if a key had changed
//! ```
//! To answer null is always safe: the client reads again and tries again, at the node that has its keys by then.

use super::super::forward::{Admit, full};
use super::super::pipe::{ASKING, Resend, Ticket, Work};
use super::super::redirect::{Verdict, judge};
use super::super::session::Stop;
use super::super::timing::Tally;
use super::super::{PipeId, Proxy, SessionId};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply, Writer};
use crate::topology::slot;
use std::net::SocketAddr;

/// UNWATCH as it is sent.
const UNWATCH: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
/// How soon a node that cannot watch now is asked again (microseconds).
const AGAIN: u64 = 5_000;

/// What one client watches.
#[derive(Debug)]
pub(crate) struct Watch {
    slot: u16,
    /// A node that holds the slot only for those who say ASKING.
    told: Option<(SocketAddr, Asking)>,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asking {
    No,
    Yes,
}

#[derive(Debug)]
enum Phase {
    Seeking { request: Request, due: u64 },
    Asking { request: Request, kind: Kind },
    Watching(PipeId),
    Broken,
}

/// Whether the connection watches keys already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    First,
    More,
}

/// A WATCH that is not answered yet.
#[derive(Debug)]
struct Request {
    frame: Vec<u8>,
    seq: u32,
    born: u64,
    tries: u8,
}

impl Watch {
    pub(super) fn slot(&self) -> u16 {
        self.slot
    }
}

impl Proxy {
    fn watching(&mut self, id: SessionId) -> Option<&mut Watch> {
        self.transaction(id)?.watch.as_deref_mut()
    }

    pub(in super::super) fn watch(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let wanted = slot(args.get(1));
        let watched = self.watching(id).map_or(wanted, |watch| watch.slot);
        if args.iter().skip(1).any(|key| slot(key) != watched) {
            return self.refuse(id, &ErrorReply::CrossSlot);
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        // What the client wrote before is on other connections: it has to be there first.
        if let Some(stop) = (session.under_way() > 0).then_some(Stop::Quiet).or_else(|| full(session)) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        // And nothing that it reads after may be read before.
        session.stop = Some(Stop::Quiet);
        let mut frame = Vec::new();
        Writer::new(&mut frame, session.proto).request(args.iter());
        let request = Request { frame, seq: session.admit(), born: self.now.steady, tries: 0 };
        let transaction = &mut session.extra.get_or_insert_default().transaction;
        match transaction.watch.as_mut().map(|watch| &watch.phase) {
            Some(Phase::Watching(pipe)) => {
                let pipe = *pipe;
                self.ask_to_watch(id, pipe, request, Kind::More);
            }
            Some(Phase::Broken | Phase::Seeking { .. } | Phase::Asking { .. }) => {
                let ticket = request.ticket(id, watched);
                self.deliver_whole(&ticket, b"+OK\r\n");
            }
            None => {
                let phase = Phase::Seeking { request, due: 0 };
                transaction.watch = Some(Box::new(Watch { slot: watched, told: None, phase }));
                self.seek_watch(id);
            }
        }
        Admit::Yes
    }

    /// Gets a connection for a WATCH and asks on it, or waits for a better time.
    fn seek_watch(&mut self, id: SessionId) {
        let now = self.now.steady;
        let Some(trunk) = self.sessions.get(id).map(|session| session.trunk) else { return };
        let Some(watch) = self.watching(id) else { return };
        let Phase::Seeking { request, due } = &watch.phase else { return };
        let (slot, told, due, born) = (watch.slot, watch.told, *due, request.born);
        if now.saturating_sub(born) >= self.settings.hold {
            return self.give_watch_up(id);
        }
        let owner = self.topology.owner(slot).map(|node| (self.topology.node(node).addr, Asking::No));
        let ready = |addr: &SocketAddr| self.links.get(addr).is_none_or(|link| link.retry_at <= now);
        let place = told.or(owner).filter(|(addr, _)| due <= now && ready(addr));
        let Some(pipe) = place.and_then(|(addr, _)| self.private(addr, trunk, id)) else {
            self.watch_waiters.push(id);
            if due <= now
                && let Some(watch) = self.watching(id)
            {
                watch.told = None; // the other node is not there: ask the owner again
            }
            if owner.is_none() {
                self.learn();
            }
            return;
        };
        let Some(watch) = self.watching(id) else { return };
        match std::mem::replace(&mut watch.phase, Phase::Broken) {
            Phase::Seeking { request, .. } => self.ask_to_watch(id, pipe, request, Kind::First),
            other @ (Phase::Asking { .. } | Phase::Watching(_) | Phase::Broken) => watch.phase = other,
        }
    }

    fn ask_to_watch(&mut self, id: SessionId, pipe: PipeId, request: Request, kind: Kind) {
        let now = self.now.steady;
        let Some(watch) = self.watching(id) else { return };
        let (slot, asking) = (watch.slot, watch.asks());
        let ticket = request.ticket(id, slot);
        if asking == Asking::Yes {
            self.push(pipe, ASKING, Ticket::of_nobody(Work::Nobody, now));
        }
        self.push(pipe, &request.frame, ticket);
        if let Some(watch) = self.watching(id) {
            watch.phase = Phase::Asking { request, kind };
        }
    }

    /// A node's answer to WATCH.
    pub(in super::super) fn watched(&mut self, id: PipeId, ticket: &Ticket, reply: &[u8]) {
        let verdict = match (reply.first(), self.pipes.get(id)) {
            (Some(b'-'), Some(pipe)) => judge(reply, pipe.addr.ip()),
            _ => Verdict::Deliver,
        };
        let failed = reply.first() == Some(&b'-');
        let Some(watch) = self.watching(ticket.session) else { return self.release_private(id) };
        match std::mem::replace(&mut watch.phase, Phase::Broken) {
            Phase::Asking { kind: Kind::First, .. } if failed && verdict == Verdict::Deliver => {
                self.give_back(id);
                self.unwatch_broken(ticket.session);
                self.deliver_whole(ticket, reply);
            }
            Phase::Asking { .. } if verdict == Verdict::Deliver => {
                watch.phase = Phase::Watching(id);
                self.deliver_whole(ticket, reply);
            }
            Phase::Asking { request, kind: Kind::First } => {
                self.give_back(id);
                self.watch_elsewhere(ticket.session, request, verdict);
            }
            // The keys that it watched before are gone from this node.
            Phase::Asking { .. } => {
                self.release_private(id);
                self.deliver_whole(ticket, b"+OK\r\n");
            }
            Phase::Seeking { .. } | Phase::Watching(_) | Phase::Broken => self.release_private(id),
        }
    }

    fn watch_elsewhere(&mut self, id: SessionId, request: Request, verdict: Verdict) {
        self.add(Metric::Redirects, 1);
        self.learn();
        let tries = request.tries.saturating_add(1);
        let pause = if tries > 5 { AGAIN } else { 0 };
        let (told, due) = match verdict {
            Verdict::Moved(addr) => (addr.map(|addr| (addr, Asking::No)), pause),
            Verdict::Ask(addr) => (addr.map(|addr| (addr, Asking::Yes)), pause),
            Verdict::Later | Verdict::Deliver => (None, AGAIN),
        };
        let due = self.now.steady + due;
        let Some(watch) = self.watching(id) else { return };
        watch.told = told;
        watch.phase = Phase::Seeking { request: Request { tries, ..request }, due };
        self.seek_watch(id);
    }

    fn give_watch_up(&mut self, id: SessionId) {
        let Some(watch) = self.watching(id) else { return };
        let slot = watch.slot;
        if let Phase::Seeking { request, .. } = std::mem::replace(&mut watch.phase, Phase::Broken) {
            self.unwatch_broken(id);
            self.give_up(&request.ticket(id, slot));
        }
    }

    /// WATCHes that wait for a node look again.
    pub(in super::super) fn watch_tick(&mut self) {
        for id in std::mem::take(&mut self.watch_waiters) {
            self.seek_watch(id);
        }
    }

    /// A connection with a WATCH on it was lost before it answered.
    pub(in super::super) fn watch_lost(&mut self, ticket: &Ticket) {
        let due = self.now.steady + AGAIN;
        let Some(watch) = self.watching(ticket.session) else { return };
        match std::mem::replace(&mut watch.phase, Phase::Broken) {
            Phase::Asking { request, kind: Kind::First } => {
                watch.told = None;
                watch.phase = Phase::Seeking { request, due };
                self.watch_waiters.push(ticket.session);
                self.learn();
            }
            Phase::Asking { .. } => self.deliver_whole(ticket, b"+OK\r\n"),
            Phase::Seeking { .. } | Phase::Watching(_) | Phase::Broken => {}
        }
    }

    /// A client's own connection was lost with nothing on it.
    pub(in super::super) fn watch_broken(&mut self, client: SessionId, pipe: PipeId) {
        if let Some(watch) = self.watching(client)
            && matches!(watch.phase, Phase::Watching(watching) if watching == pipe)
        {
            watch.phase = Phase::Broken;
        }
    }

    pub(in super::super) fn unwatch(&mut self, id: SessionId) -> Admit {
        let admit = self.reply_with(id, |out| out.simple("OK"));
        if admit == Admit::Yes
            && let Some(watch) = self.transaction(id).and_then(|transaction| transaction.watch.take())
        {
            self.release_watch(*watch);
            self.tidy(id);
        }
        admit
    }

    /// Forgets a watch that has no connection.
    fn unwatch_broken(&mut self, id: SessionId) {
        if let Some(transaction) = self.transaction(id) {
            transaction.watch = None;
            self.tidy(id);
        }
    }

    pub(super) fn release_watch(&mut self, watch: Watch) {
        match watch.phase {
            Phase::Watching(pipe) => self.release_private(pipe),
            // An answer that is under way finds nobody, and its connection is given back then.
            Phase::Asking { .. } | Phase::Seeking { .. } | Phase::Broken => {}
        }
    }

    /// Gives a connection back on which keys were watched.
    pub(super) fn release_private(&mut self, pipe: PipeId) {
        if self.pipes.get(pipe).is_some() {
            self.push(pipe, UNWATCH, Ticket::of_nobody(Work::Nobody, self.now.steady));
            self.give_back(pipe);
        }
    }

    /// EXEC of a client that watches: on its own connection.
    pub(super) fn exec_watched(&mut self, id: SessionId) -> Admit {
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if let Some(stop) = full(session) {
            session.stop = Some(stop);
            return Admit::Stopped;
        }
        let seq = session.admit();
        let Some(watch) = self.transaction(id).and_then(|transaction| transaction.watch.take()) else {
            return Admit::Yes;
        };
        let Some(mut queue) = self.take_queue(id) else { return Admit::Yes };
        self.keep_rest(id, &queue);
        let ticket = Ticket {
            session: id,
            seq,
            len: 0,
            slot: watch.slot,
            tries: 0,
            resend: queue.resend(),
            class: Class::Other,
            tally: Tally::NOBODY,
            work: queue.work(),
            born: self.now.steady,
        };
        match watch.phase {
            Phase::Watching(pipe) => {
                if watch.asks() == Asking::Yes {
                    self.push(pipe, ASKING, Ticket::of_nobody(Work::Nobody, ticket.born));
                }
                let (caching, frame) = (queue.caching, queue.frame(&mut self.pool));
                match caching.zip(ticket.work.behind_another()) {
                    Some((word, work)) => {
                        self.push(pipe, &[word, frame].concat(), Ticket { work, ..ticket });
                    }
                    None => self.push(pipe, frame, ticket),
                }
                if let Some(session) = self.sessions.get_mut(id) {
                    session.note_write(ticket.slot, ticket.born);
                    session.stop = Some(Stop::Quiet); // what comes next goes another way
                }
            }
            Phase::Seeking { .. } | Phase::Asking { .. } | Phase::Broken => self.deliver_nothing(&ticket),
        }
        self.drop_queue(*queue);
        self.tidy(id);
        Admit::Yes
    }
}

impl Watch {
    fn asks(&self) -> Asking {
        self.told.map_or(Asking::No, |(_, asking)| asking)
    }
}

impl Request {
    fn ticket(&self, session: SessionId, slot: u16) -> Ticket {
        Ticket {
            session,
            seq: self.seq,
            len: 0,
            slot,
            tries: self.tries,
            resend: Resend::Yes,
            class: Class::Other,
            tally: Tally::NOBODY,
            work: Work::Watch,
            born: self.born,
        }
    }
}
