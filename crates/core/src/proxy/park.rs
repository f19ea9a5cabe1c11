//! Requests that no node can take at the moment: held, bounded in bytes and time, and asked again.
//!
//! What is here was never sent, or was refused before it was executed, or only reads. It goes out in the order in
//! which it came; of one client and one slot nothing goes before an earlier one.

use super::order::conflict;
use super::pipe::{State, Ticket, Work};
use super::timing::Tally;
use super::upstream::Way;
use super::{Proxy, SessionId};
use crate::metric::Metric;
use crate::resp::ErrorReply;
use std::collections::{HashMap, HashSet, VecDeque};

/// Most requests held, whatever their size.
const MAX_HELD: usize = 200_000;
/// How soon what could not go is looked at again (microseconds).
const LOOK_AGAIN: u64 = 5_000;

#[derive(Debug)]
struct Held {
    ticket: Ticket,
    frame: Box<[u8]>,
    due: u64,
}

/// The held requests of one worker.
#[derive(Debug, Default)]
pub(super) struct Park {
    held: VecDeque<Held>,
    /// How many of them are of one client and one slot.
    counts: HashMap<(SessionId, u16), u32>,
    bytes: usize,
    limit: usize,
    next_due: Option<u64>,
}

impl Park {
    pub(super) fn new(limit: usize) -> Self {
        Park { limit, ..Park::default() }
    }
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
    pub(super) fn next_due(&self) -> Option<u64> {
        self.next_due
    }

    /// Something changed: look at everything again at `now`.
    pub(super) fn wake(&mut self, now: u64) {
        if !self.held.is_empty() {
            self.held.iter_mut().for_each(|held| held.due = held.due.min(now));
            self.next_due = Some(now);
        }
    }

    /// A client is gone: what it still wanted is not sent.
    pub(super) fn forget(&mut self, session: SessionId) {
        let mut kept = VecDeque::new();
        for held in std::mem::take(&mut self.held) {
            if held.ticket.session == session && !matches!(held.ticket.work, Work::Part { .. }) {
                self.left(&held);
            } else {
                kept.push_back(held);
            }
        }
        self.held = kept;
    }

    /// Whether something of the same client and slot is held.
    pub(super) fn holds(&self, ticket: &Ticket) -> bool {
        self.counts.contains_key(&(ticket.session, ticket.slot))
    }

    /// Takes out a request of the same client and slot that came before and must not be executed after it.
    pub(super) fn take_earlier(&mut self, than: &Ticket) -> Option<Ticket> {
        if !self.holds(than) {
            return None;
        }
        let at = self.held.iter().position(|held| {
            is_of_the_same(&held.ticket, than)
                && than.is_after(held.ticket.seq)
                && conflict(than, &held.ticket)
        })?;
        let held = self.held.remove(at)?;
        self.left(&held);
        Some(held.ticket)
    }

    /// Holds one more: behind those of its client and slot that came before it, whichever got here first.
    fn push(&mut self, held: Held) {
        let mut place = self.held.len();
        if self.holds(&held.ticket) {
            // Nearly always it is behind the last of them already, which is not far from the end.
            for (at, other) in self.held.iter().enumerate().rev() {
                if !is_of_the_same(&other.ticket, &held.ticket) {
                    continue;
                }
                if !other.ticket.is_after(held.ticket.seq) {
                    break;
                }
                place = at;
            }
        }
        self.insert(place, held);
    }

    /// Holds on to one that was looked at in its turn.
    fn keep(&mut self, held: Held) {
        self.insert(self.held.len(), held);
    }

    fn insert(&mut self, place: usize, held: Held) {
        self.bytes += held.frame.len();
        self.next_due = Some(self.next_due.map_or(held.due, |due| due.min(held.due)));
        *self.counts.entry((held.ticket.session, held.ticket.slot)).or_default() += 1;
        self.held.insert(place, held);
    }

    /// Forgets what was taken out of `held`.
    fn left(&mut self, held: &Held) {
        self.bytes -= held.frame.len();
        let order = (held.ticket.session, held.ticket.slot);
        if let Some(count) = self.counts.get_mut(&order) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&order);
            }
        }
    }

    /// Takes everything out.
    fn take(&mut self) -> VecDeque<Held> {
        (self.bytes, self.next_due) = (0, None);
        self.counts.clear();
        std::mem::take(&mut self.held)
    }
}

impl Proxy {
    /// Holds a request until `due` (microseconds), or refuses it when there is no room or its time is over.
    pub(super) fn hold(&mut self, ticket: Ticket, frame: &[u8], due: u64) {
        let slot = ticket.slot;
        if self.now.steady.saturating_sub(ticket.born) >= self.settings.hold {
            return self.give_up(&ticket);
        }
        if self.park.bytes + frame.len() > self.park.limit || self.park.held.len() >= MAX_HELD {
            let node = self.place(slot);
            return self.fail(&ticket, &ErrorReply::HoldFull { slot: Some(slot), node: &node });
        }
        if let Some(session) = self.sessions.get_mut(ticket.session) {
            session.astray = true; // what the client asks next must not get there before this
        }
        self.add(Metric::Parked, 1);
        let ticket = Ticket { tally: Tally::NOBODY, ..ticket }; // whoever answers it is not known
        self.park.push(Held { ticket, frame: frame.into(), due });
    }

    /// The hold time of a request is over.
    pub(super) fn give_up(&mut self, ticket: &Ticket) {
        self.add(Metric::HoldExpired, 1);
        let because = self.trouble(ticket.slot).to_owned();
        self.unavailable(ticket, &because);
    }

    /// A request ends without having been executed.
    pub(super) fn unavailable(&mut self, ticket: &Ticket, because: &str) {
        let node = self.place(ticket.slot);
        let waited_ms = self.now.steady.saturating_sub(ticket.born) / 1000;
        self.fail(
            ticket,
            &ErrorReply::Unavailable { slot: Some(ticket.slot), node: &node, waited_ms, because },
        );
    }

    /// Asks again for everything that is due, and gives up what was held too long.
    pub(super) fn release_held(&mut self) {
        let now = self.now.steady;
        if self.park.next_due.is_none_or(|due| due > now) && !self.park_is_late() {
            return;
        }
        let mut held = self.park.take();
        let mut behind: HashSet<(SessionId, u16)> = HashSet::new();
        for item in held.drain(..) {
            let order = (item.ticket.session, item.ticket.slot);
            if now.saturating_sub(item.ticket.born) >= self.settings.hold {
                self.give_up(&item.ticket);
            } else if behind.contains(&order) || !self.go(&item, now) {
                behind.insert(order);
                self.park.keep(Held { due: item.due.max(now + LOOK_AGAIN), ..item });
            }
        }
    }

    fn park_is_late(&self) -> bool {
        let oldest = self.park.held.front().map_or(u64::MAX, |held| held.ticket.born);
        oldest.saturating_add(self.settings.hold) <= self.now.steady
    }

    /// Sends a held request if its way is open; opens the way if not.
    fn go(&mut self, item: &Held, now: u64) -> bool {
        let Some(trunk) = self.trunk_of(&item.ticket) else {
            self.nobody_waits(&item.ticket);
            return true;
        };
        if item.due > now || !self.first_are_back(item.ticket.session) {
            return false;
        }
        let Way::Pipe(pipe) = self.way(item.ticket.slot, trunk) else { return false };
        if !self.follows_its_own(&item.ticket, pipe) {
            return false;
        }
        let open = self.pipes.get(pipe).is_some_and(|pipe| pipe.state == State::Open && pipe.has_room());
        if open {
            self.add(Metric::Retries, 1);
            let ticket = Ticket { tries: item.ticket.tries.saturating_add(1), ..item.ticket };
            self.push(pipe, &item.frame, ticket);
        }
        open
    }
}

fn is_of_the_same(one: &Ticket, other: &Ticket) -> bool {
    (one.session, one.slot) == (other.session, other.slot)
}
