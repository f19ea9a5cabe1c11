//! WAIT and WAITAOF: how many replicas have what a client wrote, over all shards that it wrote to.
//!
//! A server counts for a connection, and what clients write goes over connections that they share. So each shard is asked
//! on a connection of its own, behind a request that brings this connection up to the newest write ([`mark`]): whatever the
//! client wrote was answered before, so it is older. The least of all shards' counts is the answer.
//!
//! A shard whose primary was lost since the client wrote there may have lost the write: the answer is 0 then, once.

use super::super::forward::Admit;
use super::super::pipe::{Ticket, Work};
use super::super::session::{Session, Stop};
use super::super::{PipeId, Proxy, SessionId};
use super::{Step, Waiting};
use crate::command::Command;
use crate::metric::Class;
use crate::resp::{Args, Elements, ErrorReply, Proto, Writer, integer, parse_i64};
use crate::topology::{NodeIndex, SLOTS, Topology};
use std::net::SocketAddr;

/// A node that does not answer this long (microseconds) after its time counts as nothing. An idle server looks at its
/// time-outs ten times a second (`hz`), so it may be 100 ms late itself.
const LATE: u64 = 250_000;

/// Slots that are told apart by one bit of what a client wrote to.
const GROUP: u16 = SLOTS / 64;

/// PING as it is sent.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// `FUNCTION RESTORE` of no function at all, as Redis 7.0 dumps it: a write without a key that changes nothing.
const NOTHING: &[u8] =
    b"*4\r\n$8\r\nFUNCTION\r\n$7\r\nRESTORE\r\n$10\r\n\x0a\x00\x5d\x9b\x5c\x40\x0f\x7f\xa2\xda\r\n$6\r\nAPPEND\r\n";

/// One WAIT or WAITAOF.
#[derive(Debug)]
pub(crate) struct Confirm {
    pub(super) seq: u32,
    kind: Kind,
    /// When it must be answered, in microseconds.
    deadline: Option<u64>,
    /// By shard: the connection that was asked, until it has answered.
    legs: Vec<Option<PipeId>>,
    least: [i64; 2],
    error: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One number.
    Wait,
    /// A pair: of the primary's own disk, and of replicas' disks.
    WaitAof,
}

/// When each group of slots last lost a primary, in microseconds: what was written there before may be gone.
#[derive(Debug)]
pub(in super::super) struct Losses([u64; 64]);

impl Default for Losses {
    fn default() -> Self {
        Losses([0; 64])
    }
}

impl Losses {
    /// The slots of a node that is lost.
    pub(in super::super) fn note_node(&mut self, topology: &Topology, addr: SocketAddr, now: u64) {
        self.note(now, |slot| owner(topology, slot) == Some(addr));
    }

    /// The slots whose owner has lost all that it had: a slot that was handed over took its data along.
    pub(in super::super) fn note_map(&mut self, old: &Topology, new: &Topology, now: u64) {
        let owns: Vec<SocketAddr> = new.primaries().iter().map(|(node, _)| new.node(*node).addr).collect();
        self.note(now, |slot| owner(old, slot).is_some_and(|before| !owns.contains(&before)));
    }

    fn note(&mut self, now: u64, lost: impl Fn(u16) -> bool) {
        for slot in (0..SLOTS).filter(|slot| lost(*slot)) {
            self.0[usize::from(slot / GROUP)] = now;
        }
    }

    /// Whether one of these groups lost its primary after `since`.
    fn any_after(&self, groups: u64, since: u64) -> bool {
        self.0.iter().enumerate().any(|(at, lost)| groups >> at & 1 == 1 && *lost > since)
    }
}

fn owner(topology: &Topology, slot: u16) -> Option<SocketAddr> {
    topology.owner(slot).map(|node| topology.node(node).addr)
}

impl Session {
    /// A write of it goes to a slot.
    #[inline]
    pub(in super::super) fn note_write(&mut self, slot: u16, now: u64) {
        if self.wrote == 0 {
            self.wrote_since = now;
        }
        self.wrote |= 1 << (slot / GROUP);
    }

    /// A write of it goes to all shards.
    pub(in super::super) fn note_writes_everywhere(&mut self, now: u64) {
        self.note_write(0, now);
        self.wrote = u64::MAX;
    }

    fn confirm(&mut self) -> Option<&mut Confirm> {
        match self.extra.as_mut()?.waiting.as_mut()? {
            Waiting::Copies(confirm) => Some(confirm),
            Waiting::Data(_) => None,
        }
    }
}

impl Proxy {
    /// WAIT or WAITAOF. What is wrong with the arguments is for the server to say.
    pub(in super::super) fn confirm(
        &mut self,
        id: SessionId,
        command: &'static Command,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        let now = self.now.steady;
        let Some(session) = self.sessions.get_mut(id) else { return Admit::Yes };
        if session.under_way() > 0 {
            session.stop = Some(Stop::Quiet);
            return Admit::Stopped;
        }
        let (groups, since) = (session.wrote, session.wrote_since);
        let timeout = parse_i64(args.get(args.len() - 1)).and_then(|millis| u64::try_from(millis).ok());
        let deadline = timeout
            .filter(|millis| *millis > 0)
            .map(|millis| now.saturating_add(millis.saturating_mul(1000)));
        let confirm = Confirm {
            seq: session.admit(),
            kind: if command.name == "waitaof" { Kind::WaitAof } else { Kind::Wait },
            deadline,
            legs: Vec::new(),
            least: [i64::MAX; 2],
            error: None,
        };
        session.set_waiting(Waiting::Copies(Box::new(confirm)));
        self.waits.count += 1;
        if groups != 0 && self.losses.any_after(groups, since) {
            self.least_is(id, [0, 0]);
            self.confirmed(id);
            return Admit::Yes;
        }
        for node in self.shards_of(groups) {
            self.ask_for_copies(id, node, frame);
        }
        if deadline.is_some() {
            self.waits.confirming.push(id);
        }
        self.confirmed(id);
        Admit::Yes
    }

    /// The owners of groups of slots; where there is no group, the owner of slot 0.
    fn shards_of(&self, groups: u64) -> Vec<Option<NodeIndex>> {
        let mut found: Vec<Option<NodeIndex>> = Vec::new();
        let slots = (0..SLOTS).filter(|slot| groups >> (slot / GROUP) & 1 == 1);
        let none = (groups == 0).then_some(0);
        for slot in slots.chain(none) {
            let node = self.topology.owner(slot);
            if found.last() != Some(&node) && !found.contains(&node) {
                found.push(node);
            }
        }
        found
    }

    /// Asks a shard; one that cannot be asked has no copies.
    fn ask_for_copies(&mut self, id: SessionId, node: Option<NodeIndex>, frame: &[u8]) {
        let now = self.now.steady;
        // As the gateway's own user: whoever may WAIT need not be one who may do what `mark` does.
        let Some(session) = self.sessions.get_mut(id) else { return };
        let trunk = self.base[session.proto.index()];
        let Some(seq) = session.confirm().map(|confirm| confirm.seq) else { return };
        let addr = node.map(|node| self.topology.node(node).addr);
        let up = addr.filter(|addr| self.links.get(addr).is_none_or(|link| link.retry_at <= now));
        let Some(addr) = up else { return self.least_is(id, [0, 0]) };
        let Some(pipe) = self.private(addr, trunk, id) else {
            let mut error = Vec::new();
            let limit = self.max_lent();
            Writer::new(&mut error, Proto::Two).error(ErrorReply::TooManyWait { limit });
            if let Some(confirm) = self.sessions.get_mut(id).and_then(Session::confirm) {
                confirm.error = Some(error);
            }
            return;
        };
        let Some(confirm) = self.sessions.get_mut(id).and_then(Session::confirm) else { return };
        let work = Work::Wait(Step::Copies(confirm.legs.len() as u16));
        confirm.legs.push(Some(pipe));
        let ticket =
            Ticket { session: id, seq, work, class: Class::Blocking, ..Ticket::of_nobody(work, now) };
        self.push_private(pipe, mark(&self.version), Ticket { work: Work::Wait(Step::Mark), ..ticket });
        self.push_private(pipe, frame, ticket);
    }

    fn least_is(&mut self, id: SessionId, counts: [i64; 2]) {
        if let Some(confirm) = self.sessions.get_mut(id).and_then(Session::confirm) {
            let [one, other] = confirm.least;
            confirm.least = [one.min(counts[0]), other.min(counts[1])];
        }
    }

    /// A shard's count is here; no pipe: its connection is gone.
    pub(super) fn copies_counted(&mut self, pipe: PipeId, id: SessionId, leg: u16, reply: &[u8]) {
        match reply.starts_with(b"-UNBLOCKED force unblock") {
            true => self.close_pipe(pipe), // the node closes it too
            false => self.give_back(pipe),
        }
        let Some(confirm) = self.sessions.get_mut(id).and_then(Session::confirm) else { return };
        if let Some(leg) = confirm.legs.get_mut(usize::from(leg)) {
            *leg = None;
        }
        match counts(reply) {
            Some(counts) => self.least_is(id, counts),
            None if is_deposed(reply) => self.least_is(id, [0, 0]),
            None => confirm.error = Some(reply.to_vec()),
        }
        self.confirmed(id);
    }

    /// The connection of a shard is up to the newest write; if not, what it counts means nothing.
    pub(super) fn marked(&mut self, id: SessionId, reply: &[u8]) {
        if reply.first() == Some(&b'-') {
            self.least_is(id, [0, 0]);
        }
    }

    /// Answers once all shards have.
    fn confirmed(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(confirm) = session.confirm() else { return };
        if confirm.legs.iter().any(Option::is_some) {
            return;
        }
        let mut reply = Vec::new();
        let mut writer = Writer::new(&mut reply, Proto::Two);
        let [least, other] = confirm.least;
        let error = confirm.error.take();
        match (&error, confirm.kind) {
            (Some(error), _) => reply.extend_from_slice(error),
            (None, Kind::Wait) => writer.integer(least),
            (None, Kind::WaitAof) => {
                writer.array(2);
                writer.integer(least);
                writer.integer(other);
            }
        }
        if self.losses.any_after(session.wrote, session.wrote_since) {
            session.wrote = 0; // it is told of the loss: what it writes from now on counts anew
        }
        self.end_wait(id, &reply);
    }

    /// Answers for those whose node has not: it may hang.
    pub(super) fn confirm_tick(&mut self) {
        let now = self.now.steady;
        for id in std::mem::take(&mut self.waits.confirming) {
            let Some(confirm) = self.sessions.get_mut(id).and_then(Session::confirm) else { continue };
            let late = confirm.deadline.is_some_and(|deadline| deadline.saturating_add(LATE) <= now);
            if !late {
                self.waits.confirming.push(id);
                continue;
            }
            let pipes: Vec<PipeId> = confirm.pipes().collect();
            confirm.legs.clear();
            pipes.into_iter().for_each(|pipe| self.close_pipe(pipe));
            self.least_is(id, [0, 0]);
            self.confirmed(id);
        }
    }
}

impl Confirm {
    /// The connections that have not answered.
    pub(super) fn pipes(&self) -> impl Iterator<Item = PipeId> {
        self.legs.iter().copied().flatten()
    }
}

/// A request that brings a connection up to the newest write of its server. Up to Redis 7.0 every command does; later
/// only one that is replicated.
pub(in super::super) fn mark(version: &str) -> &'static [u8] {
    if version.starts_with("7.0.") || version.starts_with("6.") { PING } else { NOTHING }
}

/// Whether a node says that it is no primary (any more), or not yet.
fn is_deposed(reply: &[u8]) -> bool {
    let texts: [&[u8]; 4] =
        [b"-UNBLOCKED force unblock", b"-ERR WAIT cannot be used with replica", b"-LOADING", b"-MASTERDOWN"];
    let aof: &[u8] = b"-ERR WAITAOF cannot be used with replica";
    texts.iter().any(|text| reply.starts_with(text)) || reply.starts_with(aof)
}

/// What WAIT (an integer) or WAITAOF (two) answered.
fn counts(reply: &[u8]) -> Option<[i64; 2]> {
    match integer(reply) {
        Some(count) => Some([count, 0]),
        None => {
            let mut pair = Elements::of(reply)?;
            Some([integer(pair.next()?)?, integer(pair.next()?)?])
        }
    }
}
