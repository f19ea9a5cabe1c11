//! UNSUBSCRIBE and its kin, RESET and QUIT: clients leave topics, and miss nothing that was published before.
//!
//! A message and the answer to its publisher come by two connections. So a client that leaves is a member until its hubs
//! have said the last word: the answer to a PING, which stands behind every message that the node had by then, and behind
//! what it was asked for the topic. A hub is asked once a turn, for all that leave in it.
//!
//! ```text
//! publisher ─ PUBLISH ─► node ─ message ─────────────► hub ─► member
//!     ▲ answered ────────┘  └── … +PONG ─────────────► hub ─► farewell: a member no longer, `unsubscribe x`
//! ```

use super::hub::{HubId, PING};
use super::subscribe::{Change, Subscriptions, confirm, crosses_slots};
use super::topic::TopicId;
use crate::command::Feed;
use crate::proxy::forward::Admit;
use crate::proxy::pipe::{Purpose, Ticket, Work};
use crate::proxy::session::Stop;
use crate::proxy::{PipeId, Proxy, SessionId};
use crate::resp::{Args, ErrorReply};
use std::collections::{HashSet, VecDeque};

/// Who waits for the last word of a hub: clients, and the places of their commands.
#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// Since this turn: it is asked at its end.
    new: Vec<(SessionId, u32)>,
    /// By what was asked and is not answered.
    asked: VecDeque<Vec<(SessionId, u32)>>,
}

/// RESET or QUIT of a subscriber, before it is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goodbye {
    /// The place that it will have among its client's requests.
    seq: u32,
    /// Hubs that have not said the last word.
    left: u32,
}

impl Proxy {
    /// UNSUBSCRIBE, PUNSUBSCRIBE, SUNSUBSCRIBE: these, or all.
    pub(in crate::proxy) fn unsubscribe(&mut self, id: SessionId, feed: Feed, args: &Args<'_>) -> Admit {
        if crosses_slots(feed, args) {
            return self.refuse(id, &ErrorReply::CrossSlot);
        }
        let Some(turn) = self.turn(id) else { return Admit::Stopped };
        let names: Vec<Box<[u8]>> = match args.len() {
            0 | 1 => self.held_names(id, feed),
            _ => args.iter().skip(1).map(Box::from).collect(),
        };
        let (mut reply, mut count) = (Vec::new(), self.confirmed_count(id, feed));
        let (mut leaves, mut seen, mut hubs) = (Vec::new(), HashSet::new(), Vec::new());
        if names.is_empty() {
            confirm(&mut reply, turn.proto, feed.unsubscribe(), None, count);
        }
        for name in names {
            if let Some(topic) = self.held_topic(id, feed, &name).filter(|topic| seen.insert(*topic)) {
                if let Some(topic) = self.pubsub.topics.get_mut(topic) {
                    topic.leaving += 1;
                }
                self.settle_topic(topic); // its nodes are told where nobody else wants it
                self.note_hubs(topic, &mut hubs);
                leaves.push(topic);
                count -= 1;
            }
            confirm(&mut reply, turn.proto, feed.unsubscribe(), Some(&name), count);
        }
        let left = self.wait_for_farewells((id, turn.seq), &hubs);
        self.wait_for_nodes(id, turn.seq, (reply, Change::Leaves(feed, leaves)), left);
        Admit::Yes
    }

    /// Whether a RESET or QUIT has to wait, since messages may be on their way that were published before; its client
    /// admits nothing until then.
    pub(in crate::proxy) fn has_messages_on_their_way(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.get_mut(id).filter(|session| session.is_subscriber()) else {
            return false;
        };
        let seq = session.upcoming();
        let Some(subscriptions) = session.subscriptions() else { return false };
        let left = match subscriptions.goodbye.filter(|goodbye| goodbye.seq == seq) {
            Some(goodbye) => goodbye.left,
            None => {
                let held: Vec<u64> =
                    subscriptions.held.iter().flat_map(|held| held.keys().copied()).collect();
                self.ask_before_goodbye(id, seq, &held)
            }
        };
        if left > 0
            && let Some(session) = self.sessions.get_mut(id)
        {
            session.stop = Some(Stop::Inquiry);
        }
        left > 0
    }

    fn ask_before_goodbye(&mut self, id: SessionId, seq: u32, held: &[u64]) -> u32 {
        let mut hubs = Vec::new();
        held.iter().for_each(|topic| self.note_hubs(TopicId::from_u64(*topic), &mut hubs));
        let left = self.wait_for_farewells((id, seq), &hubs);
        if let Some(subscriptions) = self.sessions.get_mut(id).and_then(|session| session.subscriptions()) {
            subscriptions.goodbye = Some(Goodbye { seq, left });
        }
        if left > 0 {
            self.pubsub.pending.push_back((id, seq, self.now.steady));
        }
        left
    }

    fn goodbye(&mut self, id: SessionId, seq: u32) -> Option<&mut Goodbye> {
        let goodbye = self.sessions.get_mut(id)?.subscriptions()?.goodbye.as_mut()?;
        (goodbye.seq == seq && goodbye.left > 0).then_some(goodbye)
    }

    pub(super) fn has_to_say_goodbye(&mut self, id: SessionId, seq: u32) -> bool {
        self.goodbye(id, seq).is_some()
    }

    /// One of the hubs that a RESET or QUIT waits for has said the last word.
    pub(super) fn one_goodbye_heard(&mut self, id: SessionId, seq: u32) {
        let Some(goodbye) = self.goodbye(id, seq) else { return };
        goodbye.left -= 1;
        if goodbye.left == 0 {
            self.lift(id);
        }
    }

    /// It has waited long enough.
    pub(super) fn end_goodbye(&mut self, id: SessionId, seq: u32) {
        if let Some(goodbye) = self.goodbye(id, seq) {
            goodbye.left = 0;
            self.lift(id);
        }
    }

    /// Adds the hubs of a topic to a list of few.
    fn note_hubs(&self, topic: TopicId, hubs: &mut Vec<HubId>) {
        let places = self.pubsub.topics.get(topic).map(|topic| &topic.places);
        for place in places.into_iter().flatten() {
            if !hubs.contains(&place.hub) {
                hubs.push(place.hub);
            }
        }
    }

    /// Has a client's command wait for these hubs; how many of them will say something.
    fn wait_for_farewells(&mut self, who: (SessionId, u32), hubs: &[HubId]) -> u32 {
        let mut left = 0;
        for id in hubs {
            // Nothing is on its way on one that is not there, or that has not begun.
            let Some(hub) = self.pubsub.hubs.get_mut(*id).filter(|hub| hub.talks().is_some()) else {
                continue;
            };
            if hub.farewells.new.is_empty() {
                self.pubsub.left.push(*id);
            }
            hub.farewells.new.push(who);
            left += 1;
        }
        left
    }

    /// The end of a turn: hubs are asked for those who left in it.
    pub(in crate::proxy) fn ask_for_farewells(&mut self) {
        if self.pubsub.left.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pubsub.left) {
            let Some(hub) = self.pubsub.hubs.get_mut(id) else { continue };
            let (new, pipe) = (std::mem::take(&mut hub.farewells.new), hub.talks());
            if new.is_empty() {
                continue; // it was lost meanwhile
            }
            hub.farewells.asked.push_back(new);
            if let Some(pipe) = pipe {
                self.push(pipe, PING, Ticket::of_nobody(Work::Farewell, self.now.steady));
            }
        }
    }

    /// A hub has answered, with whatever: what was published before it was asked is here.
    pub(in crate::proxy) fn farewell_said(&mut self, pipe: PipeId) {
        let Some(Purpose::Hub(hub)) = self.pipes.get(pipe).map(|pipe| pipe.purpose) else { return };
        let Some(hub) = self.pubsub.hubs.get_mut(hub) else { return };
        let round = hub.farewells.asked.pop_front();
        round.into_iter().flatten().for_each(|(id, seq)| self.one_settled(id, seq));
    }

    /// A hub says nothing any more: nobody waits for it.
    pub(super) fn say_all_farewells(&mut self, hub: HubId) {
        let Some(hub) = self.pubsub.hubs.get_mut(hub) else { return };
        let Farewells { new, asked } = std::mem::take(&mut hub.farewells);
        asked.into_iter().flatten().chain(new).for_each(|(id, seq)| self.one_settled(id, seq));
    }

    /// A client is a member of these topics no longer.
    pub(super) fn leave_topics(&mut self, id: SessionId, feed: Feed, topics: &[TopicId]) {
        for topic in topics {
            let Some(session) = self.sessions.get_mut(id) else { return };
            let held = session.subscriptions().map(|held| &mut held.held[feed.index()]);
            let at = held.and_then(|held| held.remove(&topic.as_u64()));
            self.leaves_no_longer(*topic);
            at.into_iter().for_each(|at| self.strike_out(*topic, at));
        }
    }

    fn leaves_no_longer(&mut self, topic: TopicId) {
        if let Some(topic) = self.pubsub.topics.get_mut(topic) {
            topic.leaving -= 1;
        }
    }

    /// Takes the member at this place out of a topic; the last one takes its place.
    fn strike_out(&mut self, id: TopicId, at: u32) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        topic.members.swap_remove(at as usize);
        if let Some(moved) = topic.members.get(at as usize)
            && let Some(session) = self.sessions.get_mut(*moved)
        {
            session.make_subscriptions().held[topic.feed.index()].insert(id.as_u64(), at);
        }
    }

    /// A client is gone, or starts anew: it is a member of nothing any more.
    pub(in crate::proxy) fn end_subscriptions(&mut self, id: SessionId, subscriptions: Subscriptions) {
        let change = subscriptions.pending.map(|pending| pending.change);
        if let Some(Change::Leaves(_, topics)) = &change {
            topics.iter().for_each(|topic| self.leaves_no_longer(*topic));
        }
        for (topic, at) in subscriptions.held.into_iter().flatten() {
            self.strike_out(TopicId::from_u64(topic), at);
            self.settle_topic(TopicId::from_u64(topic));
        }
        if let Some(Change::Joins(topics)) = change {
            self.drop_wishes(id, &topics);
        }
    }

    /// RESET: back to no subscriptions, without a word about each.
    pub(in crate::proxy) fn reset_subscriptions(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(subscriptions) = session.extra.as_mut().and_then(|extra| extra.subscriptions.take()) else {
            return;
        };
        session.shed_extra();
        self.end_subscriptions(id, *subscriptions);
    }
}
