//! The real proxy between model clients and model nodes, on a clock of its own: bytes come in pieces, connections break,
//! maps come late.
//!
//! Held in every world: replies come in the order of the requests and one each; no write is executed twice; what was
//! acknowledged is there in the end; a client reads what it wrote; a write answered UNAVAILABLE was not executed; no
//! client sees what is meant for the gateway; everything comes to rest.

use super::client::{Client, Hold, Ledger, Life};
use super::dice::Dice;
use super::line::{Knock, Line, Nodes, addr, node_at};
use super::trace::{Trace, Who};
use evenkeel_core::metric::Metric;
use evenkeel_core::proxy::{Clock, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::topology::Topology;
use std::collections::{BTreeMap, VecDeque};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

const CLIENTS: usize = 5;

/// A connection of the gateway to a node.
struct Conn {
    pipe: PipeId,
    node: usize,
    line: Line,
    /// When it is open or refused; `None` once it is open.
    opens: Option<u64>,
    reading: bool,
    writable: bool,
}

pub(crate) struct Front<N> {
    pub(crate) proxy: Proxy,
    /// In microseconds.
    pub(crate) now: u64,
    next_tick: u64,
    pub(crate) dice: Dice,
    pub(crate) nodes: N,
    pub(crate) clients: Vec<Client>,
    /// Clients whose connections are gone.
    graves: Vec<Client>,
    conns: BTreeMap<u64, Conn>,
    /// When those who watch the nodes look at them next, because the gateway asked for it.
    look: Option<u64>,
    /// The last map that they drew, and those on their way.
    drawn: Topology,
    maps: VecDeque<(u64, Arc<Topology>)>,
    pub(crate) ledger: Ledger,
    opened: u64,
    evicting: bool,
    hold: Hold,
    trace: Trace,
}

impl<N: Nodes> Front<N> {
    pub(crate) fn new(seed: u64, nodes: N, settings: Settings, hold: Hold, trace: &Trace) -> Self {
        let ledger = Ledger::new(settings.durability);
        let mut front = Front {
            proxy: Proxy::new(settings, seed),
            now: 1_000_000_000,
            next_tick: 0,
            dice: Dice::new(seed),
            nodes,
            clients: Vec::new(),
            graves: Vec::new(),
            conns: BTreeMap::new(),
            look: None,
            drawn: Topology::empty(),
            maps: VecDeque::new(),
            ledger,
            opened: 0,
            evicting: false,
            hold,
            trace: trace.clone(),
        };
        front.trace.clock(front.now);
        if !front.dice.once_in(4) {
            front.look();
            front.deliver_maps();
        }
        (0..CLIENTS).for_each(|_| front.open_client());
        front
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: u64) {
        self.now += time;
        self.trace.clock(self.now);
    }

    /// One small thing happens between the gateway and somebody.
    pub(crate) fn step(&mut self) {
        self.deliver_maps();
        match self.dice.below(10) {
            0 => self.ask(),
            1 | 2 => self.client_speaks(),
            3 => self.client_listens(usize::MAX),
            4 => self.client_listens(20),
            5 | 6 => self.pipe_writes(),
            7 => self.node_serves(),
            _ => self.node_speaks(),
        }
        if self.now >= self.next_tick {
            self.turn(Proxy::tick);
        }
    }

    /// A turn of the worker: one event, then what the proxy wants done.
    pub(crate) fn turn(&mut self, event: impl FnOnce(&mut Proxy)) {
        let clock = Clock { steady: self.now, unix: self.now };
        self.proxy.begin(clock);
        event(&mut self.proxy);
        let (mut pipes, mut sessions) = (Vec::new(), Vec::new());
        for round in 0.. {
            assert!(round < 100, "the proxy is restless without end");
            self.proxy.settle();
            let outputs: Vec<Output> = self.proxy.outputs().collect();
            outputs.into_iter().for_each(|output| self.carry_out(output));
            self.proxy.dirty_pipes(&mut pipes);
            for id in &pipes {
                if let Some(conn) = self.conns.get_mut(&id.as_u64()) {
                    (conn.writable, conn.reading) = (true, self.proxy.pipe_wants_read(*id));
                }
            }
            self.proxy.dirty_clients(&mut sessions);
            for client in self.clients.iter_mut().filter(|client| sessions.contains(&client.id)) {
                (client.writable, client.reading) = (true, self.proxy.client_wants_read(client.id));
            }
            if !self.proxy.is_restless() {
                break;
            }
            self.proxy.begin(clock);
        }
        let write = self.proxy.next_write().unwrap_or(u64::MAX);
        self.next_tick = self.proxy.next_tick().min(write);
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { pipe, addr } => {
                let conn = Conn {
                    pipe,
                    node: node_at(addr),
                    line: Line::default(),
                    opens: Some(self.now + self.dice.below(3_000) as u64),
                    reading: true,
                    writable: false,
                };
                self.conns.insert(pipe.as_u64(), conn);
            }
            Output::ClosePipe(pipe) => {
                if let Some(mut conn) = self.conns.remove(&pipe.as_u64()) {
                    self.trace.bytes(Who::Node(conn.node), "is left by a connection", b"");
                    self.serve_some(&mut conn);
                }
            }
            Output::CloseClient(id) => {
                let at = self.clients.iter().position(|client| client.id == id).expect("a known client");
                let mut client = self.clients.remove(at);
                let evicted = std::mem::take(&mut self.evicting);
                let answered =
                    client.life == Life::Ended && client.asked.is_empty() && client.wire.is_empty();
                assert!(evicted || answered, "client {} was closed", client.number());
                client.close();
                self.graves.push(client);
            }
            Output::Learn => {
                let due = self.now + self.dice.below(60_000) as u64;
                self.look.get_or_insert(due);
            }
            Output::Gather { .. } => panic!("nobody asked for {output:?}"),
            Output::Tell(_) => {}
            // No request here is so large that a part of it passes unread.
            Output::Recall(_) | Output::Forget(_) => {}
            Output::Report(text) => {
                assert!(text.contains("middle of a reply") || text.contains("reply had begun"), "{text}");
                self.trace.words(Who::Gateway, text);
                self.evicting = true;
            }
        }
    }

    /// Those who watch the nodes look at them, and what they saw goes to the gateway.
    pub(crate) fn look(&mut self) {
        self.look = None;
        if let Some(map) = self.nodes.map(&self.drawn, &mut self.dice) {
            let late = if self.dice.once_in(3) { self.dice.below(30_000) as u64 } else { 0 };
            let due = self.maps.back().map_or(0, |(due, _)| *due).max(self.now + late);
            self.maps.push_back((due, Arc::new(map.clone())));
            self.drawn = map;
        }
    }

    fn deliver_maps(&mut self) {
        if self.look.is_some_and(|due| due <= self.now) {
            self.look();
        }
        while let Some((due, map)) = self.maps.pop_front() {
            if due > self.now {
                return self.maps.push_front((due, map));
            }
            self.trace.bytes(Who::Gateway, "gets a map", b"");
            self.turn(|proxy| proxy.adopt(map));
        }
    }

    fn open_client(&mut self) {
        self.opened += 1;
        let (number, hold) = (self.opened, self.hold);
        let peer = SocketAddr::from(([10, 1, 0, 1], number as u16));
        let mut id = SessionId::NONE;
        self.turn(|proxy| id = proxy.client_opened(number, peer, addr(99)));
        self.clients.push(Client::new(id, number, hold, self.trace.clone()));
    }

    fn ask(&mut self) {
        if self.clients.len() < CLIENTS {
            self.open_client();
        }
        let at = self.dice.below(self.clients.len());
        let client = &mut self.clients[at];
        if client.life == Life::Open && client.asked.len() < 40 {
            for _ in 0..self.dice.pick(&[1, 1, 1, 2, 5, 12]) {
                client.ask(&mut self.ledger, &mut self.dice);
            }
            if self.dice.once_in(100) {
                client.life = Life::Ended;
            }
        }
    }

    fn client_speaks(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.dice.below(self.clients.len());
        let most = self.dice.pick(&[3, 50, 5_000]);
        let len = 1 + self.dice.below(most);
        self.client_sends(at, len);
    }

    fn client_sends(&mut self, at: usize, len: usize) {
        let client = &mut self.clients[at];
        let id = client.id;
        if !client.reading {
            return;
        }
        if client.wire.is_empty() {
            if client.life == Life::Ended {
                client.reading = false;
                self.turn(|proxy| {
                    proxy.client_ended(id);
                    proxy.client_wrote(id, 0);
                });
            }
            return;
        }
        let piece: Vec<u8> = client.wire.drain(..len.min(client.wire.len())).collect();
        self.trace.bytes(Who::Client(self.clients[at].number()), "says", &piece);
        self.turn(|proxy| proxy.client_bytes(id, &piece));
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.reading = self.proxy.client_wants_read(id);
        }
    }

    fn client_listens(&mut self, most: usize) {
        let writable: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].writable).collect();
        if writable.is_empty() {
            return;
        }
        let client = &mut self.clients[self.dice.pick(&writable)];
        let id = client.id;
        let bytes = take(most, |slices| self.proxy.client_output(id, slices));
        client.heard.extend_from_slice(&bytes);
        client.writable = false;
        client.check(&self.nodes, &mut self.ledger);
        let mut more = false;
        self.turn(|proxy| more = proxy.client_wrote(id, bytes.len()));
        if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
            client.writable |= more;
            client.reading = self.proxy.client_wants_read(id);
        }
    }

    fn some_conn(&mut self, fits: impl Fn(&Conn) -> bool) -> Option<u64> {
        let fitting: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| fits(conn)).map(|(key, _)| *key).collect();
        (!fitting.is_empty()).then(|| self.dice.pick(&fitting))
    }

    fn pipe_writes(&mut self) {
        let now = self.now;
        if let Some(key) = self.some_conn(|conn| conn.opens.is_some_and(|due| due <= now)) {
            return self.settle_connect(key);
        }
        let Some(key) = self.some_conn(|conn| conn.opens.is_none() && conn.writable) else { return };
        let most = self.dice.pick(&[1, 30, 300, 100_000]);
        self.write_to_node(key, most);
    }

    fn settle_connect(&mut self, key: u64) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let pipe = conn.pipe;
        match self.nodes.knock(conn.node) {
            Knock::Opened => {
                conn.opens = None;
                self.turn(|proxy| proxy.pipe_opened(pipe));
            }
            Knock::Refused => {
                self.conns.remove(&key);
                self.turn(|proxy| proxy.pipe_lost(pipe, "connection refused"));
            }
            Knock::Unanswered => {}
        }
    }

    fn write_to_node(&mut self, key: u64, most: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        let pipe = conn.pipe;
        let bytes = take(most, |slices| self.proxy.pipe_output(pipe, slices));
        conn.line.inbox.extend_from_slice(&bytes);
        conn.writable = false;
        let mut more = false;
        self.turn(|proxy| more = proxy.pipe_wrote(pipe, bytes.len()));
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.writable |= more;
        }
    }

    fn node_serves(&mut self) {
        let Some(key) = self.some_conn(|conn| !conn.line.inbox.is_empty()) else { return };
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if !self.nodes.works(conn.node) {
            return;
        }
        for _ in 0..=self.dice.below(6) {
            conn.line.serve(conn.node, &mut self.nodes, &mut self.dice);
        }
    }

    fn node_speaks(&mut self) {
        let Some(key) =
            self.some_conn(|conn| conn.reading && (conn.line.ends || !conn.line.outbox.is_empty()))
        else {
            return;
        };
        let most = self.dice.pick(&[2, 40, 100_000]);
        let len = 1 + self.dice.below(most);
        self.read_from_node(key, len);
    }

    fn read_from_node(&mut self, key: u64, len: usize) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if !self.nodes.reaches(conn.node) {
            return;
        }
        if conn.line.ends && conn.line.outbox.is_empty() {
            return self.break_conn(key);
        }
        let pipe = conn.pipe;
        let piece: Vec<u8> = conn.line.outbox.drain(..len.min(conn.line.outbox.len())).collect();
        self.turn(|proxy| proxy.pipe_bytes(pipe, &piece));
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.reading = self.proxy.pipe_wants_read(pipe);
        }
    }

    /// What reached a node before its connection broke may be executed.
    fn serve_some(&mut self, conn: &mut Conn) {
        if !self.nodes.works(conn.node) {
            return;
        }
        for _ in 0..self.dice.pick(&[0, 1, 3, 100]) {
            if !conn.line.serve(conn.node, &mut self.nodes, &mut self.dice) {
                break;
            }
        }
    }

    pub(crate) fn break_one(&mut self) {
        if let Some(key) = self.some_conn(|conn| conn.opens.is_none()) {
            self.break_conn(key);
        }
    }

    fn break_conn(&mut self, key: u64) {
        if let Some(mut conn) = self.conns.remove(&key) {
            self.serve_some(&mut conn);
            self.trace.bytes(Who::Node(conn.node), "loses a connection", b"");
            self.turn(|proxy| proxy.pipe_lost(conn.pipe, "it broke"));
        }
    }

    /// A process is gone, and its connections with it.
    pub(crate) fn break_node(&mut self, node: usize) {
        let keys: Vec<u64> =
            self.conns.iter().filter(|(_, conn)| conn.node == node).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.break_conn(key));
    }

    pub(crate) fn lose_client(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.dice.below(self.clients.len());
        let mut client = self.clients.remove(at);
        client.close();
        let id = client.id;
        self.graves.push(client);
        self.turn(|proxy| proxy.client_lost(id));
    }

    /// Whether anybody still waits for anything. Faults are over, time has passed.
    pub(crate) fn flow(&mut self) -> bool {
        self.deliver_maps();
        if self.now >= self.next_tick {
            self.turn(Proxy::tick);
        }
        let moved = self.everything_flows();
        let waits = self.clients.iter().any(|client| !client.asked.is_empty() || !client.wire.is_empty());
        // What a client that is gone had asked of several nodes may be held a little longer.
        let counts = self.proxy.counts();
        let held =
            [Metric::ParkedNow, Metric::InFlight, Metric::Withheld].map(|metric| counts[metric as usize]);
        moved || waits || held != [0; 3] || !self.maps.is_empty() || self.look.is_some()
    }

    /// What must hold once nobody waits.
    pub(crate) fn check_end(&self) {
        for client in &self.clients {
            let (number, missing) = (client.number(), client.asked.len());
            assert!(missing == 0, "client {number} still waits for {missing} replies");
            assert!(client.wire.is_empty() && client.heard.is_empty(), "client {number} has half a reply");
        }
        let counts = self.proxy.counts();
        for metric in [Metric::InFlight, Metric::ParkedNow, Metric::ParkedBytes, Metric::Withheld] {
            assert_eq!(counts[metric as usize], 0, "{metric:?} at rest");
        }
        self.clients.iter().chain(&self.graves).for_each(|client| client.check_end(&self.nodes));
        self.ledger.check_end(&self.nodes);
    }

    /// The keys of every client.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.clients.iter().chain(&self.graves).flat_map(Client::keys)
    }

    /// Everything that can move moves; whether anything did.
    fn everything_flows(&mut self) -> bool {
        let mut moved = false;
        for at in (0..self.clients.len()).rev() {
            if at < self.clients.len() && self.clients[at].reading && !self.clients[at].wire.is_empty() {
                moved = true;
                self.client_sends(at, usize::MAX);
            }
        }
        for key in self.conns.keys().copied().collect::<Vec<_>>() {
            let Some(conn) = self.conns.get(&key) else { continue };
            if conn.opens.is_some() {
                moved |= self.nodes.knock(conn.node) != Knock::Unanswered;
                self.settle_connect(key);
            } else if conn.writable {
                moved = true;
                self.write_to_node(key, usize::MAX);
            }
            let Some(conn) = self.conns.get_mut(&key) else { continue };
            while self.nodes.works(conn.node) && conn.line.serve(conn.node, &mut self.nodes, &mut self.dice) {
            }
            if conn.reading
                && (conn.line.ends || !conn.line.outbox.is_empty())
                && self.nodes.reaches(conn.node)
            {
                moved = true;
                self.read_from_node(key, usize::MAX);
            }
        }
        while self.clients.iter().any(|client| client.writable) {
            moved = true;
            self.client_listens(usize::MAX);
        }
        moved
    }
}

fn take<'a>(most: usize, fill: impl FnOnce(&mut [IoSlice<'a>]) -> usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 64];
    let filled = fill(&mut slices);
    let mut bytes: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
    bytes.truncate(most);
    bytes
}
