//! Messages from thread to thread. Sending wakes the receiver out of its `epoll_wait`.

use crate::doors::Listener;
use crate::gather::Part;
use evenkeel_core::command::Lexicon;
use evenkeel_core::proxy::{Gather, Tidings};
use evenkeel_core::topology::Topology;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// A client that has just connected.
pub(crate) struct Newcomer {
    pub(crate) socket: OwnedFd,
    pub(crate) peer: SocketAddr,
    /// The address that it came to, and how it comes encrypted.
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// What a worker can be told.
pub(crate) enum Message {
    /// Go by this map.
    Adopt(Arc<Topology>),
    /// Accept clients from these sockets, for all workers.
    Listen(Vec<Listener>),
    /// This client is yours.
    Welcome(Newcomer),
    /// So many workers are awake: the first ones.
    Workers(usize),
    /// The servers know these commands beside the table's.
    Learned(Arc<Lexicon>),
    /// Finish what is in flight and end.
    Drain,
    /// Worker `from` wants your part of an answer.
    Ask { from: usize, what: Gather, token: u64 },
    /// Something that another worker tells all others.
    Tidings(Tidings),
    /// A worker's part of the answer that you asked for.
    Told { token: u64, part: Part },
}

/// One worker's messages.
pub(crate) struct Inbox {
    messages: Mutex<Vec<Message>>,
    bell: OwnedFd,
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Inbox { messages: Mutex::default(), bell })
    }

    /// Adds a message and rings.
    pub(crate) fn send(&self, message: Message) {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.ring();
    }

    /// Has the receiver look up.
    pub(crate) fn ring(&self) {
        // A full counter is as good as a ring: the receiver is awake.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Takes all messages and silences the bell.
    pub(crate) fn take(&self) -> Vec<Message> {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.bell, &mut count);
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Readable while there are messages.
    pub(crate) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}
