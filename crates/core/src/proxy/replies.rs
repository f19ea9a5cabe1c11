//! From a node's bytes to replies, each to whoever asked: first in, first out.

use super::blocking::Step;
use super::durable::Piece;
use super::pipe::{Pipe, Purpose, Resend, Ticket, Work};
use super::pubsub::Pubsub;
use super::redirect::{Verdict, judge};
use super::{PipeId, Proxy};
use crate::metric::Metric;
use crate::resp::{ReplyScan, Scan};

/// Bytes of an error after which it is passed on unjudged.
const LONG_ERROR: usize = 4 * 1024;
/// Bytes of a stream's last entry after which it is not collected.
const LARGE_ENTRY: usize = 1024 * 1024;

impl Proxy {
    /// Bytes came from a node (none, when what came before may be looked at again).
    pub fn pipe_bytes(&mut self, id: PipeId, bytes: &[u8]) {
        self.counts[Metric::NodeBytesIn as usize] += bytes.len() as u64;
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        pipe.heard = self.now.steady;
        pipe.bulky &= pipe.midway; // until some of the next reply passes unread
        if pipe.inbox.is_empty() {
            let taken = self.replies(id, bytes);
            if taken < bytes.len()
                && let Some(pipe) = self.pipes.get_mut(id)
            {
                self.pool.extend(&mut pipe.inbox, &bytes[taken..]);
            }
        } else {
            let mut inbox = std::mem::take(&mut pipe.inbox);
            self.pool.extend(&mut inbox, bytes);
            let taken = self.replies(id, &inbox);
            match self.pipes.get_mut(id) {
                Some(pipe) if taken < inbox.len() => {
                    inbox.drain(..taken);
                    pipe.inbox = inbox;
                }
                Some(_) | None => self.pool.give(inbox),
            }
        }
        self.after_replies(id);
    }

    /// Deals with every reply in `data`, which starts where the pipe's inbox starts; returns how many bytes are
    /// done with. What the scan has passed over beyond that is remembered in `scanned`.
    fn replies(&mut self, id: PipeId, data: &[u8]) -> usize {
        let mut at = 0;
        loop {
            at += self.express_replies(id, &data[at..]);
            let Some(pipe) = self.pipes.get_mut(id) else { return at };
            if pipe.stalled_by.is_some() {
                return at;
            }
            let from = at + pipe.scanned;
            if from >= data.len() {
                return at;
            }
            let scan = match pipe.scan.advance(&data[from..]) {
                Ok(scan) => scan,
                Err(error) => {
                    self.lose_pipe(id, &format!("its answer is not the Redis protocol: {error}"));
                    return at;
                }
            };
            match scan {
                Scan::Done(len) => {
                    let end = from + len;
                    (pipe.scan, pipe.scanned) = (ReplyScan::default(), 0);
                    self.reply(id, &data[at..end]);
                    at = end;
                }
                Scan::More(len) => {
                    pipe.scanned += len;
                    let end = from + len;
                    if self.piece(id, &data[at..end]) {
                        at = end;
                    }
                    return at;
                }
            }
        }
    }

    /// A reply is not whole. Passes on what there is of it where the client waits for nothing else; replies
    /// that have to be judged or merged are collected. Returns whether the piece was passed on.
    fn piece(&mut self, id: PipeId, piece: &[u8]) -> bool {
        let Some(pipe) = self.pipes.get_mut(id) else { return false };
        let Some(ticket) = pipe.tickets.front().copied() else { return false };
        // An error has to be judged, but none that asks for something is as long as this one would be.
        let passes = match piece.first() {
            None => false,
            Some(_) if pipe.midway => true,
            Some(b'-') => piece.len() > LONG_ERROR,
            Some(b'>') => return false, // a push is dealt with whole, whoever waits for a reply
            Some(_) => true,
        };
        match ticket.work {
            Work::Whole | Work::Body | Work::Wait(Step::Data) if passes => {
                pipe.midway = true;
                pipe.scanned = 0;
                self.deliver_piece(id, &ticket, piece);
                true
            }
            Work::Led(group) if passes => {
                (pipe.midway, pipe.scanned) = (true, 0);
                self.deliver_piece_to_all(id, &ticket, group, piece);
                true
            }
            // Nobody needs the whole of an entry that is this large.
            Work::Wait(Step::Newest(_)) if pipe.scanned <= LARGE_ENTRY => false,
            Work::Nobody | Work::Wait(Step::Newest(_)) => {
                (pipe.midway, pipe.scanned) = (true, 0);
                true
            }
            Work::Part { merge, part } | Work::Errand { merge, part }
                if pipe.scanned > self.settings.merged =>
            {
                let limit = self.settings.merged as u64;
                self.merge_too_large(merge, part, limit);
                self.lose_pipe(id, "its part of a merged reply is larger than the gateway collects");
                false
            }
            Work::Block(block) if passes && block.passes() => {
                pipe.midway = true;
                pipe.scanned = 0;
                self.deliver_piece(id, &ticket, piece);
                true
            }
            Work::Block(_) if pipe.scanned > self.settings.merged => {
                self.lose_pipe(id, "the reply of a transaction is larger than the gateway collects");
                false
            }
            Work::Whole
            | Work::Led(_)
            | Work::Count
            | Work::Body
            | Work::Part { .. }
            | Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Probe
            | Work::Block(_)
            | Work::Watch
            | Work::Hub(_)
            | Work::Farewell
            | Work::Wait(
                Step::Data
                | Step::Mark
                | Step::Copies(_)
                | Step::Unblocked
                | Step::RoundMark
                | Step::Round
                | Step::Lineage,
            )
            | Work::Inquiry(_) => false,
        }
    }

    /// A whole reply, or the last piece of one.
    #[inline]
    pub(super) fn reply(&mut self, id: PipeId, reply: &[u8]) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        if let Some(Ticket { work: Work::Block(block), .. }) = pipe.tickets.front()
            && reply.first() != Some(&b'>')
        {
            let block = *block;
            return self.block_reply(id, block, reply);
        }
        if !pipe.midway {
            match reply.first() {
                Some(b'>') => return self.pushed(id, reply),
                Some(b'-') => {
                    let verdict = judge(reply, pipe.addr.ip());
                    let judged = pipe.tickets.front().map(|ticket| ticket.work);
                    let ours = matches!(
                        judged,
                        Some(Work::Whole | Work::Led(_) | Work::Count | Work::Part { .. } | Work::Inquiry(_))
                    );
                    if verdict != Verdict::Deliver && ours {
                        return self.redirect(id, verdict);
                    }
                }
                _ => {}
            }
        }
        let midway = std::mem::replace(&mut pipe.midway, false);
        let (node, request) = (pipe.addr, request_to_count(pipe, &self.pubsub, reply, self.awake));
        let Some(ticket) = pipe.pop(&mut self.pool) else {
            return self.lose_pipe(id, "it answered without being asked");
        };
        self.note_back(&ticket);
        if self.some_are_astray()
            && matches!(ticket.work, Work::Whole | Work::Led(_) | Work::Count | Work::Part { .. })
        {
            self.fail_overtaken(&ticket);
        }
        if ticket.resend == Resend::Never && matches!(ticket.work, Work::Whole | Work::Part { .. }) {
            let piece = if midway { Piece::Last } else { Piece::Whole };
            if self.withholds(&ticket, reply, piece) {
                return self.withhold((id, node), &ticket, reply, piece);
            }
        }
        match ticket.work {
            Work::Whole if midway => {
                self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, super::session::End::Yes);
            }
            Work::Whole => self.deliver_whole(&ticket, reply),
            Work::Led(group) => self.answer_all(&ticket, group, reply, midway),
            Work::Part { merge, part } => self.part_came(id, merge, part, reply),
            Work::Errand { merge, part } => self.merge_part(merge, part, reply),
            Work::Run => self.run_told(id, reply),
            Work::Count => match request {
                Some(request) => self.counted(&ticket, node, &request, reply),
                None => self.deliver_whole(&ticket, reply),
            },
            Work::Greeting => self.greeted(id, reply),
            Work::Nobody if reply.first() == Some(&b'-') => self.refused_by_node(id, reply),
            Work::Nobody => self.let_go(id),
            Work::Wait(step) => self.waited(id, &ticket, step, reply, midway),
            Work::Probe => self.probed(id, &ticket, reply),
            Work::Inquiry(_) => self.answered(ticket.session, reply),
            Work::Body => self.streamed(id, &ticket, reply, midway),
            Work::Hub(topic) => self.hub_refused(id, topic, reply),
            Work::Farewell => self.farewell_said(id),
            Work::Watch => self.watched(id, &ticket, reply),
            Work::Block(_) => {} // they went their way above
        }
    }

    /// Replies made room: those who waited for it go on; a retiring pipe that is empty ends.
    pub(super) fn after_replies(&mut self, id: PipeId) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        if !pipe.waiting.is_empty() && pipe.has_much_room() {
            let waiting = std::mem::take(&mut pipe.waiting);
            waiting.into_iter().for_each(|session| self.lift(session));
        } else if pipe.purpose == Purpose::Retiring && pipe.tickets.is_empty() {
            self.close_pipe(id);
        }
    }
}

/// The first request of a pipe if it counts receivers, and its reply is not what the client may see.
#[inline]
fn request_to_count(pipe: &Pipe, pubsub: &Pubsub, reply: &[u8], workers: usize) -> Option<Vec<u8>> {
    let ticket = pipe.tickets.front()?;
    let counts = ticket.work == Work::Count && !pubsub.is_right(reply, workers);
    counts.then(|| pipe.out.front(ticket.len as usize).to_vec())
}
