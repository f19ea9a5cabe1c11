//! Equal reads that wait at the same time: one of them is sent, and its reply is everyone's.
//!
//! A read joins another one if both are the same bytes for the same connection, the other one has not been sent yet, and
//! nothing that may write stands between them. So both were waiting when the node executed the one, and no server could
//! be told from one that executed them side by side. Nor does a client notice by its other requests: it joins only if
//! all that it has under way on that connection stands no later than what it joins.
//!
//! When the one is not answered, everyone who joined is asked again by himself, as if he had never joined.

use super::arena::{Arena, Id};
use super::buffer::Pool;
use super::pipe::{Pipe, Spot, Ticket, Work};
use super::session::{End, Session};
use super::{PipeId, Proxy};

/// Reads without an equal one after which none is looked for during so many requests: where keys differ a look should
/// cost nothing.
const PATIENCE: u32 = 256;
const REST: u32 = 4096;
/// How many of them one that is found makes up for.
const REWARD: u32 = 16;
/// Reads that are remembered, by slot.
const REMEMBERED: usize = 64;
/// Lists of those who joined that are kept for later.
const SPARE: usize = 64;

/// Those who joined one read.
pub(crate) type Group = Vec<Ticket>;
pub(crate) type GroupId = Id<Group>;

/// A read that an equal one would find.
#[derive(Clone, Copy, Debug)]
struct Seen {
    pipe: PipeId,
    spot: Spot,
    len: u32,
}

/// What one worker knows of reads that wait.
#[derive(Debug)]
pub(super) struct Hot {
    /// Reads that were put on their pipes lately; the last one of all slots with the same remainder.
    seen: Box<[Seen; REMEMBERED]>,
    misses: u32,
    rest: u32,
    groups: Arena<Group>,
    spare: Vec<Group>,
}

impl Default for Hot {
    fn default() -> Self {
        let nothing = Seen { pipe: PipeId::NONE, spot: Spot::default(), len: 0 };
        Hot {
            seen: Box::new([nothing; REMEMBERED]),
            misses: 0,
            rest: 0,
            groups: Arena::default(),
            spare: Vec::new(),
        }
    }
}

impl Hot {
    /// Whether it is worth to look for equal reads.
    #[inline]
    pub(super) fn is_awake(&self) -> bool {
        self.rest == 0
    }

    /// So many requests passed.
    #[inline]
    pub(super) fn rest_for(&mut self, requests: u32) {
        self.rest = self.rest.saturating_sub(requests);
    }

    /// Puts a read of a client, which has just been admitted, on its pipe, or has it join an equal one that waits there;
    /// whether it joined.
    pub(super) fn put(
        &mut self,
        (id, pipe): (PipeId, &mut Pipe),
        session: &mut Session,
        ticket: Ticket,
        frame: &[u8],
        pool: &mut Pool,
    ) -> bool {
        let seen = self.find((id, pipe), ticket.slot, frame, session);
        if let Some(seen) = seen
            && self.join(pipe, seen, ticket)
        {
            session.note_spot(id, seen.spot);
            return true;
        }
        session.note_spot(id, pipe.spot());
        pipe.push(frame, ticket, pool);
        false
    }

    /// The read that this one may join. Where there is none, this one is remembered: it is about to be put on the pipe.
    fn find(
        &mut self,
        (id, pipe): (PipeId, &Pipe),
        slot: u16,
        frame: &[u8],
        session: &Session,
    ) -> Option<Seen> {
        let seen = &mut self.seen[usize::from(slot) % REMEMBERED];
        let equal = seen.pipe == id
            && seen.len as usize == frame.len()
            && pipe.pending(seen.spot, frame.len()) == Some(frame);
        if equal && session.may_join(id, seen.spot) && !is_random(frame) {
            self.misses = self.misses.saturating_sub(REWARD);
            return Some(*seen);
        }
        *seen = Seen { pipe: id, spot: pipe.spot(), len: frame.len() as u32 };
        self.misses += 1;
        if self.misses >= PATIENCE {
            (self.misses, self.rest) = (0, REST);
        }
        None
    }

    /// Adds a read to those who get this one's reply; whether that was possible.
    fn join(&mut self, pipe: &mut Pipe, seen: Seen, ticket: Ticket) -> bool {
        let Some(leader) = pipe.ticket_at(seen.spot) else { return false };
        match leader.work {
            Work::Led(group) => match self.groups.get_mut(group) {
                Some(group) => group.push(ticket),
                None => return false,
            },
            Work::Whole => {
                let mut group = self.spare.pop().unwrap_or_default();
                group.push(ticket);
                leader.work = Work::Led(self.groups.insert(group));
            }
            Work::Part { .. }
            | Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Wait(_)
            | Work::Block(_)
            | Work::Watch
            | Work::Inquiry(_)
            | Work::Count
            | Work::Hub(_)
            | Work::Farewell => return false,
        }
        true
    }

    /// Who has joined.
    pub(super) fn group(&self, id: GroupId) -> &[Ticket] {
        self.groups.get(id).map_or(&[], Vec::as_slice)
    }

    /// A request that was taken off its pipe unanswered, and those who had joined it: each by itself again.
    pub(super) fn disband(&mut self, ticket: Ticket) -> Group {
        let Work::Led(id) = ticket.work else { return vec![ticket] };
        let joined = self.groups.remove(id).unwrap_or_default();
        std::iter::once(Ticket { work: Work::Whole, ..ticket }).chain(joined).collect()
    }

    fn give(&mut self, mut group: Group) {
        group.clear();
        if self.spare.len() < SPARE && group.capacity() <= 1024 {
            self.spare.push(group);
        }
    }
}

impl Proxy {
    /// The reply of a read that others have joined, or its last piece.
    pub(super) fn answer_all(&mut self, leader: &Ticket, id: GroupId, reply: &[u8], midway: bool) {
        let Some(group) = self.hot.groups.remove(id) else { return };
        self.answer_one(leader, reply, midway);
        for ticket in &group {
            self.note_back(ticket);
            if self.some_are_astray() {
                self.fail_overtaken(ticket);
            }
            self.answer_one(&Ticket { tally: leader.tally, ..*ticket }, reply, midway);
        }
        self.hot.give(group);
    }

    fn answer_one(&mut self, ticket: &Ticket, reply: &[u8], midway: bool) {
        if midway {
            self.deliver(ticket.session, ticket.seq, ticket.timed(), reply, End::Yes);
        } else {
            self.deliver_whole(ticket, reply);
        }
    }

    /// A piece of it, for everyone.
    pub(super) fn deliver_piece_to_all(&mut self, pipe: PipeId, leader: &Ticket, id: GroupId, piece: &[u8]) {
        self.deliver_piece(pipe, leader, piece);
        let mut at = 0;
        while let Some(ticket) = self.hot.group(id).get(at).copied() {
            self.deliver_piece(pipe, &ticket, piece);
            at += 1;
        }
    }
}

/// Whether a read answers something else each time (SRANDMEMBER, HRANDFIELD and their kin).
fn is_random(frame: &[u8]) -> bool {
    let name = frame.split(|byte| *byte == b'\n').nth(2).unwrap_or_default();
    name.get(1..5).is_some_and(|word| word.eq_ignore_ascii_case(b"RAND"))
}

#[cfg(test)]
mod tests {
    use super::is_random;
    use crate::command::{Access, Keys, TABLE};

    #[test]
    fn reads_that_answer_something_else_each_time_are_known() {
        let one_key = Keys::Range { first: 1, last: 1, step: 1 };
        let reads = TABLE.iter().filter(|row| row.access == Access::Read && row.keys == one_key);
        let frame = |name: &str| format!("*2\r\n${}\r\n{name}\r\n$1\r\nk\r\n", name.len());
        let random: Vec<&str> =
            reads.map(|row| row.name).filter(|name| is_random(frame(name).as_bytes())).collect();
        assert_eq!(random, ["hrandfield", "srandmember", "zrandmember", "vrandmember"]);
    }
}
