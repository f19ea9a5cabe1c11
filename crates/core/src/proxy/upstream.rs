//! Connections to nodes: which exist, when to connect again, the greeting, and the adoption of a new map.

use super::pipe::{Pipe, Purpose, State, Ticket, Work};
use super::trunk::{Login, TrunkId};
use super::{Output, PipeId, Proxy};
use crate::metric::Metric;
use crate::resp::{Elements, Proto, Writer, integer, text};
use crate::topology::{NodeIndex, Topology};
use std::net::SocketAddr;
use std::sync::Arc;

/// What is remembered of a node's address between connections.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Connections that failed or broke since one was greeted.
    failures: u32,
    /// Before this time (microseconds) no new connection is tried.
    pub(crate) retry_at: u64,
    /// Why the last one failed.
    pub(crate) why: String,
}

/// Pauses before the next connection in microseconds, by failures in a row.
const PAUSES: [u64; 6] = [0, 2_000, 5_000, 10_000, 20_000, 50_000];

/// How long (microseconds) a node without slots may owe an answer.
const SILENCE: u64 = 500_000;
/// How soon a connection is tried again that waits for another one (microseconds).
const EAR: u64 = 1_000;

/// Where a request for a slot can go now.
pub(super) enum Way {
    /// On this pipe.
    Pipe(PipeId),
    /// Nowhere before this time.
    Later(u64),
}

impl Proxy {
    /// A trunk's pipe to a node; connects where there is none and the last failure is long enough ago.
    #[inline]
    pub(super) fn way_to(&mut self, node: NodeIndex, trunk: TrunkId) -> Way {
        match self.trunks.get(trunk).and_then(|trunk| trunk.pipes.get(usize::from(node.0)).copied().flatten())
        {
            Some(pipe) => Way::Pipe(pipe),
            None => self.open_way(node, trunk),
        }
    }

    /// The way to the owner of a slot.
    #[inline]
    pub(super) fn way(&mut self, slot: u16, trunk: TrunkId) -> Way {
        match self.topology.owner(slot) {
            Some(node) => self.way_to(node, trunk),
            None => {
                self.learn();
                Way::Later(self.now.steady + 5_000)
            }
        }
    }

    fn open_way(&mut self, node: NodeIndex, trunk: TrunkId) -> Way {
        let addr = self.topology.node(node).addr;
        if let Some(link) = self.links.get(&addr)
            && link.retry_at > self.now.steady
        {
            return Way::Later(link.retry_at);
        }
        let Some(pipe) = self.connect_to(addr, trunk, Purpose::Shared) else {
            return Way::Later(self.now.steady + EAR);
        };
        if let Some(trunk) = self.trunks.get_mut(trunk)
            && let Some(place) = trunk.pipes.get_mut(usize::from(node.0))
        {
            *place = Some(pipe);
        }
        Way::Pipe(pipe)
    }

    /// Starts a connection to a node; `None` while what has to go first on it is not known.
    pub(super) fn connect_to(
        &mut self,
        addr: SocketAddr,
        trunk: TrunkId,
        purpose: Purpose,
    ) -> Option<PipeId> {
        let prelude = self.ear_prelude(addr, trunk)?;
        let pipe = self.connect(addr, trunk, purpose);
        if !prelude.is_empty() {
            self.push_unkept(pipe, &prelude, Ticket::of_nobody(Work::Nobody, self.now.steady));
        }
        Some(pipe)
    }

    /// Starts a connection; its greeting is the first thing on it.
    pub(super) fn connect(&mut self, addr: SocketAddr, trunk: TrunkId, purpose: Purpose) -> PipeId {
        let now = self.now.steady;
        let mut pipe = Pipe::new(addr, trunk, purpose, now);
        pipe.tally = self.timings.tally(addr);
        let trunk = self.trunks.get(trunk);
        let login = trunk.and_then(|trunk| trunk.login.as_ref());
        let hello = greeting(
            trunk.map_or(Proto::Two, |trunk| trunk.proto),
            login,
            self.settings.node_password.as_deref(),
        );
        let prelude = trunk.map_or(&[][..], |trunk| &trunk.prelude);
        let greeting = Ticket::of_nobody(Work::Greeting, now);
        match purpose {
            Purpose::Lane { .. } => {
                pipe.push_unkept(&hello, greeting, &mut self.pool);
                for request in prelude {
                    pipe.push_unkept(request, Ticket::of_nobody(Work::Nobody, now), &mut self.pool);
                }
            }
            Purpose::Shared
            | Purpose::Confirmer
            | Purpose::Retiring
            | Purpose::Hub(_)
            | Purpose::Private { .. }
            | Purpose::Idle => {
                pipe.push(&hello, greeting, &mut self.pool);
                for request in prelude {
                    pipe.push(request, Ticket::of_nobody(Work::Nobody, now), &mut self.pool);
                }
            }
        }
        pipe.opening = matches!(purpose, Purpose::Private { .. });
        self.waits.opening += usize::from(pipe.opening);
        let id = self.pipes.insert(pipe);
        self.outputs.push(Output::Connect { pipe: id, addr });
        self.add(Metric::UpstreamConnects, 1);
        id
    }

    /// A connection to a node is open: what waits for it can be written.
    pub fn pipe_opened(&mut self, id: PipeId) {
        if let Some(pipe) = self.pipes.get_mut(id) {
            pipe.state = State::Open;
            pipe.heard = self.now.steady;
            let shared = pipe.purpose == Purpose::Shared;
            self.touch_pipe(id);
            self.park.wake(self.now.steady);
            if shared {
                self.waits.wake(self.now.steady);
            }
        }
    }

    /// The answer to HELLO: the node's version, or the reason why it will not have us.
    pub(super) fn greeted(&mut self, id: PipeId, reply: &[u8]) {
        let Some(addr) = self.pipes.get(id).map(|pipe| pipe.addr) else { return };
        if reply.first() == Some(&b'-') {
            let why = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
            if reply.starts_with(b"-WRONGPASS") && self.shut_out(id, &why) {
                return;
            }
            if self.links.get(&addr).is_none_or(|link| link.why != why) {
                self.outputs.push(Output::Report(format!("node {addr} refuses the gateway: {why}")));
            }
            self.lose_pipe(id, &why);
            return;
        }
        let hello = Hello::of(reply);
        if let Some(version) = hello.version
            && version != self.version
        {
            self.version = version;
        }
        if let Some(server) = hello.server
            && server != self.server
        {
            self.server = server;
        }
        if let Some(pipe) = self.pipes.get_mut(id) {
            pipe.number = hello.number;
            self.waits.opening -= usize::from(std::mem::take(&mut pipe.opening));
            if pipe.purpose == Purpose::Confirmer {
                let confirmer = pipe.confirmer;
                self.confirmer_greeted(confirmer);
            }
        }
        self.let_go(id);
        self.links.remove(&addr);
        self.hub_greeted(id);
    }

    /// Marks a pipe as having something to write or to be looked at.
    #[inline]
    pub(super) fn touch_pipe(&mut self, id: PipeId) {
        if let Some(pipe) = self.pipes.get_mut(id)
            && !std::mem::replace(&mut pipe.dirty, true)
        {
            self.dirty_pipes.push(id);
        }
    }

    /// Asks the shell for a new map, once a turn.
    pub(super) fn learn(&mut self) {
        if !self.outputs.contains(&Output::Learn) {
            self.outputs.push(Output::Learn);
        }
    }

    /// Notes a failed or broken connection to an address.
    pub(super) fn link_failed(&mut self, addr: SocketAddr, why: &str) {
        let link = self.links.entry(addr).or_default();
        let pause = PAUSES[(link.failures as usize).min(PAUSES.len() - 1)];
        link.failures = link.failures.saturating_add(1);
        link.retry_at = self.now.steady + pause;
        link.why = why.to_owned();
        self.add(Metric::UpstreamLost, 1);
        self.learn();
    }

    /// Goes by a new map from now on. Requests under way stay where they are; a client that has any admits
    /// nothing new until they are answered, so that nothing overtakes them on the new way.
    pub fn adopt(&mut self, topology: Arc<Topology>) {
        let old = std::mem::replace(&mut self.topology, topology);
        self.losses.note_map(&old, &self.topology, self.now.steady);
        self.rearrange(&old);
        self.slots_moved(&old);
        self.links.retain(|addr, _| self.topology.nodes().iter().any(|node| node.addr == *addr));
        self.epoch = self.epoch.wrapping_add(1);
        self.add(Metric::TopologyChanges, 1);
        self.park.wake(self.now.steady);
        self.waits.wake(self.now.steady);
        let primaries = self.topology.primaries();
        self.primaries = primaries.iter().map(|(node, _)| self.topology.node(*node).addr).collect();
        self.connect_all(self.base[0]);
        for trunk in self.trunks_in_use() {
            self.connect_all(trunk);
        }
        self.arrange_confirmers();
        self.map_came();
    }

    /// Connects a trunk to every primary ahead of the first request. A user's connections are as good as a client's own: one
    /// that was let in stays, whatever becomes of the password, and a node that throws the user out closes them.
    pub(super) fn connect_all(&mut self, trunk: TrunkId) {
        for (node, _) in self.topology.primaries() {
            let _ = self.way_to(node, trunk);
        }
        self.settle_topics();
    }

    /// Puts the pipes of all trunks where the new map has their nodes.
    fn rearrange(&mut self, old: &Topology) {
        let nodes = self.topology.nodes();
        let places: Vec<Option<usize>> =
            old.nodes().iter().map(|node| nodes.iter().position(|other| other.addr == node.addr)).collect();
        let mut gone = Vec::new();
        for trunk in self.trunks.iter_mut() {
            let pipes = std::mem::replace(&mut trunk.pipes, vec![None; nodes.len()]);
            for (at, pipe) in pipes.into_iter().enumerate() {
                match places.get(at).copied().flatten() {
                    Some(place) => trunk.pipes[place] = pipe,
                    None => gone.extend(pipe),
                }
            }
        }
        gone.into_iter().for_each(|pipe| self.retire(pipe));
    }

    /// Takes a pipe out of use for new requests.
    pub(super) fn unshare(&mut self, id: PipeId) {
        let trunk = self.pipes.get(id).map(|pipe| pipe.trunk);
        let pipes = trunk.and_then(|trunk| self.trunks.get_mut(trunk)).map(|trunk| &mut trunk.pipes);
        pipes.into_iter().flatten().filter(|place| **place == Some(id)).for_each(|place| *place = None);
    }

    /// Lets a shared pipe end: it takes nothing new and is closed when its replies are in.
    pub(super) fn retire(&mut self, id: PipeId) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        pipe.purpose = Purpose::Retiring;
        let waiting = std::mem::take(&mut pipe.waiting);
        let empty = pipe.tickets.is_empty();
        waiting.into_iter().for_each(|session| self.lift(session));
        if empty {
            self.close_pipe(id);
        }
    }

    /// Forgets a pipe on which nothing is under way.
    pub(super) fn close_pipe(&mut self, id: PipeId) {
        if let Some(mut pipe) = self.pipes.remove(id) {
            self.forget_uses(&pipe);
            pipe.out.clear(&mut self.pool);
            self.forget_reads(&pipe);
            self.pool.give(std::mem::take(&mut pipe.inbox));
            if pipe.purpose == Purpose::Idle {
                self.idle.retain(|idle| *idle != id);
            }
            self.outputs.push(Output::ClosePipe(id));
        }
    }

    /// Takes a pipe that ends out of what is counted.
    pub(super) fn forget_uses(&mut self, pipe: &Pipe) {
        self.lent -= usize::from(pipe.purpose.is_lent());
        self.stalled -= usize::from(pipe.stalled_by.is_some());
        self.waits.opening -= usize::from(pipe.opening);
    }

    /// A node that owns nothing any more and says nothing is not waited for: it is hung or cut off, and what it
    /// owes will not come. One that still owns slots may just be busy.
    pub(super) fn abandon_deposed(&mut self) {
        let now = self.now.steady;
        let deposed = |pipe: &Pipe| {
            let oldest = pipe.tickets.front().filter(|_| pipe.stalled_by.is_none())?;
            let since = pipe.heard.max(oldest.born);
            if matches!(oldest.work, Work::Errand { .. }) {
                (since + self.settings.hold < now).then_some("it does not answer")
            } else {
                (since + SILENCE < now && !self.primaries.contains(&pipe.addr))
                    .then_some("it was replaced by a failover and does not answer")
            }
        };
        let lost = self.pipes.iter().filter_map(|(id, pipe)| deposed(pipe).map(|why| (id, why)));
        let lost: Vec<(PipeId, &str)> = lost.collect();
        for (id, why) in lost {
            self.lose_pipe(id, why);
        }
    }

    /// Shard and address behind a slot, in words for an error.
    pub(super) fn place(&self, slot: u16) -> String {
        match self.topology.owner(slot) {
            Some(node) => {
                let (number, addr) = (self.topology.shard(node), self.topology.node(node).addr);
                format!("shard {number}, node {addr}")
            }
            None => "no node".to_owned(),
        }
    }

    /// Why the owner of a slot cannot be reached, as far as it is known.
    pub(super) fn trouble(&self, slot: u16) -> &str {
        let owner = self.topology.owner(slot).map(|node| self.topology.node(node).addr);
        owner.map_or("no node owns the slot", |addr| {
            self.links.get(&addr).map_or("it is not ready", |link| &link.why)
        })
    }
}

/// HELLO as a node of this gateway expects it.
fn greeting(proto: Proto, login: Option<&Login>, node_password: Option<&str>) -> Vec<u8> {
    let version: &[u8] = match proto {
        Proto::Two => b"2",
        Proto::Three => b"3",
    };
    let mut words: Vec<&[u8]> = vec![b"HELLO", version];
    match (login, node_password) {
        (Some(login), _) => words.extend([b"AUTH".as_slice(), &login.user, &login.password]),
        (None, Some(password)) => words.extend([b"AUTH".as_slice(), b"default", password.as_bytes()]),
        (None, None) => {}
    }
    words.extend([b"SETNAME".as_slice(), b"evenkeel-gateway"]);
    let mut hello = Vec::new();
    Writer::new(&mut hello, proto).request(words.into_iter());
    hello
}

/// What a node says of itself and of the connection.
#[derive(Default)]
struct Hello {
    server: Option<String>,
    version: Option<String>,
    number: Option<u64>,
}

impl Hello {
    /// The answer to HELLO, map or flat array.
    fn of(reply: &[u8]) -> Hello {
        let mut hello = Hello::default();
        let Some(mut elements) = Elements::of(reply) else { return hello };
        while let (Some(key), Some(value)) = (elements.next(), elements.next()) {
            match text(key) {
                Some(b"server") => hello.server = owned(value),
                Some(b"version") => hello.version = owned(value),
                Some(b"id") => hello.number = integer(value).and_then(|number| u64::try_from(number).ok()),
                Some(_) | None => {}
            }
        }
        hello
    }
}

fn owned(value: &[u8]) -> Option<String> {
    text(value).and_then(|text| String::from_utf8(text.to_vec()).ok())
}
