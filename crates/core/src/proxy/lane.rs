//! Private connections to nodes, lent to one client at a time: lanes for large requests, and others for what a server
//! keeps for one connection alone (watched keys, a blocking command).
//!
//! One that is given back clean is kept for the next client of the same trunk.

use super::pipe::{ASKING, Purpose, Ticket, Work};
use super::trunk::TrunkId;
use super::{PipeId, Proxy, SessionId};
use std::net::SocketAddr;

/// Lanes to one node at a time.
const MAX_LANES: usize = 8;
/// Connections that are kept open without use, and how many of them for longer than a moment.
const MAX_IDLE: usize = 1024;
const KEPT_IDLE: usize = 64;

impl Proxy {
    /// An idle lane to a node, or a new one if there are few.
    pub(super) fn lane(&mut self, addr: SocketAddr, trunk: TrunkId, tenant: SessionId) -> Option<PipeId> {
        let lane = |purpose: Purpose| matches!(purpose, Purpose::Lane { .. });
        let lanes = self.pipes.iter().filter(|(_, pipe)| pipe.addr == addr && lane(pipe.purpose)).count();
        if lanes < MAX_LANES { self.lend(addr, trunk, Purpose::Lane { tenant }) } else { None }
    }

    /// A connection to a node for one client alone; `None` when too many are lent.
    pub(super) fn private(&mut self, addr: SocketAddr, trunk: TrunkId, tenant: SessionId) -> Option<PipeId> {
        if self.lent < self.max_lent() { self.lend(addr, trunk, Purpose::Private { tenant }) } else { None }
    }

    fn lend(&mut self, addr: SocketAddr, trunk: TrunkId, purpose: Purpose) -> Option<PipeId> {
        let id = match self.find_idle(addr, trunk) {
            Some(at) => {
                let id = self.idle.remove(at);
                if let Some(pipe) = self.pipes.get_mut(id) {
                    pipe.purpose = purpose;
                }
                id
            }
            None => self.connect_to(addr, trunk, purpose)?,
        };
        self.lent += 1;
        Some(id)
    }

    /// Where among the idle ones a connection is that fits: the last that was used, so that those that nobody needs
    /// are the first.
    fn find_idle(&self, addr: SocketAddr, trunk: TrunkId) -> Option<usize> {
        let fits = |idle: &PipeId| {
            self.pipes.get(*idle).is_some_and(|pipe| pipe.addr == addr && pipe.trunk == trunk)
        };
        self.idle.iter().rposition(fits)
    }

    /// Whether a connection can be had at once.
    pub(super) fn has_idle(&self, addr: SocketAddr, trunk: TrunkId) -> bool {
        self.find_idle(addr, trunk).is_some()
    }

    /// Closes some of the connections that have not been needed for longest.
    pub(super) fn sweep_idle(&mut self) {
        let surplus = self.idle.len().saturating_sub(KEPT_IDLE).div_ceil(4);
        let old: Vec<PipeId> = self.idle.drain(..surplus).collect();
        old.into_iter().for_each(|pipe| self.close_pipe(pipe));
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

    /// A lane has done its work.
    pub(super) fn free_lane(&mut self, lane: PipeId) {
        let addr = self.pipes.get(lane).map(|pipe| pipe.addr);
        self.give_back(lane);
        if let Some(at) = self.lane_waiters.iter().position(|id| self.stream_target(*id) == addr) {
            let next = self.lane_waiters.remove(at);
            self.wake_stream(next);
        }
    }

    /// A connection that was lent is clean again: it is kept for the next, or closed where enough are kept. One that
    /// is not clean has to be closed (`close_pipe`).
    pub(super) fn give_back(&mut self, id: PipeId) {
        let shared = self.pipes.get(id).is_some_and(|pipe| self.trunks.get(pipe.trunk).is_some());
        if self.idle.len() >= MAX_IDLE || !shared {
            self.close_pipe(id);
        } else if let Some(pipe) = self.pipes.get_mut(id) {
            self.lent -= usize::from(pipe.purpose.is_lent());
            pipe.purpose = Purpose::Idle;
            self.idle.push(id);
        }
    }
}
