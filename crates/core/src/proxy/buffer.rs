//! Outgoing bytes of one connection, as a queue of chunks, and the pool that the chunks come from.
//!
//! A frame is never split over two chunks, so it can be read back in one piece. What was sent may be kept until
//! it is released: a request stays here until its reply has come, so that it can be sent elsewhere without a
//! copy of its own. An empty queue owns no memory: idle connections cost nothing.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Deref;
use std::sync::Arc;

/// Size of the chunks that most connections need at a time.
const SMALL: usize = 4 * 1024;
/// Size of the chunks of connections that have more to say.
pub(crate) const LARGE: usize = 64 * 1024;
/// Most bytes that the pool keeps for later.
const POOLED: usize = 16 * 1024 * 1024;

/// Chunks that are not in use. One for each worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    /// The fewest chunks of each size that were free since the last trim: nobody needed these.
    spare: (usize, usize),
}

impl Pool {
    /// An empty chunk with room for at least `least` bytes.
    pub(crate) fn take(&mut self, least: usize) -> Vec<u8> {
        let (size, free) = match least {
            0..=SMALL => (SMALL, &mut self.small),
            _ => (LARGE, &mut self.large),
        };
        if least > LARGE {
            return Vec::with_capacity(least);
        }
        let chunk = free.pop().unwrap_or_else(|| Vec::with_capacity(size));
        self.spare = (self.spare.0.min(self.small.len()), self.spare.1.min(self.large.len()));
        chunk
    }

    /// Gives back to the system half of what was not needed since the last time.
    pub(crate) fn trim(&mut self) {
        self.small.truncate(self.small.len() - self.spare.0.div_ceil(2));
        self.large.truncate(self.large.len() - self.spare.1.div_ceil(2));
        self.spare = (self.small.len(), self.large.len());
    }

    /// Appends to a chunk; one that is too small is replaced by a larger one of the pool, so that chunks keep the
    /// sizes that the pool counts with.
    pub(crate) fn extend(&mut self, chunk: &mut Vec<u8>, bytes: &[u8]) {
        let wanted = chunk.len() + bytes.len();
        if wanted > chunk.capacity() {
            let least = if wanted > LARGE { wanted.next_power_of_two() } else { wanted };
            let mut larger = self.take(least);
            larger.extend_from_slice(chunk);
            self.give(std::mem::replace(chunk, larger));
        }
        chunk.extend_from_slice(bytes);
    }

    /// Takes a chunk back.
    pub(crate) fn give(&mut self, mut chunk: Vec<u8>) {
        chunk.clear();
        let (size, free) = match chunk.capacity() {
            SMALL..LARGE => (SMALL, &mut self.small),
            LARGE..=131_072 => (LARGE, &mut self.large),
            _ => return,
        };
        if free.len() * size < POOLED {
            free.push(chunk);
        }
    }
}

/// Bytes of a queue.
#[derive(Debug)]
enum Chunk {
    /// This queue's.
    Own(Vec<u8>),
    /// The same for many queues.
    Shared(Arc<[u8]>),
}

impl Deref for Chunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

impl Chunk {
    fn give_to(self, pool: &mut Pool) {
        match self {
            Chunk::Own(bytes) => pool.give(bytes),
            Chunk::Shared(_) => {}
        }
    }
}

/// A queue of outgoing frames: kept (sent, not released) bytes first, then unsent ones.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    chunks: VecDeque<Chunk>,
    /// Offset in the first chunk up to which everything is released.
    released: usize,
    /// Bytes that were sent and are kept.
    kept: usize,
    /// Bytes that still have to be sent.
    unsent: usize,
    /// Bytes that were ever sent, or dropped unsent.
    past: u64,
}

impl Queue {
    /// Bytes that still have to be sent.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Bytes that ever came into the queue.
    #[inline]
    pub(crate) fn total(&self) -> u64 {
        self.past + self.unsent as u64
    }

    /// All bytes in the queue.
    pub(crate) fn len(&self) -> usize {
        self.kept + self.unsent
    }

    /// Appends a frame.
    #[inline]
    pub(crate) fn push(&mut self, frame: &[u8], pool: &mut Pool) {
        self.tail(frame.len(), pool).extend_from_slice(frame);
        self.unsent += frame.len();
    }

    /// Appends a chunk as it is. One that is nearly empty is copied, so that it does not stand for more than it holds.
    pub(crate) fn push_chunk(&mut self, chunk: Vec<u8>, pool: &mut Pool) {
        if chunk.len() < chunk.capacity() / 4 {
            self.push(&chunk, pool);
            pool.give(chunk);
        } else {
            self.unsent += chunk.len();
            self.chunks.push_back(Chunk::Own(chunk));
        }
    }

    /// A copy of the last `len` bytes, in however many chunks they are.
    pub(crate) fn copy_of_last(&self, len: usize) -> Vec<u8> {
        let mut copy = Vec::with_capacity(len);
        let mut skip = (self.released + self.len()).saturating_sub(len);
        for chunk in &self.chunks {
            copy.extend_from_slice(&chunk[skip.min(chunk.len())..]);
            skip = skip.saturating_sub(chunk.len());
        }
        copy
    }

    /// Appends a frame that many queues have, without a copy.
    pub(crate) fn push_shared(&mut self, frame: &Arc<[u8]>) {
        self.chunks.push_back(Chunk::Shared(Arc::clone(frame)));
        self.unsent += frame.len();
    }

    /// The last chunk, with room for `room` more bytes.
    #[inline]
    fn tail(&mut self, room: usize, pool: &mut Pool) -> &mut Vec<u8> {
        let least = match self.chunks.back() {
            Some(Chunk::Own(chunk)) if chunk.capacity() - chunk.len() >= room => None,
            Some(Chunk::Own(_)) => Some(room.max(LARGE)),
            Some(Chunk::Shared(_)) | None => Some(room),
        };
        if let Some(least) = least {
            self.chunks.push_back(Chunk::Own(pool.take(least)));
        }
        match self.chunks.back_mut() {
            Some(Chunk::Own(chunk)) => chunk,
            Some(Chunk::Shared(_)) | None => unreachable!("a chunk was just made sure of"),
        }
    }

    /// The `len` bytes that begin so many bytes before the end, if the last chunk holds them.
    pub(crate) fn before_end(&self, distance: usize, len: usize) -> Option<&[u8]> {
        let Some(Chunk::Own(chunk)) = self.chunks.back() else { return None };
        let at = chunk.len().checked_sub(distance)?;
        chunk.get(at..at + len)
    }

    /// Fills `slices` with the unsent bytes in order, up to its capacity; returns how many it filled.
    pub(crate) fn unsent_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.released + self.kept;
        let mut filled = 0;
        for chunk in &self.chunks {
            if filled == slices.len() {
                break;
            }
            if skip >= chunk.len() {
                skip -= chunk.len();
                continue;
            }
            slices[filled] = IoSlice::new(&chunk[skip..]);
            (skip, filled) = (0, filled + 1);
        }
        filled
    }

    /// Notes that `bytes` of the unsent ones were sent; they are kept.
    pub(crate) fn sent(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.unsent);
        self.unsent -= bytes;
        self.kept += bytes;
        self.past += bytes as u64;
    }

    /// Whether the first `len` bytes have been sent whole.
    pub(crate) fn is_sent(&self, len: usize) -> bool {
        len <= self.kept
    }

    /// The first frame, which has `len` bytes.
    pub(crate) fn front(&self, len: usize) -> &[u8] {
        match self.chunks.front() {
            Some(chunk) if self.released < chunk.len() => &chunk[self.released..][..len],
            // The first chunk is used up: the frame is at the start of the next.
            Some(_) if len > 0 => self.chunks.get(1).map_or(&[], |chunk| &chunk[..len]),
            Some(_) | None => &[],
        }
    }

    /// Frames from the first on, by their lengths.
    pub(crate) fn frames(&self, lens: impl Iterator<Item = usize>) -> impl Iterator<Item = &[u8]> {
        let mut chunks = self.chunks.iter();
        let mut rest: &[u8] = chunks.next().map_or(&[], |chunk| &chunk[self.released..]);
        lens.map_while(move |len| {
            if rest.is_empty() && len > 0 {
                rest = &**chunks.next()?;
            }
            let (frame, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(frame)
        })
    }

    /// Drops the first `bytes`, sent or not, and returns used-up chunks to the pool.
    pub(crate) fn release(&mut self, bytes: usize, pool: &mut Pool) {
        debug_assert!(bytes <= self.len());
        let of_kept = bytes.min(self.kept);
        self.kept -= of_kept;
        self.unsent -= bytes - of_kept;
        self.past += (bytes - of_kept) as u64;
        self.released += bytes;
        while let Some(chunk) = self.chunks.front() {
            let used_up = self.released >= chunk.len();
            let empty = self.len() == 0;
            if !used_up || (self.chunks.len() == 1 && !empty) {
                break;
            }
            self.released -= chunk.len();
            if let Some(chunk) = self.chunks.pop_front() {
                chunk.give_to(pool);
            }
        }
    }

    /// Drops of what was sent all but the last `rest` bytes of the queue.
    pub(crate) fn release_sent(&mut self, rest: usize, pool: &mut Pool) {
        self.release(self.kept.min(self.len().saturating_sub(rest)), pool);
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        self.chunks.drain(..).for_each(|chunk| chunk.give_to(pool));
        self.past = self.total();
        (self.released, self.kept, self.unsent) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, Pool, Queue};
    use std::io::IoSlice;

    fn unsent(queue: &Queue) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = queue.unsent_slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        let frames: Vec<Vec<u8>> = (0..500usize).map(|at| vec![at as u8; at * 7 % 5000 + 1]).collect();
        frames.iter().for_each(|frame| queue.push(frame, &mut pool));
        let total: usize = frames.iter().map(Vec::len).sum();
        assert_eq!((queue.unsent(), queue.len()), (total, total));
        let mut sent = 0;
        for frame in &frames {
            while !queue.is_sent(frame.len()) {
                let some = queue.unsent().min(1000);
                queue.sent(some);
                sent += some;
            }
            assert_eq!(queue.front(frame.len()), frame);
            queue.release(frame.len(), &mut pool);
        }
        assert_eq!((sent, queue.len(), queue.chunks.len()), (total, 0, 0));
    }

    #[test]
    fn what_is_unsent_is_what_was_not_sent() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        queue.push(b"hello", &mut pool);
        queue.push(&[b'x'; LARGE], &mut pool);
        queue.sent(7);
        queue.release(5, &mut pool);
        assert_eq!(unsent(&queue).len(), LARGE - 2);
        queue.push(b"tail", &mut pool);
        assert!(unsent(&queue).ends_with(b"xtail"));
        queue.clear(&mut pool);
        assert_eq!(unsent(&queue), b"");
    }

    #[test]
    fn the_last_bytes_are_copied_from_whichever_chunks() {
        let (mut queue, mut pool) = (Queue::default(), Pool::default());
        queue.push(b"greeting", &mut pool);
        queue.push_chunk(b"one".to_vec(), &mut pool);
        queue.push_chunk(b"two".to_vec(), &mut pool);
        assert_eq!((queue.copy_of_last(6), queue.copy_of_last(5)), (b"onetwo".to_vec(), b"netwo".to_vec()));
        queue.sent(9);
        queue.release_sent(6, &mut pool);
        assert_eq!((queue.copy_of_last(6), unsent(&queue)), (b"onetwo".to_vec(), b"netwo".to_vec()));
    }

    #[test]
    fn what_nobody_needs_goes_back_to_the_system() {
        let mut pool = Pool::default();
        let chunks: Vec<_> = (0..64).map(|_| pool.take(1)).collect();
        chunks.into_iter().for_each(|chunk| pool.give(chunk));
        pool.trim(); // all of them were in use until now
        assert_eq!(pool.small.len(), 64);
        let busy = pool.take(1);
        pool.give(busy);
        (0..12).for_each(|_| pool.trim());
        assert_eq!(pool.small.len(), 0);
    }
}
