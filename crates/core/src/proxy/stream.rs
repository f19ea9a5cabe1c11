//! Large requests with one key, streamed to their node as they come: a value of 512 MB is never here whole.
//!
//! A stream has a connection of its own (a lane) while it lasts, so that nobody waits behind it. Of a request longer
//! than [`KEPT`] the bytes are not kept, so it cannot be asked again elsewhere; therefore the node is asked first, by
//! `EXISTS key`, whether it would take a request for this key at all. A shorter one is kept in the lane's queue until it
//! is answered, in the very chunks that it was read into; it goes at once, and only where a node refuses it, the next one
//! is asked. The client's other requests wait until it is done.
//!
//! ```text
//!    ┌────────── short: at once ────────────┐
//! Seeking ──lane──► Probing ──:0 or :1──► Body ──last byte──► Awaiting ──reply──► (done)
//!    ▲                 │ MOVED, ASK, later   │ lost
//!    ├─────────────────┘                     ├──► Discarding ──last byte──► (done)
//!    └───────────────── all that was sent is kept
//! ```
//! Where a part of it has passed unread (`onward`), it is recalled before the request is sent again (`Recalling`).

use super::buffer::LARGE;
use super::durable::Piece;
use super::onward::Outside;
use super::pipe::{Resend, Ticket, Work};
use super::redirect::{Verdict, judge};
use super::session::{End, Known, Stop};
use super::timing::Tally;
use super::{Output, PipeId, Proxy, SessionId};
use crate::command::{Access, Command, Keys, Lookup, Treat, arity_ok, lookup};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply, Limits, Proto, ReplyScan, RequestReader, Scan, Span, Writer};
use crate::topology::slot;
use std::net::SocketAddr;

/// Longest request of which the bytes are kept until it is answered: with [`MAX_LANES`] this bounds the memory.
pub(super) const KEPT: usize = 4 * 1024 * 1024;
/// Bytes of a stream that may wait for the node.
const MAX_WAITING: usize = 1024 * 1024;

/// One large request.
#[derive(Debug)]
pub(crate) struct Stream {
    key: Vec<u8>,
    slot: u16,
    resend: Resend,
    seq: u32,
    born: u64,
    tries: u8,
    /// Finds the request's end: a request is framed like a reply that is an array.
    pub(super) scan: ReplyScan,
    pub(super) phase: Phase,
    /// Whether it is so short that the node need not be asked.
    size: Size,
    /// Whether all that was sent of it can be sent again.
    pub(super) kept: Kept,
    /// What of it stands in no queue here.
    pub(super) outside: Outside,
    /// Where a node said that the key is, and whether ASKING has to be said there.
    told: Option<(SocketAddr, bool)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// It will have no more bytes than are kept.
    Short,
    /// It has more, or nobody knows yet.
    Long,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Seeking {
        due: u64,
    },
    Probing(PipeId),
    Body(PipeId),
    Awaiting(PipeId),
    Discarding,
    /// What has passed unread is asked for.
    Recalling {
        due: u64,
    },
}

impl Proxy {
    /// Starts to stream the request at the start of `rest` if its kind allows it. Returns how many bytes are
    /// taken over; `None`: collect it.
    pub(super) fn begin_stream(
        &mut self,
        id: SessionId,
        rest: &[u8],
        needs: u64,
        spans: &mut Vec<Span>,
    ) -> Option<usize> {
        if self.is_queueing(id) {
            return None; // it is kept with the rest of its transaction
        }
        let session = self.sessions.get_mut(id).filter(|session| session.known == Known::Yes)?;
        let ahead = RequestReader::ahead(rest, spans, &Limits::SERVER)?;
        let args = Args::new(rest, spans);
        let Lookup::Found(command) = lookup(args.get(0), None) else { return None };
        if args.len() < 2 || !arity_ok(command, ahead.total as usize) || !streams(command) {
            return None;
        }
        if session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Some(0);
        }
        if self.pause.is_some() && self.waits_for_pause(id, command, &args) {
            return Some(0);
        }
        // Where all but the last argument are here, `needs` is the whole.
        let short = ahead.total as usize == args.len() + 1 && needs <= self.settings.unasked;
        let session = self.sessions.get_mut(id)?;
        let key = args.get(1).to_vec();
        let stream = Stream {
            slot: slot(&key),
            key,
            resend: super::forward::resend(command.access),
            seq: session.admit(),
            born: self.now.steady,
            tries: 0,
            scan: ReplyScan::default(),
            phase: Phase::Seeking { due: 0 },
            size: if short { Size::Short } else { Size::Long },
            kept: Kept::Yes,
            outside: Outside::default(),
            told: None,
        };
        if command.access == Access::Write {
            session.note_write(stream.slot, stream.born);
        }
        session.last_command = command.name;
        session.stream = Some(Box::new(stream));
        session.stop = Some(Stop::Stream);
        session.reader = RequestReader::default();
        session.inbox = self.pool.take(rest.len());
        session.inbox.extend_from_slice(rest);
        self.stream_step(id);
        Some(rest.len())
    }

    /// More bytes of a client with a stream.
    pub(super) fn stream_bytes(&mut self, id: SessionId, bytes: &[u8]) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.inbox.extend_from_slice(bytes);
            self.stream_step(id);
        }
    }

    /// A chunk to read a client's bytes into, where they go on to a node as they are.
    #[inline]
    pub fn client_room(&mut self, id: SessionId) -> Option<Vec<u8>> {
        let session = self.sessions.get(id)?;
        let stream = session.stream.as_ref().filter(|_| session.inbox.is_empty())?;
        match stream.phase {
            Phase::Body(_) if self.stream_wants(stream) => Some(self.pool.take(LARGE)),
            Phase::Body(_)
            | Phase::Discarding
            | Phase::Seeking { .. }
            | Phase::Probing(_)
            | Phase::Awaiting(_)
            | Phase::Recalling { .. } => None,
        }
    }

    /// A chunk of [`Proxy::client_room`] was filled.
    pub fn client_filled(&mut self, id: SessionId, chunk: Vec<u8>) {
        match self.sessions.get_mut(id) {
            Some(session) if session.stream.is_some() && session.inbox.is_empty() => {
                self.counts[Metric::ClientBytesIn as usize] += chunk.len() as u64;
                self.pool.give(std::mem::replace(&mut session.inbox, chunk));
                self.stream_step(id);
            }
            Some(_) | None => {
                self.client_bytes(id, &chunk);
                self.pool.give(chunk);
            }
        }
    }

    /// Whether bytes of a stream are wanted.
    pub(super) fn stream_wants(&self, stream: &Stream) -> bool {
        match stream.phase {
            Phase::Body(lane) => {
                let waiting = self.pipes.get(lane).map_or(0, |pipe| pipe.out.unsent());
                waiting < MAX_WAITING && stream.outside.is_through()
            }
            Phase::Discarding => true,
            Phase::Seeking { .. } | Phase::Probing(_) | Phase::Awaiting(_) | Phase::Recalling { .. } => false,
        }
    }

    /// Does what can be done for a stream now.
    pub(super) fn stream_step(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(stream) = session.stream.as_mut() else { return };
        match stream.phase {
            Phase::Seeking { due } => {
                let late = self.now.steady.saturating_sub(stream.born) >= self.settings.hold;
                if late {
                    self.stream_gives_up(id);
                } else if due > self.now.steady || !self.seek(id) {
                    self.lane_waiters.push(id);
                }
            }
            Phase::Body(lane) => self.stream_body(id, lane),
            Phase::Discarding => {
                let (taken, passed) = pass(&mut stream.scan, &session.inbox);
                session.inbox.drain(..taken);
                match passed {
                    Passed::End => self.end_stream(id),
                    Passed::Part => {}
                    Passed::Nonsense => self.break_off(id),
                }
            }
            Phase::Probing(_) | Phase::Awaiting(_) | Phase::Recalling { .. } => {}
        }
        self.touch_client(id);
    }

    /// Gets a lane and asks on it whether the request may come; false when there is none to be had now.
    fn seek(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get(id) else { return true };
        let Some(stream) = session.stream.as_ref() else { return true };
        let trunk = session.trunk;
        let asking = stream.told.is_some_and(|(_, asking)| asking);
        let at_once = stream.size == Size::Short && stream.tries == 0;
        let Some(addr) = self.stream_target(id) else {
            self.learn();
            return false;
        };
        if self.links.get(&addr).is_some_and(|link| link.retry_at > self.now.steady) {
            return false;
        }
        let Some(lane) = self.lane(addr, trunk, id) else { return false };
        let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) else {
            return true;
        };
        if at_once {
            self.begin_body(id, lane);
            return true;
        }
        stream.phase = Phase::Probing(lane);
        let ticket = stream.ticket(id, Work::Probe);
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request([b"EXISTS".as_slice(), &stream.key].into_iter());
        if asking {
            self.push_asking(lane);
        }
        self.push_unkept(lane, &frame, ticket);
        true
    }

    /// Where a stream has to go now.
    pub(super) fn stream_target(&self, id: SessionId) -> Option<SocketAddr> {
        let stream = self.sessions.get(id)?.stream.as_ref()?;
        let owner = || self.topology.owner(stream.slot).map(|node| self.topology.node(node).addr);
        stream.told.map(|(addr, _)| addr).or_else(owner)
    }

    /// The request itself may go.
    fn begin_body(&mut self, id: SessionId, lane: PipeId) {
        let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) else {
            return;
        };
        stream.phase = Phase::Body(lane);
        let ticket = stream.ticket(id, Work::Body);
        if stream.told.is_some_and(|(_, asking)| asking) {
            self.push_asking(lane);
        }
        self.push_unkept(lane, b"", ticket);
        self.stream_body(id, lane);
    }

    /// Passes on what there is of a body.
    fn stream_body(&mut self, id: SessionId, lane: PipeId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let (Some(stream), Some(pipe)) = (session.stream.as_mut(), self.pipes.get_mut(lane)) else { return };
        if pipe.out.unsent() >= MAX_WAITING || !stream.outside.is_through() {
            return;
        }
        let (taken, passed) = pass(&mut stream.scan, &session.inbox);
        if taken > 0 {
            if taken == session.inbox.len() {
                pipe.out.push_chunk(std::mem::take(&mut session.inbox), &mut self.pool);
            } else {
                pipe.out.push(&session.inbox[..taken], &mut self.pool);
                session.inbox.drain(..taken);
            }
            if let Some(ticket) = pipe.tickets.back_mut().filter(|_| stream.kept == Kept::Yes) {
                ticket.len += taken as u32;
                if ticket.len as usize + stream.outside.len() > KEPT {
                    (stream.kept, ticket.len) = (Kept::No, 0);
                    pipe.let_go_of_unkept(&mut self.pool);
                }
            }
            match passed {
                Passed::End => stream.phase = Phase::Awaiting(lane),
                Passed::Part | Passed::Nonsense => {} // the node will say what is wrong with it
            }
            self.touch_pipe(lane);
        }
    }

    /// Bytes of a lane were sent.
    pub(super) fn stream_wrote(&mut self, lane: PipeId, tenant: SessionId) {
        let Some(pipe) = self.pipes.get_mut(lane) else { return };
        pipe.let_go_of_unkept(&mut self.pool);
        if pipe.out.unsent() <= MAX_WAITING / 2 {
            self.wake_stream(tenant);
        }
    }

    pub(super) fn wake_stream(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && session.stream.is_some()
            && !std::mem::replace(&mut session.to_resume, true)
        {
            self.resume.push(id);
        }
    }

    /// The node said whether the request may come.
    pub(super) fn probed(&mut self, lane: PipeId, ticket: &Ticket, reply: &[u8]) {
        let id = ticket.session;
        let from = self.pipes.get(lane).map(|pipe| pipe.addr.ip());
        let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) else {
            return self.free_lane(lane);
        };
        if reply.first() == Some(&b':') {
            self.begin_body(id, lane);
            return self.touch_client(id);
        }
        stream.tries = stream.tries.saturating_add(1);
        let pause = if stream.tries > 5 { 10_000 } else { 0 };
        let verdict = from.map_or(Verdict::Later, |from| judge(reply, from));
        let (told, due) = match verdict {
            Verdict::Moved(addr) => (addr.map(|addr| (addr, false)), self.now.steady + pause),
            Verdict::Ask(addr) => (addr.map(|addr| (addr, true)), self.now.steady + pause),
            Verdict::Later => (None, self.now.steady + 5_000),
            Verdict::Deliver => {
                stream.phase = Phase::Discarding;
                let ticket = stream.ticket(id, Work::Whole);
                self.deliver_whole(&ticket, reply);
                self.free_lane(lane);
                return self.stream_step(id);
            }
        };
        (stream.told, stream.phase) = (told, Phase::Seeking { due });
        self.add(Metric::Redirects, 1);
        self.learn();
        self.free_lane(lane);
        self.stream_step(id);
    }

    /// The reply of a large request, or its last piece (`midway`).
    pub(super) fn streamed(&mut self, lane: PipeId, ticket: &Ticket, reply: &[u8], midway: bool) {
        let addr = self.pipes.get(lane).map(|pipe| pipe.addr);
        let error = !midway && reply.first() == Some(&b'-');
        let foreign = error && addr.is_some_and(|addr| judge(reply, addr.ip()) != Verdict::Deliver);
        let mut sent = Vec::new();
        if let Some(pipe) = self.pipes.get_mut(lane) {
            if foreign {
                sent = pipe.out.copy_of_last(ticket.len as usize);
            }
            pipe.out.release(ticket.len as usize, &mut self.pool);
        }
        let Some(stream) = self.sessions.get_mut(ticket.session).and_then(|session| session.stream.as_mut())
        else {
            return self.free_lane(lane);
        };
        let whole = stream.phase == Phase::Awaiting(lane);
        let nonsense = error && reply.starts_with(b"-ERR Protocol error");
        if foreign && whole && self.start_over(ticket.session, sent) {
            return self.free_lane(lane);
        }
        if foreign {
            self.learn();
            let node = addr.map_or(String::new(), |addr| format!("node {addr}"));
            self.deliver_error(ticket, &ErrorReply::StreamBroken { node: &node });
        } else if error {
            self.deliver_whole(ticket, reply);
        } else {
            let piece = if midway { Piece::Last } else { Piece::Whole };
            match addr {
                Some(addr) if self.withholds(ticket, reply, piece) => {
                    let ticket = Ticket { work: Work::Whole, ..*ticket };
                    self.withhold((lane, addr), &ticket, reply, piece);
                }
                Some(_) | None => {
                    self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, End::Yes);
                }
            }
        }
        if whole && !nonsense {
            self.end_stream(ticket.session);
            self.free_lane(lane);
        } else {
            // The node closes such a connection, as it would have closed the client's.
            self.break_off(ticket.session);
            self.close_pipe(lane);
        }
    }

    /// Has a large request that was not executed sent again from its start, if all that was sent of it is kept.
    fn start_over(&mut self, id: SessionId, mut sent: Vec<u8>) -> bool {
        let due = self.now.steady + 5_000;
        let Some(session) = self.sessions.get_mut(id) else { return false };
        let Some(stream) = session.stream.as_mut() else { return false };
        if stream.kept == Kept::No {
            return false;
        }
        sent.append(&mut session.inbox);
        session.inbox = sent;
        stream.tries = stream.tries.saturating_add(1);
        stream.scan = ReplyScan::default();
        stream.told = None;
        if stream.outside.is_something() {
            stream.phase = Phase::Recalling { due };
            self.outputs.push(Output::Recall(id));
        } else {
            stream.phase = Phase::Seeking { due };
            self.lane_waiters.push(id);
        }
        self.add(Metric::Retries, 1);
        self.learn();
        true
    }

    /// A client's bytes can no longer be told apart: it is closed once it has all its replies.
    pub(super) fn break_off(&mut self, id: SessionId) {
        self.forget_outside(id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.stream = None;
            session.inbox = Vec::new();
            session.stop = Some(Stop::Closing);
            self.touch_client(id);
        }
    }

    /// A lane was lost with something of a stream on it.
    pub(super) fn stream_lost(&mut self, ticket: &Ticket, sent: Vec<u8>, node: &str, all_sent: bool) {
        let id = ticket.session;
        let now = self.now.steady;
        let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) else {
            return;
        };
        match (ticket.work, stream.phase) {
            (Work::Body, phase) => {
                let whole = matches!(phase, Phase::Awaiting(_));
                if whole && all_sent && stream.resend == Resend::Never {
                    self.add(Metric::Uncertain, 1);
                    self.deliver_error(ticket, &ErrorReply::Uncertain { node });
                } else if self.start_over(id, sent) {
                    return;
                } else {
                    self.deliver_error(ticket, &ErrorReply::StreamBroken { node });
                }
                if whole { self.end_stream(id) } else { self.discard(id) }
            }
            (_, _) => {
                (stream.told, stream.phase) = (None, Phase::Seeking { due: now + 5_000 });
                self.lane_waiters.push(id);
            }
        }
    }

    fn discard(&mut self, id: SessionId) {
        self.forget_outside(id);
        if let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) {
            stream.phase = Phase::Discarding;
            self.wake_stream(id);
        }
    }

    fn stream_gives_up(&mut self, id: SessionId) {
        let Some(stream) = self.sessions.get_mut(id).and_then(|session| session.stream.as_mut()) else {
            return;
        };
        stream.phase = Phase::Discarding;
        let ticket = stream.ticket(id, Work::Whole);
        self.give_up(&ticket);
        self.wake_stream(id);
    }

    /// The request is done with: the client's next ones may come.
    fn end_stream(&mut self, id: SessionId) {
        self.forget_outside(id);
        if let Some(session) = self.sessions.get_mut(id) {
            session.stream = None;
            if session.inbox.is_empty() {
                self.pool.give(std::mem::take(&mut session.inbox));
            }
            self.lift(id);
        }
        if self.draining
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.stop = Some(Stop::Closing);
        }
    }

    /// The client of a stream is gone.
    pub(super) fn abandon_stream(&mut self, stream: Stream) {
        // A lane with half a request on it is of no more use; one that waits for a reply frees itself by it.
        if let Phase::Body(lane) = stream.phase {
            self.close_pipe(lane);
        }
    }

    /// Whether a client that closed its side still waits for the reply of a whole large request.
    pub(super) fn stream_is_whole(stream: &Stream) -> bool {
        matches!(stream.phase, Phase::Awaiting(_))
    }

    /// Streams that wait for a lane or for a better time try again.
    pub(super) fn stream_tick(&mut self) {
        for id in std::mem::take(&mut self.lane_waiters) {
            self.wake_stream(id);
        }
    }

    pub(super) fn stream_waits(&self) -> bool {
        !self.lane_waiters.is_empty()
    }
}

impl Stream {
    pub(super) fn ticket(&self, session: SessionId, work: Work) -> Ticket {
        Ticket {
            session,
            seq: self.seq,
            len: 0,
            slot: self.slot,
            tries: self.tries,
            resend: self.resend,
            class: match self.resend {
                Resend::Yes => Class::Read,
                Resend::Never => Class::Write,
            },
            tally: Tally::NOBODY,
            work,
            born: self.born,
        }
    }
}

/// Commands whose first argument decides where they go, whatever follows.
fn streams(command: &Command) -> bool {
    let one_key = matches!(command.keys, Keys::Range { first: 1, last: 1, .. });
    command.access != Access::Admin && command.treat == Treat::Slot && one_key
}

/// What the bytes of a request led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    Part,
    End,
    /// They are no request: nobody can say where the next one starts.
    Nonsense,
}

/// How many of `bytes` belong to the request, and what that led to.
fn pass(scan: &mut ReplyScan, bytes: &[u8]) -> (usize, Passed) {
    match scan.advance(bytes) {
        Ok(Scan::Done(len)) => (len, Passed::End),
        Ok(Scan::More(len)) => (len, Passed::Part),
        Err(_) => (bytes.len(), Passed::Nonsense),
    }
}
