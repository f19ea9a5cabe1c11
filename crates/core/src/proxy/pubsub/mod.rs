//! Subscriptions: who wants which channel, where it is subscribed on behalf of all of them, and the way of a message.
//!
//! ```text
//! client ─ SUBSCRIBE a ─► topic "a" ─ first one ─► hub: SUBSCRIBE a ─► node
//! client ─ SUBSCRIBE a ─► topic "a" (in force)           │
//!   ▲ ▲                      │ members                    ▼
//!   └─┴────── message ◄──────┴──────────────────── >message a …
//! ```
//!
//! A *topic* is a channel, a pattern or a sharded channel that at least one client of this worker wants. It is subscribed
//! once, however many these are, on a *hub*: one RESP3 connection to a node that carries nothing but subscriptions, one
//! for each node and user ([`Circle`]). A client hears that it is subscribed when the node has said so.
//!
//! Ordinary channels and patterns have one home for all gateways, the owner of slot 0, and PUBLISH goes there too: one
//! order, right counts, and no way over the cluster bus. What can be a keyspace notification is subscribed at every
//! primary, since a node tells those to its own clients only. Sharded channels are at home where their slot is.
//!
//! When a hub is lost or a slot moves, everything is subscribed again; what was published meanwhile is lost, as with a
//! client of a single server whose connection breaks, and counted (`Metric::SubscriptionGaps`).

mod count;
mod hear;
mod hub;
mod leave;
mod pattern;
mod subscribe;
mod topic;

pub use count::Count;
pub(crate) use hub::{Hub, HubId};
pub(crate) use subscribe::Subscriptions;
pub(crate) use topic::TopicId;

use super::SessionId;
use super::arena::Arena;
use super::trunk::TrunkId;
use crate::command::Feed;
use std::collections::{HashMap, VecDeque};
use topic::Topic;

/// The slot whose owner is the home of ordinary channels and patterns.
pub(super) const HOME: u16 = 0;

/// The subscriptions of one worker.
#[derive(Debug, Default)]
pub(super) struct Pubsub {
    topics: Arena<Topic>,
    circles: Vec<Circle>,
    hubs: Arena<Hub>,
    /// Clients whose command waits for what nodes say, the command's place among their requests, and since when: in
    /// the order of time. Those that wait no longer are taken out when they are the first.
    pending: VecDeque<(SessionId, u32, u64)>,
    /// Hubs that have to be asked at the end of the turn for the last word to clients that leave.
    left: Vec<HubId>,
    /// When hubs and topics have to be looked at again because one of them is not where it should be, in microseconds.
    due: Option<u64>,
    /// Whether then the topics themselves have to be asked for again, and not only hubs to be connected.
    refused: bool,
}

/// The topics of all clients that are logged in as one user: the nodes decide what that user may hear, so others must
/// not hear it by the same hubs.
#[derive(Debug)]
struct Circle {
    /// What its hubs log in with: a trunk that speaks RESP3.
    trunk: TrunkId,
    /// Topics by name, by [`Feed`].
    names: [HashMap<Box<[u8]>, TopicId>; 3],
}

impl Pubsub {
    /// Whether nobody is subscribed to anything.
    fn is_unused(&self) -> bool {
        self.topics.len() == 0
    }

    /// Whether a count of receivers is right as the node gave it: nobody receives anything, not even a hub, or there are
    /// no hubs.
    pub(super) fn is_right(&self, reply: &[u8], workers: usize) -> bool {
        reply == b":0\r\n" || reply.first() == Some(&b'-') || (self.is_unused() && workers <= 1)
    }

    fn find(&self, trunk: TrunkId, feed: Feed, name: &[u8]) -> Option<TopicId> {
        let circle = self.circles.iter().find(|circle| circle.trunk == trunk)?;
        circle.names[feed.index()].get(name).copied()
    }

    /// The topics of this name, one for each user that has it.
    fn all(&self, feed: Feed, name: &[u8]) -> impl Iterator<Item = TopicId> {
        self.circles.iter().filter_map(move |circle| circle.names[feed.index()].get(name).copied())
    }

    /// Subscriptions of clients.
    pub(super) fn subscriptions(&self) -> usize {
        self.topics.iter().map(|(_, topic)| topic.members.len()).sum()
    }

    /// When something has to be looked at again.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.due
    }

    /// Has the topics looked at again at `due` or before.
    fn look_again(&mut self, due: u64) {
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }
}
