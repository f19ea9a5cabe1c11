//! Keeps one client's requests for one slot in order when some of them have to be asked again.
//!
//! A pipeline is on its way when its first request is refused, so what is behind may be refused too, or not. Requests
//! that are asked again go out in their order, and none before all that was sent first is answered: only then is it
//! known what was executed already. A request that a later one of its client has overtaken is not executed at all.

use super::pipe::{Resend, Ticket};
use super::{PipeId, Proxy, SessionId};
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// Requests of one client for one slot that were asked again and are not answered yet: all on one pipe.
#[derive(Debug)]
struct Stray {
    pipe: PipeId,
    count: u32,
    /// Sequence number of the last of them.
    last: u32,
    /// Sequence numbers of the last request of the same client and slot that was executed meanwhile: of those that
    /// only read, and of all others.
    read: Option<u32>,
    wrote: Option<u32>,
}

/// The strays of one worker. Empty unless something is being asked again.
#[derive(Debug, Default)]
pub(super) struct Strays(HashMap<(SessionId, u16), Stray>);

impl Strays {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Proxy {
    /// A request was put on a pipe.
    #[inline]
    pub(super) fn note_sent(&mut self, pipe: PipeId, ticket: &Ticket) {
        if !ticket.work.is_ordered() {
            return;
        }
        if ticket.tries > 0 {
            let new = Stray { pipe, count: 0, last: ticket.seq, read: None, wrote: None };
            let stray = self.strays.0.entry((ticket.session, ticket.slot)).or_insert(new);
            (stray.count, stray.last) = (stray.count + 1, ticket.seq);
        } else if let Some(session) = self.sessions.get_mut(ticket.session) {
            session.first_sent += 1;
        }
    }

    /// A request was taken off its pipe: answered, refused or lost.
    #[inline]
    pub(super) fn note_back(&mut self, ticket: &Ticket) {
        if !ticket.work.is_ordered() {
            return;
        }
        if ticket.tries > 0 {
            if let Entry::Occupied(mut stray) = self.strays.0.entry((ticket.session, ticket.slot)) {
                stray.get_mut().count -= 1;
                if stray.get().count == 0 {
                    stray.remove();
                }
            }
        } else if let Some(session) = self.sessions.get_mut(ticket.session) {
            session.first_sent -= 1;
        }
    }

    /// Whether a request that is asked again would get to this pipe behind all that came before it, and before all
    /// that came after.
    pub(super) fn follows_its_own(&self, ticket: &Ticket, pipe: PipeId) -> bool {
        let stray = self.strays.0.get(&(ticket.session, ticket.slot));
        stray.is_none_or(|stray| stray.pipe == pipe && ticket.is_after(stray.last))
    }

    /// Whether everything that a client sent is answered, but for what is being asked again.
    pub(super) fn first_are_back(&self, session: SessionId) -> bool {
        self.sessions.get(session).is_none_or(|session| session.first_sent == 0)
    }

    /// Whether anything of anyone is held or asked again: only then can one request overtake another.
    #[inline]
    pub(super) fn some_are_astray(&self) -> bool {
        self.park.len() > 0 || !self.strays.is_empty()
    }

    /// A request was executed: what its client asked of this slot before must not be executed after it, unless both
    /// only read. What is held ends here; what is asked again at this moment ends if it is refused once more.
    pub(super) fn fail_overtaken(&mut self, by: &Ticket) {
        while let Some(ticket) = self.park.take_earlier(by) {
            self.fail_as_overtaken(&ticket);
        }
        if let Some(stray) = self.strays.0.get_mut(&(by.session, by.slot)) {
            let last = if by.resend == Resend::Never { &mut stray.wrote } else { &mut stray.read };
            if last.is_none_or(|last| by.is_after(last)) {
                *last = Some(by.seq);
            }
        }
    }

    /// Whether a request that is asked again was overtaken while it was on its way. To be asked before
    /// [`Proxy::note_back`] forgets it.
    pub(super) fn was_overtaken(&self, ticket: &Ticket) -> bool {
        let Some(stray) = self.strays.0.get(&(ticket.session, ticket.slot)) else { return false };
        let by = |last: Option<u32>| last.is_some_and(|last| ticket.is_before(last));
        ticket.tries > 0
            && ticket.work.is_ordered()
            && (by(stray.wrote) || ticket.resend == Resend::Never && by(stray.read))
    }

    pub(super) fn fail_as_overtaken(&mut self, ticket: &Ticket) {
        self.unavailable(ticket, "a later command of this connection overtook it");
    }
}

/// Whether it matters in which order two requests are executed.
pub(super) fn conflict(one: &Ticket, other: &Ticket) -> bool {
    one.resend == Resend::Never || other.resend == Resend::Never
}
