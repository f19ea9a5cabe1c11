//! Session scripts: lines of what clients, nodes and the clock do, and the bytes that must come of it. Every script
//! runs whole, byte by byte, and with each of its inputs cut in two at every byte.
//!
//! ```text
//! map a 0-8191 b 8192-16383      the map changes (nodes are a, b, c …)
//! 1 says GET foo                 client 1 sends a request (raw bytes with \r\n where it starts with `*` or `!`)
//! b hears GET foo                node b gets exactly this next
//! b says "bar"                   node b answers: "bulk", or a raw line, \r\n inside, CRLF added (not after `!`)
//! 1 hears "bar"                  client 1 gets exactly this next
//! a down | a up | a breaks       connections are refused | accepted | broken
//! a bars alice                   from now on the node refuses connections of this user
//! wait 20                        milliseconds pass
//! 1 leaves | 1 ends | 1 closed   client 1 resets | closes its side | must have been closed by the gateway
//! 1 stuck | 1 reads              client 1 stops | starts to take bytes
//! a gone                         the gateway has closed connection a
//! a marked                       node a hears what brings a connection up to its newest write (see `blocking::confirm`)
//! together | apart               what follows happens in one turn | the turn is over
//! drain                          from now on a client goes once it has all its replies and will not ask in a moment
//! ```
//! Connections to one node are named a, a2, a3 … in the order in which they were made.

mod blocking;
mod busy;
mod company;
mod durable;
mod failures;
mod hot;
mod leaving;
mod ordinary;
mod subscriptions;
mod tracking;
mod transactions;
mod users;
mod whole;

use super::blocking::mark;
use super::{Clock, Gather, Onward, Output, PipeId, Proxy, SessionId, Settings, Through};
use crate::resp::{Proto, ReplyScan, Scan, Writer};
use crate::topology::{Node, NodeIndex, Topology};
use std::collections::{BTreeMap, HashSet};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

/// How inputs are handed to the proxy.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    Everywhere,
    /// Input `line` is cut in two at this byte.
    At {
        line: usize,
        byte: usize,
    },
}

struct Client {
    id: SessionId,
    heard: Vec<u8>,
    closed: bool,
    stuck: bool,
    /// What has passed unread and is kept, and how much of it its node has not taken.
    outside: Vec<u8>,
    ahead: Option<(PipeId, Vec<u8>)>,
}

struct Upstream {
    id: PipeId,
    node: char,
    heard: Vec<u8>,
    greeted: bool,
}

struct World {
    proxy: Proxy,
    now: u64,
    clients: BTreeMap<String, Client>,
    upstreams: BTreeMap<String, Upstream>,
    made: BTreeMap<char, usize>,
    down: HashSet<char>,
    barred: HashSet<(char, String)>,
    learned: usize,
    draining: bool,
    /// Whether the turn goes on after an event.
    together: bool,
    /// What all workers were asked for last.
    gathered: Option<Gather>,
    cut: Cut,
    chunked: bool,
}

/// Runs a script in every way of cutting it.
fn run(script: &str) {
    run_with(Settings::default(), script);
}

fn run_with(settings: Settings, script: &str) {
    // The rest of a text may go from socket to socket unread, and what the client does not take of it is read.
    let unread = Settings { unread: 1, ..settings.clone() };
    World::new(settings.clone(), Cut::Nowhere).play(script);
    World::new(settings.clone(), Cut::Everywhere).play(script);
    World::new(unread.clone(), Cut::Everywhere).play(script);
    for (line, text) in script.lines().enumerate() {
        let Some((_, said)) = text.split_once(" says ") else { continue };
        for byte in 1..encoded(said, text).len().min(400) {
            World::new(settings.clone(), Cut::At { line, byte }).play(script);
            World::new(unread.clone(), Cut::At { line, byte }).play(script);
        }
    }
}

/// What `X says …` stands for: a request where X is a client, a reply where it is a node.
fn encoded(said: &str, line: &str) -> Vec<u8> {
    if line.trim_start().starts_with(|first: char| first.is_ascii_digit()) {
        request(said)
    } else {
        reply(said)
    }
}

fn unescape(text: &str) -> Vec<u8> {
    text.replace("\\r", "\r").replace("\\n", "\n").into_bytes()
}

fn request(text: &str) -> Vec<u8> {
    if let Some(raw) = text.strip_prefix('!') {
        return unescape(raw);
    }
    if text.starts_with('*') {
        return unescape(text);
    }
    let mut frame = Vec::new();
    Writer::new(&mut frame, Proto::Two)
        .request(text.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter());
    frame
}

fn reply(text: &str) -> Vec<u8> {
    if let Some(raw) = text.strip_prefix('!') {
        return unescape(raw);
    }
    let mut out = Vec::new();
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(bulk) => Writer::new(&mut out, Proto::Two).bulk(bulk.as_bytes()),
        None => {
            out = unescape(text);
            out.extend_from_slice(b"\r\n");
        }
    }
    out
}

fn addr(node: char) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 7000))
}

/// `a 0-8191 b 8192-16383 c` (c owns nothing).
fn map(text: &str) -> Topology {
    let mut nodes: Vec<Node> = Vec::new();
    let mut owned: Vec<(u16, u16, u16)> = Vec::new();
    for word in text.split_whitespace() {
        match word.split_once('-') {
            Some((from, to)) => {
                owned.push((
                    from.parse().expect("a slot"),
                    to.parse().expect("a slot"),
                    nodes.len() as u16 - 1,
                ));
            }
            None => {
                let name = word.chars().next().expect("a name");
                nodes.push(Node { id: word.to_owned(), addr: addr(name), replica_of: None, epoch: 1 });
            }
        }
    }
    Topology::new(nodes, |slot| {
        owned.iter().find(|(from, to, _)| (*from..=*to).contains(&slot)).map(|owned| NodeIndex(owned.2))
    })
}

impl World {
    fn new(settings: Settings, cut: Cut) -> Self {
        World {
            proxy: Proxy::new(settings, 7),
            now: 1_000_000,
            clients: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            made: BTreeMap::new(),
            down: HashSet::new(),
            barred: HashSet::new(),
            learned: 0,
            draining: false,
            together: false,
            gathered: None,
            cut,
            chunked: false,
        }
    }

    fn play(mut self, script: &str) {
        self.script(script);
        self.ends();
    }

    fn script(&mut self, script: &str) {
        for (at, line) in script.lines().enumerate() {
            let line = line.trim_start();
            if !line.is_empty() {
                self.step(at, line);
            }
        }
    }

    /// Nobody has heard anything that was not spoken of.
    fn ends(&self) {
        for (name, client) in &self.clients {
            assert!(
                client.heard.is_empty(),
                "{:?}: {name} also heard {}",
                self.cut,
                client.heard.escape_ascii()
            );
        }
        for (name, node) in &self.upstreams {
            assert!(node.heard.is_empty(), "{:?}: {name} also heard {}", self.cut, node.heard.escape_ascii());
        }
    }

    fn step(&mut self, at: usize, line: &str) {
        let (who, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (verb, what) = rest.split_once(' ').unwrap_or((rest, ""));
        match (who, verb) {
            ("map", _) => {
                let topology = Arc::new(map(rest));
                self.event(|proxy| proxy.adopt(topology));
            }
            ("wait", millis) => self.wait(millis.parse().expect("milliseconds")),
            ("drain", _) => {
                self.draining = true;
                self.event(Proxy::drain);
            }
            ("together", _) => self.together = true,
            ("apart", _) => {
                self.together = false;
                self.event(|_| ());
            }
            ("learned", _) => {
                assert!(std::mem::take(&mut self.learned) > 0, "line {at}: nobody asked for a map");
            }
            (who, _) if who.starts_with(|first: char| first.is_ascii_digit()) => {
                self.client(at, who, verb, what);
            }
            (who, _) => self.node(at, who, verb, what),
        }
    }

    /// Time passes in steps, as it does for a worker.
    fn wait(&mut self, millis: u64) {
        for _ in 0..millis {
            self.now += 1_000;
            self.event(Proxy::tick);
        }
    }

    fn client(&mut self, at: usize, who: &str, verb: &str, what: &str) {
        if !self.clients.contains_key(who) {
            let number: u64 = who.parse().expect("a number");
            let (peer, local) =
                (SocketAddr::from(([10, 1, 0, 1], number as u16)), SocketAddr::from(([10, 2, 0, 1], 7010)));
            let id = self.proxy.client_opened(number, peer, local);
            let client = Client {
                id,
                heard: Vec::new(),
                closed: false,
                stuck: false,
                outside: Vec::new(),
                ahead: None,
            };
            self.clients.insert(who.to_owned(), client);
        }
        let client = self.clients.get_mut(who).expect("it was just made");
        let id = client.id;
        match verb {
            "says" => {
                for piece in self.pieces(at, &request(what)) {
                    let passed = self.pass_onward(who, &piece);
                    let piece = &piece[passed..];
                    // Every other piece is read into a chunk of the proxy's, where it has one for it.
                    self.chunked = !self.chunked;
                    match self.chunked.then(|| self.proxy.client_room(id)).flatten() {
                        Some(mut chunk) => {
                            chunk.extend_from_slice(piece);
                            self.event(|proxy| proxy.client_filled(id, chunk));
                        }
                        None => self.event(|proxy| proxy.client_bytes(id, piece)),
                    }
                }
            }
            "hears" => hears(&mut client.heard, &reply(what), at, who, self.cut),
            "asks" => hears(&mut client.heard, &request(what), at, who, self.cut),
            "leaves" => self.event(|proxy| proxy.client_lost(id)),
            "ends" => self.event(|proxy| proxy.client_ended(id)),
            "closed" => assert!(client.closed, "line {at}: {who} is still connected"),
            "stuck" => client.stuck = true,
            "reads" => {
                client.stuck = false;
                self.event(|_| ());
            }
            other => panic!("line {at}: what is `{other}`?"),
        }
    }

    fn node(&mut self, at: usize, who: &str, verb: &str, what: &str) {
        let name = who.chars().next().expect("a name");
        match verb {
            "down" => drop(self.down.insert(name)),
            "up" => drop(self.down.remove(&name)),
            "bars" => drop(self.barred.insert((name, what.to_owned()))),
            "says" => {
                let id =
                    self.upstreams.get(who).unwrap_or_else(|| panic!("line {at}: no connection {who}")).id;
                for piece in self.pieces(at, &reply(what)) {
                    let rest = self.pass(id, &piece);
                    if rest < piece.len() {
                        self.event(|proxy| proxy.pipe_bytes(id, &piece[rest..]));
                    }
                }
            }
            "hears" => {
                let node =
                    self.upstreams.get_mut(who).unwrap_or_else(|| panic!("line {at}: no connection {who}"));
                hears(&mut node.heard, &request(what), at, who, self.cut);
            }
            "gone" => assert!(!self.upstreams.contains_key(who), "line {at}: {who} is still open"),
            "marked" => {
                let node =
                    self.upstreams.get_mut(who).unwrap_or_else(|| panic!("line {at}: no connection {who}"));
                hears(&mut node.heard, mark("7.2.99"), at, who, self.cut);
            }
            "breaks" => {
                let id =
                    self.upstreams.remove(who).unwrap_or_else(|| panic!("line {at}: no connection {who}")).id;
                self.event(|proxy| proxy.pipe_lost(id, "it broke"));
            }
            other => panic!("line {at}: what is `{other}`?"),
        }
    }

    /// Hands bytes of a node to a client unread where the proxy lets it; returns how many it took, never quite all that it
    /// might, unless they are few.
    fn pass(&mut self, id: PipeId, piece: &[u8]) -> usize {
        let Some(Through { client, most }) = self.proxy.pipe_through(id) else { return 0 };
        let open = self.clients.values_mut().find(|open| open.id == client && !open.stuck);
        let Some(open) = open else { return 0 };
        let passed = piece.len().min(most).div_ceil(2);
        open.heard.extend_from_slice(&piece[..passed]);
        self.event(|proxy| proxy.pipe_passed(id, passed));
        passed
    }

    /// Hands bytes of a client to a node unread, in the same way.
    fn pass_onward(&mut self, who: &str, piece: &[u8]) -> usize {
        let client = self.clients.get_mut(who).expect("it spoke");
        let Some(Onward { lane, most, keep }) = self.proxy.client_onward(client.id) else { return 0 };
        let passed = piece.len().min(most).div_ceil(2);
        match keep {
            true => client.outside.extend_from_slice(&piece[..passed]),
            false => client.outside.clear(),
        }
        assert!(client.ahead.is_none(), "more may pass before the node has taken what has passed");
        client.ahead = Some((lane, piece[..passed].to_vec()));
        let id = client.id;
        self.event(|proxy| {
            proxy.client_passed(id, passed);
            assert!(passed == 0 || !proxy.client_wants_read(id), "the node has to take it first");
        });
        passed
    }

    fn pieces(&self, at: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        match self.cut {
            Cut::Everywhere => bytes.iter().map(|byte| vec![*byte]).collect(),
            Cut::At { line, byte } if line == at && byte < bytes.len() => {
                vec![bytes[..byte].to_vec(), bytes[byte..].to_vec()]
            }
            Cut::At { .. } | Cut::Nowhere => vec![bytes.to_vec()],
        }
    }

    /// A turn with one event, and as many more as it takes to come to rest.
    fn event(&mut self, event: impl FnOnce(&mut Proxy)) {
        self.proxy.begin(Clock { steady: self.now, unix: 1_700_000_000_000_000 + self.now });
        event(&mut self.proxy);
        if self.together {
            return;
        }
        for _ in 0..100 {
            self.proxy.settle();
            let outputs: Vec<Output> = self.proxy.outputs().collect();
            let mut busy = !outputs.is_empty();
            outputs.into_iter().for_each(|output| self.carry_out(output));
            busy |= self.flush();
            if !busy && !self.proxy.is_restless() {
                return;
            }
        }
        panic!("the proxy does not come to rest");
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect { pipe, addr } => {
                let node = char::from(match addr {
                    SocketAddr::V4(addr) => addr.ip().octets()[3],
                    SocketAddr::V6(_) => unreachable!("nodes have IPv4 here"),
                });
                if self.down.contains(&node) {
                    return self.proxy.pipe_lost(pipe, "connection refused");
                }
                let made = self.made.entry(node).or_default();
                *made += 1;
                let name = if *made == 1 { node.to_string() } else { format!("{node}{made}") };
                self.upstreams.insert(name, Upstream { id: pipe, node, heard: Vec::new(), greeted: false });
                self.proxy.pipe_opened(pipe);
            }
            Output::ClosePipe(id) => self.upstreams.retain(|_, upstream| upstream.id != id),
            Output::CloseClient(id) => {
                self.clients
                    .values_mut()
                    .filter(|client| client.id == id)
                    .for_each(|client| client.closed = true);
            }
            Output::Recall(id) => {
                let client = self.clients.values_mut().find(|client| client.id == id).expect("it is there");
                client.ahead = None;
                self.proxy.client_recalled(id, std::mem::take(&mut client.outside));
            }
            Output::Forget(id) => {
                let clients = self.clients.values_mut().filter(|client| client.id == id);
                clients.for_each(|client| (client.outside, client.ahead) = (Vec::new(), None));
            }
            Output::Learn => self.learned += 1,
            Output::Gather { what: Gather::Unblock { number, reason }, session, seq } => {
                let found = self.proxy.unblock(number, reason);
                self.proxy.unblocked(session, seq, reason, &found);
            }
            Output::Gather { what, session, seq } => {
                if let Gather::Pause(Some(pause)) = what {
                    self.proxy.pause(pause);
                }
                self.gathered = Some(what);
                self.proxy.answer(session, seq, b"$8\r\ngathered\r\n");
            }
            Output::Tell(_) | Output::Report(_) => {}
        }
    }

    /// Takes what the proxy has for everyone; answers greetings.
    fn flush(&mut self) -> bool {
        let (mut pipes, mut sessions) = (Vec::new(), Vec::new());
        self.proxy.dirty_pipes(&mut pipes);
        self.proxy.dirty_clients(&mut sessions);
        let mut busy = false;
        for client in self.clients.values_mut() {
            let Some((lane, bytes)) = client.ahead.take() else { continue };
            if let Some(node) = self.upstreams.values_mut().find(|node| node.id == lane) {
                node.heard.extend_from_slice(&bytes);
                self.proxy.node_took(client.id, bytes.len());
                busy = true;
            }
        }
        for upstream in self.upstreams.values_mut() {
            let bytes = take(|slices| self.proxy.pipe_output(upstream.id, slices));
            if !bytes.is_empty() {
                busy = true;
                self.proxy.pipe_wrote(upstream.id, bytes.len());
                upstream.heard.extend_from_slice(&bytes);
            }
            if !upstream.greeted
                && let Ok(Scan::Done(len)) = ReplyScan::default().advance(&upstream.heard)
            {
                let hello = upstream.heard.drain(..len).collect::<Vec<_>>();
                let hello = String::from_utf8_lossy(&hello);
                let words: Vec<&str> = hello.lines().skip(2).step_by(2).collect();
                assert!(words[0] == "HELLO" && addr(upstream.node).port() == 7000);
                upstream.greeted = true;
                let barred =
                    words[2] == "AUTH" && self.barred.contains(&(upstream.node, words[3].to_owned()));
                let greeting = format!(
                    "*4\r\n$7\r\nversion\r\n$6\r\n7.2.99\r\n$2\r\nid\r\n:{}\r\n",
                    upstream.node as u8
                );
                let answer = if barred { "-WRONGPASS no\r\n" } else { greeting.as_str() };
                self.proxy.pipe_bytes(upstream.id, answer.as_bytes());
            }
        }
        for client in self.clients.values_mut().filter(|client| !client.closed && !client.stuck) {
            let bytes = take(|slices| self.proxy.client_output(client.id, slices));
            busy |= !bytes.is_empty();
            client.heard.extend_from_slice(&bytes);
            self.proxy.client_wrote(client.id, bytes.len());
            let idle = self.proxy.client_is_idle(client.id) && !self.proxy.client_will_ask(client.id);
            if self.draining && idle {
                self.proxy.client_dismissed(client.id);
            }
        }
        busy
    }
}

fn take<'a>(fill: impl FnOnce(&mut [IoSlice<'a>]) -> usize) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 16];
    let filled = fill(&mut slices);
    slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
}

fn hears(heard: &mut Vec<u8>, expected: &[u8], at: usize, who: &str, cut: Cut) {
    let fits = heard.starts_with(expected);
    assert!(
        fits,
        "line {at}, {cut:?}: {who} heard\n  {}\nnot\n  {}",
        heard[..heard.len().min(300)].escape_ascii(),
        expected.escape_ascii()
    );
    heard.drain(..expected.len());
}
