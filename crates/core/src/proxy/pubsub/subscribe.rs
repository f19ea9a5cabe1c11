//! SUBSCRIBE and its kin: clients become members of topics (`pubsub.c`).
//!
//! A command is admitted when all that the client asked before is answered, and nothing more is admitted until it is
//! answered itself: so its confirmation stands where it belongs between replies, and no message comes before it.

use super::HOME;
use super::leave::Goodbye;
use super::topic::TopicId;
use crate::command::Feed;
use crate::metric::Class;
use crate::proxy::forward::{Admit, full};
use crate::proxy::session::{End, Extra, Session, Stop};
use crate::proxy::timing::Timed;
use crate::proxy::trunk::TrunkId;
use crate::proxy::{Proxy, SessionId};
use crate::resp::{Args, ErrorReply, Proto, Writer};
use crate::topology::slot;
use std::collections::{BTreeMap, HashSet};

/// Topics of one worker.
const MAX_TOPICS: usize = 1_000_000;

/// What one client is subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// By [`Feed`]: its topics (`TopicId::as_u64`), each with the client's place among the members.
    pub(super) held: [BTreeMap<u64, u32>; 3],
    pub(super) pending: Option<Pending>,
    /// Its RESET or QUIT, if that is what it asks for next.
    pub(super) goodbye: Option<Goodbye>,
}

/// A command that waits for what nodes say.
#[derive(Debug)]
pub(super) struct Pending {
    seq: u32,
    born: u64,
    /// Its answer.
    reply: Vec<u8>,
    pub(super) change: Change,
    /// Topics that are not settled yet and will tell, or hubs that have not said the last word.
    pub(super) left: u32,
}

/// What a client's command changes once it is done.
#[derive(Debug)]
pub(super) enum Change {
    /// Topics that the client becomes a member of.
    Joins(Vec<TopicId>),
    /// Topics that it is a member of until then.
    Leaves(Feed, Vec<TopicId>),
}

/// A command's place in the order of replies, and what its client is.
pub(super) struct Turn {
    pub(super) seq: u32,
    trunk: TrunkId,
    pub(super) proto: Proto,
}

impl Subscriptions {
    pub(crate) fn count(&self, feed: Feed) -> usize {
        self.held[feed.index()].len()
    }

    /// The number in a confirmation: of channels and patterns, or of sharded channels.
    fn confirmed(&self, feed: Feed) -> usize {
        match feed {
            Feed::Channel | Feed::Pattern => self.count(Feed::Channel) + self.count(Feed::Pattern),
            Feed::Shard => self.count(Feed::Shard),
        }
    }

    fn is_empty(&self) -> bool {
        self.held.iter().all(BTreeMap::is_empty) && self.pending.is_none()
    }
}

impl Session {
    pub(super) fn subscriptions(&mut self) -> Option<&mut Subscriptions> {
        self.extra.as_mut()?.subscriptions.as_deref_mut()
    }

    pub(super) fn make_subscriptions(&mut self) -> &mut Subscriptions {
        let extra: &mut Extra = self.extra.get_or_insert_default();
        extra.subscriptions.get_or_insert_default()
    }

    /// How many channels, patterns and sharded channels the client is subscribed to.
    pub(crate) fn subscribed(&self) -> [usize; 3] {
        let held = self.extra.as_ref().and_then(|extra| extra.subscriptions.as_ref()).map(|held| &held.held);
        held.map_or([0; 3], |held| [held[0].len(), held[1].len(), held[2].len()])
    }

    /// Whether the client is subscribed to anything.
    pub(crate) fn is_subscriber(&self) -> bool {
        self.subscribed() != [0; 3]
    }
}

impl Proxy {
    /// SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE.
    pub(in crate::proxy) fn subscribe(&mut self, id: SessionId, feed: Feed, args: &Args<'_>) -> Admit {
        if crosses_slots(feed, args) {
            return self.refuse(id, &ErrorReply::CrossSlot);
        }
        if self.pubsub.topics.len() + args.len() > MAX_TOPICS {
            return self.refuse(id, &ErrorReply::TooManyTopics { limit: MAX_TOPICS });
        }
        let Some(turn) = self.turn(id) else { return Admit::Stopped };
        let trunk = self.trunk_of_hubs(turn.trunk);
        let (mut joins, mut seen) = (Vec::new(), HashSet::new());
        let (mut reply, mut left) = (Vec::new(), 0);
        let mut count = self.confirmed_count(id, feed);
        for name in args.iter().skip(1) {
            let held = self.held_topic(id, feed, name);
            let topic = held.unwrap_or_else(|| self.topic(trunk, feed, name));
            if held.is_none() && seen.insert(topic) {
                joins.push(topic);
                count += 1;
                left += u32::from(self.want_topic(id, turn.seq, topic));
            }
            confirm(&mut reply, turn.proto, feed.subscribe(), Some(name), count);
        }
        self.wait_for_nodes(id, turn.seq, (reply, Change::Joins(joins)), left);
        Admit::Yes
    }

    /// Gives a command that changes what a client hears its place in the order of replies, when nothing of the client
    /// is under way; notes what it has to wait for if there is.
    pub(super) fn turn(&mut self, id: SessionId) -> Option<Turn> {
        let session = self.sessions.get_mut(id)?;
        let stop = full(session).or_else(|| (session.under_way() > 0).then_some(Stop::Quiet));
        if stop.is_some() {
            session.stop = stop;
            return None;
        }
        Some(Turn { seq: session.admit(), trunk: session.trunk, proto: session.proto })
    }

    pub(super) fn confirmed_count(&self, id: SessionId, feed: Feed) -> usize {
        let extra = self.sessions.get(id).and_then(|session| session.extra.as_ref());
        extra.and_then(|extra| extra.subscriptions.as_ref()).map_or(0, |held| held.confirmed(feed))
    }

    /// The topic of this name if the client is a member: it may have come to it as another user.
    pub(super) fn held_topic(&self, id: SessionId, feed: Feed, name: &[u8]) -> Option<TopicId> {
        let subscriptions = self.sessions.get(id)?.extra.as_ref()?.subscriptions.as_ref()?;
        let held = &subscriptions.held[feed.index()];
        self.pubsub.all(feed, name).find(|topic| held.contains_key(&topic.as_u64()))
    }

    pub(super) fn held_names(&self, id: SessionId, feed: Feed) -> Vec<Box<[u8]>> {
        let extra = self.sessions.get(id).and_then(|session| session.extra.as_ref());
        let held = extra.and_then(|extra| extra.subscriptions.as_ref()).map(|held| &held.held[feed.index()]);
        let topics = held.into_iter().flatten().map(|(topic, _)| TopicId::from_u64(*topic));
        topics.filter_map(|topic| self.pubsub.topics.get(topic)).map(|topic| topic.name.clone()).collect()
    }

    /// A client wants a topic; whether it has to wait until nodes have it.
    fn want_topic(&mut self, id: SessionId, seq: u32, topic: TopicId) -> bool {
        if let Some(topic) = self.pubsub.topics.get_mut(topic) {
            topic.wanting += 1;
        }
        self.waits_for_topic(id, seq, topic)
    }

    /// Asks the nodes for what is wanted of a topic now; whether a client has to wait for what they say.
    fn waits_for_topic(&mut self, id: SessionId, seq: u32, topic: TopicId) -> bool {
        self.settle_topic(topic);
        match self.pubsub.topics.get_mut(topic) {
            Some(topic) if !topic.is_settled() => {
                topic.waiting.push((id, seq));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives a command its answer, and does what it asks for, once nodes have said so many things.
    pub(super) fn wait_for_nodes(&mut self, id: SessionId, seq: u32, what: (Vec<u8>, Change), left: u32) {
        let born = self.now.steady;
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.stop = Some(Stop::Quiet);
        let (reply, change) = what;
        session.make_subscriptions().pending = Some(Pending { seq, born, reply, change, left });
        if left == 0 {
            self.finish_pending(id);
        } else {
            self.pubsub.pending.push_back((id, seq, born));
        }
    }

    /// What a client's command waits for, if it is this one.
    fn pending(&mut self, id: SessionId, seq: u32) -> Option<&mut Pending> {
        let subscriptions = self.sessions.get_mut(id)?.subscriptions()?;
        subscriptions.pending.as_mut().filter(|pending| pending.seq == seq)
    }

    /// One topic that a client's command waits for is settled, or one hub has said the last word.
    pub(super) fn one_settled(&mut self, id: SessionId, seq: u32) {
        let Some(pending) = self.pending(id, seq) else { return self.one_goodbye_heard(id, seq) };
        pending.left = pending.left.saturating_sub(1);
        if pending.left == 0 {
            self.finish_pending(id);
        }
    }

    /// Everything that a command waited for has happened: the client is a member from here on, or is none any more, and
    /// hears so.
    fn finish_pending(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(pending) = session.subscriptions().and_then(|held| held.pending.take()) else { return };
        match pending.change {
            Change::Joins(topics) => self.join_topics(id, topics),
            Change::Leaves(feed, topics) => self.leave_topics(id, feed, &topics),
        }
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(extra) = session.extra.as_mut().filter(|extra| !extra.mute.is_empty()) {
            extra.mute.except(pending.seq);
        }
        session.shed_extra();
        self.deliver(id, pending.seq, Timed::here(Class::Other, pending.born), &pending.reply, End::Yes);
    }

    fn join_topics(&mut self, id: SessionId, topics: Vec<TopicId>) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        for topic_id in topics {
            let Some(topic) = self.pubsub.topics.get_mut(topic_id) else { continue };
            topic.wanting -= 1;
            let place = topic.members.len() as u32;
            topic.members.push(id);
            session.make_subscriptions().held[topic.feed.index()].insert(topic_id.as_u64(), place);
        }
    }

    /// A topic that a client's command waits for is refused: the client gets this error, and wants none of its topics.
    pub(super) fn topic_refused(&mut self, id: SessionId, seq: u32, error: &[u8]) {
        if self.pending(id, seq).is_some() {
            self.fail_pending(id, error);
        }
    }

    /// A command cannot be done.
    fn fail_pending(&mut self, id: SessionId, error: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(pending) = session.subscriptions().and_then(|held| held.pending.take()) else { return };
        session.shed_extra();
        self.add(crate::metric::Metric::Errors, 1);
        self.deliver(id, pending.seq, Timed::here(Class::Other, pending.born), error, End::Yes);
        if let Change::Joins(joins) = pending.change {
            self.drop_wishes(id, &joins);
        }
    }

    pub(super) fn drop_wishes(&mut self, id: SessionId, joins: &[TopicId]) {
        for topic_id in joins {
            if let Some(topic) = self.pubsub.topics.get_mut(*topic_id) {
                topic.wanting -= 1;
                topic.waiting.retain(|(waiting, _)| *waiting != id);
                self.settle_topic(*topic_id);
            }
        }
    }

    /// Answers those whose nodes have not said anything for as long as a request may be held. Who only wanted to leave
    /// has left.
    pub(super) fn give_up_pending(&mut self) {
        let (now, hold) = (self.now.steady, self.settings.hold);
        while let Some((id, seq, born)) = self.pubsub.pending.front().copied() {
            let late = now.saturating_sub(born) >= hold;
            if !late && (self.pending(id, seq).is_some() || self.has_to_say_goodbye(id, seq)) {
                return;
            }
            self.end_goodbye(id, seq);
            let Some(pending) = self.pending(id, seq) else {
                self.pubsub.pending.pop_front();
                continue;
            };
            let first = match &pending.change {
                Change::Joins(joins) => joins.first().copied(),
                Change::Leaves(..) => None,
            };
            self.pubsub.pending.pop_front();
            let Some(first) = first else {
                self.finish_pending(id);
                continue;
            };
            let topic = self.pubsub.topics.get(first);
            let slot =
                topic.map_or(HOME, |topic| if topic.feed == Feed::Shard { slot(&topic.name) } else { HOME });
            let (node, because) = (self.place(slot), self.trouble(slot).to_owned());
            let waited_ms = hold / 1000;
            let error =
                ErrorReply::Unavailable { slot: Some(slot), node: &node, waited_ms, because: &because };
            let mut reply = Vec::new();
            Writer::new(&mut reply, Proto::Two).error(&error);
            self.fail_pending(id, &reply);
        }
    }
}

impl Extra {
    /// Subscriptions that are none are not kept.
    fn shed_subscriptions(&mut self) {
        if self.subscriptions.as_ref().is_some_and(|held| held.is_empty()) {
            self.subscriptions = None;
        }
    }
}

impl Session {
    pub(super) fn shed_extra(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.shed_subscriptions();
        }
        self.tidy();
    }
}

/// Sharded channels of one command lie in one slot.
pub(super) fn crosses_slots(feed: Feed, args: &Args<'_>) -> bool {
    match feed {
        Feed::Channel | Feed::Pattern => false,
        Feed::Shard => args.iter().skip(2).any(|name| slot(name) != slot(args.get(1))),
    }
}

/// One confirmation (`pubsub.c`: `addReplyPubsubSubscribed`).
pub(super) fn confirm(out: &mut Vec<u8>, proto: Proto, verb: &str, name: Option<&[u8]>, count: usize) {
    let mut writer = Writer::new(out, proto);
    writer.push(3);
    writer.bulk(verb.as_bytes());
    match name {
        Some(name) => writer.bulk(name),
        None => writer.null(),
    }
    writer.integer(count as i64);
}
