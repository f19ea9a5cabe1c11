//! How clients come: the first worker accepts for all, and each client stays with the worker that it is given to.

use super::{CLIENT, Draining, LISTENER, Worker, put};
use crate::doors::Listener;
use crate::inbox::{Message, Newcomer};
use crate::sockets::{self, BACKLOG, Connection};
use crate::tls::Tls;
use evenkeel_core::resp::{ErrorReply, Proto, Writer};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Connections accepted in one turn.
const ACCEPTS: usize = 128;

impl Worker {
    /// Begins to accept.
    pub(super) fn listen(&mut self, listeners: Vec<Listener>) {
        for (at, listener) in listeners.iter().enumerate() {
            let token = EventData::new_u64(LISTENER | at as u64);
            if let Err(error) = epoll::add(&self.poll, &listener.socket, token, EventFlags::IN) {
                tracing::error!(%error, addr = %listener.addr, "a listener could not be registered");
            }
        }
        self.listeners = listeners;
    }

    /// Takes in who waits at a listener.
    pub(super) fn accept(&mut self, at: usize) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(at) else { return };
            match sockets::accept(&listener.socket) {
                Ok(Some((socket, peer))) => self.distribute(socket, peer, at),
                Ok(None) => return,
                Err(error) => {
                    // Out of files or memory: leave the others in the kernel's queue for a moment.
                    tracing::warn!(%error, "cannot accept connections; trying again in 100 ms");
                    let _ = epoll::delete(&self.poll, &listener.socket);
                    self.accept_again = Some(Instant::now() + Duration::from_millis(100));
                    return;
                }
            }
        }
    }

    /// Gives a client to the worker that has the most room for it.
    fn distribute(&mut self, socket: OwnedFd, peer: SocketAddr, at: usize) {
        let Some(listener) = self.listeners.get(at) else { return };
        let (listen, tls) = (listener.addr, listener.tls.clone());
        if self.shared.clients.fetch_add(1, Ordering::Relaxed) >= self.shared.max_clients {
            self.shared.clients.fetch_sub(1, Ordering::Relaxed);
            let mut reply = Vec::new();
            Writer::new(&mut reply, Proto::Two).error(ErrorReply::MaxClients);
            if tls.is_none() {
                let _ = rustix::io::write(&socket, &reply);
            }
            return self.proxy.client_refused();
        }
        let place = self.shared.crew.choose();
        self.shared.crew.member(place).clients.fetch_add(1, Ordering::Relaxed);
        let newcomer = Newcomer { socket, peer, listen, tls };
        if place == self.place {
            self.welcome(newcomer);
        } else {
            self.shared.inboxes[place].send(Message::Welcome(newcomer));
        }
    }

    /// Takes a client as its own.
    pub(super) fn welcome(&mut self, newcomer: Newcomer) {
        let Newcomer { socket, peer, listen, tls } = newcomer;
        let local = match listen {
            listen if listen.ip().is_unspecified() => sockets::local_addr(&socket).unwrap_or(listen),
            listen => listen,
        };
        let number = self.shared.next_number.fetch_add(1, Ordering::Relaxed);
        let id = self.proxy.client_opened(number, peer, local);
        if tls.is_some() {
            self.proxy.client_is_encrypted(id);
        }
        match Connection::register(&self.poll, socket, CLIENT | id.as_u64(), EventFlags::IN) {
            Ok(connection) => {
                let connection = match tls.as_ref().map(Tls::new).transpose() {
                    Ok(None) => connection,
                    Ok(Some(tls)) => connection.encrypted(tls),
                    Err(error) => {
                        tracing::error!(%error, "TLS cannot be spoken");
                        self.count_gone();
                        return self.proxy.client_lost(id);
                    }
                };
                // A client that the proxy forgot in this turn may still be in its place: this closes it.
                if put(&mut self.clients, id.index(), connection).is_some() {
                    self.count_gone();
                }
            }
            Err(error) => {
                tracing::warn!(%error, %peer, "a client could not be registered");
                self.count_gone();
                self.proxy.client_lost(id);
            }
        }
    }

    /// One of its clients is gone.
    pub(super) fn count_gone(&self) {
        self.shared.crew.member(self.place).clients.fetch_sub(1, Ordering::Relaxed);
        let before = self.shared.clients.fetch_sub(1, Ordering::Relaxed);
        if before == 1 && self.draining.is_some() {
            self.shared.inboxes.iter().for_each(|inbox| inbox.ring());
        }
    }

    /// Welcomes who has connected already, then nobody more.
    pub(super) fn drain(&mut self) {
        (0..BACKLOG as usize / ACCEPTS)
            .for_each(|_| (0..self.listeners.len()).for_each(|at| self.accept(at)));
        self.listeners.clear();
        if self.place == 0 {
            // The last client that was given to another worker is before this in its messages.
            self.shared.inboxes[1..].iter().for_each(|inbox| inbox.send(Message::Drain));
        }
        self.draining = Some(Draining::Asking { since: Instant::now() });
        self.proxy.drain();
    }
}
