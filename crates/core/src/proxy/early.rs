//! Requests for all nodes while no node is known: they wait in their clients' buffers for the first map, and as long as any
//! request waits for its shard. What is for one slot is held by `park`: it needs a slot only, and these need the nodes.

use super::forward::Admit;
use super::session::Stop;
use super::{Proxy, SessionId};
use crate::metric::Metric;
use crate::resp::ErrorReply;

/// A client whose request waits.
#[derive(Debug)]
pub(super) struct Early {
    id: SessionId,
    born: u64,
    /// Whether its time is over: what it asks in the same breath has waited as long.
    is_over: bool,
}

impl Proxy {
    /// Has a client wait for the first map, or refuses its request when it has.
    #[cold]
    pub(super) fn came_early(&mut self, id: SessionId) -> Admit {
        self.learn();
        let now = self.now.steady;
        let entry = self.early.iter().position(|early| early.id == id);
        if let Some(at) = entry
            && (self.early[at].is_over || now.saturating_sub(self.early[at].born) >= self.settings.hold)
        {
            let waited_ms = now.saturating_sub(self.early[at].born) / 1000;
            self.add(Metric::HoldExpired, 1);
            let because = "no node answered yet";
            let error = ErrorReply::Unavailable { slot: None, node: "no node", waited_ms, because };
            return self.refuse(id, &error);
        }
        if entry.is_none() {
            self.add(Metric::Parked, 1);
            self.early.push(Early { id, born: now, is_over: false });
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.stop = Some(Stop::Map);
        }
        Admit::Stopped
    }

    /// There is a map: they go on.
    pub(super) fn map_came(&mut self) {
        if !self.primaries.is_empty() {
            std::mem::take(&mut self.early).iter().for_each(|early| self.lift_early(early.id));
        }
    }

    /// Time passed: those who have waited long enough are told so.
    pub(super) fn early_tick(&mut self) {
        let (now, hold) = (self.now.steady, self.settings.hold);
        let sessions = &self.sessions;
        self.early.retain(|early| !early.is_over && sessions.get(early.id).is_some());
        for at in 0..self.early.len() {
            if now.saturating_sub(self.early[at].born) >= hold {
                self.early[at].is_over = true;
                self.lift_early(self.early[at].id);
            }
        }
    }

    /// When the first of them has waited long enough, in microseconds.
    pub(super) fn early_due(&self) -> Option<u64> {
        self.early.first().map(|early| early.born.saturating_add(self.settings.hold)) // they stand in their order
    }

    fn lift_early(&mut self, id: SessionId) {
        if self.sessions.get(id).is_some_and(|session| session.stop == Some(Stop::Map)) {
            self.lift(id);
        }
    }
}
