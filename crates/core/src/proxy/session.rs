//! One client: what it said of itself, how far its bytes are read, and its replies in the order of its requests.

use super::PipeId;
use super::blocking::Waiting;
use super::buffer::{Pool, Queue};
use super::durable::Durability;
use super::inquiry::Inquiry;
use super::mute::Mute;
use super::pipe::Spot;
use super::pubsub::Subscriptions;
use super::stream::Stream;
use super::tracking::Tracking;
use super::transaction::Transaction;
use super::trunk::TrunkId;
use crate::resp::{Proto, RequestReader};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// Requests of one client under way after which it is not read on until half of them are answered.
pub(crate) const MAX_DEPTH: u32 = 512;
/// Unread reply bytes of one client after which no more of its requests are admitted.
pub(crate) const MAX_OUTPUT: usize = 8 * 1024 * 1024;
/// Reply bytes that wait for an earlier reply after which the client is dropped.
pub(crate) const MAX_STASH: usize = 256 * 1024 * 1024;

/// Places for replies before their turn that a client keeps when it has none.
const MAX_IDLE_ENTRIES: usize = 32;

/// Why no more requests of a client are admitted at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Until all its requests are answered: what comes next could overtake them on another way.
    Quiet,
    /// Until half of its requests are answered.
    Depth,
    /// Until it reads its replies.
    Output,
    /// Until this pipe has room.
    Pipe(PipeId),
    /// Until its large request is done.
    Stream,
    /// Until its blocking command is answered.
    Blocked,
    /// Until a node has answered what the next request depends on.
    Inquiry,
    /// Until the end of a pause.
    Pause,
    /// Until there is a map.
    Map,
    /// It is being closed: nothing more is read.
    Closing,
}

/// Whether a client has shown who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    No,
}

#[derive(Debug)]
pub struct Session {
    /// The number that CLIENT ID answers: unique in this gateway.
    pub(crate) number: u64,
    pub(crate) peer: SocketAddr,
    /// The address that the client dialled.
    pub(crate) local: SocketAddr,
    /// The protocol of its replies: its trunk's.
    pub(crate) proto: Proto,
    pub(crate) trunk: TrunkId,
    pub(crate) known: Known,
    pub(crate) about: Option<Box<About>>,
    /// What few clients have.
    pub(crate) extra: Option<Box<Extra>>,
    /// When it came and when it last asked, in microseconds.
    pub(crate) since: u64,
    pub(crate) active: u64,
    pub(crate) last_command: &'static str,
    /// Bytes of a request that is not whole, or that may not be admitted yet.
    pub(crate) inbox: Vec<u8>,
    pub(crate) reader: RequestReader,
    /// Whether its last request passed unread for the most part.
    pub(crate) bulky: bool,
    pub(crate) stop: Option<Stop>,
    pub(crate) stream: Option<Box<Stream>>,
    /// Which map its requests under way were routed by.
    pub(crate) epoch: u32,
    /// Requests that are where they were sent first (not asked again), and not answered yet.
    pub(crate) first_sent: u32,
    /// Whether one of them is being asked elsewhere.
    pub(crate) astray: bool,
    /// Where the last read stands that was looked at for equal ones, and its sequence number: see `hot`.
    latest: (PipeId, u64, u32),
    /// Whether it closed its side: it still gets its replies.
    pub(crate) ended: bool,
    /// Which groups of slots it wrote to, and since when: see `blocking::confirm`.
    pub(crate) wrote: u64,
    pub(crate) wrote_since: u64,
    /// What the replies of its writes wait for.
    pub(crate) durability: Durability,
    /// The same by the door by which it came.
    pub(crate) door: Durability,
    /// Sequence number of the next request, and of the first that is not answered.
    next: u32,
    head: u32,
    pub(crate) out: Queue,
    stash: Stash,
    /// Whether `out` ends inside of a reply.
    mid_reply: bool,
    pub(crate) dirty: bool,
    pub(crate) to_resume: bool,
    /// Pipes that are not read because this client does not read.
    pub(crate) stalls: u32,
    /// How long others have waited behind what it did not read, in microseconds, since it last had read everything.
    pub(crate) held_up: u64,
}

/// What a client said of itself.
#[derive(Debug, Default)]
pub(crate) struct About {
    /// The user that it logged in as, where that is not `default`.
    pub(crate) user: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) lib_name: Vec<u8>,
    pub(crate) lib_ver: Vec<u8>,
    /// Whether it said CLIENT NO-EVICT ON.
    pub(crate) no_evict: bool,
    /// Whether it said CLIENT NO-TOUCH ON.
    pub(crate) no_touch: bool,
    /// Whether it said CLIENT CAPA REDIRECT.
    pub(crate) redirects: bool,
    /// How long its last CLIENT LIST or CLIENT INFO was: as bytes of a request, and as words.
    pub(crate) asked: (usize, usize),
}

/// What is kept for a client that does more than ask and be answered: idle clients stay small.
#[derive(Debug, Default)]
pub(crate) struct Extra {
    /// Messages that wait for the end of the reply that is being passed on.
    messages: Vec<u8>,
    /// Ends of messages in `messages` that must not leave before the replies of all requests before this one.
    gates: VecDeque<(u32, usize)>,
    pub(crate) mute: Mute,
    pub(crate) subscriptions: Option<Box<Subscriptions>>,
    /// Whether it hears what is asked (MONITOR).
    pub(crate) monitors: bool,
    pub(crate) waiting: Option<Waiting>,
    /// Where the array ends that is being answered element by element.
    array: Option<ArrayEnd>,
    pub(crate) transaction: Transaction,
    pub(crate) tracking: Option<Box<Tracking>>,
    pub(crate) inquiry: Inquiry,
}

/// Which reply is the last element of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ArrayEnd {
    /// One that is not asked for yet.
    Open,
    /// The one before this sequence number.
    Before(u32),
}

impl Extra {
    /// Whether nothing of it is in use.
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.array.is_none()
            && self.transaction.is_empty()
            && self.tracking.is_none()
            && self.inquiry.is_none()
            && self.mute.is_empty()
            && self.subscriptions.is_none()
            && !self.monitors
            && self.waiting.is_none()
    }
}

/// Replies that came before their turn.
#[derive(Debug, Default)]
struct Stash {
    /// The entry at index i is for the request `head + i`.
    entries: VecDeque<Entry>,
    bytes: Vec<u8>,
    /// Bytes in `bytes` and in entries that were not handed on yet.
    live: usize,
}

#[derive(Debug)]
enum Entry {
    Waiting,
    Whole { at: u32, len: u32 },
    Growing { bytes: Vec<u8>, end: End },
}

/// Whether a piece of a reply is its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Yes,
    No,
}

impl Session {
    pub(crate) fn new(number: u64, peer: SocketAddr, local: SocketAddr, known: Known, now: u64) -> Self {
        Session {
            number,
            peer,
            local,
            proto: Proto::Two,
            trunk: TrunkId::NONE,
            known,
            about: None,
            extra: None,
            since: now,
            active: now,
            last_command: "NULL",
            inbox: Vec::new(),
            reader: RequestReader::default(),
            bulky: false,
            stop: None,
            stream: None,
            epoch: 0,
            first_sent: 0,
            astray: false,
            latest: (PipeId::NONE, 0, 0),
            ended: false,
            wrote: 0,
            wrote_since: 0,
            durability: Durability::Async,
            door: Durability::Async,
            next: 0,
            head: 0,
            out: Queue::default(),
            stash: Stash::default(),
            mid_reply: false,
            dirty: false,
            to_resume: false,
            stalls: 0,
            held_up: 0,
        }
    }

    /// Whether no request of it was ever admitted.
    pub(crate) fn asked_nothing(&self) -> bool {
        self.next == 0
    }

    /// Requests without a complete reply.
    #[inline]
    pub(crate) fn under_way(&self) -> u32 {
        self.next.wrapping_sub(self.head)
    }

    /// Gives a request its place in the reply order.
    #[inline]
    pub(crate) fn admit(&mut self) -> u32 {
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        seq
    }

    /// The place in the reply order that the next request will get.
    pub(crate) fn upcoming(&self) -> u32 {
        self.next
    }

    /// Whether a read at this spot of a pipe stands no earlier than anything that this client has under way there, but for
    /// the one that was just admitted.
    pub(crate) fn may_join(&self, pipe: PipeId, spot: Spot) -> bool {
        let (latest, bytes, seq) = self.latest;
        let follows = seq == self.next.wrapping_sub(2) && latest == pipe && bytes <= spot.bytes;
        self.under_way() == 1 || follows
    }

    /// The request that was admitted last stands here. All before it that are under way on this pipe stand before it.
    pub(crate) fn note_spot(&mut self, pipe: PipeId, spot: Spot) {
        self.latest = (pipe, spot.bytes, self.next.wrapping_sub(1));
    }

    /// Lets go of `extra` when there is nothing in it.
    pub(crate) fn tidy(&mut self) {
        if self.extra.as_ref().is_some_and(|extra| extra.is_empty()) {
            self.extra = None;
        }
    }

    /// Whether the reply of this request is the next that the client expects.
    pub(crate) fn is_head(&self, seq: u32) -> bool {
        seq == self.head
    }

    /// Bytes of replies that wait for an earlier one.
    pub(crate) fn stashed(&self) -> usize {
        self.stash.live
    }

    /// Takes a reply, or a piece of one. In its turn it goes out, before its turn it waits.
    #[inline]
    pub(crate) fn take(&mut self, seq: u32, bytes: &[u8], end: End, pool: &mut Pool) {
        let bytes = if self.extra.is_some() { self.wanted(seq, bytes) } else { bytes };
        if seq != self.head {
            return self.stash.put(seq.wrapping_sub(self.head) as usize, bytes, end, pool);
        }
        if !bytes.is_empty() {
            self.out.push(bytes, pool);
        }
        self.mid_reply |= end == End::No && !bytes.is_empty();
        if end == End::Yes {
            self.head = self.head.wrapping_add(1);
            if self.mid_reply {
                self.end_reply(pool);
            }
            if !self.stash.entries.is_empty() {
                self.stash.entries.pop_front();
                self.unstash(pool);
            }
        }
    }

    /// A reply as far as the client wants it (CLIENT REPLY).
    fn wanted<'a>(&mut self, seq: u32, bytes: &'a [u8]) -> &'a [u8] {
        let head = self.head;
        let Some(extra) = self.extra.as_mut().filter(|extra| !extra.mute.is_empty()) else { return bytes };
        extra.mute.forget(head);
        let covered = extra.mute.covers(seq);
        if extra.is_empty() {
            self.extra = None;
        }
        // A push is no reply (`networking.c`: prepareClientToWrite).
        if covered && bytes.first() != Some(&b'>') { &[] } else { bytes }
    }

    /// Hands on a message that is no reply (a push, or a message to a subscriber): between two replies.
    pub(crate) fn announce(&mut self, message: &[u8], pool: &mut Pool) {
        if self.mid_reply {
            self.extra.get_or_insert_default().messages.extend_from_slice(message);
        } else {
            self.out.push(message, pool);
        }
    }

    /// The same with a message that many clients get: it is kept once for all of them.
    pub(crate) fn announce_shared(&mut self, message: &Arc<[u8]>, pool: &mut Pool) {
        if self.mid_reply {
            self.announce(message, pool);
        } else {
            self.out.push_shared(message);
        }
    }

    /// Bytes that the client has not taken yet.
    pub(crate) fn unread(&self) -> usize {
        self.out.unsent() + self.extra.as_ref().map_or(0, |extra| extra.messages.len())
    }

    /// Hands on a message behind the replies of all requests so far: some of them are here and wait for others.
    pub(crate) fn announce_behind(&mut self, message: &[u8]) {
        let (next, extra) = (self.next, self.extra.get_or_insert_default());
        extra.messages.extend_from_slice(message);
        extra.gates.push_back((next, extra.messages.len()));
        extra.array.get_or_insert(ArrayEnd::Before(next));
        self.mid_reply = true;
    }

    /// Whether replies are here before their turn.
    pub(crate) fn has_replies_waiting(&self) -> bool {
        !self.stash.entries.is_empty()
    }

    /// The next replies are the header of an array and its elements: no message may come between them.
    pub(crate) fn begin_array(&mut self) {
        self.extra.get_or_insert_default().array = Some(ArrayEnd::Open);
        self.mid_reply = true;
    }

    /// All elements of the array are asked for.
    pub(crate) fn end_array(&mut self, pool: &mut Pool) {
        self.extra.get_or_insert_default().array = Some(ArrayEnd::Before(self.next));
        self.end_reply(pool);
    }

    /// A reply that was passed on in pieces is whole: messages that came meanwhile may follow.
    fn end_reply(&mut self, pool: &mut Pool) {
        let Some(extra) = &mut self.extra else {
            self.mid_reply = false;
            return;
        };
        match extra.array {
            Some(ArrayEnd::Open) => return,
            Some(ArrayEnd::Before(seq)) if self.head != seq => return,
            Some(ArrayEnd::Before(_)) | None => extra.array = None,
        }
        self.mid_reply = false;
        if extra.messages.is_empty() {
            return;
        }
        let mut end = 0;
        while let Some((seq, at)) = extra.gates.front().copied()
            && self.head.wrapping_sub(seq) as i32 >= 0
        {
            (_, end) = (extra.gates.pop_front(), at);
        }
        let Some((next, _)) = extra.gates.front().copied() else {
            self.out.push(&std::mem::take(&mut extra.messages), pool);
            self.tidy();
            return;
        };
        self.out.push(&extra.messages[..end], pool);
        extra.messages.drain(..end);
        extra.gates.iter_mut().for_each(|(_, at)| *at -= end);
        (extra.array, self.mid_reply) = (Some(ArrayEnd::Before(next)), true);
    }

    /// Hands on what has become its turn.
    fn unstash(&mut self, pool: &mut Pool) {
        loop {
            match self.stash.entries.front_mut() {
                Some(Entry::Whole { at, len }) => {
                    let bytes = &self.stash.bytes[*at as usize..][..*len as usize];
                    self.out.push(bytes, pool);
                    self.stash.live -= bytes.len();
                }
                Some(Entry::Growing { bytes, end }) => {
                    let bytes = std::mem::take(bytes);
                    if !bytes.is_empty() {
                        self.out.push(&bytes, pool);
                    }
                    self.stash.live -= bytes.len();
                    let more = *end == End::No;
                    self.mid_reply |= more && !bytes.is_empty();
                    if more {
                        self.stash.entries[0] = Entry::Waiting;
                        break;
                    }
                }
                Some(Entry::Waiting) | None => break,
            }
            self.stash.entries.pop_front();
            self.head = self.head.wrapping_add(1);
            if self.mid_reply {
                self.end_reply(pool);
            }
        }
        self.stash.shrink(pool);
    }

    /// Gives all memory back to the pool.
    pub(crate) fn dissolve(mut self, pool: &mut Pool) {
        self.out.clear(pool);
        pool.give(std::mem::take(&mut self.inbox));
        pool.give(std::mem::take(&mut self.stash.bytes));
    }
}

impl Stash {
    fn put(&mut self, index: usize, bytes: &[u8], end: End, pool: &mut Pool) {
        while self.entries.len() <= index {
            self.entries.push_back(Entry::Waiting);
        }
        self.live += bytes.len();
        let whole = match &mut self.entries[index] {
            Entry::Growing { bytes: grown, end: grown_end } => {
                grown.extend_from_slice(bytes);
                *grown_end = end;
                return;
            }
            Entry::Waiting | Entry::Whole { .. } => end == End::Yes && self.bytes.len() < 1 << 30,
        };
        if !whole {
            self.entries[index] = Entry::Growing { bytes: bytes.to_vec(), end };
            return;
        }
        self.entries[index] = Entry::Whole { at: self.bytes.len() as u32, len: bytes.len() as u32 };
        pool.extend(&mut self.bytes, bytes);
    }

    /// Gives up what was handed on: all of it once nothing waits, else when most of it is dead.
    fn shrink(&mut self, pool: &mut Pool) {
        let live: usize = if self.live == 0 { 0 } else { self.whole_bytes() };
        if live == 0 {
            self.bytes.clear();
            if self.entries.is_empty() {
                pool.give(std::mem::take(&mut self.bytes));
                if self.entries.capacity() > MAX_IDLE_ENTRIES {
                    self.entries = VecDeque::new();
                }
            }
        } else if self.bytes.len() > 256 * 1024 && live * 2 < self.bytes.len() {
            let mut kept = Vec::with_capacity(live);
            for entry in &mut self.entries {
                if let Entry::Whole { at, len } = entry {
                    let from = *at as usize;
                    *at = kept.len() as u32;
                    kept.extend_from_slice(&self.bytes[from..from + *len as usize]);
                }
            }
            self.bytes = kept;
        }
    }

    fn whole_bytes(&self) -> usize {
        if self.bytes.len() <= 256 * 1024 && self.live > 0 {
            return self.live; // not worth counting
        }
        let lens = self.entries.iter().map(|entry| match entry {
            Entry::Whole { len, .. } => *len as usize,
            Entry::Waiting | Entry::Growing { .. } => 0,
        });
        lens.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Known, Session};
    use crate::proxy::buffer::Pool;
    use std::io::IoSlice;

    fn session() -> Session {
        let addr = "127.0.0.1:1".parse().expect("an address");
        Session::new(1, addr, addr, Known::Yes, 0)
    }

    fn out(session: &Session) -> String {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = session.out.unsent_slices(&mut slices);
        slices[..filled].iter().map(|slice| String::from_utf8_lossy(slice).into_owned()).collect()
    }

    #[test]
    fn replies_leave_in_the_order_of_requests() {
        let (mut session, mut pool) = (session(), Pool::default());
        let seqs: Vec<u32> = (0..5).map(|_| session.admit()).collect();
        session.take(seqs[2], b"c", End::Yes, &mut pool);
        session.take(seqs[1], b"b", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.under_way()), ("", 5));
        session.take(seqs[0], b"a", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.under_way()), ("abc", 2));
        session.take(seqs[4], b"e", End::Yes, &mut pool);
        session.take(seqs[3], b"d", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.under_way(), session.stashed()), ("abcde", 0, 0));
    }

    #[test]
    fn a_reply_that_grows_before_its_turn_goes_on_in_its_turn() {
        let (mut session, mut pool) = (session(), Pool::default());
        let (first, second, third) = (session.admit(), session.admit(), session.admit());
        session.take(second, b"x", End::No, &mut pool);
        session.take(third, b"3", End::Yes, &mut pool);
        session.take(second, b"y", End::No, &mut pool);
        session.take(first, b"1", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.is_head(second)), ("1xy", true));
        session.take(second, b"z", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.under_way(), session.stashed()), ("1xyz3", 0, 0));
    }

    #[test]
    fn a_message_waits_for_the_end_of_a_reply() {
        let (mut session, mut pool) = (session(), Pool::default());
        let (first, second) = (session.admit(), session.admit());
        session.announce(b"<", &mut pool);
        session.take(second, b"x", End::No, &mut pool);
        session.announce(b"=", &mut pool);
        session.take(first, b"1", End::Yes, &mut pool);
        session.announce(b"!", &mut pool);
        assert_eq!((out(&session).as_str(), session.unread()), ("<=1x", 5));
        session.take(second, b"y", End::Yes, &mut pool);
        session.announce(b">", &mut pool);
        assert_eq!((out(&session).as_str(), session.unread()), ("<=1xy!>", 7));
    }

    #[test]
    fn a_message_stays_behind_replies_that_wait() {
        let (mut session, mut pool) = (session(), Pool::default());
        let (first, second) = (session.admit(), session.admit());
        session.take(second, b"2", End::Yes, &mut pool);
        session.announce_behind(b"<");
        let third = session.admit();
        session.take(third, b"3", End::Yes, &mut pool);
        session.announce_behind(b">");
        let fourth = session.admit();
        session.take(first, b"1", End::Yes, &mut pool);
        assert_eq!(out(&session), "12<3>");
        session.announce(b"!", &mut pool);
        session.take(fourth, b"4", End::Yes, &mut pool);
        assert_eq!((out(&session).as_str(), session.unread()), ("12<3>!4", 7));
    }

    #[test]
    fn any_order_comes_out_right() {
        for seed in 0..2000u64 {
            let (mut session, mut pool) = (session(), Pool::default());
            let mut waiting: Vec<u32> = (0..12).map(|_| session.admit()).collect();
            let mut dice = seed;
            while !waiting.is_empty() {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let seq = waiting.swap_remove((dice >> 33) as usize % waiting.len());
                let letter = [b'a' + seq as u8];
                if dice >> 60 < 4 {
                    session.take(seq, b"", End::No, &mut pool);
                }
                session.take(seq, &letter, End::Yes, &mut pool);
            }
            assert_eq!(out(&session), "abcdefghijkl", "seed {seed}");
        }
    }
}
