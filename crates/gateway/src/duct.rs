//! A pipe of the kernel's through which bytes go from one socket to another without being copied (`splice`).
//!
//! Where a reply goes through, it is empty between two calls of a worker: what one socket gave and the other did not take is
//! read back. What requests need is a [`crate::courier`]'s.

use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice, tee};
use std::sync::OnceLock;

/// Most bytes that go through at a time.
const MOST: usize = 1024 * 1024;

pub(crate) struct Duct {
    exit: OwnedFd,
    entrance: OwnedFd,
    size: usize,
}

impl Duct {
    /// One that should hold `size` bytes, or what the system allows a user in all of its pipes (pipe(7),
    /// `pipe-user-pages-soft`): then less goes through at a time.
    pub(crate) fn new(size: usize) -> Result<Duct, Errno> {
        let (exit, entrance) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&entrance, size);
        let size = fcntl_getpipe_size(&entrance)?;
        Ok(Duct { exit, entrance, size })
    }

    /// How much it holds at most: a page for each piece, however little there is on it.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Takes what a socket has, at most `most` bytes. An error or an end is left for the next read of the socket to find.
    pub(crate) fn fill(&self, from: &OwnedFd, most: usize) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(from, None, &self.entrance, None, most.min(MOST), flags)? {
            0 => Err(Errno::AGAIN),
            taken => Ok(taken),
        }
    }

    /// Gives at most `most` bytes to a socket; returns how many it took.
    pub(crate) fn empty_into(&self, to: &OwnedFd, most: usize) -> usize {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let mut passed = 0;
        while passed < most {
            match splice(&self.exit, None, to, None, most - passed, flags) {
                Ok(len) if len > 0 => passed += len,
                // A socket that broke says so by itself, at its next event.
                Ok(_) | Err(_) => break,
            }
        }
        passed
    }

    /// Reads back what is inside.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match rustix::io::read(&self.exit, buffer)? {
            0 => Err(Errno::PIPE),
            len => Ok(len),
        }
    }

    /// Reads at most `most` bytes of what is inside to the end of `buffer`.
    pub(crate) fn read_to(&self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, Errno> {
        buffer.reserve(most);
        let before = buffer.len();
        rustix::io::read(&self.exit, spare_capacity(buffer))?;
        match buffer.len() - before {
            0 => Err(Errno::PIPE),
            len => Ok(len),
        }
    }

    /// Has another one hold the first `most` bytes of what is inside too; returns how many it had room for.
    pub(crate) fn copy_to(&self, other: &Duct, most: usize) -> usize {
        tee(&self.exit, &other.entrance, most, SpliceFlags::NONBLOCK).unwrap_or(0)
    }

    /// Throws away the next `most` bytes.
    pub(crate) fn discard(&self, most: usize) -> Result<(), Errno> {
        let sink = sink().ok_or(Errno::NODEV)?;
        let mut left = most;
        while left > 0 {
            match splice(&self.exit, None, sink, None, left, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)? {
                0 => return Err(Errno::PIPE),
                len => left -= len,
            }
        }
        Ok(())
    }
}

/// What takes everything and keeps nothing.
fn sink() -> Option<&'static OwnedFd> {
    static SINK: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let open = || rustix::fs::open("/dev/null", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty()).ok();
    SINK.get_or_init(open).as_ref()
}
