//! A topic: its members, and the nodes where it is subscribed for them.
//!
//! ```text
//!                 somebody wants it                the node says so
//!      Nowhere ───────────────────────► Asked ─────────────────────────► InForce
//!         ▲ hub lost, refused for now     │ nobody wants it any more        │
//!         └───────────────────────────────┴────► Leaving ◄──────────────────┘
//!                                                   │ the node says so
//!                                                 (gone)
//! ```

use super::hub::HubId;
use super::{HOME, pattern};
use crate::command::Feed;
use crate::metric::Metric;
use crate::proxy::pipe::{Ticket, Work};
use crate::proxy::trunk::TrunkId;
use crate::proxy::{Proxy, SessionId};
use crate::resp::{Proto, Writer};
use crate::topology::slot;
use std::net::SocketAddr;

/// Which topic.
pub(crate) type TopicId = crate::proxy::arena::Id<Topic>;

/// How soon a topic without a node is looked at again (microseconds).
pub(super) const LOOK_AGAIN: u64 = 5_000;

/// What a client can subscribe to.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(super) feed: Feed,
    pub(super) name: Box<[u8]>,
    /// Its circle.
    pub(super) trunk: TrunkId,
    reach: Reach,
    /// Who gets its messages.
    pub(super) members: Vec<SessionId>,
    /// How many of them leave it, and get its messages until their node has said the last word.
    pub(super) leaving: u32,
    /// How many will be members once it is in force.
    pub(super) wanting: u32,
    /// Clients whose command waits until every node has said what it was asked, and which command.
    pub(super) waiting: Vec<(SessionId, u32)>,
    pub(super) places: Vec<Place>,
}

/// Which nodes have a topic's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// The home of ordinary channels.
    Home,
    /// The home, and every other primary for its keyspace notifications.
    EveryPrimary,
    /// The owner of this slot.
    Slot(u16),
}

/// A topic at one node.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) hub: HubId,
    pub(super) at: At,
    /// Answers of the node that are still to come.
    pub(super) owed: u32,
}

/// How far a topic is at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Nowhere,
    Asked,
    InForce,
    Leaving,
}

impl Topic {
    pub(super) fn new(feed: Feed, name: &[u8], trunk: TrunkId) -> Self {
        let reach = match feed {
            Feed::Channel if pattern::is_of_keyspace(name) => Reach::EveryPrimary,
            Feed::Pattern if pattern::may_be_of_keyspace(name) => Reach::EveryPrimary,
            Feed::Channel | Feed::Pattern => Reach::Home,
            Feed::Shard => Reach::Slot(slot(name)),
        };
        Topic {
            feed,
            name: name.into(),
            trunk,
            reach,
            members: Vec::new(),
            leaving: 0,
            wanting: 0,
            waiting: Vec::new(),
            places: Vec::new(),
        }
    }

    fn is_wanted(&self) -> bool {
        self.members.len() > self.leaving as usize || self.wanting > 0
    }

    /// Whether every node has said what it was asked.
    pub(super) fn is_settled(&self) -> bool {
        let in_force = |place: &Place| place.at == At::InForce && place.owed == 0;
        self.is_wanted() != self.places.is_empty() && self.places.iter().all(in_force)
    }

    pub(super) fn is_at_every_primary(&self) -> bool {
        self.reach == Reach::EveryPrimary
    }

    pub(super) fn place(&mut self, hub: HubId) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.hub == hub)
    }

    /// The request that subscribes to it, or gives it up.
    fn request(&self, wish: Wish) -> Vec<u8> {
        let verb = match wish {
            Wish::In => self.feed.subscribe(),
            Wish::Out => self.feed.unsubscribe(),
        };
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request([verb.as_bytes(), &self.name].into_iter());
        frame
    }
}

/// What a node is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    In,
    Out,
}

impl Proxy {
    /// The topic of this name in a circle; a new one is not subscribed anywhere before [`Proxy::settle_topic`].
    pub(super) fn topic(&mut self, trunk: TrunkId, feed: Feed, name: &[u8]) -> TopicId {
        let at = self.circle(trunk);
        if let Some(id) = self.pubsub.circles[at].names[feed.index()].get(name) {
            return *id;
        }
        let id = self.pubsub.topics.insert(Topic::new(feed, name, trunk));
        self.pubsub.circles[at].names[feed.index()].insert(name.into(), id);
        id
    }

    /// Asks the nodes for what the clients want of a topic, as far as that has not been asked; forgets it when nobody
    /// wants it and no node has it.
    pub(super) fn settle_topic(&mut self, id: TopicId) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        let (wanted, trunk, reach) = (topic.is_wanted(), topic.trunk, topic.reach);
        let mut places = std::mem::take(&mut topic.places);
        if wanted {
            let nodes = self.nodes_of(reach);
            if nodes.is_empty() {
                self.learn();
                self.pubsub.refused = true;
                self.pubsub.look_again(self.now.steady + LOOK_AGAIN);
            }
            let (here, elsewhere): (Vec<Place>, Vec<Place>) =
                places.into_iter().partition(|place| nodes.contains(&self.addr_of_hub(place.hub)));
            elsewhere.into_iter().for_each(|place| self.leave_place(id, &place));
            places = here;
            for addr in nodes {
                if !places.iter().any(|place| self.addr_of_hub(place.hub) == addr) {
                    places.push(Place { hub: self.hub(addr, trunk), at: At::Nowhere, owed: 0 });
                }
            }
        }
        for mut place in places {
            if self.move_place(id, &mut place, wanted) == Stays::Yes {
                if let Some(topic) = self.pubsub.topics.get_mut(id) {
                    topic.places.push(place);
                }
            } else {
                self.free_place(place.hub);
            }
        }
        self.topic_said(id);
    }

    /// The addresses of the nodes that have a topic's messages.
    fn nodes_of(&self, reach: Reach) -> Vec<SocketAddr> {
        let owner = |slot: u16| self.topology.owner(slot).map(|node| self.topology.node(node).addr);
        match reach {
            Reach::Home => owner(HOME).into_iter().collect(),
            Reach::EveryPrimary => self.primaries.clone(),
            Reach::Slot(slot) => owner(slot).into_iter().collect(),
        }
    }

    /// A topic is not at home at a node any more: the slot was moved, or the node lost its slots.
    fn leave_place(&mut self, id: TopicId, place: &Place) {
        let members = self.pubsub.topics.get(id).is_some_and(|topic| !topic.members.is_empty());
        if place.at == At::InForce && members {
            self.add(Metric::SubscriptionGaps, 1);
        }
        if matches!(place.at, At::InForce | At::Asked) {
            self.ask_hub(place.hub, id, Wish::Out);
        }
        self.free_place(place.hub);
    }

    /// Asks one node for what is wanted there.
    fn move_place(&mut self, id: TopicId, place: &mut Place, wanted: bool) -> Stays {
        let (wish, next) = match (wanted, place.at) {
            (true, At::Asked | At::InForce) | (false, At::Leaving) => return Stays::Yes,
            (true, At::Nowhere | At::Leaving) => (Wish::In, At::Asked),
            (false, At::Asked | At::InForce) => (Wish::Out, At::Leaving),
            (false, At::Nowhere) => return Stays::No,
        };
        if self.ask_hub(place.hub, id, wish) {
            (place.at, place.owed) = (next, place.owed + 1);
        }
        Stays::Yes
    }

    /// Puts a request for a topic on a hub's connection; whether there is one.
    fn ask_hub(&mut self, hub: HubId, id: TopicId, wish: Wish) -> bool {
        let Some(frame) = self.pubsub.topics.get(id).map(|topic| topic.request(wish)) else { return false };
        let Some(pipe) = self.pipe_of_hub(hub) else { return false };
        self.push(pipe, &frame, Ticket::of_nobody(Work::Hub(id), self.now.steady));
        true
    }

    /// A node has said something about a topic: those whose command waited for that go on; a topic that nobody wants and
    /// no node has is gone.
    pub(super) fn topic_said(&mut self, id: TopicId) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        if !topic.is_settled() {
            return;
        }
        let waiting = std::mem::take(&mut topic.waiting);
        if !topic.is_wanted() {
            self.forget_topic(id);
        }
        waiting.into_iter().for_each(|(session, seq)| self.one_settled(session, seq));
    }

    fn forget_topic(&mut self, id: TopicId) {
        let Some(topic) = self.pubsub.topics.remove(id) else { return };
        if let Some(circle) = self.pubsub.circles.iter_mut().find(|circle| circle.trunk == topic.trunk) {
            circle.names[topic.feed.index()].remove(&topic.name);
        }
    }
}

/// Whether a topic still has to do with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Yes,
    No,
}
