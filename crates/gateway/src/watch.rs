//! Watches the cluster: asks every node for its view, each second and at once when a worker meets something that
//! does not fit, and tells the workers when the map changes. Now and then it asks which commands a node knows, too.
//!
//! A node that does not answer is not waited for twice: it counts again once its answer comes.

use crate::Settings;
use crate::inbox::{Inbox, Message};
use evenkeel_core::command::Learner;
use evenkeel_core::resp::{Proto, ReplyScan, Scan, Writer, text};
use evenkeel_core::topology::{Topology, View, adopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time between two rounds when nobody asks for one.
const PERIOD: Duration = Duration::from_millis(1000);
/// Shortest time between two rounds.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a round waits for answers.
const PATIENCE: Duration = Duration::from_millis(150);
/// How long a node may owe an answer before its connection is given up.
const OVERDUE: Duration = Duration::from_secs(2);
/// How often a node is asked which commands it knows: a module can be loaded at any time.
const COMMANDS_PERIOD: Duration = Duration::from_secs(60);
/// Time between two rounds while a node owes the answer to that.
const COMMANDS_PAUSE: Duration = Duration::from_millis(50);
/// Most nodes that are asked, and most bytes of an answer.
const MAX_NODES: usize = 1024;
const MAX_ANSWER: usize = 8 * 1024 * 1024;

enum Order {
    Look,
    Stop,
}

/// Asks the watch for a round soon.
#[derive(Clone)]
pub(crate) struct Nudge(SyncSender<Order>);

impl Nudge {
    pub(crate) fn send(&self) {
        let _ = self.0.try_send(Order::Look); // a full queue means that a round is due anyway
    }
}

/// The running watch.
pub(crate) struct Watch {
    orders: SyncSender<Order>,
    thread: JoinHandle<()>,
}

impl Watch {
    pub(crate) fn start(settings: &Settings, inboxes: Vec<Arc<Inbox>>) -> io::Result<Watch> {
        let (orders, receiver) = sync_channel(1);
        let mut watcher = Watcher {
            seeds: settings.seeds.clone(),
            password: settings.node_password.clone(),
            topology: Arc::new(Topology::empty()),
            nodes: Vec::new(),
            learner: Learner::default(),
            inboxes,
        };
        let thread = std::thread::Builder::new()
            .name("gateway-watch".to_owned())
            .spawn(move || watcher.run(&receiver))?;
        Ok(Watch { orders, thread })
    }

    pub(crate) fn nudge(&self) -> Nudge {
        Nudge(self.orders.clone())
    }

    pub(crate) fn stop(self) {
        let _ = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the topology watch had panicked");
        }
    }
}

struct Watcher {
    seeds: Vec<SocketAddr>,
    password: Option<String>,
    topology: Arc<Topology>,
    nodes: Vec<Asked>,
    learner: Learner,
    inboxes: Vec<Arc<Inbox>>,
}

/// One node and the question that it was asked.
struct Asked {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    /// When the question was sent that is not answered yet.
    since: Option<Instant>,
    /// Whether it let a round wait in vain: the next ones do not.
    silent: bool,
    answer: Vec<u8>,
    /// What its next answers are for.
    owed: VecDeque<Question>,
    /// When it was last asked for its commands on this connection, and what it answered, until it is heard.
    commands_asked: Option<Instant>,
    commands: Option<Vec<u8>>,
}

/// What a node was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// To let us in.
    Auth,
    Commands,
    View,
}

impl Watcher {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            self.round();
            std::thread::sleep(PAUSE);
            let learning = self.nodes.iter().any(|node| node.owed.contains(&Question::Commands));
            match orders.recv_timeout(if learning { COMMANDS_PAUSE } else { PERIOD }) {
                Ok(Order::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Asks all nodes and goes by what they say.
    fn round(&mut self) {
        self.choose_nodes();
        for node in &mut self.nodes {
            node.ask(self.password.as_deref());
        }
        let deadline = Instant::now() + PATIENCE;
        let mut views: Vec<View> = Vec::new();
        loop {
            let before = views.len();
            self.nodes.iter_mut().filter_map(Asked::take_view).for_each(|view| views.push(view));
            if views.len() > before {
                self.consider(&views); // do not let one slow node delay what the others know
            }
            let open = self.nodes.iter().any(|node| node.since.is_some() && !node.silent);
            let left = deadline.saturating_duration_since(Instant::now());
            if !open || left.is_zero() {
                break;
            }
            self.wait(left);
        }
        self.nodes.iter_mut().for_each(|node| node.silent = node.since.is_some());
        self.learn();
    }

    /// Takes in what nodes said of their commands, and tells the workers what is new in it.
    fn learn(&mut self) {
        let answers: Vec<Vec<u8>> = self.nodes.iter_mut().filter_map(|node| node.commands.take()).collect();
        for answer in answers {
            if let Some(lexicon) = self.learner.hear(&answer) {
                tracing::info!(commands = ?lexicon.names(), "the servers know commands that the gateway's table lacks");
                let lexicon = Arc::new(lexicon);
                self.inboxes.iter().for_each(|inbox| inbox.send(Message::Learned(lexicon.clone())));
            }
        }
    }

    /// The nodes of the map, and the seeds while it is empty or nobody in it answers.
    fn choose_nodes(&mut self) {
        let known: Vec<SocketAddr> = self.topology.nodes().iter().map(|node| node.addr).collect();
        let lost = self.nodes.iter().all(|node| node.stream.is_none() || node.silent);
        let mut wanted = known.clone();
        if known.is_empty() || lost {
            wanted.extend(self.seeds.iter().filter(|seed| !known.contains(seed)));
        }
        wanted.truncate(MAX_NODES);
        self.nodes.retain(|node| wanted.contains(&node.addr));
        for addr in wanted {
            if !self.nodes.iter().any(|node| node.addr == addr) {
                self.nodes.push(Asked {
                    addr,
                    stream: None,
                    since: None,
                    silent: false,
                    answer: Vec::new(),
                    owed: VecDeque::new(),
                    commands_asked: None,
                    commands: None,
                });
            }
        }
    }

    fn consider(&mut self, views: &[View]) {
        let Some(next) = adopt(&self.topology, views) else { return };
        let moved = (0..evenkeel_core::topology::SLOTS)
            .filter(|slot| {
                let addr = |map: &Topology| map.owner(*slot).map(|node| map.node(node).addr);
                addr(&self.topology) != addr(&next)
            })
            .count();
        self.topology = Arc::new(next);
        if moved > 0 {
            tracing::info!(slots = moved, nodes = self.topology.nodes().len(), "slots have new owners");
        }
        for inbox in &self.inboxes {
            inbox.send(Message::Adopt(self.topology.clone()));
        }
    }

    fn wait(&self, left: Duration) {
        let waiting: Vec<&TcpStream> = self
            .nodes
            .iter()
            .filter(|node| node.since.is_some())
            .filter_map(|node| node.stream.as_ref())
            .collect();
        let mut fds: Vec<PollFd<'_>> =
            waiting.iter().map(|stream| PollFd::new(*stream, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().max(1).into() };
        let _ = poll(&mut fds, Some(&timeout));
    }
}

impl Asked {
    /// Sends the question unless one is open. A connection that failed or is overdue is made anew.
    fn ask(&mut self, password: Option<&str>) {
        if self.since.is_some_and(|since| since.elapsed() > OVERDUE) {
            self.close();
        }
        if self.since.is_some() {
            return;
        }
        if self.stream.is_none() && self.open(password).is_err() {
            return self.close();
        }
        self.question(Question::View, &[b"CLUSTER", b"NODES"]);
        self.since = self.stream.as_ref().map(|_| Instant::now());
    }

    fn question(&mut self, question: Question, words: &[&[u8]]) {
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.iter().copied());
        self.owed.push_back(question);
        self.send(&frame);
    }

    fn open(&mut self, password: Option<&str>) -> io::Result<()> {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        self.stream = Some(stream);
        self.answer.clear();
        if let Some(password) = password {
            self.question(Question::Auth, &[b"AUTH", password.as_bytes()]);
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) {
        let failed = self.stream.as_mut().is_some_and(|stream| stream.write_all(bytes).is_err());
        if failed {
            self.close();
        }
    }

    /// The node's view, once its answer is whole.
    fn take_view(&mut self) -> Option<View> {
        self.since?;
        self.read();
        loop {
            let len = match ReplyScan::default().advance(&self.answer) {
                Ok(Scan::Done(len)) => len,
                Ok(Scan::More(_)) if self.answer.len() < MAX_ANSWER => return None,
                Ok(Scan::More(_)) | Err(_) => {
                    self.close();
                    return None;
                }
            };
            let reply: Vec<u8> = self.answer.drain(..len).collect();
            match self.owed.pop_front() {
                Some(Question::Auth) => {}
                Some(Question::Commands) => self.commands = Some(reply),
                Some(Question::View) | None => {
                    self.since = None;
                    self.silent = false;
                    let due = self.commands_asked.is_none_or(|asked| asked.elapsed() > COMMANDS_PERIOD);
                    if due && !self.owed.contains(&Question::Commands) {
                        self.commands_asked = Some(Instant::now());
                        self.question(Question::Commands, &[b"COMMAND"]);
                    }
                    return self.understand(&reply);
                }
            }
        }
    }

    fn understand(&self, reply: &[u8]) -> Option<View> {
        let nodes = text(reply).and_then(|text| std::str::from_utf8(text).ok());
        match nodes.map(|nodes| View::parse(nodes, self.addr)) {
            Some(Ok(view)) => Some(view),
            Some(Err(error)) => {
                tracing::warn!(node = %self.addr, %error, "a node's view was not understood");
                None
            }
            None => {
                let said = String::from_utf8_lossy(&reply[..reply.len().min(200)]).trim_end().to_owned();
                tracing::warn!(node = %self.addr, said, "a node does not tell its view");
                None
            }
        }
    }

    fn read(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while let Some(stream) = self.stream.as_mut() {
            match stream.read(&mut buffer) {
                Ok(0) => return self.close(),
                Ok(len) => self.answer.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.close(),
            }
        }
    }

    fn close(&mut self) {
        self.stream = None;
        self.since = None;
        self.answer.clear();
        self.owed.clear();
        self.commands_asked = None;
    }
}
