//! Counts of receivers as one big server would give them: PUBLISH, SPUBLISH, PUBSUB NUMSUB and SHARDNUMSUB.
//!
//! A node counts each hub as one receiver, however many clients are behind it. So what the node says is put right by
//! `clients - hubs` of every worker of this gateway. Receivers behind other gateways count as one for each of
//! their workers.

use super::pattern;
use super::topic::{At, TopicId};
use crate::command::Feed;
use crate::metric::Class;
use crate::proxy::pipe::Ticket;
use crate::proxy::session::End;
use crate::proxy::timing::Timed;
use crate::proxy::{Gather, Output, Proxy, SessionId};
use crate::resp::{Elements, Proto, Writer, integer, text};
use std::net::SocketAddr;

/// Receivers of channels, as far as they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    feed: Feed,
    form: Form,
    /// The node that counted; `None`: all of them.
    node: Option<SocketAddr>,
    channels: Vec<(Vec<u8>, i64)>,
}

/// What the reply looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// PUBLISH: a number, of patterns' receivers too.
    Number,
    /// PUBSUB NUMSUB: each channel and its number.
    List,
}

impl Count {
    /// The reply, with what every worker has to add ([`Proxy::receivers`]).
    pub fn reply(&self, workers: &[Vec<i64>]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Proto::Two);
        if self.form == Form::List {
            writer.array(self.channels.len() * 2);
        }
        for (at, (channel, counted)) in self.channels.iter().enumerate() {
            let more: i64 = workers.iter().filter_map(|worker| worker.get(at)).sum();
            if self.form == Form::List {
                writer.bulk(channel);
            }
            // Below 0 only when the node counted before a client came that has come since.
            writer.integer((counted + more).max(0));
        }
        out
    }
}

impl Proxy {
    /// What this worker adds to a count, channel by channel: its clients, without its hubs.
    pub fn receivers(&self, count: &Count) -> Vec<i64> {
        let counts = count.channels.iter().map(|(channel, _)| {
            let named: i64 =
                self.pubsub.all(count.feed, channel).map(|topic| self.balance(topic, count.node)).sum();
            let patterns = match (count.form, count.feed) {
                (Form::Number, Feed::Channel) => self.matching(channel, count.node),
                (Form::Number, Feed::Pattern | Feed::Shard) | (Form::List, _) => 0,
            };
            named + patterns
        });
        counts.collect()
    }

    /// The same for all patterns that match a channel.
    fn matching(&self, channel: &[u8], node: Option<SocketAddr>) -> i64 {
        let patterns = self.pubsub.circles.iter().flat_map(|circle| &circle.names[Feed::Pattern.index()]);
        let matching = patterns.filter(|(name, _)| pattern::matches(name, channel));
        matching.map(|(_, topic)| self.balance(*topic, node)).sum()
    }

    /// A topic's members, without what a node has counted for them.
    fn balance(&self, topic: TopicId, node: Option<SocketAddr>) -> i64 {
        let Some(topic) = self.pubsub.topics.get(topic) else { return 0 };
        let counted = topic.places.iter().filter(|place| {
            matches!(place.at, At::InForce | At::Leaving)
                && node.is_none_or(|node| self.addr_of_hub(place.hub) == node)
        });
        topic.members.len() as i64 - counted.count() as i64
    }

    /// The reply of a request that counts receivers, given the request.
    pub(in crate::proxy) fn counted(
        &mut self,
        ticket: &Ticket,
        node: SocketAddr,
        frame: &[u8],
        reply: &[u8],
    ) {
        let feed = if is_sharded(frame) { Feed::Shard } else { Feed::Channel };
        let count = match integer(reply) {
            Some(counted) => {
                let channel = Elements::of(frame).and_then(|mut words| words.nth(1)).and_then(text);
                let channels = vec![(channel.unwrap_or_default().to_vec(), counted)];
                Count { feed, form: Form::Number, node: Some(node), channels }
            }
            None => Count { feed, form: Form::List, node: Some(node), channels: channels_in(reply) },
        };
        self.deliver_count(ticket.session, ticket.seq, ticket.born, count);
    }

    /// The merged reply of PUBSUB SHARDNUMSUB.
    pub(in crate::proxy) fn counted_everywhere(
        &mut self,
        session: SessionId,
        seq: u32,
        born: u64,
        reply: &[u8],
    ) {
        let count = Count { feed: Feed::Shard, form: Form::List, node: None, channels: channels_in(reply) };
        self.deliver_count(session, seq, born, count);
    }

    fn deliver_count(&mut self, session: SessionId, seq: u32, born: u64, count: Count) {
        if self.awake > 1 {
            let what = Gather::Receivers(count);
            return self.outputs.push(Output::Gather { what, session, seq });
        }
        let reply = count.reply(&[self.receivers(&count)]);
        self.deliver(session, seq, Timed::here(Class::Other, born), &reply, End::Yes);
    }
}

/// Whether a request is SPUBLISH.
fn is_sharded(frame: &[u8]) -> bool {
    let verb = Elements::of(frame).and_then(|mut words| words.next()).and_then(text);
    verb.is_some_and(|verb| verb.eq_ignore_ascii_case(b"spublish"))
}

/// Channels and numbers in a reply to PUBSUB NUMSUB.
fn channels_in(reply: &[u8]) -> Vec<(Vec<u8>, i64)> {
    let mut words = Elements::of(reply).into_iter().flatten();
    let mut channels = Vec::new();
    while let (Some(channel), Some(number)) = (words.next(), words.next()) {
        channels.push((text(channel).unwrap_or_default().to_vec(), integer(number).unwrap_or_default()));
    }
    channels
}
