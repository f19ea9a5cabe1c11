//! One connection to one side, and what came over it.

use evenkeel_core::resp::{ReplyScan, Scan};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Why a reply did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Silent,
    NotTheProtocol,
}

pub(crate) struct Link {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Link {
    pub(crate) fn connect(addr: SocketAddr) -> Link {
        let stream = TcpStream::connect(addr).expect("both sides listen");
        stream.set_nodelay(true).expect("a socket");
        Link { stream, bytes: Vec::new() }
    }

    /// Sends; a side that has closed the connection is found out by reading.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next frame, waited for until `deadline`.
    pub(crate) fn frame(&mut self, deadline: Instant) -> Result<Vec<u8>, End> {
        let (mut scan, mut at) = (ReplyScan::default(), 0);
        loop {
            match scan.advance(&self.bytes[at..]).map_err(|_| End::NotTheProtocol)? {
                Scan::Done(len) => return Ok(self.bytes.drain(..at + len).collect()),
                Scan::More(len) => at += len,
            }
            self.more(deadline)?;
        }
    }

    fn more(&mut self, deadline: Instant) -> Result<(), End> {
        let mut buffer = [0; 64 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.stream.set_read_timeout(Some(left)).map_err(|_| End::Closed)?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(End::Closed),
                Ok(len) => {
                    self.bytes.extend_from_slice(&buffer[..len]);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut if Instant::now() >= deadline => {
                        return Err(End::Silent);
                    }
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {}
                    _ => return Err(End::Closed),
                },
            }
        }
    }
}
