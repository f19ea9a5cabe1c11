//! The worker's connections to nodes: opening, reading, writing, closing; and large replies that pass from socket to
//! socket.

use super::{CLIENT, KIND, PIPE, SLICES, Worker, find, put, take};
use crate::duct::Duct;
use crate::sockets::{self, Connected, Connection};
use evenkeel_core::proxy::{PipeId, Through};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::time::Instant;

/// Bytes that a duct of replies should hold.
const DUCT: usize = 1024 * 1024;

impl Worker {
    pub(super) fn pipe_event(&mut self, token: u64, flags: EventFlags) {
        let id = PipeId::from_u64(token & !KIND);
        let Some(connection) = find(&mut self.pipes, id.index(), token) else { return };
        if let Some(at) = self.connecting.iter().position(|(pipe, _)| *pipe == id) {
            let failure = sockets::connect_error(&connection.fd);
            self.connecting.swap_remove(at);
            return match failure {
                None => self.proxy.pipe_opened(id),
                Some(error) => self.lose_pipe(id, &error.to_string()),
            };
        }
        if flags.contains(EventFlags::IN) && self.pass_through(id) {
            // It went from socket to socket.
        } else if flags.contains(EventFlags::IN) {
            let Some(connection) = find(&mut self.pipes, id.index(), token) else { return };
            let most = self.proxy.pipe_most(id).min(self.buffer.len());
            match connection.read(&mut self.buffer[..most]) {
                Ok(0) => self.lose_pipe(id, "it closed the connection"),
                Ok(len) => self.proxy.pipe_bytes(id, &self.buffer[..len]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => self.lose_pipe(id, &std::io::Error::from(error).to_string()),
            }
        } else if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            self.lose_pipe(id, "the connection broke");
        }
        if flags.contains(EventFlags::OUT) {
            self.flush_pipe(id);
        }
    }

    pub(super) fn lose_pipe(&mut self, id: PipeId, why: &str) {
        self.proxy.pipe_lost(id, why);
        take(&mut self.pipes, id.index(), PIPE | id.as_u64());
    }

    pub(super) fn flush_pipe(&mut self, id: PipeId) {
        let token = PIPE | id.as_u64();
        let mut more = true;
        while more {
            let Some(connection) = find(&mut self.pipes, id.index(), token) else { return };
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.proxy.pipe_output(id, &mut slices);
            if filled == 0 {
                break;
            }
            let wanted: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
            match sockets::write(&connection.fd, &slices[..filled]) {
                Ok(len) => more = self.proxy.pipe_wrote(id, len) && len == wanted,
                Err(Errno::AGAIN | Errno::INTR) => break,
                Err(error) => return self.lose_pipe(id, &std::io::Error::from(error).to_string()),
            }
        }
        if !self.couriers.is_empty() {
            self.flush_onward(id);
        }
        let connecting = self.connecting.iter().any(|(pipe, _)| *pipe == id);
        let (reads, writes) = (self.proxy.pipe_wants_read(id), self.proxy.pipe_unsent(id) > 0);
        if let Some(Some(connection)) = self.pipes.get_mut(id.index())
            && connection.token == token
        {
            connection.want(&self.poll, reads && !connecting, writes || connecting);
        }
    }

    /// Has a part of a large reply go on to its client without being read, where the proxy and the sockets allow it.
    /// Returns whether the event is done with.
    fn pass_through(&mut self, id: PipeId) -> bool {
        let Some(Through { client, most }) = self.proxy.pipe_through(id) else { return false };
        let to = find(&mut self.clients, client.index(), CLIENT | client.as_u64());
        let Some(to) = to.filter(|connection| connection.is_plain()) else { return false };
        let Some(from) = find(&mut self.pipes, id.index(), PIPE | id.as_u64()) else { return false };
        if self.duct.is_none() {
            self.duct = Duct::new(DUCT).ok();
        }
        let Some(duct) = &self.duct else { return false };
        let Ok(taken) = duct.fill(&from.fd, most) else { return false };
        let passed = duct.empty_into(&to.fd, taken);
        self.proxy.pipe_passed(id, passed);
        let mut left = taken - passed;
        while left > 0 {
            let most = left.min(self.buffer.len());
            let Ok(len) = duct.read(&mut self.buffer[..most]) else {
                self.duct = None;
                self.lose_pipe(id, "a part of its answer was lost on its way through the system");
                return true;
            };
            self.proxy.pipe_bytes(id, &self.buffer[..len]);
            left -= len;
        }
        true
    }

    pub(super) fn connect(&mut self, id: PipeId, addr: SocketAddr) {
        let (fd, open) = match sockets::connect(addr) {
            Ok(Connected::Now(fd)) => (fd, true),
            Ok(Connected::Soon(fd)) => (fd, false),
            Err(error) => return self.proxy.pipe_lost(id, &error.to_string()),
        };
        let wanted = if open { EventFlags::IN } else { EventFlags::OUT };
        match Connection::register(&self.poll, fd, PIPE | id.as_u64(), wanted) {
            Ok(connection) => drop(put(&mut self.pipes, id.index(), connection)),
            Err(error) => return self.proxy.pipe_lost(id, &error.to_string()),
        }
        if open {
            self.proxy.pipe_opened(id);
        } else {
            self.connecting.push((id, Instant::now()));
        }
    }
}
