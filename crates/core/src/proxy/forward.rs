//! Sends a request with all its keys in one slot to the slot's primary.

use super::pipe::{Resend, Ticket, Work};
use super::session::{MAX_DEPTH, MAX_OUTPUT, Session, Stop};
use super::timing::Tally;
use super::trunk::TrunkId;
use super::upstream::Way;
use super::{PipeId, Proxy, SessionId};
use crate::command::{Access, Command, keys};
use crate::metric::Class;
use crate::resp::{Args, ErrorReply};
use crate::topology::slot;

/// Whether a request was admitted; if not, it stays in the client's buffer until its `Stop` is lifted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    Yes,
    Stopped,
}

/// What keeps a client from admitting anything more.
#[inline]
pub(super) fn full(session: &Session) -> Option<Stop> {
    if session.under_way() >= MAX_DEPTH {
        Some(Stop::Depth)
    } else if session.out.unsent() > MAX_OUTPUT {
        Some(Stop::Output)
    } else {
        None
    }
}

/// Whether what was under way could be overtaken by a new request.
#[inline]
fn overtakes(session: &Session, epoch: u32) -> bool {
    session.under_way() > 0 && (session.epoch != epoch || session.astray)
}

/// Whether a command may be sent again when nobody knows whether it was executed.
#[inline]
pub(super) fn resend(access: Access) -> Resend {
    match access {
        Access::Read | Access::Admin => Resend::Yes,
        Access::Write => Resend::Never,
    }
}

/// Where a script runs that has no keys: always with the same primary, so that EVALSHA finds what EVAL brought. The last
/// slot's, where the keys of many examples lie (`foo`, `key`, `x`) when three primaries share the slots evenly: a script
/// that names one in its text finds it.
pub(super) const ANYWHERE: u16 = crate::topology::SLOTS - 1;

impl Proxy {
    /// Routes by the keys of a request.
    #[inline]
    pub(super) fn by_keys(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        let Ok(mut found) = keys(command, args) else {
            // The call makes no sense to us: any node says in the server's own words why, or where its keys are.
            return self.forward(id, ANYWHERE, frame, command);
        };
        let target = found.next().map_or(ANYWHERE, |at| slot(args.get(at)));
        if found.any(|at| slot(args.get(at)) != target) {
            return self.refuse(id, &ErrorReply::CrossSlot);
        }
        self.forward(id, target, frame, command)
    }

    /// Whether a client may have one more request sent; notes what it has to wait for if not.
    pub(super) fn may_send(&mut self, id: SessionId) -> Option<TrunkId> {
        let session = self.sessions.get_mut(id)?;
        let stop = full(session).or_else(|| overtakes(session, self.epoch).then_some(Stop::Quiet));
        if stop.is_some() {
            session.stop = stop;
            return None;
        }
        if session.under_way() == 0 {
            (session.epoch, session.astray) = (self.epoch, false);
        }
        Some(session.trunk)
    }

    /// Sends a request verbatim to the primary of a slot, or holds it until there is one.
    #[inline]
    pub(super) fn forward(&mut self, id: SessionId, slot: u16, frame: &[u8], command: &Command) -> Admit {
        self.forward_as(id, slot, frame, (resend(command.access), command.class()), Work::Whole)
    }

    /// The same, for a reply that may be more than one.
    #[inline]
    pub(super) fn forward_as(
        &mut self,
        id: SessionId,
        slot: u16,
        frame: &[u8],
        manner: (Resend, Class),
        work: Work,
    ) -> Admit {
        if let Some(word) = self.caching_word(id)
            && let Some(work) = work.behind_another()
        {
            return self.forward_now(id, slot, &[word, frame].concat(), manner, work);
        }
        self.forward_now(id, slot, frame, manner, work)
    }

    #[inline]
    fn forward_now(
        &mut self,
        id: SessionId,
        slot: u16,
        frame: &[u8],
        manner: (Resend, Class),
        work: Work,
    ) -> Admit {
        let Some(trunk) = self.may_send(id) else { return Admit::Stopped };
        let (resend, class) = manner;
        let way = self.way(slot, trunk);
        if let Way::Pipe(pipe) = way
            && self.waits_for_room(id, pipe)
        {
            return Admit::Stopped;
        }
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if resend == Resend::Never {
            session.note_write(slot, self.now.steady);
        }
        let ticket = Ticket {
            session: id,
            seq: session.admit(),
            len: 0,
            slot,
            tries: 0,
            resend,
            class,
            tally: Tally::NOBODY,
            work,
            born: self.now.steady,
        };
        match way {
            Way::Pipe(pipe) => self.push(pipe, frame, ticket),
            Way::Later(due) => self.hold(ticket, frame, due),
        }
        Admit::Yes
    }

    /// Where a pipe is full, has the client wait for it.
    #[inline]
    pub(super) fn waits_for_room(&mut self, id: SessionId, pipe_id: PipeId) -> bool {
        let Some(pipe) = self.pipes.get_mut(pipe_id) else { return false };
        if pipe.has_room() {
            return false;
        }
        pipe.waiting.push(id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.stop = Some(Stop::Pipe(pipe_id));
        }
        true
    }

    /// Puts a request on a pipe.
    #[inline]
    pub(super) fn push(&mut self, id: PipeId, frame: &[u8], ticket: Ticket) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        pipe.push(frame, ticket, &mut self.pool);
        if !pipe.dirty {
            pipe.dirty = true;
            self.dirty_pipes.push(id);
        }
        self.note_sent(id, &ticket);
    }

    /// Sends a request wherever its slot's primary is now, or holds it.
    pub(super) fn dispatch(&mut self, ticket: Ticket, frame: &[u8]) {
        let Some(trunk) = self.trunk_of(&ticket) else {
            return self.nobody_waits(&ticket);
        };
        match self.way(ticket.slot, trunk) {
            Way::Pipe(pipe) => {
                if let Some(word) = self.caching_word_for(ticket.session, ticket.seq) {
                    self.push(pipe, word, Ticket::of_nobody(Work::Nobody, ticket.born));
                }
                self.push(pipe, frame, ticket);
            }
            Way::Later(due) => {
                self.part_untracked(ticket.session);
                self.hold(ticket, frame, due);
            }
        }
    }
}
