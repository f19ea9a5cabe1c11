//! Other options, or another protocol, for a client that is tracked already. It stays on the connections that it has: what
//! their nodes remember of its reads holds on, as it does at a server.

use super::super::local::switch_to;
use super::super::pipe::{Purpose, Ticket, Work};
use super::super::trunk::{Tenancy, TrunkId};
use super::super::{PipeId, Proxy, SessionId};
use super::options::Options;
use crate::resp::Proto;

impl Proxy {
    /// Has a client's nodes track it by other options than those `before`; false if that needs other connections.
    pub(super) fn adjust(&mut self, id: SessionId, before: &Options) -> bool {
        let Some(session) = self.sessions.get(id) else { return false };
        let (proto, own) = (session.proto, session.trunk);
        let Some(tracking) = self.tracking(id).filter(|tracking| tracking.is_heard(proto)) else {
            return false;
        };
        let (all, added) = (tracking.options.request(None), tracking.options.since(before));
        let Some(trunk) = self.trunks.get_mut(own).filter(|trunk| trunk.tenancy == Tenancy::Of(id)) else {
            return false;
        };
        let ear = trunk.ear;
        if ear.is_none() {
            trunk.prelude = vec![all];
        }
        // To whom it is said is the gateway's matter alone.
        let Some(added) = added else { return true };
        for (pipe, addr) in self.pipes_to_tell(own) {
            let number = ear.and_then(|ear| self.number_on(ear, addr));
            if ear.is_none() || number.is_some() {
                self.tell_node(pipe, &added.request(number));
            } else {
                self.unshare(pipe);
                self.epoch = self.epoch.wrapping_add(1); // what comes next goes another way
                self.retire(pipe);
            }
        }
        true
    }

    /// Has the connections of a client for whom another one listens speak the other protocol; false if it has none such.
    pub(in super::super) fn turn_trunk(&mut self, id: SessionId, proto: Proto) -> bool {
        let redirected = self.tracking(id).is_some_and(|tracking| tracking.options.redirect.is_some());
        let Some(session) = self.sessions.get_mut(id).filter(|_| redirected) else { return false };
        let own = session.trunk;
        let is_its = |tenancy: Tenancy| tenancy == Tenancy::Of(id);
        let Some(trunk) =
            self.trunks.get_mut(own).filter(|trunk| is_its(trunk.tenancy) && trunk.ear.is_some())
        else {
            return false;
        };
        trunk.proto = proto;
        session.proto = proto;
        for (pipe, _) in self.pipes_to_tell(own) {
            self.tell_node(pipe, switch_to(proto));
        }
        true
    }

    /// A trunk's connections in use. Those that lie idle end: nothing may be said on them.
    fn pipes_to_tell(&mut self, trunk: TrunkId) -> Vec<(PipeId, std::net::SocketAddr)> {
        let of_it = self.pipes.iter().filter(|(_, pipe)| pipe.trunk == trunk);
        let (idle, used): (Vec<_>, Vec<_>) = of_it
            .map(|(id, pipe)| (id, pipe.addr, pipe.purpose))
            .partition(|(_, _, purpose)| *purpose == Purpose::Idle);
        idle.into_iter().for_each(|(id, ..)| self.close_pipe(id));
        let used = used.into_iter().filter(|(_, _, purpose)| *purpose == Purpose::Shared);
        used.map(|(id, addr, _)| (id, addr)).collect()
    }

    /// The number of an ear's connection to a node.
    fn number_on(&self, ear: TrunkId, addr: std::net::SocketAddr) -> Option<u64> {
        let pipes = self.trunks.get(ear)?.pipes.iter().flatten();
        pipes.filter_map(|pipe| self.pipes.get(*pipe)).find(|pipe| pipe.addr == addr)?.number
    }

    fn tell_node(&mut self, pipe: PipeId, request: &[u8]) {
        self.push_unkept(pipe, request, Ticket::of_nobody(Work::Nobody, self.now.steady));
        self.touch_pipe(pipe);
    }
}
