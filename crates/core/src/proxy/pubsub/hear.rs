//! What nodes say on hubs: messages for members of topics, and answers to what was asked.
//!
//! A message is copied once for each member, or, where it is large, kept once for all of them.

use super::hub::HubId;
use super::topic::{At, TopicId};
use super::{HOME, pattern};
use crate::command::Feed;
use crate::metric::Metric;
use crate::proxy::pipe::{Purpose, Work};
use crate::proxy::redirect::{Verdict, judge};
use crate::proxy::session::Stop;
use crate::proxy::{PipeId, Proxy, SessionId};
use crate::resp::{Elements, Proto, integer, text};
use std::sync::Arc;

/// Messages above this size are kept once for all members: those that do not fit the smallest chunk of a queue.
const SHARED: usize = 4 * 1024;

impl Proxy {
    /// A push of a node.
    pub(in crate::proxy) fn pushed(&mut self, id: PipeId, push: &[u8]) {
        let Some(Purpose::Hub(hub)) = self.pipes.get(id).map(|pipe| pipe.purpose) else {
            return self.told_of_keys(id, push);
        };
        let Some(mut words) = Elements::of(push) else { return };
        let (Some(kind), Some(name)) = (words.next().and_then(text), words.next().and_then(text)) else {
            return;
        };
        match kind {
            b"message" => self.message(hub, Feed::Channel, name, name, push),
            b"smessage" => self.message(hub, Feed::Shard, name, name, push),
            b"pmessage" => {
                let channel = words.next().and_then(text).unwrap_or_default();
                self.message(hub, Feed::Pattern, name, channel, push);
            }
            _ if words.next().and_then(integer).is_some() => self.subscription_confirmed(id, hub, kind, name),
            _ => {} // something that later servers may tell
        }
    }

    /// A message: the topic's name, the channel, and the push as it came.
    fn message(&mut self, hub: HubId, feed: Feed, name: &[u8], channel: &[u8], push: &[u8]) {
        let Some(trunk) = self.trunk_of_hub(hub) else { return };
        let Some(id) = self.pubsub.find(trunk, feed, name) else { return };
        let home = self.topology.owner(HOME).map(|node| self.topology.node(node).addr);
        let addr = self.addr_of_hub(hub);
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        // The bus brings every message to every primary: only the home's counts, but for what a primary tells of its
        // own keys.
        let of_others =
            topic.is_at_every_primary() && Some(addr) != home && !pattern::is_of_keyspace(channel);
        if of_others || topic.place(hub).is_none() {
            return;
        }
        let members = std::mem::take(&mut topic.members);
        let too_slow =
            if push.len() > SHARED { self.hand_shared(&members, push) } else { self.hand(&members, push) };
        self.add(Metric::Messages, members.len() as u64);
        if let Some(topic) = self.pubsub.topics.get_mut(id) {
            topic.members = members;
        }
        for client in too_slow {
            self.evict(client, "it did not read its messages: more than it may leave unread wait for it");
        }
    }

    /// Copies a message to every member; returns those that have too much unread.
    fn hand(&mut self, members: &[SessionId], push: &[u8]) -> Vec<SessionId> {
        let mut array = std::mem::take(&mut self.scratch);
        array.clear();
        array.extend_from_slice(push);
        array[0] = b'*';
        let mut too_slow = Vec::new();
        for id in members {
            let Some(session) = self.sessions.get_mut(*id) else { continue };
            if session.stop == Some(Stop::Closing) {
                continue;
            }
            let message = match session.proto {
                Proto::Two => &array,
                Proto::Three => push,
            };
            session.announce(message, &mut self.pool);
            if session.unread() > self.settings.unread_messages {
                too_slow.push(*id);
            }
            self.touch_client(*id);
        }
        self.scratch = array;
        too_slow
    }

    /// Hands a large message to every member without copying it for each.
    fn hand_shared(&mut self, members: &[SessionId], push: &[u8]) -> Vec<SessionId> {
        let mut forms: [Option<Arc<[u8]>>; 2] = [None, None];
        let mut too_slow = Vec::new();
        for id in members {
            let Some(session) = self.sessions.get_mut(*id) else { continue };
            if session.stop == Some(Stop::Closing) {
                continue;
            }
            let proto = session.proto;
            let message = forms[proto.index()].get_or_insert_with(|| form(push, proto));
            session.announce_shared(message, &mut self.pool);
            if session.unread() > self.settings.unread_messages {
                too_slow.push(*id);
            }
            self.touch_client(*id);
        }
        too_slow
    }

    /// A node confirms that a topic is subscribed there, or is not any more.
    fn subscription_confirmed(&mut self, pipe: PipeId, hub: HubId, kind: &[u8], name: &[u8]) {
        let Some(upstream) = self.pipes.get_mut(pipe) else { return };
        let asked = upstream.tickets.front().copied();
        let fits = |frame: &[u8]| {
            let mut words =
                Elements::of(frame).into_iter().flatten().map(|word| text(word).unwrap_or_default());
            words.next().is_some_and(|verb| verb.eq_ignore_ascii_case(kind)) && words.next() == Some(name)
        };
        match asked.map(|ticket| (ticket.work, fits(upstream.out.front(ticket.len as usize)))) {
            Some((Work::Hub(topic), true)) => {
                upstream.pop(&mut self.pool);
                self.topic_answered(hub, topic);
            }
            // The slot was moved to another node (`cluster.c`: `removeChannelsInSlot`).
            _ if kind == b"sunsubscribe" => self.turned_out(hub, name),
            _ => self.lose_pipe(pipe, "it confirmed a subscription that was not asked for"),
        }
    }

    /// A node has done what it was asked for a topic.
    fn topic_answered(&mut self, hub: HubId, id: TopicId) {
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        let Some(place) = topic.place(hub) else { return };
        place.owed = place.owed.saturating_sub(1);
        if place.owed > 0 {
            return;
        }
        match place.at {
            At::Asked => place.at = At::InForce,
            At::Leaving => {
                topic.places.retain(|place| place.hub != hub);
                self.free_place(hub);
            }
            At::Nowhere | At::InForce => {}
        }
        self.topic_said(id);
    }

    /// A node gave a sharded channel up because its slot is elsewhere.
    fn turned_out(&mut self, hub: HubId, name: &[u8]) {
        let Some(trunk) = self.trunk_of_hub(hub) else { return };
        let Some(id) = self.pubsub.find(trunk, Feed::Shard, name) else { return };
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        let members = !topic.members.is_empty();
        if let Some(place) = topic.place(hub).filter(|place| place.at == At::InForce) {
            place.at = At::Nowhere;
            self.add(Metric::SubscriptionGaps, u64::from(members));
            self.ask_topic_again(hub, id);
        }
    }

    /// A node answered with an error where a confirmation was expected.
    pub(in crate::proxy) fn hub_refused(&mut self, pipe: PipeId, id: TopicId, reply: &[u8]) {
        let Some(Purpose::Hub(hub)) = self.pipes.get(pipe).map(|pipe| pipe.purpose) else { return };
        if reply.first() != Some(&b'-') {
            return self.lose_pipe(pipe, "it did not confirm a subscription");
        }
        let verdict = judge(reply, self.addr_of_hub(hub).ip());
        let Some(topic) = self.pubsub.topics.get_mut(id) else { return };
        let Some(place) = topic.place(hub) else { return };
        place.owed = place.owed.saturating_sub(1);
        match (place.at, verdict) {
            _ if place.owed > 0 => {}
            (At::Leaving, _) => {
                topic.places.retain(|place| place.hub != hub); // it is not there in any case
                self.free_place(hub);
                self.topic_said(id);
            }
            (_, Verdict::Deliver) => self.refuse_topic(hub, id, reply),
            (_, Verdict::Moved(_) | Verdict::Ask(_) | Verdict::Later) => self.ask_topic_again(hub, id),
        }
    }

    /// A node will not have a subscription, since the user may not hear this: those who wait for it get its error, and
    /// those who had it before are closed, as the server does it when a user's rights change.
    fn refuse_topic(&mut self, hub: HubId, id: TopicId, reply: &[u8]) {
        if let Some(place) = self.pubsub.topics.get_mut(id).and_then(|topic| topic.place(hub)) {
            place.at = At::Nowhere;
        }
        let Some(topic) = self.pubsub.topics.get(id) else { return };
        let (waiting, members) = (topic.waiting.clone(), topic.members.clone());
        waiting.into_iter().for_each(|(client, seq)| self.topic_refused(client, seq, reply));
        for client in members {
            self.evict(client, "a node does not allow its user to hear one of its channels any more");
        }
        self.settle_topic(id);
    }

    fn trunk_of_hub(&self, hub: HubId) -> Option<crate::proxy::trunk::TrunkId> {
        self.pubsub.hubs.get(hub).map(super::Hub::trunk)
    }
}

/// A message as clients of one protocol get it.
fn form(push: &[u8], proto: Proto) -> Arc<[u8]> {
    let mut form: Arc<[u8]> = push.into();
    if proto == Proto::Two
        && let Some(bytes) = Arc::get_mut(&mut form)
    {
        bytes[0] = b'*';
    }
    form
}
