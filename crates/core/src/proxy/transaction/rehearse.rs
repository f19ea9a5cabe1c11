//! Errors that only a node can tell while a transaction is queued: no memory, no disk, too few replicas.
//!
//! A server refuses such a command when it is queued. Here EXEC would be the first to hear of it, which is as safe, but not
//! what a client expects that sends on only what was queued. So while there is reason to think that nodes refuse
//! writes, each is rehearsed: MULTI, the command and DISCARD, in one piece, of which nothing is executed.

use super::super::forward::Admit;
use super::super::pipe::{Resend, Ticket, Work};
use super::super::session::Stop;
use super::super::{Proxy, SessionId};
use super::block::{Block, Goal};
use super::queue::{MULTI, Place};
use crate::command::Command;
use crate::metric::Class;

const DISCARD: &[u8] = b"*1\r\n$7\r\nDISCARD\r\n";
/// How long writes are rehearsed after a setting was changed or a write was refused (microseconds).
const SUSPICION: u64 = 10_000_000;

/// A command whose node is being asked.
#[derive(Debug)]
pub(super) struct Rehearsal {
    command: &'static Command,
    place: Place,
    frame: Box<[u8]>,
}

impl Proxy {
    /// Nodes may refuse writes from now on: a setting was changed, or one has just done so.
    pub(in super::super) fn suspect_nodes(&mut self) {
        self.suspicious_until = self.now.steady.saturating_add(SUSPICION);
    }

    /// Whether an error says that a node takes no writes at the moment (`server.c`: `processCommand`).
    pub(in super::super) fn is_refusal(reply: &[u8]) -> bool {
        [b"-OOM ".as_slice(), b"-MISCONF ", b"-NOREPLICAS "].iter().any(|code| reply.starts_with(code))
    }

    /// Whether a write of this client is rehearsed. Not for a user of the servers, who may be denied DISCARD: what is
    /// begun could not be ended.
    pub(super) fn is_suspicious(&self, id: SessionId) -> bool {
        self.now.steady < self.suspicious_until
            && self.sessions.get(id).is_some_and(|session| self.login_of(session.trunk).is_none())
    }

    pub(super) fn rehearse(
        &mut self,
        id: SessionId,
        command: &'static Command,
        place: Place,
        frame: &[u8],
    ) -> Admit {
        let Some(queue) = self.queue(id) else { return Admit::Yes };
        queue.rehearsal = Some(Rehearsal { command, place, frame: frame.into() });
        let slot = queue.slot();
        let work = Work::Block(Block::new(1, Goal::Rehearsal));
        let admit =
            self.forward_as(id, slot, &[MULTI, frame, DISCARD].concat(), (Resend::Yes, Class::Other), work);
        if admit == Admit::Stopped {
            if let Some(queue) = self.queue(id) {
                queue.rehearsal = None; // it comes again
            }
        } else if let Some(session) = self.sessions.get_mut(id)
            && session.under_way() > 0
        {
            session.stop = Some(Stop::Quiet); // what follows is queued behind it
        }
        admit
    }

    /// The node has said what it would say: nothing against it, or an error.
    pub(super) fn rehearsed(&mut self, ticket: &Ticket, refusal: &[u8]) {
        let extra = self.sessions.get_mut(ticket.session).and_then(|session| session.extra.as_mut());
        let Some(queue) = extra.and_then(|extra| extra.transaction.queue.as_deref_mut()) else { return };
        let rehearsal = queue.rehearsal.take();
        if refusal.is_empty() {
            if let Some(Rehearsal { command, place, frame }) = rehearsal {
                queue.push(command, place, &frame, &mut self.pool);
                self.queued += frame.len();
            }
            self.deliver_whole(ticket, b"+QUEUED\r\n");
        } else {
            queue.is_broken = true;
            self.suspect_nodes();
            self.deliver_whole(ticket, refusal);
        }
    }

    /// Nobody will say whether the command may be queued.
    pub(super) fn give_rehearsal_up(&mut self, id: SessionId) {
        if let Some(queue) = self.queue(id) {
            queue.is_broken |= queue.rehearsal.take().is_some();
        }
    }
}
