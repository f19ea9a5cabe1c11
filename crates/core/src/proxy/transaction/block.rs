//! The replies of a transaction that was sent whole: one for MULTI, one for each command, and EXEC's, which is the
//! client's.
//!
//! Whatever a node says before EXEC's reply, nothing was executed until then. So where it refused a command in a way
//! that is ours to deal with (MOVED, ASK, LOADING …), all of it is asked again, wherever it belongs.

use super::super::durable::Piece;
use super::super::pipe::{Purpose, Resend, Ticket, Work};
use super::super::redirect::{Verdict, judge};
use super::super::session::End;
use super::super::{PipeId, Proxy};
use super::queue::{EXEC, MULTI};
use crate::metric::Metric;
use crate::resp::{ErrorReply, Proto, Writer};
use std::net::IpAddr;

/// What a transaction is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// EXEC's reply is the client's as it is.
    Whole,
    /// Other replies go between those of the node.
    Parts,
    /// Nothing is executed: whether its one command may be queued at the node.
    Rehearsal,
    /// Its commands only read and are sent without MULTI: see [`Proxy::read_plainly`].
    Reads,
}

/// How far the replies of a transaction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Replies that are still to come.
    left: u32,
    of: u32,
    pub(super) goal: Goal,
}

impl Block {
    pub(super) fn new(commands: u32, goal: Goal) -> Self {
        Block { left: commands + 2, of: commands + 2, goal }
    }

    /// One request, behind another one whose reply goes nowhere.
    pub(crate) fn behind_another() -> Self {
        Block { left: 2, of: 2, goal: Goal::Whole }
    }

    /// The same behind another request whose reply goes nowhere.
    pub(crate) fn with_another(self) -> Self {
        Block { left: self.left + 1, of: self.of + 1, ..self }
    }

    /// As it is when it is sent (again).
    pub(crate) fn afresh(self) -> Self {
        Block { left: self.of, ..self }
    }

    /// Whether a reply of it that is not whole may be passed on: EXEC's, when it goes to the client as it is.
    pub(crate) fn passes(self) -> bool {
        self.left == 1 && self.goal == Goal::Whole
    }
}

const ABORT: &[u8] = b"-EXECABORT";
const ABORT_BECAUSE: &[u8] = b"-EXECABORT Transaction discarded because of: ";

impl Proxy {
    /// A whole reply (or the last piece of EXEC's) of the transaction at the front of a pipe.
    pub(in super::super) fn block_reply(&mut self, id: PipeId, block: Block, reply: &[u8]) {
        if block.goal == Goal::Reads {
            return self.read_reply(id, block, reply);
        }
        if block.left > 1 {
            return self.early_reply(id, block, reply);
        }
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let refusal = std::mem::take(&mut pipe.refusal);
        let verdict = match pipe.midway {
            true => Verdict::Deliver,
            false if block.goal == Goal::Rehearsal => judge(&refusal, pipe.addr.ip()),
            false => why_not(reply, &refusal, pipe.addr.ip()),
        };
        let private = matches!(pipe.purpose, Purpose::Private { .. });
        let addr = pipe.addr;
        if verdict != Verdict::Deliver && !private {
            return self.redirect(id, verdict);
        }
        if !private
            && reply.starts_with(ABORT)
            && refusal.starts_with(b"-OOM ")
            && self.read_plainly(id, block)
        {
            return;
        }
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let midway = std::mem::replace(&mut pipe.midway, false);
        let Some(ticket) = pipe.pop(&mut self.pool) else { return };
        self.note_back(&ticket);
        if self.some_are_astray() {
            self.fail_overtaken(&ticket);
        }
        // Its user may not say EXEC any more: on this connection the transaction goes on, with whatever comes next.
        let open = !midway && reply.starts_with(b"-NOPERM ");
        match (open, private) {
            (true, true) => self.close_pipe(id),
            (true, false) => self.lose_pipe(id, "its user may not end a transaction"),
            (false, true) => self.release_private(id),
            (false, false) => {}
        }
        if verdict != Verdict::Deliver {
            self.learn();
            self.add(Metric::Redirects, 1);
            self.deliver_nothing(&ticket);
        } else if !midway && block.goal == Goal::Rehearsal {
            self.rehearsed(&ticket, &refusal);
        } else if !midway
            && reply.starts_with(ABORT)
            && !reply.starts_with(ABORT_BECAUSE)
            && !refusal.is_empty()
        {
            let because = String::from_utf8_lossy(&refusal[1..]);
            self.drop_rest(ticket.session);
            self.deliver_error(&ticket, &ErrorReply::ExecAbortBecause(because.trim_end()));
        } else {
            let piece = if midway { Piece::Last } else { Piece::Whole };
            if self.withholds(&ticket, reply, piece) {
                return self.withhold((id, addr), &ticket, reply, piece);
            }
            self.block_done(&ticket, block, reply, piece);
        }
    }

    /// A reply before EXEC's: MULTI's, or that a command is queued, or is not.
    fn early_reply(&mut self, id: PipeId, mut block: Block, reply: &[u8]) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        block.left -= 1;
        if reply.first() == Some(&b'-') {
            let ours = |error: &[u8]| judge(error, pipe.addr.ip()) != Verdict::Deliver;
            if pipe.refusal.is_empty() || (ours(reply) && !ours(&pipe.refusal)) {
                pipe.refusal = reply.to_vec();
            }
        }
        if let Some(ticket) = pipe.tickets.front_mut() {
            ticket.work = Work::Block(block);
        }
    }

    /// EXEC's reply is to be handed on, or completed.
    pub(in super::super) fn block_done(&mut self, ticket: &Ticket, block: Block, reply: &[u8], piece: Piece) {
        if piece == Piece::Last {
            self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, End::Yes);
        } else if block.goal == Goal::Parts && reply.starts_with(b"*") && !reply.starts_with(b"*-1") {
            self.begin_rest(ticket.session, ticket.seq, ticket.born, reply);
        } else {
            self.drop_rest(ticket.session);
            self.deliver_whole(ticket, reply);
        }
    }

    /// A node without memory queues nothing, not even reads; but those that were queued before it had none, it executes.
    /// So they are asked again without MULTI, in one piece. Whether they can be.
    fn read_plainly(&mut self, id: PipeId, block: Block) -> bool {
        let Some(pipe) = self.pipes.get_mut(id) else { return false };
        let Some(ticket) = pipe.tickets.front().copied() else { return false };
        let all = pipe.out.front(ticket.len as usize);
        let commands = all.strip_prefix(MULTI).and_then(|rest| rest.strip_suffix(EXEC)).map(<[u8]>::to_vec);
        let Some(commands) = commands.filter(|_| ticket.resend == Resend::Yes) else { return false };
        let count = block.of.saturating_sub(2);
        if count == 0 || block.goal == Goal::Rehearsal {
            return false;
        }
        pipe.pop(&mut self.pool);
        self.note_back(&ticket);
        let work = Work::Block(Block { left: count, of: count, goal: Goal::Reads });
        let tries = ticket.tries.saturating_add(1);
        self.hold(Ticket { work, tries, ..ticket }, &commands, self.now.steady);
        true
    }

    /// One reply of such reads: together they are EXEC's.
    fn read_reply(&mut self, id: PipeId, mut block: Block, reply: &[u8]) {
        let limit = self.settings.merged;
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let from = pipe.addr.ip();
        if reply.first() == Some(&b'-') && judge(reply, from) != Verdict::Deliver {
            pipe.refusal = reply.to_vec();
        } else if pipe.refusal.first() != Some(&b'-') {
            if pipe.refusal.is_empty() {
                Writer::new(&mut pipe.refusal, Proto::Two).array(block.of as usize);
            }
            pipe.refusal.extend_from_slice(reply);
        }
        if pipe.refusal.len() > limit {
            return self.lose_pipe(id, "the reply of a transaction is larger than the gateway collects");
        }
        block.left -= 1;
        if block.left > 0 {
            if let Some(ticket) = pipe.tickets.front_mut() {
                ticket.work = Work::Block(block);
            }
            return;
        }
        let replies = std::mem::take(&mut pipe.refusal);
        if replies.first() == Some(&b'-') {
            return self.redirect(id, judge(&replies, from));
        }
        let Some(ticket) = pipe.pop(&mut self.pool) else { return };
        self.note_back(&ticket);
        if self.some_are_astray() {
            self.fail_overtaken(&ticket);
        }
        if self.transaction(ticket.session).is_some_and(|transaction| transaction.rest.is_some()) {
            self.begin_rest(ticket.session, ticket.seq, ticket.born, &replies);
        } else {
            self.deliver_whole(&ticket, &replies);
        }
    }

    /// It ends with an error of ours.
    pub(in super::super) fn fail_block(&mut self, ticket: &Ticket, error: &ErrorReply<'_>) {
        self.drop_rest(ticket.session);
        self.give_rehearsal_up(ticket.session);
        self.deliver_error(ticket, error);
    }

    /// EXEC's reply when watched keys have changed, or nobody can say any more whether they have.
    pub(in super::super) fn deliver_nothing(&mut self, ticket: &Ticket) {
        self.drop_rest(ticket.session);
        let proto = self.sessions.get(ticket.session).map_or(Proto::Two, |session| session.proto);
        let mut reply = Vec::new();
        Writer::new(&mut reply, proto).null_array();
        self.deliver_whole(ticket, &reply);
    }
}

/// What EXEC's reply asks of the gateway, given the first refusal of a command before it.
fn why_not(reply: &[u8], refusal: &[u8], from: IpAddr) -> Verdict {
    if let Some(because) = reply.strip_prefix(ABORT_BECAUSE) {
        judge(&[b"-", because].concat(), from)
    } else if reply.starts_with(ABORT) {
        judge(refusal, from)
    } else if reply.first() == Some(&b'-') {
        judge(reply, from)
    } else {
        Verdict::Deliver
    }
}

#[cfg(test)]
mod tests {
    use super::{Verdict, why_not};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn a_transaction_is_asked_again_for_what_a_command_would_be() {
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let abort = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
        assert_eq!(why_not(abort, b"-TRYAGAIN x\r\n", from), Verdict::Later);
        assert_eq!(why_not(abort, b"-OOM x\r\n", from), Verdict::Deliver);
        assert_eq!(why_not(b"-TRYAGAIN x\r\n", b"", from), Verdict::Later);
        let because = b"-EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.\r\n";
        assert_eq!(why_not(because, b"", from), Verdict::Later);
        assert_eq!(why_not(b"*1\r\n-MOVED 1 10.0.0.1:1\r\n", b"", from), Verdict::Deliver);
    }
}
