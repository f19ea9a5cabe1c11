//! What carries a part of a large request from its client's socket to its node's without a copy, and keeps it until the
//! request is answered.
//!
//! ```text
//! client ──splice──► under way ──splice──► node
//!                        │ tee
//!                        └──► kept ──(only where that is full)──► spilled
//! ```
//! Both ducts stand for the same pages, so what is kept costs a copy only where it is needed again.

use crate::duct::Duct;
use evenkeel_core::proxy::PipeId;
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// What the two ducts should hold. They count by pages, and a piece of a large write on one has up to eight.
const UNDER_WAY: usize = 256 * 1024;
const KEPT: usize = 1024 * 1024;
/// With less than this a copy is as cheap.
const LEAST: usize = 64 * 1024;

/// Carries the bytes of one client at a time.
pub(crate) struct Courier {
    /// Where to.
    pub(crate) lane: PipeId,
    under_way: Duct,
    /// Bytes that are under way.
    ahead: usize,
    kept: Duct,
    /// Bytes that are kept there.
    inside: usize,
    /// What there was no room for any more in `kept`: the older ones.
    spilled: Vec<u8>,
}

impl Courier {
    /// One without anything to carry; none where the system gives too little room to keep what is under way.
    pub(crate) fn new() -> Result<Courier, Errno> {
        let (under_way, kept) = (Duct::new(UNDER_WAY)?, Duct::new(KEPT)?);
        if kept.size() < under_way.size() || under_way.size() < LEAST {
            return Err(Errno::PERM);
        }
        Ok(Courier { lane: PipeId::NONE, under_way, ahead: 0, kept, inside: 0, spilled: Vec::new() })
    }

    /// Takes what the client has, at most `most` bytes. Nothing may be under way.
    pub(crate) fn take(&mut self, from: &OwnedFd, most: usize) -> Result<usize, Errno> {
        debug_assert!(self.ahead == 0);
        self.ahead = self.under_way.fill(from, most)?;
        Ok(self.ahead)
    }

    /// Keeps all that is under way.
    pub(crate) fn keep(&mut self) -> Result<(), Errno> {
        let copied = self.under_way.copy_to(&self.kept, self.ahead);
        self.inside += copied;
        if copied < self.ahead {
            self.spill()?;
            self.spilled.truncate(self.spilled.len() - copied);
            self.inside = self.under_way.copy_to(&self.kept, self.ahead);
            if self.inside < self.ahead {
                return Err(Errno::NOBUFS); // an empty one is large enough: it cannot be
            }
        }
        Ok(())
    }

    /// Makes room in `kept`.
    fn spill(&mut self) -> Result<(), Errno> {
        while self.inside > 0 {
            self.inside -= self.kept.read_to(&mut self.spilled, self.inside)?;
        }
        Ok(())
    }

    /// Gives the node what its socket takes; returns how much.
    pub(crate) fn give(&mut self, to: &OwnedFd) -> usize {
        let given = self.under_way.empty_into(to, self.ahead);
        self.ahead -= given;
        given
    }

    /// All that was kept.
    pub(crate) fn recall(&mut self) -> Result<Vec<u8>, Errno> {
        self.spill()?;
        Ok(std::mem::take(&mut self.spilled))
    }

    /// Keeps nothing any longer.
    pub(crate) fn forget(&mut self) -> Result<(), Errno> {
        self.spilled = Vec::new();
        self.kept.discard(std::mem::take(&mut self.inside))
    }

    /// Whether something is under way.
    pub(crate) fn is_laden(&self) -> bool {
        self.ahead > 0
    }

    /// Whether it carries nothing and keeps nothing.
    pub(crate) fn is_free(&self) -> bool {
        self.ahead == 0 && self.inside == 0 && self.spilled.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::Courier;
    use rustix::fd::OwnedFd;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    /// Both ends of a connection.
    fn connection() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let here = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (there, _) = listener.accept().expect("a connection");
        there.set_nonblocking(true).expect("a socket");
        (here, there.into())
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn the_node_gets_it_and_it_is_kept() {
        let ((mut client, from), (mut node, to)) = (connection(), connection());
        let mut courier = Courier::new().expect("two pipes");
        for round in 0..3 {
            let sent = bytes(20_000 + round);
            client.write_all(&sent).expect("room for it");
            let mut got = vec![0; sent.len()];
            let mut passed = 0;
            while passed < sent.len() {
                let Ok(taken) = courier.take(&from, sent.len()) else { continue };
                courier.keep().expect("room for it");
                assert!(courier.is_laden() && courier.give(&to) == taken && !courier.is_laden());
                passed += taken;
            }
            node.read_exact(&mut got).expect("all of it");
            assert!(got == sent, "round {round}");
            match round {
                0 => assert!(courier.recall().expect("all of it") == sent),
                1 => courier.forget().expect("it is gone"), // and is no part of the next one
                _ => assert!(courier.recall().expect("all of it") == sent),
            }
            assert!(courier.is_free());
        }
    }

    #[test]
    fn what_comes_in_small_pieces_is_kept_too() {
        let ((mut client, from), (mut node, to)) = (connection(), connection());
        let mut courier = Courier::new().expect("two pipes");
        let sent = bytes(1000);
        client.write_all(&sent).expect("room for it");
        let mut passed = 0;
        while passed < sent.len() {
            // More pieces than the pipe has places for.
            let Ok(taken) = courier.take(&from, 3) else { continue };
            courier.keep().expect("it makes room");
            assert_eq!(courier.give(&to), taken);
            passed += taken;
        }
        let mut got = vec![0; sent.len()];
        node.read_exact(&mut got).expect("all of it");
        assert!(got == sent && courier.recall().expect("all of it") == sent);
    }

    #[test]
    fn what_the_node_does_not_take_is_under_way() {
        let ((mut client, from), (mut node, to)) = (connection(), connection());
        let mut courier = Courier::new().expect("two pipes");
        let mut sent = Vec::new();
        while !courier.is_laden() {
            let more = bytes(60_000);
            client.write_all(&more).expect("it is taken");
            sent.extend_from_slice(&more);
            let mut left = more.len();
            while left > 0 && !courier.is_laden() {
                left -= courier.take(&from, left).unwrap_or(0);
                courier.keep().expect("it makes room");
                courier.give(&to);
            }
            sent.truncate(sent.len() - left);
        }
        assert!(courier.recall().expect("all of it") == sent);
        node.set_nonblocking(true).expect("a socket");
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        while got.len() < sent.len() {
            courier.give(&to);
            let len = node.read(&mut buffer).unwrap_or(0);
            got.extend_from_slice(&buffer[..len]);
        }
        assert!(got == sent && courier.is_free());
    }
}
