//! Nanoseconds per request of the parts of the data path, one thread, no sockets: `cargo bench -p evenkeel-core`.
//!
//! Each row is the fastest of several rounds, so that what else the machine does counts as little as possible.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a bench reads the clock; the crate that it measures does not"
)]

use evenkeel_core::command::{Args, Lookup, keys, lookup};
use evenkeel_core::proxy::{Clock, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::resp::{Limits, Proto, ReplyScan, RequestReader, Writer};
use evenkeel_core::topology::{Node, NodeIndex, SLOTS, Topology, slot};
use std::hint::black_box;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(60);
const NODES: usize = 3;
const CLIENTS: usize = 50;

fn main() {
    println!("{:<46} {:>12} {:>14}", "", "ns/request", "requests/s");
    let (get, set) =
        (request(&[b"GET", b"key:000000000042"]), request(&[b"SET", b"key:000000000042", &[b'v'; 64]]));
    let mut spans = Vec::new();
    for (name, frame) in [("read GET", &get), ("read SET of 64 bytes", &set)] {
        row(name, 1, || {
            let read = RequestReader::default().read(black_box(frame), &mut spans, &Limits::SERVER);
            black_box(read.is_ok());
        });
    }
    let value = reply(64);
    row("pass over a reply of 64 bytes", 1, || {
        black_box(ReplyScan::default().advance(black_box(&value)).is_ok());
    });
    row("look a command up", 1, || {
        black_box(lookup(black_box(b"GET"), None));
    });
    row("slot of a key of 16 bytes", 1, || {
        black_box(slot(black_box(b"key:000000000042")));
    });
    let map = map();
    let read = RequestReader::default().read(&get, &mut spans, &Limits::SERVER);
    assert!(read.is_ok());
    row("route GET (look up, find key, slot, owner)", 1, || {
        let args = Args::new(black_box(&get), &spans);
        black_box(route(&args, &map));
    });
    for depth in [1, 16, 128] {
        for (name, kind, bytes) in [
            ("GET of 64 bytes", Kind::Get, 64),
            ("SET of 64 bytes", Kind::Set, 64),
            ("GET of 4 KiB", Kind::Get, 4096),
        ] {
            let mut world = World::new(depth, kind, bytes);
            row(&format!("whole way of {name}, pipeline {depth}"), CLIENTS * depth, || world.turn());
        }
    }
}

/// Measures `work`, which does so many requests, and prints a row.
fn row(name: &str, requests: usize, mut work: impl FnMut()) {
    let mut calls = 1u32;
    let mut best = f64::MAX;
    for round in 0..ROUNDS + 3 {
        let begin = Instant::now();
        (0..calls).for_each(|_| work());
        let spent = begin.elapsed();
        // The first rounds warm up and find out how many calls fill a round.
        if round < 3 {
            calls = (f64::from(calls) * ROUND.as_secs_f64() / spent.as_secs_f64().max(1e-7)).clamp(1.0, 1e8)
                as u32;
        } else {
            best = best.min(spent.as_nanos() as f64 / f64::from(calls) / requests as f64);
        }
    }
    println!("{name:<46} {best:>12.1} {:>14.0}", 1e9 / best);
}

fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    Writer::new(&mut frame, Proto::Two).request(words.iter().copied());
    frame
}

fn reply(bytes: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    Writer::new(&mut reply, Proto::Two).bulk(&vec![b'v'; bytes]);
    reply
}

fn map() -> Topology {
    let nodes = (0..NODES).map(|node| Node {
        id: format!("{node:040}"),
        addr: SocketAddr::from(([10, 0, 0, node as u8], 7000)),
        replica_of: None,
        epoch: 1,
    });
    Topology::new(nodes.collect(), |slot| {
        Some(NodeIndex((usize::from(slot) * NODES / usize::from(SLOTS)) as u16))
    })
}

fn route(args: &Args<'_>, map: &Topology) -> Option<NodeIndex> {
    let Lookup::Found(command) = lookup(args.get(0), Some(args.get(1))) else { return None };
    let key = keys(command, args).ok()?.next()?;
    map.owner(slot(args.get(key)))
}

/// What the clients ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
}

/// Fifty clients, each with a pipeline that it sends again and again, and nodes with ready-made answers.
struct World {
    proxy: Proxy,
    now: u64,
    clients: Vec<(SessionId, Vec<u8>)>,
    /// Pipes, and how many of the requests of a turn go there.
    nodes: Vec<(PipeId, usize)>,
    answers: Vec<u8>,
    answer: usize,
    pipes: Vec<PipeId>,
    sessions: Vec<SessionId>,
}

impl World {
    fn new(depth: usize, kind: Kind, bytes: usize) -> Self {
        let one = if kind == Kind::Set { b"+OK\r\n".to_vec() } else { reply(bytes) };
        let mut shares = [0; NODES];
        let mut proxy = Proxy::new(Settings::default(), 1);
        proxy.adopt(Arc::new(map()));
        let addr = SocketAddr::from(([10, 1, 0, 1], 1));
        let clients = (0..CLIENTS).map(|client| {
            let requests = (0..depth).flat_map(|at| {
                let key = format!("key:{:012}", client * 1000 + at);
                let value = vec![b'v'; bytes];
                shares[usize::from(slot(key.as_bytes())) * NODES / usize::from(SLOTS)] += 1;
                if kind == Kind::Set {
                    request(&[b"SET", key.as_bytes(), &value])
                } else {
                    request(&[b"GET", key.as_bytes()])
                }
            });
            (proxy.client_opened(client as u64, addr, addr), requests.collect())
        });
        let clients: Vec<(SessionId, Vec<u8>)> = clients.collect();
        let opened: Vec<PipeId> = proxy
            .outputs()
            .filter_map(|output| match output {
                Output::Connect { pipe, .. } => Some(pipe),
                _ => None,
            })
            .collect();
        let greeting = b"*2\r\n$7\r\nversion\r\n$5\r\n7.2.5\r\n";
        for pipe in &opened {
            proxy.pipe_opened(*pipe);
            let hello = proxy.pipe_unsent(*pipe);
            proxy.pipe_wrote(*pipe, hello);
            proxy.pipe_bytes(*pipe, greeting);
        }
        World {
            proxy,
            now: 0,
            clients,
            nodes: opened.into_iter().zip(shares).collect(),
            answers: one.repeat(CLIENTS * depth),
            answer: one.len(),
            pipes: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// Every client's pipeline goes to the nodes, every reply comes back.
    fn turn(&mut self) {
        self.begin();
        for (id, pipeline) in &self.clients {
            self.proxy.client_bytes(*id, pipeline);
        }
        self.proxy.settle();
        self.proxy.dirty_pipes(&mut self.pipes);
        for id in &self.pipes {
            let mut slices = [IoSlice::new(&[]); 64];
            while self.proxy.pipe_output(*id, &mut slices) > 0 {
                let len = slices.iter().map(|slice| slice.len()).sum();
                slices = [IoSlice::new(&[]); 64];
                self.proxy.pipe_wrote(*id, len);
            }
        }
        self.begin();
        for (pipe, share) in &self.nodes {
            for piece in self.answers[..share * self.answer].chunks(64 * 1024) {
                self.proxy.pipe_bytes(*pipe, piece);
            }
        }
        self.proxy.settle();
        self.proxy.dirty_clients(&mut self.sessions);
        assert_eq!(self.sessions.len(), CLIENTS, "everyone has replies");
        for id in &self.sessions {
            while self.proxy.client_unsent(*id) > 0 {
                let mut slices = [IoSlice::new(&[]); 64];
                let filled = self.proxy.client_output(*id, &mut slices);
                let len = slices[..filled].iter().map(|slice| slice.len()).sum();
                self.proxy.client_wrote(*id, len);
            }
        }
    }

    fn begin(&mut self) {
        self.now += 100;
        self.proxy.begin(Clock { steady: self.now, unix: self.now });
    }
}
