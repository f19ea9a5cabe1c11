//! A proxy with fifty clients and three nodes in memory: what the benches of core measure.

use evenkeel_core::proxy::{Clock, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::resp::{Proto, Writer};
use evenkeel_core::topology::{Node, NodeIndex, SLOTS, Topology, slot};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) const NODES: usize = 3;
pub(crate) const CLIENTS: usize = 50;

pub(crate) fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    Writer::new(&mut frame, Proto::Two).request(words.iter().copied());
    frame
}

pub(crate) fn reply(bytes: usize) -> Vec<u8> {
    let mut reply = Vec::new();
    Writer::new(&mut reply, Proto::Two).bulk(&vec![b'v'; bytes]);
    reply
}

pub(crate) fn map() -> Topology {
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

/// What the clients ask.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Get,
    Set,
}

/// Fifty clients, each with a pipeline that it sends again and again, and nodes with ready-made answers.
pub(crate) struct World {
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
    pub(crate) fn new(depth: usize, kind: Kind, bytes: usize) -> Self {
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
    pub(crate) fn turn(&mut self) {
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
