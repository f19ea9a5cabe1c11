//! The sockets on which clients come: one for each address, plain and encrypted.
//!
//! Any of them may have been opened by an earlier gateway process that handed it over (see `handover`).

use crate::Settings;
use crate::StartError;
use crate::sockets;
use rustix::fd::OwnedFd;
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A socket on which clients come.
pub(crate) struct Listener {
    pub(crate) socket: OwnedFd,
    pub(crate) addr: SocketAddr,
    /// How they come encrypted.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// One address and its sockets.
struct Door {
    addr: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
    sockets: Vec<OwnedFd>,
}

/// All of a gateway's listening sockets; a connection is refused only when every copy of its socket is closed.
#[derive(Clone)]
pub(crate) struct Doors(Arc<Mutex<Vec<Door>>>);

impl Doors {
    /// One socket for each address, or all those of `inherited` that listen where the settings want it, else new ones.
    pub(crate) fn open(settings: &Settings, inherited: Vec<OwnedFd>) -> Result<Doors, StartError> {
        let mut plain = Door { addr: settings.listen, tls: None, sockets: Vec::new() };
        let mut encrypted = match &settings.tls {
            Some(tls) => Some(Door { addr: tls.listen, tls: Some(tls.load()?), sockets: Vec::new() }),
            None => None,
        };
        for socket in inherited {
            let addr = sockets::local_addr(&socket)?;
            match [Some(&mut plain), encrypted.as_mut()].into_iter().flatten().find(|door| door.addr == addr)
            {
                Some(door) => door.sockets.push(socket),
                None => tracing::warn!(%addr, "clients no longer come here: it is not in the settings"),
            }
        }
        let mut doors = vec![plain];
        doors.extend(encrypted);
        for door in &mut doors {
            door.fill()?;
        }
        Ok(Doors(Arc::new(Mutex::new(doors))))
    }

    /// The first socket of every address, and the address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.lock()[0].addr
    }

    /// Where clients come encrypted.
    pub(crate) fn encrypted(&self) -> Option<SocketAddr> {
        self.lock().get(1).map(|door| door.addr)
    }

    /// Copies of the sockets for the worker that accepts.
    pub(crate) fn listeners(&self) -> std::io::Result<Vec<Listener>> {
        let doors = self.lock();
        let sockets = doors.iter().flat_map(|door| door.sockets.iter().map(move |socket| (door, socket)));
        let listener = |(door, socket): (&Door, &OwnedFd)| {
            Ok(Listener { socket: socket.try_clone()?, addr: door.addr, tls: door.tls.clone() })
        };
        sockets.map(listener).collect()
    }

    /// Copies of all sockets, for a successor; none once they are closed.
    pub(crate) fn copies(&self) -> std::io::Result<Vec<OwnedFd>> {
        self.lock().iter().flat_map(|door| &door.sockets).map(OwnedFd::try_clone).collect()
    }

    /// Closes our copies.
    pub(crate) fn close(&self) {
        self.lock().iter_mut().for_each(|door| door.sockets.clear());
    }

    /// Nothing under this lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, Vec<Door>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    /// Opens a socket, unless some were inherited.
    fn fill(&mut self) -> Result<(), StartError> {
        if !self.sockets.is_empty() {
            return Ok(());
        }
        let wanted = self.addr;
        let error = |source| StartError::Listen { addr: wanted, source };
        let socket = sockets::listen(self.addr).map_err(error)?;
        self.addr = sockets::local_addr(&socket).map_err(error)?;
        self.sockets.push(socket);
        Ok(())
    }
}
