//! A connection as its node sees it, and what worlds of nodes have in common.

use super::dice::Dice;
use evenkeel_core::resp::{Args, Limits, Proto, Read, RequestReader, Writer};
use evenkeel_core::topology::Topology;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// A value that a client wrote: its number, unique in the world, and its bytes.
pub(crate) type Id = u32;

/// Model nodes behind a gateway.
pub(crate) trait Nodes {
    /// Answers a request of a line, or says that it has to wait.
    fn answer(&mut self, node: usize, args: &Args<'_>, line: &mut Line, dice: &mut Dice) -> Served;
    /// Whether a connection to it is made, refused, or neither at this moment.
    fn knock(&self, node: usize) -> Knock;
    /// Whether bytes of the gateway reach it, and it works.
    fn works(&self, node: usize) -> bool;
    /// Whether what it has said gets to the gateway.
    fn reaches(&self, node: usize) -> bool;
    /// The map as those who watch all nodes would draw it now, if it differs from the last one.
    fn map(&mut self, last: &Topology, dice: &mut Dice) -> Option<Topology>;
    /// What a client reads of a key once all is well.
    fn value(&self, key: &[u8]) -> Option<Id>;
    /// How often each value was written.
    fn executed(&self, id: Id) -> u32;
    /// Whether a fault has cost a write to this key, so that older values may come back.
    fn has_lost(&self, key: &[u8]) -> bool;
}

/// Whether a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Yes,
    /// It is asked again later.
    Later,
}

/// What becomes of an attempt to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock {
    Opened,
    Refused,
    Unanswered,
}

/// A connection as its node sees it.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) inbox: Vec<u8>,
    pub(crate) outbox: Vec<u8>,
    pub(crate) asking: bool,
    pub(crate) proto: Proto,
    /// How much the node had executed when this connection last wrote or was brought up to that.
    pub(crate) mark: usize,
    /// Until when it waits for replicas, in milliseconds.
    pub(crate) waits: Option<u64>,
    /// Whether the node closes it once everything is read.
    pub(crate) ends: bool,
}

impl Line {
    /// Has the node answer the first request; false when there is none, or it has to wait.
    pub(crate) fn serve(&mut self, node: usize, nodes: &mut impl Nodes, dice: &mut Dice) -> bool {
        if self.ends {
            return false;
        }
        let mut spans = Vec::new();
        let mut inbox = std::mem::take(&mut self.inbox);
        let read = RequestReader::default().read(&inbox, &mut spans, &Limits::SERVER);
        let served = match read {
            Ok(Read::Frame { len }) => {
                let served = nodes.answer(node, &Args::new(&inbox, &spans), self, dice);
                if served == Served::Yes {
                    inbox.drain(..len);
                }
                served == Served::Yes
            }
            Ok(Read::Partial { .. }) => false,
            other => panic!("a node got {other:?}: {}", inbox.escape_ascii()),
        };
        self.inbox = inbox;
        served
    }

    /// Answers HELLO.
    pub(crate) fn greet(&mut self, args: &Args<'_>) {
        self.proto = if args.len() > 1 && args.get(1) == b"3" { Proto::Three } else { Proto::Two };
        let mut writer = self.writer();
        writer.map(1);
        writer.bulk(b"version");
        writer.bulk(b"7.2.5");
    }

    pub(crate) fn writer(&mut self) -> Writer<'_> {
        Writer::new(&mut self.outbox, self.proto)
    }
}

pub(crate) fn addr(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, node as u8 + 1], 7000))
}

pub(crate) fn node_at(addr: SocketAddr) -> usize {
    addr.to_string().split(['.', ':']).nth(3).and_then(|byte| byte.parse::<usize>().ok()).expect("an address")
        - 1
}

/// The number at the start of a value.
pub(crate) fn id_of(value: &[u8]) -> Id {
    let digits = value.split(|byte| *byte == b':').next().unwrap_or_default();
    std::str::from_utf8(digits).ok().and_then(|id| id.parse().ok()).expect("values begin with their number")
}

/// The words of a request, for a trace.
pub(crate) fn said(args: &Args<'_>) -> Vec<u8> {
    let words: Vec<&[u8]> = args.iter().map(|word| &word[..word.len().min(24)]).collect();
    words.join(&b' ')
}

/// The keys of a request that a gateway sends for a client, and whether it writes; `None` for those without keys.
pub(crate) fn keys_of<'a>(args: &Args<'a>) -> Option<(Vec<&'a [u8]>, bool)> {
    let name = args.get(0).to_ascii_uppercase();
    let (step, last) = match name.as_slice() {
        b"MSET" => (2, args.len()),
        b"SET" => (1, 2),
        b"GET" | b"EXISTS" | b"DEL" | b"MGET" => (1, args.len()),
        _ => return None,
    };
    let keys = (1..last).step_by(step).map(|at| args.get(at)).collect();
    Some((keys, matches!(name.as_slice(), b"SET" | b"DEL" | b"MSET")))
}

/// Executes a request with keys. What it writes is handed on by key: a value, or `None` for one that is gone.
pub(crate) fn execute(
    args: &Args<'_>,
    keys: &[&[u8]],
    line: &mut Line,
    data: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    mut wrote: impl FnMut(&[u8], Option<&[u8]>),
) {
    let name = args.get(0).to_ascii_uppercase();
    let mut writer = line.writer();
    match name.as_slice() {
        b"GET" | b"MGET" => {
            if name == b"MGET" {
                writer.array(keys.len());
            }
            for key in keys {
                match data.get(*key) {
                    Some(value) => writer.bulk(value),
                    None => writer.null(),
                }
            }
        }
        b"EXISTS" => writer.integer(keys.iter().filter(|key| data.contains_key(**key)).count() as i64),
        b"DEL" => {
            let gone: Vec<&&[u8]> = keys.iter().filter(|key| data.remove(**key).is_some()).collect();
            gone.iter().for_each(|key| wrote(key, None));
            writer.integer(gone.len() as i64);
        }
        b"SET" | b"MSET" => {
            for (at, key) in keys.iter().enumerate() {
                let value = args.get(2 + 2 * at);
                data.insert(key.to_vec(), value.to_vec());
                wrote(key, Some(value));
            }
            writer.simple("OK");
        }
        other => panic!("a node was asked {}", other.escape_ascii()),
    }
}
