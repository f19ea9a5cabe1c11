//! SCAN over the whole keyspace: one primary after the other, in the order of their lowest slots.
//!
//! A cursor is `node cursor * 16384 + lowest slot of the primary being scanned`: any gateway can go on with it, and
//! it stays small enough for clients that read it as a double.

use super::forward::Admit;
use super::merge::Policy;
use super::pipe::{Resend, Ticket, Work};
use super::{MergeId, Proxy, SessionId};
use crate::resp::{Args, Elements, ErrorReply, Proto, Writer, parse_u64, text};
use crate::topology::SLOTS;

/// How far one SCAN call is.
#[derive(Debug)]
pub(super) struct Walk {
    /// Lowest slot of the primary that is asked.
    slot: u16,
    /// The arguments behind the cursor.
    options: Vec<Vec<u8>>,
    /// Keys that the caller would like to get in one call (COUNT).
    wanted: u64,
    /// Keys found, as they stand in the nodes' replies.
    keys: Vec<u8>,
    found: u64,
}

impl Proxy {
    /// SCAN cursor …
    pub(super) fn scan(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let Some(cursor) = parse_u64(args.get(1)) else {
            return self.refuse(id, &ErrorReply::Cursor);
        };
        let first = self.topology.primaries().first().map_or(0, |(_, slot)| *slot);
        let (node_cursor, slot) = match cursor {
            0 => (0, first),
            cursor => (cursor / u64::from(SLOTS), (cursor % u64::from(SLOTS)) as u16),
        };
        if self.may_send(id).is_none() {
            return Admit::Stopped;
        }
        let options: Vec<Vec<u8>> = args.iter().skip(2).map(<[u8]>::to_vec).collect();
        let wanted = count_of(&options);
        let walk = Walk { slot, options, wanted, keys: Vec::new(), found: 0 };
        let frame = walk.request(node_cursor);
        let Some((_, ticket)) = self.begin_merge(id, Policy::Walk(walk), Resend::Yes, 1) else {
            return Admit::Yes;
        };
        self.dispatch(Ticket { slot, ..ticket }, &frame);
        Admit::Yes
    }

    /// A primary answered: goes on with the next while there is one and the caller wants more.
    pub(super) fn walked(&mut self, id: MergeId, reply: &[u8]) {
        let Some(merge) = self.merges.get_mut(id) else { return };
        let Policy::Walk(walk) = &mut merge.policy else { return };
        let cursor = walk.take(reply);
        let next = self.topology.next_primary(walk.slot);
        let more = match (cursor, next) {
            (Some(0), Some(next)) if walk.found < walk.wanted => next,
            _ => return self.answer_walk(id, reply, cursor, next),
        };
        walk.slot = more;
        let frame = walk.request(0);
        let ticket = Ticket {
            session: merge.session,
            seq: merge.seq,
            len: 0,
            slot: more,
            tries: 0,
            resend: Resend::Yes,
            work: Work::Part { merge: id, part: 0 },
            born: merge.born,
        };
        self.dispatch(ticket, &frame);
    }

    fn answer_walk(&mut self, id: MergeId, reply: &[u8], cursor: Option<u64>, next: Option<u16>) {
        let Some(merge) = self.merges.remove(id) else { return };
        let Policy::Walk(walk) = &merge.policy else { return };
        let Some(cursor) = cursor else { return self.deliver_merged(&merge, reply) }; // the node's own error
        let cursor = match (cursor, next) {
            (0, None) => 0,
            (0, Some(next)) => u64::from(next),
            (cursor, _) => cursor.saturating_mul(u64::from(SLOTS)).saturating_add(u64::from(walk.slot)),
        };
        let mut out = Vec::with_capacity(walk.keys.len() + 64);
        let mut writer = Writer::new(&mut out, Proto::Two);
        writer.array(2);
        writer.bulk(cursor.to_string().as_bytes());
        writer.array(walk.found as usize);
        out.extend_from_slice(&walk.keys);
        self.deliver_merged(&merge, &out);
    }
}

impl Walk {
    fn request(&self, node_cursor: u64) -> Vec<u8> {
        let cursor = node_cursor.to_string();
        let mut words: Vec<&[u8]> = vec![b"SCAN", cursor.as_bytes()];
        words.extend(self.options.iter().map(Vec::as_slice));
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.into_iter());
        frame
    }

    /// Takes the keys of a node's reply and returns its cursor; `None` when it is an error.
    fn take(&mut self, reply: &[u8]) -> Option<u64> {
        let mut pair = Elements::of(reply)?;
        let cursor = parse_u64(text(pair.next()?)?)?;
        let keys = Elements::of(pair.next()?)?;
        self.found += keys.left();
        self.keys.extend_from_slice(keys.raw());
        Some(cursor)
    }
}

/// The value of COUNT, 10 where there is none (`db.c`: `scanGenericCommand`).
fn count_of(options: &[Vec<u8>]) -> u64 {
    let at = options.iter().position(|word| word.eq_ignore_ascii_case(b"count"));
    at.and_then(|at| options.get(at + 1)).and_then(|count| parse_u64(count)).unwrap_or(10)
}
