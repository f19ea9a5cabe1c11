//! A new gateway process takes over from an old one without a refused connection: the old one hands its listening
//! sockets over a unix socket, and stops to accept once the new one does.
//!
//! Owns that talk. The queue of connections that wait to be accepted belongs to the listening socket, not to a
//! process, so nobody in it is reset.
//!
//! ```text
//! old                                   new
//!  │ ◄──────────────── connects ───────── │  finds the socket at the path
//!  │ ─── the address + the listeners ───► │  learns who owns the slots, begins to accept
//!  │ ◄────────────────── "ready" ──────── │  listens at the path for the next one
//!  ▼ drains                               ▼
//! ```

use std::fs::Permissions;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::fd::{AsFd as _, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use crate::doors::Doors;

/// Most listeners that one message can carry; the system allows a few more.
const LISTENERS: usize = 250;
/// How long each side waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(20);
const READY: &[u8] = b"ready";

/// An old gateway that was found and gave its listeners.
#[derive(Debug)]
pub struct Predecessor {
    stream: UnixStream,
    /// Where it listens.
    pub addr: SocketAddr,
    pub(crate) listeners: Vec<OwnedFd>,
}

impl Predecessor {
    /// Asks the gateway that offers its listeners at a path; `None` when nobody does.
    pub fn find(path: &Path) -> io::Result<Option<Predecessor>> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut text, mut listeners) = ([0; 64], Vec::new());
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(LISTENERS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let told =
            recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                listeners.extend(fds);
            }
        }
        let addr = std::str::from_utf8(&text[..told.bytes]).ok().and_then(|text| text.parse().ok());
        match addr {
            Some(addr) if !listeners.is_empty() => Ok(Some(Predecessor { stream, addr, listeners })),
            Some(_) | None => Err(io::Error::other("it does not hand over any listener")),
        }
    }

    /// Tells it that it can go.
    pub(crate) fn dismiss(mut self) -> io::Result<()> {
        self.stream.write_all(READY)
    }
}

/// Offers the listeners of a running gateway to its successor.
pub struct Offer {
    listener: UnixListener,
    path: PathBuf,
    doors: Doors,
}

impl Offer {
    pub(crate) fn open(path: &Path, doors: Doors) -> io::Result<Offer> {
        // made beside it, closed to others, and put in its place at once
        let beside = path.with_extension("new");
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&beside)?;
        std::fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        std::fs::rename(&beside, path)?;
        Ok(Offer { listener, path: path.to_owned(), doors })
    }

    /// Waits for a successor that has begun to accept. One that gives up on the way changes nothing.
    pub fn wait(self) -> io::Result<()> {
        loop {
            let (stream, _) = self.listener.accept()?;
            match self.hand_over(stream) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::warn!(%error, path = %self.path.display(), "a successor gave up"),
            }
        }
    }

    fn hand_over(&self, mut stream: UnixStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let listeners = self.doors.copies()?;
        let fds: Vec<_> = listeners.iter().map(|listener| listener.as_fd()).collect();
        if fds.is_empty() {
            return Err(io::Error::other("this gateway stops and no longer listens"));
        }
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(LISTENERS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&fds)) {
            return Err(io::Error::other("too many listeners for one message"));
        }
        let addr = self.doors.addr().to_string();
        sendmsg(&stream, &[IoSlice::new(addr.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        let mut word = [0; READY.len()];
        stream.read_exact(&mut word)?;
        if word == READY { Ok(()) } else { Err(io::Error::other("its answer is not understood")) }
    }
}
