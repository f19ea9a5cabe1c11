//! One connection to the target: preallocated buffers, and one place where it waits.
//!
//! Owns the socket and the bytes on their way; it never decides what to send or what a reply means. Hot: a
//! turn is at most one read and the writes that the socket takes, without allocation.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Interval, timeout};

use crate::wire::{self, Garbage, Reply};

/// Where to connect and as whom.
#[derive(Clone)]
pub(crate) struct Door {
    /// `host:port`
    pub(crate) addr: String,
    /// User of an access list, for servers that have one.
    pub(crate) user: Option<String>,
    /// Password; sent with AUTH, shown nowhere.
    pub(crate) password: Option<String>,
    /// How long connecting, and a single call, may take.
    pub(crate) patience: Duration,
}

/// Why a connection could not be made or was lost.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// Nobody took the connection.
    #[error("{0}")]
    Connect(io::Error),
    /// The other side closed it.
    #[error("the connection was closed by the other side")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Socket(io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// Bytes that are no reply.
    #[error(transparent)]
    Garbage(#[from] Garbage),
    /// AUTH was answered with an error.
    #[error("{0}")]
    Refused(String),
}

impl Lost {
    /// What happened, in few words that are always the same.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Lost::Connect(_) => "not connected",
            Lost::Closed | Lost::Socket(_) => "connection lost",
            Lost::Silent(_) => "no answer",
            Lost::Garbage(_) => "no protocol",
            Lost::Refused(_) => "login refused",
        }
    }
}

/// What ended a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Bytes were read or written.
    Moved,
    /// The beat of the given interval came.
    Beat,
}

/// A reply that outlives its bytes, for the few commands that are not measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status or a value.
    Text(String),
    /// An error reply.
    Error(String),
    /// A number.
    Integer(i64),
    /// A missing value.
    Nil,
}

/// A connection.
pub(crate) struct Link {
    stream: TcpStream,
    outbox: Vec<u8>,
    written: usize,
    inbox: Vec<u8>,
    taken: usize,
    filled: usize,
}

/// Smallest read buffer; big enough for the replies of a deep pipeline of small requests.
const SMALLEST_INBOX: usize = 64 * 1024;

impl Link {
    /// Connects and logs in; `reply` is the longest value that will be read, to make room for it once.
    pub(crate) async fn open(door: &Door, reply: usize) -> Result<Link, Lost> {
        let stream = timeout(door.patience, TcpStream::connect(&door.addr))
            .await
            .map_err(|_| Lost::Silent(door.patience))?
            .map_err(Lost::Connect)?;
        stream.set_nodelay(true).map_err(Lost::Socket)?;
        let mut link = Link {
            stream,
            outbox: Vec::with_capacity(SMALLEST_INBOX),
            written: 0,
            inbox: vec![0; SMALLEST_INBOX],
            taken: 0,
            filled: 0,
        };
        link.make_room(reply);
        link.log_in(door).await?;
        Ok(link)
    }

    async fn log_in(&mut self, door: &Door) -> Result<(), Lost> {
        let Some(password) = &door.password else { return Ok(()) };
        let answers = match &door.user {
            Some(user) => self.call(&[b"AUTH", user.as_bytes(), password.as_bytes()], door.patience).await?,
            None => self.call(&[b"AUTH", password.as_bytes()], door.patience).await?,
        };
        match answers.into_iter().next() {
            Some(Answer::Error(text)) => Err(Lost::Refused(text)),
            Some(Answer::Text(_) | Answer::Integer(_) | Answer::Nil) | None => Ok(()),
        }
    }

    /// Makes the read buffer large enough for values of `reply` bytes.
    pub(crate) fn make_room(&mut self, reply: usize) {
        let wanted = SMALLEST_INBOX + 2 * reply;
        if self.inbox.len() < wanted {
            self.inbox.resize(wanted, 0);
        }
    }

    /// Whether the other side has closed while nothing was asked of it.
    pub(crate) fn is_closed(&self) -> bool {
        let peeked =
            rustix::net::recv(&self.stream, &mut [0u8; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT);
        match peeked {
            Ok((count, _)) => count == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }

    /// Bytes to be sent; commands are appended here.
    pub(crate) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Bytes appended and not yet taken by the socket.
    pub(crate) fn unsent(&self) -> usize {
        self.outbox.len() - self.written
    }

    /// Waits until bytes moved, or until the beat.
    pub(crate) async fn turn(&mut self, beat: &mut Interval) -> Result<Turn, Lost> {
        poll_fn(|cx| {
            let mut moved = false;
            while self.written < self.outbox.len() {
                match Pin::new(&mut self.stream).poll_write(cx, &self.outbox[self.written..]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(Lost::Closed)),
                    Poll::Ready(Ok(count)) => self.written += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                    Poll::Pending => break,
                }
                moved = true;
            }
            if self.written == self.outbox.len() {
                self.outbox.clear();
                self.written = 0;
            }
            self.compact();
            let mut free = ReadBuf::new(&mut self.inbox[self.filled..]);
            match Pin::new(&mut self.stream).poll_read(cx, &mut free) {
                Poll::Ready(Ok(())) if free.filled().is_empty() => return Poll::Ready(Err(Lost::Closed)),
                Poll::Ready(Ok(())) => {
                    self.filled += free.filled().len();
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(error))),
                Poll::Pending => {}
            }
            if moved {
                return Poll::Ready(Ok(Turn::Moved));
            }
            beat.poll_tick(cx).map(|_| Ok(Turn::Beat))
        })
        .await
    }

    /// Gives the next whole reply to `look`, and forgets it afterwards.
    pub(crate) fn reply<T>(&mut self, look: impl FnOnce(Reply<'_>) -> T) -> Result<Option<T>, Garbage> {
        let Some((reply, len)) = wire::reply(&self.inbox[self.taken..self.filled])? else { return Ok(None) };
        let seen = look(reply);
        self.taken += len;
        Ok(Some(seen))
    }

    /// Sends one command and waits for its answer; an array gives its items one after the other.
    pub(crate) async fn call(&mut self, parts: &[&[u8]], patience: Duration) -> Result<Vec<Answer>, Lost> {
        wire::command(&mut self.outbox, parts);
        timeout(patience, self.answers(1)).await.map_err(|_| Lost::Silent(patience))?
    }

    /// Waits for `count` answers to commands in the outbox.
    pub(crate) async fn answers(&mut self, count: usize) -> Result<Vec<Answer>, Lost> {
        let mut beat = tokio::time::interval(Duration::from_secs(1));
        let (mut answers, mut missing) = (Vec::new(), count);
        loop {
            while missing > 0 {
                let Some(answer) = self.reply(own)? else { break };
                missing -= 1;
                match answer {
                    Ok(answer) => answers.push(answer),
                    Err(items) => missing += items,
                }
            }
            if missing == 0 {
                return Ok(answers);
            }
            self.turn(&mut beat).await?;
        }
    }

    /// Keeps at least half of the read buffer free, by moving what is left or by growing.
    fn compact(&mut self) {
        if self.taken == self.filled {
            (self.taken, self.filled) = (0, 0);
        } else if self.filled > self.inbox.len() / 2 && self.taken > 0 {
            self.inbox.copy_within(self.taken..self.filled, 0);
            (self.taken, self.filled) = (0, self.filled - self.taken);
        }
        if self.filled == self.inbox.len() {
            self.inbox.resize(self.inbox.len() * 2, 0);
        }
    }
}

fn own(reply: Reply<'_>) -> Result<Answer, usize> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(match reply {
        Reply::Status(bytes) | Reply::Bulk(bytes) => Answer::Text(text(bytes)),
        Reply::Error(bytes) => Answer::Error(text(bytes)),
        Reply::Integer(number) => Answer::Integer(number),
        Reply::Nil => Answer::Nil,
        Reply::Array(items) => return Err(items),
    })
}

/// A reset is the other side closing; the rest is the socket's own trouble.
fn lost(error: io::Error) -> Lost {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            Lost::Closed
        }
        _ => Lost::Socket(error),
    }
}
