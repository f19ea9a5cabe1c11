//! Blocking commands (BLPOP, XREAD BLOCK …): each client that waits has a connection to its node of its own.
//!
//! A client waits for all its earlier replies first, and nothing more of it is admitted until it is answered. The
//! command goes to the node as it came; when the node is lost, or is not the slot's any more, it goes to the new owner with
//! the time that is left.
//!
//! ```text
//! Seeking ──connection──► Asked ──reply──► (done)
//!    ▲                      │ MOVED, change of role, lost
//!    └──────────────────────┘
//! ```
//!
//! What a node hands out in the moment in which its connection is lost is lost with it, as it is without a gateway. Where
//! that is likely, because the command had only just been sent, the answer is `UNCERTAIN` and not a second try.

mod confirm;
mod patience;
mod unblock;

pub(super) use confirm::{Losses, mark};
pub use unblock::{Reason, Unblocked};

use super::durable::Piece;
use super::forward::{Admit, resend};
use super::pipe::{ASKING, Purpose, Resend, Ticket, Work};
use super::redirect::{Asking, Verdict, judge};
use super::session::{End, Session, Stop};
use super::timing::{Tally, Timed};
use super::{PipeId, Proxy, SessionId};
use crate::command::{Access, Command, Timeout, keys};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply, Proto, Writer};
use crate::topology::slot;
use confirm::Confirm;
use patience::Patience;
use std::net::SocketAddr;

/// A command without an answer is known to wait after this time (microseconds).
const YOUNG: u64 = 100_000;
/// Pause before the next try (microseconds).
const PAUSE: u64 = 5_000;
/// Connections that may be opened at a time: a server's queue of new connections is short.
const MAX_OPENING: usize = 128;
/// Bytes that a client may send behind a command that waits before it is not read any more.
pub(super) const AHEAD: usize = 64 * 1024;

/// What a client waits for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// The reply of a blocking command.
    Data(Box<Wait>),
    /// Replicas that confirm its writes.
    Copies(Box<Confirm>),
}

/// One blocking command.
#[derive(Debug)]
pub(crate) struct Wait {
    seq: u32,
    slot: u16,
    resend: Resend,
    /// The request as the client sent it.
    frame: Box<[u8]>,
    patience: Patience,
    phase: Phase,
    told: Option<(SocketAddr, Asking)>,
    tries: u8,
    /// Since when it has been looking for a node, in microseconds.
    since: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Seeking { due: u64 },
    Asked { pipe: PipeId, at: u64 },
}

/// Which reply of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The last entry of the `n`th stream of XREAD that was asked for what comes after it (`$`).
    Newest(u16),
    /// The blocking command's own.
    Data,
    /// What brings a connection up to the newest write.
    Mark,
    /// How many replicas of a shard have the client's writes.
    Copies(u16),
    /// Whether a client was unblocked.
    Unblocked,
    /// What brings a confirmer up to the newest write, and how many replicas have that (see `durable`).
    RoundMark,
    Round,
    /// Whose replication stream a confirmer's server follows.
    Lineage,
}

/// The waits of one worker.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Clients whose command is on no node.
    seeking: Vec<SessionId>,
    /// When the first of them is to be looked at.
    due: Option<u64>,
    /// Whether all of them are to be looked at, since something has changed.
    woken: bool,
    /// Clients that closed their side just after they had asked.
    leaving: Vec<SessionId>,
    /// Clients that wait for replicas, and not for ever.
    confirming: Vec<SessionId>,
    /// Connections of their own that are not greeted yet.
    pub(super) opening: usize,
    /// Clients that wait.
    pub(super) count: usize,
}

impl Waits {
    /// When something is to be done at the latest, if anything is.
    pub(super) fn next_due(&self, now: u64) -> Option<u64> {
        let soon = (!self.leaving.is_empty() || !self.confirming.is_empty()).then_some(now + 20_000);
        self.due.into_iter().chain(soon).min()
    }

    /// Something changed: have them all look again.
    pub(super) fn wake(&mut self, now: u64) {
        if !self.seeking.is_empty() {
            (self.due, self.woken) = (Some(now), true);
        }
    }
}

impl Session {
    fn data_wait(&mut self) -> Option<&mut Wait> {
        match self.extra.as_mut()?.waiting.as_mut()? {
            Waiting::Data(wait) => Some(wait),
            Waiting::Copies(_) => None,
        }
    }

    /// Whether it waits in a blocking command.
    pub(super) fn is_blocked(&self) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.waiting.is_some())
    }

    pub(super) fn set_waiting(&mut self, waiting: Waiting) {
        self.extra.get_or_insert_default().waiting = Some(waiting);
        self.stop = Some(Stop::Blocked);
    }

    pub(super) fn take_waiting(&mut self) -> Option<Waiting> {
        let waiting = self.extra.as_mut()?.waiting.take();
        self.tidy();
        waiting
    }
}

impl Proxy {
    /// A command that may be long in coming.
    pub(super) fn block(
        &mut self,
        id: SessionId,
        command: &'static Command,
        timeout: Timeout,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        let mut found = match keys(command, args) {
            Ok(found) => found,
            Err(error) => return self.refuse(id, &error),
        };
        let target = found.next().map_or(0, |at| slot(args.get(at)));
        if found.any(|at| slot(args.get(at)) != target) {
            return self.refuse(id, &ErrorReply::CrossSlot);
        }
        let now = self.now.steady;
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Admit::Stopped;
        }
        if command.access == Access::Write {
            session.note_write(target, now);
        }
        let wait = Wait {
            seq: session.admit(),
            slot: target,
            resend: resend(command.access),
            frame: frame.into(),
            patience: Patience::of(command, timeout, args, now),
            phase: Phase::Seeking { due: now },
            told: None,
            tries: 0,
            since: now,
        };
        session.set_waiting(Waiting::Data(Box::new(wait)));
        self.waits.count += 1;
        self.seek_node(id);
        Admit::Yes
    }

    /// Puts a blocking command on a connection to its node, or has it look again later.
    fn seek_node(&mut self, id: SessionId) {
        let now = self.now.steady;
        let Some(session) = self.sessions.get_mut(id) else { return };
        let (trunk, proto) = (session.trunk, session.proto);
        let Some(wait) = session.data_wait() else { return };
        let Phase::Seeking { due } = wait.phase else { return };
        if wait.patience.is_over(now) {
            return self.end_wait(id, none(proto));
        }
        if due > now {
            return self.seek_later(id, due);
        }
        let (told, slot) = (wait.told, wait.slot);
        let owner = self.topology.owner(slot).map(|node| (self.topology.node(node).addr, Asking::No));
        let Some((addr, asking)) = told.or(owner) else {
            self.learn();
            return self.seek_later(id, now + PAUSE);
        };
        if let Some(link) = self.links.get(&addr).filter(|link| link.retry_at > now) {
            let due = link.retry_at;
            return self.seek_later(id, due);
        }
        if self.waits.opening >= MAX_OPENING && !self.has_idle(addr, trunk) {
            return self.seek_later(id, now + 1_000);
        }
        match self.private(addr, trunk, id) {
            Some(pipe) => self.ask_and_wait(id, pipe, asking),
            None => {
                let limit = self.max_lent();
                self.end_wait_with(id, &ErrorReply::TooManyWait { limit });
            }
        }
    }

    fn ask_and_wait(&mut self, id: SessionId, pipe: PipeId, asking: Asking) {
        let now = self.now.steady;
        let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) else { return };
        let ticket = Ticket {
            session: id,
            seq: wait.seq,
            len: 0,
            slot: wait.slot,
            tries: wait.tries,
            resend: wait.resend,
            class: Class::Blocking,
            tally: Tally::NOBODY,
            work: Work::Wait(Step::Data),
            born: now,
        };
        let first = wait.tries == 0;
        wait.phase = Phase::Asked { pipe, at: now };
        wait.tries = wait.tries.saturating_add(1);
        let questions = wait.patience.questions(&wait.frame);
        let again = if first { None } else { Some(wait.patience.request_again(&wait.frame, now)) };
        let frame = again.unwrap_or_else(|| std::mem::take(&mut wait.frame).into_vec());
        for (at, question) in questions {
            let work = Work::Wait(Step::Newest(at));
            self.push_private(pipe, &question, Ticket { work, resend: Resend::Yes, ..ticket });
        }
        if asking == Asking::Yes {
            self.push_private(pipe, ASKING, Ticket::of_nobody(Work::Nobody, now));
        }
        self.push_private(pipe, &frame, ticket);
        if first && let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) {
            wait.frame = frame.into();
        }
    }

    /// Puts something on a connection that is lent.
    pub(super) fn push_private(&mut self, id: PipeId, frame: &[u8], ticket: Ticket) {
        if let Some(pipe) = self.pipes.get_mut(id) {
            pipe.push(frame, ticket, &mut self.pool);
            self.touch_pipe(id);
        }
    }

    /// Has a blocking command look for its node again at `due`, unless that has gone on for too long.
    fn seek_later(&mut self, id: SessionId, due: u64) {
        let now = self.now.steady;
        let hold = self.settings.hold;
        let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) else { return };
        wait.phase = Phase::Seeking { due };
        if now.saturating_sub(wait.since) < hold || now == wait.since {
            let due = wait.patience.deadline().map_or(due, |deadline| deadline.min(due));
            self.waits.due = Some(self.waits.due.map_or(due, |first| first.min(due)));
            return self.waits.seeking.push(id);
        }
        let (slot, waited_ms) = (wait.slot, now.saturating_sub(wait.since) / 1000);
        let (node, because) = (self.place(slot), self.trouble(slot).to_owned());
        let error = ErrorReply::Unavailable { slot: Some(slot), node: &node, waited_ms, because: &because };
        self.add(Metric::HoldExpired, 1);
        self.end_wait_with(id, &error);
    }

    /// A reply came on the connection of a client that waits, or the last piece of one (`midway`).
    pub(super) fn waited(&mut self, pipe: PipeId, ticket: &Ticket, step: Step, reply: &[u8], midway: bool) {
        match step {
            Step::Newest(at) => {
                if let Some(wait) = self.sessions.get_mut(ticket.session).and_then(Session::data_wait) {
                    wait.patience.newest_is(at, if midway { b"" } else { reply });
                }
            }
            Step::Data => self.data_came(pipe, ticket, reply, midway),
            Step::Mark => self.marked(ticket.session, reply),
            Step::Copies(leg) => self.copies_counted(pipe, ticket.session, leg, reply),
            Step::Unblocked => self.deliver_whole(ticket, reply),
            Step::RoundMark | Step::Round => self.round_came(pipe, step, reply),
            Step::Lineage => self.lineage_told(pipe, reply),
        }
    }

    fn data_came(&mut self, pipe: PipeId, ticket: &Ticket, reply: &[u8], midway: bool) {
        let (id, now) = (ticket.session, self.now.steady);
        let addr = self.pipes.get(pipe).map(|pipe| pipe.addr);
        let piece = if midway { Piece::Last } else { Piece::Whole };
        let nothing = reply == none(Proto::Two) || reply == none(Proto::Three);
        if let Some(addr) = addr
            && !nothing
            && self.withholds(ticket, reply, piece)
        {
            let ticket = Ticket { work: Work::Whole, born: now, ..*ticket };
            self.withhold((pipe, addr), &ticket, reply, piece);
            self.give_back(pipe);
            self.leave_off(id);
            return;
        }
        let deposed = !midway && reply.starts_with(b"-UNBLOCKED force unblock");
        match deposed {
            true => self.close_pipe(pipe), // the node closes it too (`blocked.c`: disconnectAllBlockedClients)
            false => self.give_back(pipe),
        }
        let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) else { return };
        let error = !midway && reply.first() == Some(&b'-');
        let verdict = match addr {
            Some(_) if deposed => Verdict::Later,
            Some(addr) if error => judge(reply, addr.ip()),
            Some(_) | None => Verdict::Deliver,
        };
        let pause = if wait.tries > 5 { 2 * PAUSE } else { 0 };
        let (told, due) = match verdict {
            Verdict::Deliver => return self.end_wait(id, reply),
            Verdict::Moved(addr) => (addr.map(|addr| (addr, Asking::No)), now + pause),
            Verdict::Ask(addr) => (addr.map(|addr| (addr, Asking::Yes)), now + pause),
            Verdict::Later => (None, now + PAUSE),
        };
        // Where a redirection leads nowhere, the map is asked after a moment.
        let due = if told.is_none() { due.max(now + PAUSE) } else { due };
        (wait.told, wait.since) = (told, if wait.is_old(now) { now } else { wait.since });
        wait.phase = Phase::Seeking { due };
        self.add(Metric::Redirects, 1);
        self.learn();
        self.seek_node(id);
    }

    /// The connection of a client that waits was lost. `sent`: the node has got the command.
    pub(super) fn wait_lost(&mut self, ticket: &Ticket, step: Step, sent: bool, node: &str) {
        let (id, now) = (ticket.session, self.now.steady);
        match step {
            Step::Newest(_) | Step::Mark | Step::RoundMark | Step::Round | Step::Lineage => {}
            Step::Copies(leg) => self.copies_counted(PipeId::NONE, id, leg, b":0\r\n"),
            Step::Unblocked => self.deliver_whole(ticket, b":0\r\n"),
            Step::Data => {
                let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) else { return };
                if sent && ticket.resend == Resend::Never && !wait.is_old(now) {
                    self.add(Metric::Uncertain, 1);
                    return self.end_wait_with(id, &ErrorReply::Uncertain { node });
                }
                wait.since = if wait.is_old(now) { now } else { wait.since };
                (wait.told, wait.phase) = (None, Phase::Seeking { due: now });
                self.add(Metric::Retries, 1);
                self.seek_later(id, now + 1_000);
            }
        }
    }

    fn end_wait_with(&mut self, id: SessionId, error: &ErrorReply<'_>) {
        let mut reply = Vec::new();
        Writer::new(&mut reply, Proto::Two).error(error);
        self.end_wait(id, &reply);
    }

    /// The wait is over, and this is its reply. How long it was is no node's latency.
    fn end_wait(&mut self, id: SessionId, reply: &[u8]) {
        let Some(seq) = self.leave_off(id) else { return };
        // Nothing else of it was looked at since it asked.
        let born = self.sessions.get(id).map_or(self.now.steady, |session| session.active);
        if reply.first() == Some(&b'-') {
            self.add(Metric::Errors, 1);
        }
        self.deliver(id, seq, Timed::here(Class::Blocking, born), reply, End::Yes);
    }

    /// The wait is over; returns which request it was.
    fn leave_off(&mut self, id: SessionId) -> Option<u32> {
        let session = self.sessions.get_mut(id)?;
        let seq = match session.take_waiting()? {
            Waiting::Data(wait) => wait.seq,
            Waiting::Copies(confirm) => confirm.seq,
        };
        self.waits.count -= 1;
        if self.draining {
            session.stop = Some(Stop::Closing);
        }
        self.lift(id);
        Some(seq)
    }

    /// Looks after waits as time passes.
    pub(super) fn wait_tick(&mut self) {
        let now = self.now.steady;
        if self.waits.due.is_some_and(|due| due <= now) {
            self.waits.due = None;
            let woken = std::mem::take(&mut self.waits.woken);
            for id in std::mem::take(&mut self.waits.seeking) {
                if woken && let Some(wait) = self.sessions.get_mut(id).and_then(Session::data_wait) {
                    wait.look_at(now);
                }
                self.seek_node(id);
            }
        }
        for id in std::mem::take(&mut self.waits.leaving) {
            self.leave_wait(id);
        }
        self.confirm_tick();
    }

    /// A client closed its side while it waits: it is gone, as it would be for a server. If it has only just asked, the
    /// answer may be under way: then it gets that.
    pub(super) fn leave_wait(&mut self, id: SessionId) {
        let now = self.now.steady;
        let Some(session) = self.sessions.get_mut(id) else { return };
        if !session.is_blocked() {
            return;
        }
        match session.data_wait() {
            Some(wait) if !wait.is_old(now) => self.waits.leaving.push(id),
            Some(_) | None => self.drop_client(id),
        }
    }

    /// The client of a wait is gone.
    pub(super) fn abandon_wait(&mut self, waiting: Waiting) {
        self.waits.count -= 1;
        match waiting {
            Waiting::Data(wait) => match wait.phase {
                Phase::Asked { pipe, .. } => self.close_pipe(pipe),
                Phase::Seeking { .. } => {}
            },
            Waiting::Copies(confirm) => confirm.pipes().for_each(|pipe| self.close_pipe(pipe)),
        }
    }

    /// Lets go of requests that wait on a private connection once they are sent: they are kept elsewhere, and a buffer
    /// for each would be too much.
    pub(super) fn let_go(&mut self, id: PipeId) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let private = matches!(pipe.purpose, Purpose::Private { .. });
        if private && pipe.out.len() > 0 && pipe.out.unsent() == 0 {
            let waits = |ticket: &Ticket| matches!(ticket.work, Work::Wait(_));
            if pipe.tickets.iter().all(waits) {
                pipe.tickets.iter_mut().for_each(|ticket| ticket.len = 0);
                pipe.out.clear(&mut self.pool);
            }
        }
    }
}

impl Wait {
    /// Has it look for its node at `due`, if it is looking for one.
    fn look_at(&mut self, due: u64) {
        if let Phase::Seeking { .. } = self.phase {
            self.phase = Phase::Seeking { due };
        }
    }

    /// Whether its command has been on a node for so long that it is known to wait there.
    fn is_old(&self, now: u64) -> bool {
        match self.phase {
            Phase::Asked { at, .. } => at + YOUNG <= now,
            Phase::Seeking { .. } => self.tries > 0 || self.since + YOUNG <= now,
        }
    }
}

/// What a blocking command answers when its time is over.
fn none(proto: Proto) -> &'static [u8] {
    match proto {
        Proto::Two => b"*-1\r\n",
        Proto::Three => b"_\r\n",
    }
}
