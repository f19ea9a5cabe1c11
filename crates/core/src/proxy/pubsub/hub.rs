//! Hubs: connections to nodes that carry subscriptions and their messages, and nothing else.
//!
//! A hub asks for one topic a request, so that each request has one answer: the node's confirmation (a push), or an
//! error. What was asked and is lost with the connection is asked again on the next.

use super::Circle;
use super::leave::Farewells;
use super::topic::{At, LOOK_AGAIN, TopicId};
use crate::metric::Metric;
use crate::proxy::pipe::{Purpose, Ticket, Work};
use crate::proxy::trunk::TrunkId;
use crate::proxy::{PipeId, Proxy};
use crate::resp::Proto;
use std::net::SocketAddr;

/// Which hub.
pub(crate) type HubId = crate::proxy::arena::Id<Hub>;

/// A hub that says nothing for this long (microseconds) is asked whether it is there, and is lost after as long again.
const SILENCE: u64 = 5_000_000;
/// A hub without topics is kept this long (microseconds).
const LINGER: u64 = 10_000_000;
/// PING as it is sent.
pub(super) const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

/// One node's subscriptions for one circle.
#[derive(Debug)]
pub(crate) struct Hub {
    addr: SocketAddr,
    trunk: TrunkId,
    pipe: Option<PipeId>,
    /// Whether the node has let it in: nothing is asked before, so that a node that is gone costs little however many
    /// topics there are.
    is_greeted: bool,
    /// Topics that have to do with it.
    places: usize,
    /// When the last of them was gone, in microseconds.
    idle: u64,
    pub(super) farewells: Farewells,
}

impl Hub {
    pub(super) fn trunk(&self) -> TrunkId {
        self.trunk
    }

    /// Its connection, if the node has let it in.
    pub(super) fn talks(&self) -> Option<PipeId> {
        self.pipe.filter(|_| self.is_greeted)
    }
}

impl Proxy {
    /// The place in the list of the circle whose hubs log in as this trunk does.
    pub(super) fn circle(&mut self, trunk: TrunkId) -> usize {
        if let Some(at) = self.pubsub.circles.iter().position(|circle| circle.trunk == trunk) {
            return at;
        }
        self.enter_trunk(trunk); // it must not end while its hubs use it
        self.pubsub.circles.push(Circle { trunk, names: Default::default() });
        self.pubsub.circles.len() - 1
    }

    /// The trunk that a client's hubs log in with: its own user's, in RESP3.
    pub(super) fn trunk_of_hubs(&mut self, client: TrunkId) -> TrunkId {
        let login = self.trunks.get(client).and_then(|trunk| trunk.login.clone());
        self.shared_trunk(Proto::Three, login.as_ref())
    }

    /// The hub at a node for one more topic.
    pub(super) fn hub(&mut self, addr: SocketAddr, trunk: TrunkId) -> HubId {
        let found = self.pubsub.hubs.iter().find(|(_, hub)| hub.addr == addr && hub.trunk == trunk);
        let id = match found {
            Some((id, _)) => id,
            None => self.pubsub.hubs.insert(Hub {
                addr,
                trunk,
                pipe: None,
                is_greeted: false,
                places: 0,
                idle: 0,
                farewells: Farewells::default(),
            }),
        };
        if let Some(hub) = self.pubsub.hubs.get_mut(id) {
            hub.places += 1;
        }
        id
    }

    /// One topic less.
    pub(super) fn free_place(&mut self, hub: HubId) {
        let now = self.now.steady;
        if let Some(hub) = self.pubsub.hubs.get_mut(hub) {
            hub.places -= 1;
            hub.idle = now;
        }
    }

    pub(super) fn addr_of_hub(&self, hub: HubId) -> SocketAddr {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        self.pubsub.hubs.get(hub).map_or(nowhere, |hub| hub.addr)
    }

    /// A hub's connection once it is there; connects where there is none and the last failure is long enough ago.
    pub(super) fn pipe_of_hub(&mut self, id: HubId) -> Option<PipeId> {
        let hub = self.pubsub.hubs.get(id)?;
        if hub.pipe.is_some() {
            return hub.talks();
        }
        let (addr, trunk) = (hub.addr, hub.trunk);
        if let Some(link) = self.links.get(&addr)
            && link.retry_at > self.now.steady
        {
            self.pubsub.look_again(link.retry_at);
            return None;
        }
        let pipe = self.connect(addr, trunk, Purpose::Hub(id));
        if let Some(hub) = self.pubsub.hubs.get_mut(id) {
            hub.pipe = Some(pipe);
        }
        None
    }

    /// A node has let a connection in: if it is a hub's, it is asked for everything that is wanted there.
    pub(in crate::proxy) fn hub_greeted(&mut self, id: PipeId) {
        let Some(Purpose::Hub(hub)) = self.pipes.get(id).map(|pipe| pipe.purpose) else { return };
        if let Some(hub) = self.pubsub.hubs.get_mut(hub) {
            hub.is_greeted = true;
        }
        self.settle_topics();
    }

    /// A hub's connection was refused or lost: its topics are subscribed again where they are at home now.
    pub(in crate::proxy) fn hub_lost(&mut self, id: HubId) {
        let Some(hub) = self.pubsub.hubs.get_mut(id) else { return };
        (hub.pipe, hub.is_greeted) = (None, false);
        let mut given_up = Vec::new();
        let mut gaps = 0;
        for (topic_id, topic) in self.pubsub.topics.iter_mut_with_ids() {
            let members = !topic.members.is_empty();
            let Some(place) = topic.place(id) else { continue };
            gaps += u64::from(members && place.at == At::InForce);
            if place.at == At::Leaving {
                given_up.push(topic_id);
            }
            (place.at, place.owed) = (At::Nowhere, 0);
        }
        self.add(Metric::SubscriptionGaps, gaps);
        given_up.into_iter().for_each(|topic| self.settle_topic(topic));
        self.say_all_farewells(id); // nothing comes of it any more
        self.pubsub.look_again(self.now.steady);
    }

    /// Looks at every topic: after a new map, when a hub is there, or after a refusal for the moment.
    pub(in crate::proxy) fn settle_topics(&mut self) {
        (self.pubsub.due, self.pubsub.refused) = (None, false);
        self.pubsub.topics.ids().into_iter().for_each(|topic| self.settle_topic(topic));
    }

    /// Time passed.
    pub(in crate::proxy) fn tick_pubsub(&mut self) {
        if self.pubsub.due.is_some_and(|due| due <= self.now.steady) {
            self.pubsub.due = None;
            let apart = |hub: &Hub| hub.pipe.is_none() && hub.places > 0;
            let apart: Vec<HubId> =
                self.pubsub.hubs.iter().filter(|(_, hub)| apart(hub)).map(|(id, _)| id).collect();
            for hub in apart {
                let _ = self.pipe_of_hub(hub); // its topics come when it is greeted
            }
            if self.pubsub.refused {
                self.settle_topics();
            }
        }
        self.give_up_pending();
    }

    /// Once a second: sees whether hubs are alive and needed.
    pub(in crate::proxy) fn sweep_hubs(&mut self) {
        let now = self.now.steady;
        for id in self.pubsub.hubs.ids() {
            let Some(hub) = self.pubsub.hubs.get(id) else { continue };
            if hub.places == 0 && hub.idle.saturating_add(LINGER) <= now {
                let pipe = hub.pipe;
                self.say_all_farewells(id);
                self.pubsub.hubs.remove(id);
                pipe.into_iter().for_each(|pipe| self.close_pipe(pipe));
            } else if let Some(pipe) = hub.pipe {
                self.see_whether_it_lives(pipe);
            }
        }
        let hubs = &self.pubsub.hubs;
        let in_use = |circle: &Circle| {
            circle.names.iter().any(|names| !names.is_empty())
                || hubs.iter().any(|(_, hub)| hub.trunk == circle.trunk)
        };
        let (kept, gone): (Vec<Circle>, Vec<Circle>) =
            std::mem::take(&mut self.pubsub.circles).into_iter().partition(in_use);
        self.pubsub.circles = kept;
        gone.into_iter().for_each(|circle| self.leave_trunk(circle.trunk));
    }

    fn see_whether_it_lives(&mut self, id: PipeId) {
        let now = self.now.steady;
        let Some(pipe) = self.pipes.get(id) else { return };
        let silent = now.saturating_sub(pipe.heard);
        match pipe.tickets.front() {
            Some(oldest) if silent.min(now.saturating_sub(oldest.born)) >= SILENCE => {
                self.lose_pipe(id, "the connection for subscriptions does not answer");
            }
            None if silent >= SILENCE => self.push(id, PING, Ticket::of_nobody(Work::Nobody, now)),
            Some(_) | None => {}
        }
    }

    /// A node does not know at the moment who has a topic, or is not ready: it is asked again a little later.
    pub(super) fn ask_topic_again(&mut self, hub: HubId, topic: TopicId) {
        if let Some(place) = self.pubsub.topics.get_mut(topic).and_then(|topic| topic.place(hub)) {
            place.at = At::Nowhere;
        }
        self.learn();
        self.pubsub.refused = true;
        self.pubsub.look_again(self.now.steady + LOOK_AGAIN);
    }
}
