//! An ordinary request costs no allocation: 50 clients, three nodes, GET and SET, one at a time and sixteen in a
//! pipeline, with replies in order and out of order, under an allocator that counts. And who is idle holds no memory.
//!
//! One test function: what another test of this binary would allocate meanwhile would be counted too.

use evenkeel_core::proxy::{Clock, Filter, Output, PipeId, Proxy, SessionId, Settings};
use evenkeel_core::resp::{Proto, ReplyScan, Scan, Writer};
use evenkeel_core::topology::{Node, NodeIndex, SLOTS, Topology, slot};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const CLIENTS: usize = 50;
const NODES: usize = 3;
const REQUESTS: usize = 10_000;

/// The system's allocator, counted.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicI64 = AtomicI64::new(0);

#[expect(unsafe_code, reason = "an allocator that counts cannot be had without it")]
// SAFETY: every call goes to the system's allocator with the arguments that came; counting touches no memory but
// two atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `GlobalAlloc::alloc`, and they are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: `place` came from `alloc` or `realloc` here, so from the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size as i64 - layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above; `size` is the caller's to vouch for.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// In which order the nodes answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    /// Each as soon as it is asked.
    AtOnce,
    /// The last that was asked first, so that most replies come before their turn.
    Backwards,
}

/// A model node: reads requests and answers `+OK` to SET and a value to anything else.
struct Model {
    pipe: PipeId,
    inbox: Vec<u8>,
    answer: Vec<u8>,
}

struct Client {
    id: SessionId,
    /// Its requests, ready made: as many as one pipeline holds, GET and SET in turn, keys all over the nodes.
    pipeline: Vec<u8>,
    heard: usize,
    wanted: usize,
}

struct World {
    proxy: Proxy,
    now: u64,
    clients: Vec<Client>,
    models: Vec<Model>,
    value: Vec<u8>,
    outputs: Vec<Output>,
    dirty_pipes: Vec<PipeId>,
    dirty_clients: Vec<SessionId>,
}

fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8], 7000))
}

impl World {
    fn new(settings: Settings) -> Self {
        let nodes = (0..NODES).map(|node| Node {
            id: format!("{node:040}"),
            addr: addr(node),
            replica_of: None,
            epoch: node as u64,
        });
        let owner = |slot: u16| Some(NodeIndex((usize::from(slot) * NODES / usize::from(SLOTS)) as u16));
        let mut proxy = Proxy::new(settings, 1);
        proxy.adopt(Arc::new(Topology::new(nodes.collect(), owner)));
        World {
            proxy,
            now: 1,
            clients: Vec::new(),
            models: Vec::new(),
            value: vec![b'v'; 512],
            outputs: Vec::new(),
            dirty_pipes: Vec::with_capacity(64),
            dirty_clients: Vec::with_capacity(CLIENTS * 2),
        }
    }

    fn connect(&mut self, depth: usize) {
        for number in 0..CLIENTS {
            let (peer, local) = (SocketAddr::from(([10, 1, 0, 1], number as u16)), addr(99));
            let id = self.proxy.client_opened(number as u64, peer, local);
            let mut pipeline = Vec::new();
            let mut wanted = 0;
            for at in 0..depth {
                let key = format!("key:{number}:{at}");
                let mut writer = Writer::new(&mut pipeline, Proto::Two);
                if (number + at).is_multiple_of(2) {
                    writer.request([b"GET".as_slice(), key.as_bytes()].into_iter());
                    wanted += 512 + 8;
                } else {
                    writer.request([b"SET".as_slice(), key.as_bytes(), &self.value].into_iter());
                    wanted += 5;
                }
                assert!(slot(key.as_bytes()) < SLOTS);
            }
            self.clients.push(Client { id, pipeline, heard: 0, wanted });
        }
    }

    /// Every client sends its pipeline once, and all replies come.
    fn round(&mut self, answers: Answers) {
        self.begin();
        for at in 0..self.clients.len() {
            self.proxy.client_bytes(self.clients[at].id, &self.clients[at].pipeline);
        }
        self.settle();
        self.write_to_nodes();
        let backwards = answers == Answers::Backwards;
        for turn in 0..self.models.len() {
            let at = if backwards { self.models.len() - 1 - turn } else { turn };
            self.answer(at);
        }
        for client in &mut self.clients {
            assert_eq!(client.heard, client.wanted, "bytes of replies");
            client.heard = 0;
        }
    }

    /// A node answers what it was asked.
    fn answer(&mut self, at: usize) {
        self.begin();
        let model = &mut self.models[at];
        model.answer(&self.value);
        self.proxy.pipe_bytes(model.pipe, &model.answer);
        model.answer.clear();
        self.settle();
        self.write_to_clients();
    }

    fn begin(&mut self) {
        self.now += 100;
        self.proxy.begin(Clock { steady: self.now, unix: self.now });
    }

    fn settle(&mut self) {
        self.proxy.settle();
        self.outputs.extend(self.proxy.outputs());
        for output in self.outputs.drain(..) {
            match output {
                Output::Connect { pipe, .. } => {
                    self.models.push(Model { pipe, inbox: Vec::new(), answer: Vec::new() });
                    self.proxy.pipe_opened(pipe);
                }
                Output::ClosePipe(_)
                | Output::CloseClient(_)
                | Output::Learn
                | Output::Gather { .. }
                | Output::Recall(_)
                | Output::Forget(_)
                | Output::Tell(_)
                | Output::Report(_) => panic!("{output:?} in the middle of ordinary requests"),
            }
        }
    }

    fn write_to_nodes(&mut self) {
        self.proxy.dirty_pipes(&mut self.dirty_pipes);
        for id in &self.dirty_pipes {
            let model = self.models.iter_mut().find(|model| model.pipe == *id).expect("a known pipe");
            loop {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = self.proxy.pipe_output(*id, &mut slices);
                let before = model.inbox.len();
                slices[..filled].iter().for_each(|slice| model.inbox.extend_from_slice(slice));
                if !self.proxy.pipe_wrote(*id, model.inbox.len() - before) {
                    break;
                }
            }
        }
    }

    fn write_to_clients(&mut self) {
        self.proxy.dirty_clients(&mut self.dirty_clients);
        for id in &self.dirty_clients {
            let client = self.clients.iter_mut().find(|client| client.id == *id).expect("a known client");
            loop {
                let mut slices = [IoSlice::new(&[]); 16];
                let filled = self.proxy.client_output(*id, &mut slices);
                let bytes = slices[..filled].iter().map(|slice| slice.len()).sum();
                client.heard += bytes;
                if !self.proxy.client_wrote(*id, bytes) {
                    break;
                }
            }
        }
    }
}

impl Model {
    fn answer(&mut self, value: &[u8]) {
        let mut at = 0;
        while let Ok(Scan::Done(len)) = ReplyScan::default().advance(&self.inbox[at..]) {
            let request = &self.inbox[at..at + len];
            let mut writer = Writer::new(&mut self.answer, Proto::Two);
            match request.get(8..11) {
                Some(b"SET") => writer.simple("OK"),
                Some(b"GET") => writer.bulk(value),
                Some(b"EXI") => writer.integer(0),
                _ => writer.array(0), // HELLO
            }
            at += len;
        }
        self.inbox.drain(..at);
    }
}

/// Allocations of as many rounds as it takes to send [`REQUESTS`], after rounds that warm up.
fn allocations(world: &mut World, depth: usize, answers: Answers) -> u64 {
    (0..20).for_each(|_| world.round(answers));
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (0..REQUESTS.div_ceil(CLIENTS * depth)).for_each(|_| world.round(answers));
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Bytes that a client leaves behind that has done everything there is to be buffered, and is idle now: clients come
/// one after the other, so that the pool has to serve one at a time only.
fn bytes_of_an_idle_client(world: &mut World) -> i64 {
    const MANY: usize = 1000;
    let mut before = 0;
    for number in 0..2 * MANY {
        if number == MANY {
            before = BYTES.load(Ordering::Relaxed);
        }
        let id = world.proxy.client_opened(number as u64, addr(98), addr(99));
        let large = vec![b'v'; 100_000];
        let mut pipeline = Vec::new();
        let mut writer = Writer::new(&mut pipeline, Proto::Two);
        // Slots of two nodes in turn, so that some replies come early; the large one takes a lane.
        (0..40).for_each(|at| writer.request([b"GET".as_slice(), [b"foo", b"bar"][at % 2]].into_iter()));
        writer.request([b"SET".as_slice(), b"foo", &large].into_iter());
        world.clients.push(Client { id, pipeline: Vec::new(), heard: 0, wanted: 40 * (512 + 8) + 5 });
        for piece in pipeline.chunks(777) {
            world.begin();
            world.proxy.client_bytes(id, piece);
            world.settle();
            world.write_to_nodes();
            (0..world.models.len()).rev().for_each(|at| world.answer(at));
        }
        // The lane asks first, and the rest goes when it has its answer.
        for _ in 0..4 {
            world.begin();
            world.settle();
            world.write_to_nodes();
            (0..world.models.len()).rev().for_each(|at| world.answer(at));
        }
        let client = world.clients.pop().expect("it was just pushed");
        assert_eq!(client.heard, client.wanted, "bytes of replies");
    }
    (BYTES.load(Ordering::Relaxed) - before) / MANY as i64
}

#[test]
fn an_ordinary_request_allocates_nothing() {
    for depth in [1, 16] {
        let mut world = World::new(Settings::default());
        world.settle();
        world.connect(depth);
        for answers in [Answers::AtOnce, Answers::Backwards] {
            let count = allocations(&mut world, depth, answers);
            assert_eq!(
                count, 0,
                "allocations of {REQUESTS} requests, {depth} in a pipeline, answered {answers:?}"
            );
        }
    }
    let mut world = World::new(Settings { ordinary: 50_000, ..Settings::default() });
    world.settle();
    let each = bytes_of_an_idle_client(&mut world);
    assert!(each < 2048, "an idle client holds {each} bytes");
    let lines = world.proxy.list_clients(&Filter::default());
    assert!(
        lines.lines().all(|line| line.contains(" qbuf=0 ") && line.contains(" tot-mem=0 ")),
        "an idle client holds bytes"
    );
    println!("an idle client holds {each} bytes");
}
