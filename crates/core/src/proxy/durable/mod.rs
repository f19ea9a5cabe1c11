//! Durability `replicated`: the reply of a write is handed on only when a replica has confirmed the write.
//!
//! Writes travel as ever. Their replies are withheld here, by node; at the end of a turn one connection to the same
//! server (the confirmer) asks for all of them together: a request that brings it up to the newest write, and `WAIT 1`.
//! Replication is one stream in order, so one answer covers everything that was executed before the question. One round
//! is under way at a time; the next covers what has come meanwhile.
//!
//! ```text
//! reply of a write ─► held ──end of turn──► asked ──1 or more──► handed on
//!                      ▲ what comes           ├──0, late───────► UNREPLICATED: it is on the primary only
//!                      └ during a round       └──lost──────────► UNCERTAIN
//! ```
//!
//! A primary that hands its slots over cannot say any more what its replica had. Then the question is whether it goes on
//! as a replica where it stopped as a primary (`lineage`): if so, its successor has all that it ever executed.
//!
//! A server that is replaced, copies its successor and is promoted again as the same process counts replicas of a stream which
//! that write is not in. That takes a while; so where a write is older than that, the name of the stream has to be the old one.
//!
//! Only a confirmer at the same run of the server may speak for a write: one that was connected before the write was
//! read from its client, or whose server says the same run id as the connection that the write went over.

mod lineage;

use super::arena::Id;
use super::blocking::{Step, mark};
use super::pipe::{Purpose, Resend, Run, Ticket, Work};
use super::session::{End, Session};
use super::{PipeId, Proxy, SessionId};
use crate::metric::Metric;
use crate::resp::{ErrorReply, Proto, Writer, integer};
use std::net::SocketAddr;

/// A round that is not answered this long (microseconds) after its time is given up, and its connection too.
const LATE: u64 = 200_000;
/// By how much (microseconds) each question of a round waits longer than the one before. A server asks its replicas for
/// their place only when it is asked to wait: one that attaches later tells it after a second by itself. But a replica
/// that is far away must have time to answer.
const SLICE: u64 = 25_000;
/// A confirmed write that is older (microseconds) is looked at twice: nobody is replaced and promoted again within that.
const DOUBT: u64 = 400_000;

/// INFO server as it is sent.
const INFO_SERVER: &[u8] = b"*2\r\n$4\r\nINFO\r\n$6\r\nserver\r\n";

/// When the reply of a write is handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When the primary has executed it.
    #[default]
    Async,
    /// When a replica has it too.
    Replicated,
}

/// Whether a reply is whole, or the last piece of one that was passed on in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Whole,
    Last,
}

/// What one node's replicas have to confirm.
#[derive(Debug)]
pub(crate) struct Confirmer {
    addr: SocketAddr,
    pipe: Option<PipeId>,
    /// Since when that is known to be connected, in microseconds.
    since: Option<u64>,
    held: Batch,
    asked: Batch,
    /// When the round that is under way began, and whether its connection is up to the newest write.
    round: Option<(u64, Marked)>,
    /// How often the round has asked for its replicas.
    asks: u64,
    /// The name of the server's replication stream, once it is known.
    stream: Option<Box<[u8]>>,
    /// Whether it was asked for that.
    naming: bool,
    /// Whether the round that is under way is confirmed, if the stream is still that one.
    doubted: bool,
    /// Since when the server is known to be no primary any more, while that matters, and which run of it that was.
    deposed: Option<(u64, u64)>,
    /// Whether it is in the list of those that have something to ask.
    queued: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marked {
    Yes,
    No,
}

/// Which confirmer.
pub(crate) type ConfirmerId = Id<Confirmer>;

/// Withheld replies, one after the other.
#[derive(Debug, Default)]
struct Batch {
    list: Vec<Held>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    ticket: Ticket,
    len: u32,
    piece: Piece,
    pipe: PipeId,
    /// When the reply came, in microseconds.
    at: u64,
}

impl Batch {
    /// Whether a write in it is so old that its server may have thrown it away.
    fn is_old(&self, now: u64) -> bool {
        self.list.iter().any(|held| held.ticket.born + DOUBT < now)
    }
}

impl Confirmer {
    /// Withholds a reply.
    #[inline]
    pub(super) fn hold(&mut self, ticket: &Ticket, reply: &[u8], piece: Piece, pipe: PipeId, now: u64) {
        self.held.list.push(Held { ticket: *ticket, len: reply.len() as u32, piece, pipe, at: now });
        self.held.bytes.extend_from_slice(reply);
    }

    /// Whether its connection was there before a request that was read at `born`.
    #[inline]
    pub(super) fn speaks_for(&self, born: u64) -> bool {
        self.since.is_some_and(|since| since <= born)
    }

    /// Whether it has to be put into the list of those that have something to ask; it counts as put.
    #[inline]
    pub(super) fn queue(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }

    fn len(&self) -> usize {
        self.held.list.len() + self.asked.list.len()
    }
}

impl Proxy {
    /// Whether a reply has to wait for a replica: that of a write, of a client that wants it so. An error acknowledges
    /// nothing.
    #[inline]
    pub(super) fn withholds(&self, ticket: &Ticket, reply: &[u8], piece: Piece) -> bool {
        ticket.resend == Resend::Never
            && (piece == Piece::Last || reply.first() != Some(&b'-'))
            && self.sessions.get(ticket.session).is_some_and(Session::is_durable)
    }

    /// Keeps the reply of a write that came from the node at `addr` until a replica has confirmed it.
    pub(super) fn withhold(
        &mut self,
        (pipe, addr): (PipeId, SocketAddr),
        ticket: &Ticket,
        reply: &[u8],
        piece: Piece,
    ) {
        let now = self.now.steady;
        let id = self.confirmer_of(addr);
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        confirmer.hold(ticket, reply, piece, pipe, now);
        let (proven, queue) = (confirmer.speaks_for(ticket.born), confirmer.queue());
        if queue {
            self.rounds.push(id);
        }
        let Some(source) = self.pipes.get_mut(pipe) else { return };
        source.confirmer = id;
        if !proven && source.run == Run::Unasked {
            source.run = Run::Asked;
            self.push(pipe, INFO_SERVER, Ticket::of_nobody(Work::Run, now));
        }
    }

    /// The confirmer of a node; made and connected where there is none.
    fn confirmer_of(&mut self, addr: SocketAddr) -> ConfirmerId {
        let found = self.confirmers.iter().find(|(_, confirmer)| confirmer.addr == addr);
        if let Some((id, _)) = found {
            return id;
        }
        let (held, asked) = (Batch::default(), Batch::default());
        let confirmer = Confirmer {
            addr,
            pipe: None,
            since: None,
            held,
            asked,
            round: None,
            asks: 0,
            stream: None,
            naming: false,
            doubted: false,
            deposed: None,
            queued: false,
        };
        let id = self.confirmers.insert(confirmer);
        self.connect_confirmer(id);
        id
    }

    fn connect_confirmer(&mut self, id: ConfirmerId) {
        let now = self.now.steady;
        let Some(addr) = self.confirmers.get(id).filter(|it| it.pipe.is_none()).map(|it| it.addr) else {
            return;
        };
        if self.links.get(&addr).is_some_and(|link| link.retry_at > now) {
            return;
        }
        let pipe = self.connect(addr, self.base[0], Purpose::Confirmer);
        if let Some(connection) = self.pipes.get_mut(pipe) {
            connection.confirmer = id;
            connection.run = Run::Asked;
        }
        self.push(pipe, INFO_SERVER, Ticket::of_nobody(Work::Run, now));
        if let Some(confirmer) = self.confirmers.get_mut(id) {
            (confirmer.pipe, confirmer.since, confirmer.naming) = (Some(pipe), None, false);
        }
        self.ask_for_lineage(id);
    }

    /// The confirmers follow the map: each primary has one ahead of the first write.
    pub(super) fn arrange_confirmers(&mut self) {
        if !self.is_durable() {
            return;
        }
        for at in 0..self.primaries.len() {
            self.confirmer_of(self.primaries[at]);
        }
        let known = |addr: SocketAddr| self.topology.nodes().iter().any(|node| node.addr == addr);
        let gone = self.confirmers.iter().filter(|(_, confirmer)| !known(confirmer.addr));
        for id in gone.map(|(id, _)| id).collect::<Vec<_>>() {
            match self.confirmers.get(id).and_then(|confirmer| confirmer.pipe) {
                Some(pipe) => self.lose_pipe(pipe, "its node has left the cluster"),
                None => self.confirmer_lost(id),
            }
            self.succeeded(id, Why::Lost); // what it had still hoped for
            self.confirmers.remove(id);
        }
    }

    /// Whether any client may want its writes confirmed.
    fn is_durable(&self) -> bool {
        let of_users = self.settings.users.iter().any(|user| user.durability == Some(Durability::Replicated));
        let of_doors = [Some(self.settings.durability), self.settings.tls_durability];
        of_doors.contains(&Some(Durability::Replicated)) || of_users
    }

    /// What a user's writes have to wait for, where that does not depend on the door.
    fn durability_of(&self, user: &[u8]) -> Option<Durability> {
        self.settings.users.iter().find(|named| named.name.as_bytes() == user)?.durability
    }

    /// Sets what a client's writes have to wait for by the door by which it came, while it is nobody in particular.
    pub(super) fn came_by(&mut self, id: SessionId, door: Durability) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.door = door;
        }
        self.set_durability(id, b"default");
    }

    /// A confirmer's connection has been greeted.
    pub(super) fn confirmer_greeted(&mut self, id: ConfirmerId) {
        let now = self.now.steady;
        if let Some(confirmer) = self.confirmers.get_mut(id) {
            confirmer.since = Some(now);
            if confirmer.queue() {
                self.rounds.push(id);
            }
        }
    }

    /// Asks for what was withheld in this turn.
    pub(super) fn start_rounds(&mut self) {
        if self.rounds.is_empty() {
            return;
        }
        let mut rounds = std::mem::take(&mut self.rounds);
        rounds.drain(..).for_each(|id| self.start_round(id));
        self.rounds = rounds;
    }

    fn start_round(&mut self, id: ConfirmerId) {
        let now = self.now.steady;
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        confirmer.queued = false;
        if confirmer.round.is_some() || confirmer.deposed.is_some() || confirmer.held.list.is_empty() {
            return;
        }
        let (Some(pipe), Some(since)) = (confirmer.pipe, confirmer.since) else {
            return self.connect_confirmer(id);
        };
        if confirmer.held.list.iter().all(|held| held.ticket.born >= since) {
            std::mem::swap(&mut confirmer.held, &mut confirmer.asked);
        } else {
            self.choose(id, pipe, since);
        }
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        if confirmer.asked.list.is_empty() {
            return; // looked at again when a run is told, or as time passes
        }
        (confirmer.round, confirmer.asks) = (Some((now, Marked::Yes)), 0);
        let unnamed = confirmer.stream.is_none();
        self.add(Metric::Confirmations, 1);
        let ticket = Ticket::of_nobody(Work::Wait(Step::RoundMark), now);
        self.push(pipe, mark(&self.version), ticket);
        if unnamed {
            self.ask_for_lineage(id);
        }
        self.ask_for_replicas(id, pipe);
    }

    /// Asks how many replicas have what the round is about; the answer comes when one has, or a while later. Returns
    /// whether there was time left for it.
    fn ask_for_replicas(&mut self, id: ConfirmerId, pipe: PipeId) -> bool {
        let now = self.now.steady;
        let Some(confirmer) = self.confirmers.get_mut(id) else { return false };
        // Nobody waits much longer than that in all.
        let oldest = confirmer.asked.list.first().map_or(now, |held| held.at);
        let left = self.settings.durability_wait.saturating_sub(now.saturating_sub(oldest));
        if left == 0 && confirmer.asks > 0 {
            return false;
        }
        confirmer.asks += 1;
        let millis = (left.min(confirmer.asks * SLICE) / 1000).max(1).to_string();
        let mut wait = std::mem::take(&mut self.scratch);
        wait.clear();
        Writer::new(&mut wait, Proto::Two).request([b"WAIT".as_slice(), b"1", millis.as_bytes()].into_iter());
        self.push(pipe, &wait, Ticket::of_nobody(Work::Wait(Step::Round), now));
        self.scratch = wait;
        true
    }

    /// Takes into the round only what its connection can speak for.
    fn choose(&mut self, id: ConfirmerId, pipe: PipeId, since: u64) {
        let run_of = |pipe: PipeId| match self.pipes.get(pipe).map(|pipe| pipe.run) {
            Some(Run::Known(run)) if run != 0 => Some(run),
            Some(Run::Known(_) | Run::Unasked | Run::Asked) | None => None,
        };
        let run = run_of(pipe);
        let same_run = |held: &Held| run.is_some() && run_of(held.pipe) == run;
        let Some(confirmer) = self.confirmers.get(id) else { return };
        let (mut rest, mut asked, mut at) = (Batch::default(), Batch::default(), 0);
        for held in &confirmer.held.list {
            let to = if held.ticket.born >= since || same_run(held) { &mut asked } else { &mut rest };
            to.list.push(*held);
            to.bytes.extend_from_slice(&confirmer.held.bytes[at..][..held.len as usize]);
            at += held.len as usize;
        }
        if let Some(confirmer) = self.confirmers.get_mut(id) {
            (confirmer.held, confirmer.asked) = (rest, asked);
        }
    }

    /// A reply on a confirmer's connection.
    pub(super) fn round_came(&mut self, pipe: PipeId, step: Step, reply: &[u8]) {
        let Some(id) = self.pipes.get(pipe).map(|pipe| pipe.confirmer) else { return };
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        let Some((_, marked)) = &mut confirmer.round else { return };
        if step == Step::RoundMark {
            *marked = if reply.first() == Some(&b'-') { Marked::No } else { Marked::Yes };
            return;
        }
        let marked = *marked == Marked::Yes;
        let confirmed = marked && integer(reply).is_some_and(|count| count >= 1);
        if marked && integer(reply) == Some(0) && self.ask_for_replicas(id, pipe) {
            return;
        }
        let now = self.now.steady;
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        if confirmed && confirmer.stream.is_some() && confirmer.asked.is_old(now) {
            confirmer.doubted = true;
            return self.ask_for_lineage(id);
        }
        if reply.first() == Some(&b'-') {
            confirmer.round = None;
            return self.is_deposed(id, pipe);
        }
        self.end_round(id, if confirmed { Why::Kept } else { Why::Late });
    }

    /// What a round was about is confirmed, or not; what came meanwhile is asked for next.
    fn end_round(&mut self, id: ConfirmerId, why: Why) {
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        confirmer.round = None;
        let asked = std::mem::take(&mut confirmer.asked);
        let asked = match why {
            Why::Kept => self.hand_on_all(asked),
            Why::Late | Why::Lost => self.give_up_all(id, asked, why),
        };
        if let Some(confirmer) = self.confirmers.get_mut(id) {
            confirmer.asked = asked; // its memory is used again
            if !confirmer.held.list.is_empty() && confirmer.queue() {
                self.rounds.push(id);
            }
        }
    }

    fn hand_on_all(&mut self, mut batch: Batch) -> Batch {
        let mut at = 0;
        for held in &batch.list {
            let reply = &batch.bytes[at..][..held.len as usize];
            at += held.len as usize;
            self.hand_on(held.pipe, &held.ticket, reply, held.piece);
        }
        batch.list.clear();
        batch.bytes.clear();
        batch
    }

    /// Hands on a reply that was withheld.
    fn hand_on(&mut self, pipe: PipeId, ticket: &Ticket, reply: &[u8], piece: Piece) {
        match ticket.work {
            Work::Part { merge, part } | Work::Errand { merge, part } => {
                self.part_came(pipe, merge, part, reply);
            }
            Work::Block(block) => self.block_done(ticket, block, reply, piece),
            Work::Whole
            | Work::Led(_)
            | Work::Count
            | Work::Hub(_)
            | Work::Farewell
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Watch
            | Work::Inquiry(_)
            | Work::Wait(_) => match piece {
                Piece::Whole => self.deliver_whole(ticket, reply),
                Piece::Last => self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, End::Yes),
            },
        }
    }

    /// Nobody confirms these: their clients get an error that says so.
    fn give_up_all(&mut self, id: ConfirmerId, mut batch: Batch, why: Why) -> Batch {
        let addr = self.confirmers.get(id).map(|confirmer| confirmer.addr);
        let node = addr.map_or_else(|| "a node".to_owned(), |addr| format!("node {addr}"));
        for held in &batch.list {
            self.add(Metric::Unreplicated, 1);
            if held.piece == Piece::Last {
                self.evict(held.ticket.session, "no replica confirmed a write of which the reply had begun");
                continue;
            }
            let waited_ms = self.now.steady.saturating_sub(held.at) / 1000;
            let error = match why {
                Why::Late => ErrorReply::Unreplicated { node: &node, waited_ms },
                Why::Lost | Why::Kept => ErrorReply::LostUnreplicated { node: &node },
            };
            self.fail(&held.ticket, &error);
        }
        batch.list.clear();
        batch.bytes.clear();
        batch
    }

    /// A confirmer's connection is gone, and its server with it for all that is known.
    pub(super) fn confirmer_lost(&mut self, id: ConfirmerId) {
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        (confirmer.pipe, confirmer.since, confirmer.round, confirmer.doubted) = (None, None, None, false);
        if confirmer.deposed.is_some() {
            return; // such a server closes the connection on which it was asked to wait
        }
        confirmer.stream = None;
        let (asked, held) = (std::mem::take(&mut confirmer.asked), std::mem::take(&mut confirmer.held));
        self.give_up_all(id, asked, Why::Lost);
        self.give_up_all(id, held, Why::Lost);
        if self.confirmers.get(id).is_some_and(|confirmer| self.primaries.contains(&confirmer.addr)) {
            self.connect_confirmer(id);
        }
    }

    /// Gives up what was withheld for too long.
    pub(super) fn confirmer_tick(&mut self) {
        if self.confirmers.len() == 0 {
            return;
        }
        let (now, wait) = (self.now.steady, self.settings.durability_wait);
        for id in self.confirmers.ids() {
            let Some(confirmer) = self.confirmers.get_mut(id) else { continue };
            if let Some((since, _)) = confirmer.deposed {
                if since + wait < now {
                    self.succeeded(id, Why::Lost);
                } else {
                    self.connect_confirmer(id);
                    self.ask_for_lineage(id);
                }
                continue;
            }
            if let (Some((since, _)), Some(pipe)) = (confirmer.round, confirmer.pipe) {
                if since + wait + LATE < now {
                    self.lose_pipe(pipe, "it does not say whether its replicas have what was written");
                }
                continue;
            }
            if confirmer.pipe.is_none() && self.primaries.contains(&confirmer.addr) {
                self.connect_confirmer(id);
            }
            let Some(confirmer) = self.confirmers.get_mut(id) else { continue };
            if confirmer.held.list.first().is_some_and(|held| held.at + wait < now) {
                let late = std::mem::take(&mut confirmer.held);
                self.give_up_all(id, late, Why::Late);
            } else if !confirmer.held.list.is_empty() && confirmer.queue() {
                self.rounds.push(id);
            }
        }
    }

    /// Replies that wait for a replica.
    pub(super) fn withheld(&self) -> usize {
        self.confirmers.iter().map(|(_, confirmer)| confirmer.len()).sum()
    }

    /// Sets what a client's writes have to wait for, by the user that it is now.
    pub(super) fn set_durability(&mut self, id: SessionId, user: &[u8]) {
        let durability = self.durability_of(user);
        if let Some(session) = self.sessions.get_mut(id) {
            session.durability = durability.unwrap_or(session.door);
        }
    }
}

impl Session {
    /// Whether its writes wait for a replica.
    #[inline]
    pub(super) fn is_durable(&self) -> bool {
        self.durability == Durability::Replicated
    }
}

/// Why writes are not confirmed by a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// In time.
    Late,
    /// Their primary is lost, or no primary any more.
    Lost,
    /// They are: a replica has them, or the successor of their primary.
    Kept,
}
