//! What nodes tell a client that is tracked, and what it is told when a node can tell it no more.

use super::super::pipe::{Pipe, State};
use super::super::trunk::Tenancy;
use super::super::{PipeId, Proxy, SessionId};
use super::options::Reads;
use crate::resp::{Elements, Proto, Writer, text};
use crate::topology::{SLOTS, Topology};

/// A push without keys: forget everything.
const ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";
/// The channel by which a subscriber in RESP2 hears of keys (`tracking.c`: `TrackingChannelName`).
const CHANNEL: &[u8] = b"__redis__:invalidate";

impl Proxy {
    /// A node tells something on a connection that is one client's.
    pub(in super::super) fn told_of_keys(&mut self, id: PipeId, push: &[u8]) {
        let trunk = self.pipes.get(id).and_then(|pipe| self.trunks.get(pipe.trunk));
        let Some(Tenancy::Of(client)) = trunk.map(|trunk| trunk.tenancy) else { return };
        let is_invalidation = Elements::of(push).and_then(|mut words| words.next().and_then(text));
        if is_invalidation == Some(b"invalidate") {
            self.invalidate(client, push);
        }
    }

    /// What a client has read may change unheard: it has to forget all of it.
    pub(in super::super) fn invalidate_all(&mut self, client: SessionId) {
        self.invalidate(client, ALL);
    }

    /// A node does not do what was asked on a connection before any request of its client.
    pub(in super::super) fn refused_by_node(&mut self, id: PipeId, reply: &[u8]) {
        let trunk = self.pipes.get(id).and_then(|pipe| self.trunks.get(pipe.trunk));
        if matches!(trunk.map(|trunk| trunk.tenancy), Some(Tenancy::Of(_))) {
            self.lose_pipe(id, String::from_utf8_lossy(&reply[1..]).trim_end());
        }
    }

    /// Tells a client, or the one that it has named, that keys have changed.
    fn invalidate(&mut self, client: SessionId, push: &[u8]) {
        if is_all(push) && self.has_forgotten(client) {
            return;
        }
        let Some(tracking) = self.tracking(client) else { return };
        let Some(number) = tracking.options.redirect else { return self.announce_keys(client, push) };
        let target = tracking.target;
        let is_it = |id: &SessionId| self.sessions.get(*id).is_some_and(|session| session.number == number);
        if let Some(target) = target.filter(is_it) {
            return self.announce_keys(target, push);
        }
        if let Some(tracking) = self.tracking(client) {
            tracking.is_broken = true;
        }
        let mut broken = b">2\r\n".to_vec();
        let mut writer = Writer::new(&mut broken, Proto::Three);
        writer.bulk(b"tracking-redir-broken");
        writer.integer(number as i64);
        self.announce_keys(client, &broken);
    }

    /// Whether a client was told to forget everything, and has had no reply since. Then it need not hear it again: nodes all
    /// say so when they are flushed. Notes that it is told now.
    fn has_forgotten(&mut self, client: SessionId) -> bool {
        let Some(session) = self.sessions.get(client) else { return false };
        let (next, answered) = (session.upcoming(), session.under_way() == 0);
        let Some(tracking) = self.tracking(client) else { return false };
        let has = tracking.forgot == Some(next);
        // It hears it behind its replies; somebody else may hear it before.
        if answered || tracking.options.redirect.is_none() {
            tracking.forgot = Some(next);
        }
        has
    }

    /// Hands a push on to a client in its protocol, if that has a form for it.
    fn announce_keys(&mut self, id: SessionId, push: &[u8]) {
        // The reply of a read must not come behind the word that its key has changed.
        let merging = self.merges.iter().any(|(_, merge)| merge.session == id);
        let Some(session) = self.sessions.get_mut(id) else { return };
        match session.proto {
            Proto::Three if merging || session.has_replies_waiting() => session.announce_behind(push),
            Proto::Three => session.announce(push, &mut self.pool),
            Proto::Two if session.is_subscriber() => session.announce(&message(push), &mut self.pool),
            Proto::Two => return,
        }
        let too_slow = session.unread() > self.settings.unread_messages;
        self.touch_client(id);
        if too_slow {
            self.evict(id, "it did not read which keys have changed");
        }
    }

    /// A connection ends: what its node remembers of reads on it is gone.
    pub(in super::super) fn forget_reads(&mut self, pipe: &Pipe) {
        let tenancy = self.trunks.get(pipe.trunk).map(|trunk| trunk.tenancy);
        if let Some(Tenancy::Of(client)) = tenancy
            && pipe.state == State::Open
        {
            self.invalidate(client, ALL);
            self.renew_ears(client, pipe);
        }
    }

    /// Without the ear on a node, the connection that told it there what to listen for is of no use.
    fn renew_ears(&mut self, client: SessionId, ear: &Pipe) {
        let Some(own) = self.sessions.get(client).map(|session| session.trunk) else { return };
        let Some(trunk) = self.trunks.get(own).filter(|trunk| trunk.ear == Some(ear.trunk)) else { return };
        let deaf: Vec<PipeId> = trunk.pipes.iter().flatten().copied().collect();
        for id in deaf {
            if self.pipes.get(id).is_some_and(|pipe| pipe.addr == ear.addr) {
                self.unshare(id);
                self.epoch = self.epoch.wrapping_add(1); // what comes next goes another way
                self.retire(id);
            }
        }
    }

    /// Slots have other owners: what was read from the old ones may change unheard.
    pub(in super::super) fn slots_moved(&mut self, old: &Topology) {
        if self.trackers.is_empty() {
            return;
        }
        let new = self.topology.clone();
        let addr = |topology: &Topology, slot| topology.owner(slot).map(|node| topology.node(node).addr);
        let moved = |slot| addr(old, slot).is_some() && addr(old, slot) != addr(&new, slot);
        if (0..SLOTS).any(moved) {
            for at in 0..self.trackers.len() {
                self.invalidate(self.trackers[at], ALL);
            }
        }
    }

    /// A part of a request is asked again, and the word that its reads be tracked is not: they are not.
    pub(in super::super) fn part_untracked(&mut self, client: SessionId) {
        if self.tracking(client).is_some_and(|tracking| tracking.options.reads == Reads::Announced) {
            self.invalidate(client, ALL);
        }
    }
}

/// Whether a push says that every key has changed.
fn is_all(push: &[u8]) -> bool {
    push.ends_with(b"\r\n_\r\n")
}

/// A push as a message of RESP2.
fn message(push: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Proto::Two);
    writer.array(3);
    writer.bulk(b"message");
    writer.bulk(CHANNEL);
    match Elements::of(push).and_then(Iterator::last) {
        Some(keys) if keys != b"_\r\n" => out.extend_from_slice(keys),
        Some(_) | None => Writer::new(&mut out, Proto::Two).null(),
    }
    out
}
