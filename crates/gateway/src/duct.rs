//! A pipe of the kernel's through which bytes go from one socket to another without being copied (`splice`).
//!
//! It is empty between two calls of a worker: what one socket gave and the other did not take is read back.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Bytes that it should hold. Where the system allows less, less goes through at a time.
const SIZE: usize = 1024 * 1024;

pub(crate) struct Duct {
    exit: OwnedFd,
    entrance: OwnedFd,
}

impl Duct {
    pub(crate) fn new() -> Result<Duct, Errno> {
        let (exit, entrance) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let _ = fcntl_setpipe_size(&entrance, SIZE); // a smaller one works too
        Ok(Duct { exit, entrance })
    }

    /// Takes what a socket has, at most `most` bytes. An error or an end is left for the next read of the socket to find.
    pub(crate) fn fill(&self, from: &OwnedFd, most: usize) -> Result<usize, Errno> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        match splice(from, None, &self.entrance, None, most.min(SIZE), flags)? {
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
}
