//! Lanes: connections to nodes that are lent to one large request at a time, a few for each node.

use super::pipe::{ASKING, Purpose, Ticket, Work};
use super::{PipeId, Proxy, SessionId};
use crate::resp::Proto;
use std::net::SocketAddr;

/// Lanes to one node at a time.
const MAX_LANES: usize = 8;
/// Lanes that are kept open without use.
const MAX_IDLE: usize = 8;

impl Proxy {
    /// An idle lane to a node, or a new one if there are few.
    pub(super) fn lane(&mut self, addr: SocketAddr, proto: Proto, tenant: SessionId) -> Option<PipeId> {
        let idle = self.idle_lanes.iter().position(|lane| {
            self.pipes.get(*lane).is_some_and(|pipe| pipe.addr == addr && pipe.proto == proto)
        });
        if let Some(at) = idle {
            let lane = self.idle_lanes.swap_remove(at);
            self.pipes.get_mut(lane)?.purpose = Purpose::Lane { tenant };
            return Some(lane);
        }
        let lanes = self
            .pipes
            .iter()
            .filter(|(_, pipe)| pipe.addr == addr && matches!(pipe.purpose, Purpose::Lane { .. }))
            .count();
        (lanes < MAX_LANES).then(|| self.connect(addr, proto, Purpose::Lane { tenant }))
    }

    /// Says ASKING on a lane: the next request may be for a slot that is just being moved there.
    pub(super) fn push_asking(&mut self, lane: PipeId) {
        let ticket = Ticket::of_nobody(Work::Nobody, self.now.steady);
        self.push_unkept(lane, ASKING, ticket);
    }

    /// Puts bytes on a lane that are let go of as soon as they are sent.
    pub(super) fn push_unkept(&mut self, lane: PipeId, frame: &[u8], ticket: Ticket) {
        if let Some(pipe) = self.pipes.get_mut(lane) {
            pipe.push_unkept(frame, ticket, &mut self.pool);
            self.touch_pipe(lane);
        }
    }

    /// A lane has done its work: it is kept for the next, or closed where enough are kept.
    pub(super) fn free_lane(&mut self, lane: PipeId) {
        if self.idle_lanes.len() >= MAX_IDLE {
            self.close_pipe(lane);
        } else if let Some(pipe) = self.pipes.get_mut(lane) {
            pipe.purpose = Purpose::Lane { tenant: SessionId::NONE };
            self.idle_lanes.push(lane);
        }
        if let Some(next) = self.lane_waiters.pop() {
            self.wake_stream(next);
        }
    }
}
