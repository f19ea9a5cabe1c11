//! A whole proxy, fed by clients and nodes that say anything and break at any time: it does not panic, and what it
//! holds stays in proportion to what it got.
#![no_main]

use evenkeel_core::proxy::{Clock, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::topology::{Node, NodeIndex, Topology};
use libfuzzer_sys::fuzz_target;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;

fn addr(node: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node], 7000))
}

fn map(split: u16) -> Arc<Topology> {
    let node = |node: u8| Node { id: format!("{node:040}"), addr: addr(node), replica_of: None, epoch: 1 };
    Arc::new(Topology::new((0..2).map(node).collect(), |slot| Some(NodeIndex(u16::from(slot >= split)))))
}

struct World {
    proxy: Proxy,
    now: u64,
    clients: Vec<SessionId>,
    pipes: Vec<PipeId>,
}

impl World {
    fn settle(&mut self) {
        for _ in 0..50 {
            self.proxy.settle();
            let outputs: Vec<Output> = self.proxy.outputs().collect();
            for output in outputs {
                match output {
                    Output::Connect { pipe, .. } => self.pipes.push(pipe),
                    Output::ClosePipe(pipe) => self.pipes.retain(|other| *other != pipe),
                    Output::CloseClient(client) => self.clients.retain(|other| *other != client),
                    Output::Gather { session, seq, .. } => self.proxy.answer(session, seq, b"+OK\r\n"),
                    Output::Learn | Output::Report(_) | Output::Tell(_) => {}
                    // Nothing passes unread here.
                    Output::Recall(_) | Output::Forget(_) => {}
                }
            }
            if !self.proxy.is_restless() {
                return;
            }
        }
        panic!("the proxy does not come to rest");
    }

    fn write(&mut self, at: usize, most: usize) {
        let mut slices = [IoSlice::new(&[]); 8];
        if let Some(pipe) = self.pipes.get(at).copied() {
            let filled = self.proxy.pipe_output(pipe, &mut slices);
            let len = slices[..filled].iter().map(|slice| slice.len()).sum::<usize>();
            self.proxy.pipe_wrote(pipe, len.min(most));
        }
        let mut slices = [IoSlice::new(&[]); 8];
        if let Some(client) = self.clients.get(at).copied() {
            let filled = self.proxy.client_output(client, &mut slices);
            let len = slices[..filled].iter().map(|slice| slice.len()).sum::<usize>();
            self.proxy.client_wrote(client, len.min(most));
        }
    }

    /// One event: what, who, and the bytes that it is about.
    fn event(&mut self, what: u8, who: u8, bytes: &[u8]) {
        let at = usize::from(who % 4);
        self.now += u64::from(who) * 1_000;
        self.proxy.begin(Clock { steady: self.now, unix: self.now });
        let (client, pipe) = (self.clients.get(at).copied(), self.pipes.get(at).copied());
        match (what % 10, client, pipe) {
            (0..=2, Some(client), _) => self.proxy.client_bytes(client, bytes),
            (0..=2, None, _) => self.clients.push(self.proxy.client_opened(u64::from(who), addr(98), addr(99))),
            (3 | 4, _, Some(pipe)) => self.proxy.pipe_bytes(pipe, bytes),
            (5, _, Some(pipe)) => self.proxy.pipe_opened(pipe),
            (6, _, Some(pipe)) => {
                self.pipes.retain(|other| *other != pipe);
                self.proxy.pipe_lost(pipe, "it broke");
            }
            (7, Some(client), _) if who < 64 => {
                self.clients.retain(|other| *other != client);
                self.proxy.client_lost(client);
            }
            (7, Some(client), _) if who < 128 => self.proxy.client_ended(client),
            (8, ..) if who < 32 => self.proxy.adopt(map(u16::from(who) * 500)),
            (8, ..) => self.proxy.tick(),
            _ => self.write(at, 1 + bytes.len() * 50),
        }
        self.settle();
    }
}

fuzz_target!(|data: &[u8]| {
    let settings = Settings { ordinary: 64, collect: 4096, hold: 500_000, hold_bytes: 1024, ..Settings::default() };
    let mut world =
        World { proxy: Proxy::new(settings, 1), now: 0, clients: Vec::new(), pipes: Vec::new() };
    world.proxy.adopt(map(8192));
    world.settle();
    let mut rest = data;
    while let [what, who, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(usize::from(*len).min(tail.len()));
        world.event(*what, *who, bytes);
        rest = tail;
    }
});
