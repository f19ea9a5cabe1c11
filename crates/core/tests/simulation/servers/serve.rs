//! What the servers answer to a gateway.

use super::data::Change;
use super::{Known, Servers};
use crate::dice::Dice;
use crate::line::{Id, Knock, Line, Nodes, Served, addr, execute, id_of, keys_of, said};
use crate::trace::Who;
use evenkeel_core::resp::Args;
use evenkeel_core::topology::{Slots, Topology, View, adopt, slot};

impl Nodes for Servers {
    fn answer(&mut self, node: usize, args: &Args<'_>, line: &mut Line, _dice: &mut Dice) -> Served {
        line.asking = false;
        let Some((keys, writes)) = keys_of(args) else { return self.answer_about_itself(node, args, line) };
        let place = slot(keys[0]);
        assert!(keys.iter().all(|key| slot(key) == place), "a node was asked for keys of two slots");
        self.trace.bytes(Who::Node(node), "is asked", &said(args));
        if let Some(refusal) = self.refusal(node, place) {
            self.trace.bytes(Who::Node(node), "refuses", refusal.as_bytes());
            line.writer().error(refusal);
            return Served::Yes;
        }
        if writes && self.nodes[node].paused_until > self.now {
            return Served::Later;
        }
        let mut data = std::mem::take(&mut self.nodes[node].data);
        let mut changes = Vec::new();
        execute(args, &keys, line, &mut data.keys, |key, value| {
            changes.push(Change { number: 0, by: node, key: key.into(), value: value.map(Into::into) });
        });
        let deposed = writes && self.is_deposed(node, place);
        for change in changes {
            if let Some(value) = &change.value {
                *self.executed.entry(id_of(value)).or_default() += 1;
            }
            if deposed {
                self.lossy.insert(change.key.to_vec());
            }
            data.push(Change { number: self.number(), ..change });
            self.nodes[node].offset += 1;
        }
        line.mark = data.len();
        self.nodes[node].data = data;
        Served::Yes
    }

    fn knock(&self, node: usize) -> Knock {
        let Self { nodes, now, .. } = self;
        match (self.up(node) && nodes[node].since + 50 <= *now, nodes[node].cuts.gateway > *now) {
            (_, true) => Knock::Unanswered,
            (true, false) => Knock::Opened,
            (false, false) => Knock::Refused,
        }
    }

    fn works(&self, node: usize) -> bool {
        self.lively(node) && self.reaches(node)
    }

    fn reaches(&self, node: usize) -> bool {
        self.nodes[node].cuts.gateway <= self.now
    }

    fn map(&mut self, last: &Topology, dice: &mut Dice) -> Option<Topology> {
        let answering = |at: &usize| self.works(*at) && !self.is_loading(*at);
        let mut heard: Vec<usize> =
            (0..self.nodes.len()).filter(answering).filter(|_| !dice.once_in(8)).collect();
        // those who watch may be where few are
        if dice.once_in(4) {
            heard.sort_by_cached_key(|_| dice.below(1_000));
            heard.truncate(1 + dice.below(2));
        }
        let view = |at: &usize| View::parse(&self.view_text(*at), addr(*at)).expect("a view");
        let next = adopt(last, &heard.iter().map(view).collect::<Vec<_>>());
        next.iter().for_each(|next| self.check_map(last, next));
        next
    }

    fn value(&self, key: &[u8]) -> Option<Id> {
        let owner = (0..self.nodes.len()).find(|at| has(&self.own(*at).slots, slot(key)))?;
        self.nodes[owner].data.keys.get(key).map(|value| id_of(value))
    }

    fn executed(&self, id: Id) -> u32 {
        self.executed.get(&id).copied().unwrap_or(0)
    }

    fn has_lost(&self, key: &[u8]) -> bool {
        self.lossy.contains(key)
    }
}

impl Servers {
    /// No map turns away from the owner with the newest claim, but for a claim that is newer than what was known of it.
    fn check_map(&self, last: &Topology, next: &Topology) {
        for shard in 0..self.desired.shards {
            let place = Slots::share(shard, self.desired.shards).ranges()[0].0;
            let claims = (0..self.nodes.len()).filter(|at| has(&self.own(*at).slots, place));
            let newest = claims.max_by_key(|at| self.own(*at).epoch).map(|at| self.nodes[at].id.to_string());
            let owner = |map: &Topology| map.owner(place).map(|index| map.node(index).clone());
            let (Some(old), new) = (owner(last), owner(next)) else { continue };
            let stays = new.is_some_and(|new| new.id == old.id || new.epoch > old.epoch);
            assert!(stays || newest != Some(old.id), "a map turns slot {place} away from its owner");
        }
    }

    fn answer_about_itself(&mut self, node: usize, args: &Args<'_>, line: &mut Line) -> Served {
        let server = &self.nodes[node];
        match args.get(0).to_ascii_uppercase().as_slice() {
            b"HELLO" => line.greet(args),
            b"ASKING" => line.writer().simple("OK"),
            b"DBSIZE" if self.is_loading(node) => line.writer().error(LOADING),
            b"DBSIZE" => line.writer().integer(server.data.keys.len() as i64),
            b"INFO" if args.get(1) == b"server" => {
                line.writer().bulk(format!("run_id:{}\r\n", server.run).as_bytes());
            }
            b"INFO" => {
                let role = match self.own(node).of {
                    None => "role:master\r\n",
                    Some(_) if server.copies.is_some() => "role:slave\r\nmaster_link_status:up\r\n",
                    Some(_) => "role:slave\r\nmaster_link_status:down\r\n",
                };
                let before = server.before.map_or(0, |(stream, _)| stream);
                let text = format!("{role}master_replid:{}\r\nmaster_replid2:{before}\r\n", server.stream);
                line.writer().bulk(text.as_bytes());
            }
            b"FUNCTION" if self.is_loading(node) => line.writer().error(LOADING),
            b"FUNCTION" if self.own(node).of.is_some() => {
                line.writer().error("READONLY You can't write against a read only replica.");
            }
            b"FUNCTION" if server.paused_until > self.now => return Served::Later,
            b"FUNCTION" => {
                line.mark = server.data.len();
                line.writer().simple("OK");
            }
            b"WAIT" => return self.wait(node, args, line),
            other => panic!("a node was asked {}", other.escape_ascii()),
        }
        Served::Yes
    }

    /// Answers WAIT once a replica has what the connection is up to, or the time is over.
    fn wait(&mut self, node: usize, args: &Args<'_>, line: &mut Line) -> Served {
        if self.own(node).of.is_some() {
            if line.waits.take().is_some() {
                line.ends = true;
                line.writer().error(
                    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                );
            } else {
                line.writer().error("ERR WAIT cannot be used with replica instances.");
            }
            return Served::Yes;
        }
        let millis: u64 =
            std::str::from_utf8(args.get(2)).ok().and_then(|text| text.parse().ok()).expect("a time");
        let until = *line.waits.get_or_insert(self.now + millis);
        let has_it = |at: &usize| {
            self.source(*at) == Some(node) && self.meets(*at, node) && self.nodes[*at].data.len() >= line.mark
        };
        let count = (0..self.nodes.len()).filter(has_it).count();
        if count == 0 && until > self.now {
            return Served::Later;
        }
        line.waits = None;
        self.trace.bytes(Who::Node(node), "counts replicas", count.to_string().as_bytes());
        line.writer().integer(count as i64);
        Served::Yes
    }

    /// Why a node does not execute a request for a slot (`cluster.c`: `getNodeByQuery`).
    fn refusal(&self, node: usize, place: u16) -> Option<String> {
        if self.is_loading(node) {
            return Some(LOADING.to_owned());
        }
        if !self.is_ok(node) {
            return Some("CLUSTERDOWN The cluster is down".to_owned());
        }
        let owner = self.nodes[node].view.iter().find(|(_, known)| has(&known.slots, place));
        match owner {
            None => Some("CLUSTERDOWN Hash slot not served".to_owned()),
            Some((id, _)) if *id == self.nodes[node].id => None,
            Some((_, Known { at, .. })) => Some(format!("MOVED {place} {}", addr(*at))),
        }
    }

    /// Whether another owns the slot by a newer claim, of which this one has not heard.
    fn is_deposed(&self, node: usize, place: u16) -> bool {
        let epoch = self.own(node).epoch;
        (0..self.nodes.len()).any(|at| self.own(at).epoch > epoch && has(&self.own(at).slots, place))
    }

    /// The address of the server that owns a slot by its own account.
    pub(crate) fn owner(&self, place: u16) -> Option<std::net::SocketAddr> {
        (0..self.nodes.len()).find(|at| self.up(*at) && has(&self.own(*at).slots, place)).map(addr)
    }

    /// What clients wrote and the owners of slots have now.
    pub(crate) fn kept(&self) -> std::collections::HashSet<Id> {
        let owners = (0..self.nodes.len()).filter(|at| self.owns(*at));
        owners.flat_map(|at| self.nodes[at].data.values()).collect()
    }
}

const LOADING: &str = "LOADING Redis is loading the dataset in memory";

pub(super) fn has(slots: &Slots, slot: u16) -> bool {
    slots.ranges().iter().any(|(first, last)| (*first..=*last).contains(&slot))
}
