//! A proxy in memory with any number of clients, nodes and slot ranges; nodes answer with what is ready.

use evenkeel_core::proxy::{Clock, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::resp::{Proto, Writer};
use evenkeel_core::topology::{Node, NodeIndex, SLOTS, Topology, slot};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes of a value.
const VALUE: usize = 64;

/// How large a world is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) clients: usize,
    pub(crate) nodes: usize,
    /// Slot ranges of the whole map, dealt to the nodes in turn.
    pub(crate) ranges: usize,
}

/// Clients that send one GET each a turn, and nodes that answer it.
pub(crate) struct World {
    proxy: Proxy,
    now: u64,
    clients: Vec<(SessionId, Vec<u8>)>,
    /// Connections to nodes, and how many of a turn's requests go there.
    nodes: Vec<(PipeId, usize)>,
    answers: Vec<u8>,
    answer: usize,
    pipes: Vec<PipeId>,
    sessions: Vec<SessionId>,
}

impl World {
    pub(crate) fn new(size: Size) -> World {
        let mut proxy = Proxy::new(Settings::default(), 1);
        proxy.adopt(Arc::new(map(size)));
        let mut shares = vec![0; size.nodes];
        let addr = SocketAddr::from(([10, 200, 0, 1], 1));
        let clients: Vec<(SessionId, Vec<u8>)> = (0..size.clients)
            .map(|client| {
                let key = format!("key:{client:012}");
                shares[owner(size, slot(key.as_bytes()))] += 1;
                let mut request = Vec::new();
                Writer::new(&mut request, Proto::Two).request([b"GET", key.as_bytes()].into_iter());
                (proxy.client_opened(client as u64, addr, addr), request)
            })
            .collect();
        let opened = proxy.outputs().filter_map(|output| match output {
            Output::Connect { pipe, .. } => Some(pipe),
            _ => None,
        });
        let opened: Vec<PipeId> = opened.collect();
        assert_eq!(opened.len(), size.nodes, "a connection to each node");
        for pipe in &opened {
            proxy.pipe_opened(*pipe);
            let hello = proxy.pipe_unsent(*pipe);
            proxy.pipe_wrote(*pipe, hello);
            proxy.pipe_bytes(*pipe, b"*2\r\n$7\r\nversion\r\n$5\r\n7.2.5\r\n");
        }
        let mut answer = Vec::new();
        Writer::new(&mut answer, Proto::Two).bulk(&[b'v'; VALUE]);
        World {
            proxy,
            now: 0,
            clients,
            nodes: opened.into_iter().zip(shares).collect(),
            answers: answer.repeat(size.clients),
            answer: answer.len(),
            pipes: Vec::new(),
            sessions: Vec::new(),
        }
    }

    /// Every client's request goes to its node, and every reply comes back.
    pub(crate) fn turn(&mut self) {
        self.begin();
        for (id, request) in &self.clients {
            self.proxy.client_bytes(*id, request);
        }
        self.proxy.settle();
        self.proxy.dirty_pipes(&mut self.pipes);
        for id in &self.pipes {
            loop {
                let mut slices = [IoSlice::new(&[]); 64];
                if self.proxy.pipe_output(*id, &mut slices) == 0 {
                    break;
                }
                let len = slices.iter().map(|slice| slice.len()).sum();
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
        assert_eq!(self.sessions.len(), self.clients.len(), "everyone has a reply");
        for id in &self.sessions {
            let mut slices = [IoSlice::new(&[]); 64];
            let filled = self.proxy.client_output(*id, &mut slices);
            let len = slices[..filled].iter().map(|slice| slice.len()).sum();
            self.proxy.client_wrote(*id, len);
        }
    }

    fn begin(&mut self) {
        self.now += 100;
        self.proxy.begin(Clock { steady: self.now, unix: self.now });
    }
}

fn map(size: Size) -> Topology {
    let nodes = (0..size.nodes).map(|node| Node {
        id: format!("{node:040}"),
        addr: SocketAddr::from(([10, 0, (node / 256) as u8, (node % 256) as u8], 7000)),
        replica_of: None,
        epoch: 1,
    });
    Topology::new(nodes.collect(), |slot| Some(NodeIndex(owner(size, slot) as u16)))
}

fn owner(size: Size, slot: u16) -> usize {
    usize::from(slot) * size.ranges / usize::from(SLOTS) % size.nodes
}
