//! System calls of sockets: listen, accept, connect, read, write, and which events are wanted of each.

use crate::tls::Tls;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, acceptfrom_with, recv, send};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::time::Duration;

/// Connections that may wait to be accepted.
pub(crate) const BACKLOG: i32 = 4096;

/// How long a client may be silent before its machine is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(300);

/// A listening socket.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<OwnedFd> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The address that a socket is bound to.
pub(crate) fn local_addr(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let addr = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(addr).map_err(|_| io::Error::other("the socket has no IP address"))
}

/// Reads what is there, at most `buffer`; 0 is the end. (`recv` goes past the file layer that `read` asks first.)
pub(crate) fn read(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    recv(socket, buffer, RecvFlags::empty()).map(|(len, _)| len)
}

/// Reads what is there into a chunk's free space; 0 is the end.
pub(crate) fn fill(socket: &OwnedFd, chunk: &mut Vec<u8>) -> Result<usize, Errno> {
    recv(socket, spare_capacity(chunk), RecvFlags::empty()).map(|(_, len)| len)
}

/// Writes as much of `slices` as fits; nearly always there is one, which needs no list.
pub(crate) fn write(socket: &OwnedFd, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    match slices {
        [] => Ok(0),
        [one] => send(socket, one, SendFlags::NOSIGNAL),
        more => rustix::io::writev(socket, more),
    }
}

/// The next connection that waits, if any.
pub(crate) fn accept(listener: &OwnedFd) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    match acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok((fd, peer)) => {
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
            // A peer that is gone already has no address; it will show when it is read.
            let peer = peer.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
            rustix::net::sockopt::set_tcp_nodelay(&fd, true)?;
            // A client that waits says nothing for long: this tells whether its machine is still there.
            rustix::net::sockopt::set_socket_keepalive(&fd, true)?;
            rustix::net::sockopt::set_tcp_keepidle(&fd, KEEPALIVE)?;
            Ok(Some((fd, peer)))
        }
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// How far a new connection is.
pub(crate) enum Connected {
    Now(OwnedFd),
    Soon(OwnedFd),
}

/// Starts to connect to a node.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<Connected> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_keepalive(true)?;
    match socket.connect(&SockAddr::from(addr)) {
        Ok(()) => Ok(Connected::Now(socket.into())),
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {
            Ok(Connected::Soon(socket.into()))
        }
        Err(error) => Err(error),
    }
}

/// Why a connection that was started failed; `None`: it did not.
pub(crate) fn connect_error(socket: &OwnedFd) -> Option<io::Error> {
    match rustix::net::sockopt::socket_error(socket) {
        Ok(Ok(())) => None,
        Ok(Err(error)) | Err(error) => Some(error.into()),
    }
}

/// Allows as many open files as the connections need, as far as the system lets us.
pub(crate) fn raise_file_limit(connections: usize) {
    let wanted = connections as u64 + 1024;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        if setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }).is_err()
            || raised < wanted
        {
            tracing::warn!(
                allowed = raised,
                wanted,
                "too few open files are allowed for gateway.max-clients and gateway.max-private: raise the limit \
                 (ulimit -n)"
            );
        }
    }
}

/// A connection and the events that the poll is asked for.
pub(crate) struct Connection {
    pub(crate) fd: OwnedFd,
    /// The number by which the poll names it: kind, place and generation.
    pub(crate) token: u64,
    wanted: EventFlags,
    /// For a client that came encrypted.
    tls: Option<Box<Tls>>,
}

impl Connection {
    /// Registers a connection with the poll.
    pub(crate) fn register(
        poll: &OwnedFd,
        fd: OwnedFd,
        token: u64,
        wanted: EventFlags,
    ) -> io::Result<Connection> {
        epoll::add(poll, &fd, EventData::new_u64(token), wanted)?;
        Ok(Connection { fd, token, wanted, tls: None })
    }

    /// The same connection, encrypted.
    pub(crate) fn encrypted(self, tls: Tls) -> Connection {
        Connection { tls: Some(Box::new(tls)), ..self }
    }

    /// Reads what is there, at most `buffer`; 0 is the end.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.tls {
            None => read(&self.fd, buffer),
            Some(tls) => tls.read(&self.fd, buffer),
        }
    }

    /// Writes as much of `slices` as fits.
    #[inline]
    pub(crate) fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        match &mut self.tls {
            None => write(&self.fd, slices),
            Some(tls) => tls.write(&self.fd, slices),
        }
    }

    /// Whether its bytes are on the wire as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether both sides still agree on keys.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_shaking_hands())
    }

    /// Whether it has something to write of its own.
    pub(crate) fn owes(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.owes())
    }

    /// Tells the other side that no more will come.
    pub(crate) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.say_goodbye(&self.fd);
        }
    }

    /// Asks to be told of bytes to read, or not, and leaves the rest.
    pub(crate) fn want_read(&mut self, poll: &OwnedFd, read: bool) {
        self.want(poll, read, self.wanted.contains(EventFlags::OUT));
    }

    /// Asks for other events; costs a system call only when they change.
    pub(crate) fn want(&mut self, poll: &OwnedFd, read: bool, write: bool) {
        let mut wanted = EventFlags::empty();
        wanted.set(EventFlags::IN, read);
        wanted.set(EventFlags::OUT, write);
        if wanted != self.wanted {
            self.wanted = wanted;
            if let Err(error) = epoll::modify(poll, &self.fd, EventData::new_u64(self.token), wanted) {
                tracing::error!(%error, "epoll_ctl failed for an open connection");
            }
        }
    }
}
