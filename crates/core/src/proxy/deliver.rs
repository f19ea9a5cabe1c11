//! Hands replies to clients, in the order of their requests.

use super::pipe::Ticket;
use super::session::{End, MAX_DEPTH, MAX_STASH, Stop};
use super::timing::Timed;
use super::{PipeId, Proxy, SessionId};
use crate::metric::Metric;
use crate::resp::{ErrorReply, Proto, Writer};

impl Proxy {
    /// Hands a reply (or its last piece) to a client.
    #[inline]
    pub(super) fn deliver(&mut self, id: SessionId, seq: u32, timed: Timed, reply: &[u8], end: End) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.take(seq, reply, end, &mut self.pool);
        if !session.dirty {
            session.dirty = true;
            self.dirty_clients.push(id);
        }
        let lifted = match session.stop {
            Some(Stop::Quiet) => session.under_way() == 0,
            Some(Stop::Depth) => session.under_way() <= MAX_DEPTH / 2,
            _ => false,
        };
        let overfull = session.stashed() > MAX_STASH;
        if end == End::Yes {
            self.counts[Metric::Requests as usize] += 1;
            self.timings.count(timed, self.now.steady);
        }
        if lifted {
            self.lift(id);
        }
        if overfull {
            self.evict(id, "replies that wait for an earlier one passed 256 MiB");
        }
    }

    /// Hands a whole reply to a client and counts it as an error if it is one.
    #[inline]
    pub(super) fn deliver_whole(&mut self, ticket: &Ticket, reply: &[u8]) {
        if reply.first() == Some(&b'-') {
            self.counts[Metric::Errors as usize] += 1;
            if Self::is_refusal(reply) {
                self.suspect_nodes();
            }
        }
        self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, End::Yes);
    }

    /// Hands on a piece of a reply that is too large to wait for. Where the client does not read, the pipe is
    /// not read on either: that, and not memory, is what a slow client costs. Only while others wait behind it some
    /// more is taken for it.
    pub(super) fn deliver_piece(&mut self, pipe: PipeId, ticket: &Ticket, piece: &[u8]) {
        self.deliver(ticket.session, ticket.seq, ticket.timed(), piece, End::No);
        let Some(session) = self.sessions.get(ticket.session) else { return };
        let (unsent, ahead) = (session.out.unsent(), self.settings.ahead);
        if !session.is_head(ticket.seq) || unsent <= ahead {
            return;
        }
        if self.pipes.get(pipe).is_none_or(|pipe| pipe.stalled_by.is_some()) {
            return; // another one for whom this piece is does not read either
        }
        let others = self.pipes.get(pipe).is_some_and(|pipe| pipe.others_wait(ticket.session));
        if unsent > ahead * 4 || !others {
            self.stall(pipe, ticket.session);
        }
    }

    /// Answers a request of a client with an error of ours.
    pub(super) fn deliver_error(&mut self, ticket: &Ticket, error: &ErrorReply<'_>) {
        let mut reply = std::mem::take(&mut self.scratch);
        reply.clear();
        Writer::new(&mut reply, Proto::Two).error(error);
        self.deliver_whole(ticket, &reply);
        self.scratch = reply;
    }
}
