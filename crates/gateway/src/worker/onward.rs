//! Large requests that pass from a client's socket to a node's.

use super::{CLIENT, PIPE, Worker, find};
use crate::courier::Courier;
use evenkeel_core::proxy::{Onward, PipeId, SessionId};
use std::time::{Duration, Instant};

/// Couriers that are kept without use.
const SPARE: usize = 16;
/// How long requests are read and written as ever where the system has no room for a courier.
const AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    /// Has a part of a large request go on to its node without being read, where the proxy and the sockets allow it.
    /// Returns whether the event is done with: when all has passed that may, the end of the request is there to be read.
    pub(super) fn pass_onward(&mut self, id: SessionId) -> bool {
        let Some(Onward { lane, most, keep }) = self.proxy.client_onward(id) else { return false };
        if !find(&mut self.clients, id.index(), CLIENT | id.as_u64()).is_some_and(|client| client.is_plain())
        {
            return false;
        }
        let courier = self.couriers.remove(&id).or_else(|| self.spare_couriers.pop());
        let Some(mut courier) = courier.or_else(|| self.new_courier()) else { return false };
        courier.lane = lane;
        let Some(from) = find(&mut self.clients, id.index(), CLIENT | id.as_u64()) else { return false };
        let Ok(taken) = courier.take(&from.fd, most) else {
            self.put_aside(id, courier);
            return false;
        };
        let kept = if keep { courier.keep() } else { courier.forget() };
        if kept.is_err() {
            self.lose_client(id); // what it sent is lost on its way through the system
            return true;
        }
        self.couriers.insert(id, courier);
        self.proxy.client_passed(id, taken);
        self.send_onward(id);
        taken < most || self.couriers.get(&id).is_some_and(Courier::is_laden)
    }

    /// One more courier, unless the system has had no room for one a moment ago.
    fn new_courier(&mut self) -> Option<Courier> {
        if self.no_courier.is_some_and(|since| since.elapsed() < AGAIN) {
            return None;
        }
        let courier = Courier::new().ok();
        self.no_courier = courier.is_none().then(Instant::now);
        courier
    }

    /// There was nothing to carry.
    fn put_aside(&mut self, id: SessionId, courier: Courier) {
        if courier.is_free() {
            self.release(courier);
        } else {
            self.couriers.insert(id, courier);
        }
    }

    /// Gives a node what has passed of a client's request, as far as its socket takes it.
    fn send_onward(&mut self, id: SessionId) {
        let Some(courier) = self.couriers.get_mut(&id) else { return };
        let lane = courier.lane;
        let Some(to) = find(&mut self.pipes, lane.index(), PIPE | lane.as_u64()) else { return };
        let given = courier.give(&to.fd);
        self.proxy.node_took(id, given);
        to.want(&self.poll, self.proxy.pipe_wants_read(lane), self.proxy.pipe_unsent(lane) > 0);
        self.update_client(id);
    }

    /// A node's socket takes more: of what has passed unread too.
    pub(super) fn flush_onward(&mut self, lane: PipeId) {
        let waits = |courier: &Courier| courier.lane == lane && courier.is_laden();
        let found = self.couriers.iter().find(|(_, courier)| waits(courier)).map(|(id, _)| *id);
        if let Some(id) = found {
            self.send_onward(id);
        }
    }

    /// Gives back what has passed of a client's request.
    pub(super) fn recall(&mut self, id: SessionId) {
        let Some(mut courier) = self.couriers.remove(&id) else {
            return self.proxy.client_recalled(id, Vec::new());
        };
        // What cannot be read is missing, which the proxy sees.
        self.proxy.client_recalled(id, courier.recall().unwrap_or_default());
        self.release(courier);
    }

    /// What has passed of a client's request is needed no more.
    pub(super) fn forget(&mut self, id: SessionId) {
        if let Some(courier) = self.couriers.remove(&id) {
            self.release(courier);
        }
    }

    fn release(&mut self, mut courier: Courier) {
        if !courier.is_laden() && self.spare_couriers.len() < SPARE && courier.forget().is_ok() {
            self.spare_couriers.push(courier);
        }
    }
}
