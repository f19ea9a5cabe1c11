//! Commands of a transaction that no single node can answer: carried out one after the other once the node has
//! executed the others, so that nothing of them happens where EXEC executes nothing.
//!
//! EXEC's reply is an array, and an array is its header and the replies of its elements. So each of these commands
//! goes its ordinary way, as if it had been asked by itself, and its reply falls into its place.

use super::super::forward::Admit;
use super::super::session::{End, Stop};
use super::super::timing::Timed;
use super::super::{Proxy, SessionId};
use crate::command::Command;
use crate::metric::Class;
use crate::resp::{Args, Elements, Limits, Proto, Read, ReplyScan, RequestReader, Scan, Writer};
use std::collections::VecDeque;

/// A run of EXEC's reply.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// As many replies of the node.
    Node { count: u32 },
    /// The reply of this request, which is the gateway's to carry out.
    Gateway { command: &'static Command, frame: Box<[u8]> },
    /// The same; the node has executed it too, and its reply is left out.
    Both { command: &'static Command, frame: Box<[u8]> },
}

impl Piece {
    pub(super) fn replies(&self) -> usize {
        match self {
            Piece::Node { count } => *count as usize,
            Piece::Gateway { .. } | Piece::Both { .. } => 1,
        }
    }
}

/// What is left of EXEC's reply.
#[derive(Debug)]
pub(super) struct Rest {
    pieces: VecDeque<Piece>,
    /// The node's replies that are not handed on yet.
    replies: Vec<u8>,
    at: usize,
    /// Whether the node has executed its commands.
    runs: bool,
}

impl Rest {
    pub(super) fn new(pieces: &[Piece]) -> Self {
        Rest { pieces: pieces.iter().cloned().collect(), replies: Vec::new(), at: 0, runs: false }
    }

    /// The node's next replies.
    fn next(&mut self, count: u32) -> &[u8] {
        let from = self.at;
        for _ in 0..count {
            match ReplyScan::default().advance(&self.replies[self.at..]) {
                Ok(Scan::Done(len)) => self.at += len,
                Ok(Scan::More(_)) | Err(_) => break,
            }
        }
        &self.replies[from..self.at]
    }
}

impl Proxy {
    /// The node has executed its commands: this is its array.
    pub(super) fn begin_rest(&mut self, id: SessionId, seq: u32, born: u64, reply: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(extra) = session.extra.as_mut() else { return };
        let Some(rest) = extra.transaction.rest.as_mut() else { return };
        rest.runs = true;
        rest.replies = Elements::of(reply).map(|elements| elements.raw().to_vec()).unwrap_or_default();
        let len = rest.pieces.iter().map(Piece::replies).sum();
        let mut header = Vec::new();
        Writer::new(&mut header, Proto::Two).array(len);
        session.begin_array();
        self.deliver(id, seq, Timed::here(Class::Other, born), &header, End::Yes);
        self.run_rest(id);
    }

    /// The node has executed nothing.
    pub(in super::super) fn drop_rest(&mut self, id: SessionId) {
        if let Some(transaction) = self.transaction(id) {
            transaction.rest = None;
            self.tidy(id);
        }
    }

    /// Carries out what can be; whether everything is.
    pub(in super::super) fn run_rest(&mut self, id: SessionId) -> bool {
        loop {
            let Some(session) = self.sessions.get_mut(id) else { return true };
            let Some(extra) = session.extra.as_mut() else { return true };
            let Some(rest) = extra.transaction.rest.as_mut().filter(|rest| rest.runs) else { return true };
            if session.stop.is_some_and(|stop| stop != Stop::Closing) {
                return false;
            }
            let (command, frame) = match rest.pieces.pop_front() {
                None => {
                    extra.transaction.rest = None;
                    session.end_array(&mut self.pool);
                    self.touch_client(id);
                    self.tidy(id);
                    return true;
                }
                Some(Piece::Node { count }) => {
                    let replies = rest.next(count).to_vec();
                    let seq = session.admit();
                    self.deliver(id, seq, Timed::here(Class::Other, self.now.steady), &replies, End::Yes);
                    continue;
                }
                Some(Piece::Both { command, frame }) => {
                    rest.next(1);
                    (command, frame)
                }
                Some(Piece::Gateway { command, frame }) => (command, frame),
            };
            if self.carry_out(id, command, &frame) == Admit::Stopped {
                if let Some(rest) = self.transaction(id).and_then(|transaction| transaction.rest.as_mut()) {
                    rest.pieces.push_front(Piece::Gateway { command, frame });
                }
                return false;
            }
        }
    }

    /// Sends one request its ordinary way.
    fn carry_out(&mut self, id: SessionId, command: &'static Command, frame: &[u8]) -> Admit {
        let mut spans = Vec::new();
        if RequestReader::default().read(frame, &mut spans, &Limits::SERVER)
            != Ok(Read::Frame { len: frame.len() })
        {
            return Admit::Yes; // it was read before
        }
        let args = Args::new(frame, &spans);
        self.route(id, command, frame, &args)
    }
}
