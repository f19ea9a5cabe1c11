//! Which keys a run uses, who writes them, and how many of them the target has room for.
//!
//! Pure: memory figures and counts come in, names and numbers go out.

use crate::wire;

/// What the target says about its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Bytes in use.
    pub(crate) used: u64,
    /// The limit; 0 is none.
    pub(crate) max: u64,
}

/// How much of the target's memory may be in use before no more keys are added, in percent.
pub(crate) const FILL_PERCENT: u64 = 70;

/// Bytes that a server needs for a key beside its name and its value (dictionary entry, object, expiry room).
const OVERHEAD: u64 = 128;

/// More keys than this are never used: reading back and removing them would take longer than measuring.
const MOST_KEYS: u64 = 1_000_000;

/// Number of keys of `size` bytes that may be added while `in_flight` bytes of values are on their way, or
/// `None` when there is no room for one. Servers count the buffers of their clients as memory in use.
pub(crate) fn room(memory: Option<Memory>, max_data: u64, in_flight: u64, size: usize) -> Option<u64> {
    let free = match memory {
        Some(Memory { used, max }) if max > 0 => (max / 100 * FILL_PERCENT).saturating_sub(used + in_flight),
        Some(_) | None => u64::MAX,
    };
    // Allocators round up to size classes that lie a quarter apart.
    let cost = OVERHEAD + size as u64 + size as u64 / 4;
    let keys = (free.min(max_data) / cost).min(MOST_KEYS);
    (keys > 0).then_some(keys)
}

/// The names of the keys of one value size.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    /// `evenkeel:bench:<run>:<bytes>:`
    pub(crate) fn new(run: &str, size: usize) -> Names {
        Names { prefix: format!("evenkeel:bench:{run}:{size}:") }
    }

    /// Appends the name of key `index` as a part of a command.
    pub(crate) fn write(&self, out: &mut Vec<u8>, index: u64) {
        wire::bulk_start(out, self.prefix.len() + digits(index));
        out.extend_from_slice(self.prefix.as_bytes());
        wire::decimal(out, index);
        out.extend_from_slice(b"\r\n");
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// The keys of one connection: of all keys it has every `step`-th, and writes them in a ring.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    first: u64,
    step: u64,
    len: u64,
    at: u64,
    /// Positions below this one were written.
    touched: u64,
    /// Positions below this one may be confirmed.
    readable: u64,
    stored: Vec<u64>,
}

impl Ring {
    /// The part of connection `place` of `places`. Where keys are fewer than connections they are shared.
    pub(crate) fn new(total: u64, place: u64, places: u64) -> Ring {
        let first = place % total;
        let len = if total < places { 1 } else { (total - first).div_ceil(places) };
        let stored = vec![0; (len as usize).div_ceil(64)];
        Ring { first, step: places, len, at: 0, touched: 0, readable: 0, stored }
    }

    /// The next key to write.
    pub(crate) fn next_to_write(&mut self) -> u64 {
        let position = self.at;
        self.at = (self.at + 1) % self.len;
        self.touched = self.touched.max(position + 1);
        self.key(position)
    }

    /// Notes that the target has confirmed the write of a key of this ring.
    pub(crate) fn confirm(&mut self, key: u64) {
        let position = (key - self.first) / self.step;
        self.stored[(position / 64) as usize] |= 1 << (position % 64);
        self.readable = self.readable.max(position + 1);
    }

    /// Goes back to the start, for reading.
    pub(crate) fn rewind(&mut self) {
        self.at = 0;
    }

    /// The next key whose write was confirmed; the first key where none was.
    pub(crate) fn next_to_read(&mut self) -> u64 {
        for _ in 0..self.readable {
            let position = self.at % self.readable;
            self.at = position + 1;
            if self.holds(position) {
                return self.key(position);
            }
        }
        self.key(0)
    }

    /// Keys whose write was confirmed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.stored.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether the write of a key of this ring was confirmed.
    pub(crate) fn has(&self, key: u64) -> bool {
        self.holds((key - self.first) / self.step)
    }

    /// Every key that may be on the target.
    pub(crate) fn written(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.touched).map(|position| self.key(position))
    }

    fn holds(&self, position: u64) -> bool {
        self.stored[(position / 64) as usize] >> (position % 64) & 1 == 1
    }

    fn key(&self, position: u64) -> u64 {
        self.first + position * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_bounded_by_the_servers_memory_and_by_the_wish() {
        let mb = 1 << 20;
        let limited = |used, max| Some(Memory { used, max });
        assert_eq!(room(None, 256 * mb, 0, 1 << 19), Some(409));
        assert_eq!(room(limited(0, 0), 256 * mb, 9 * mb, 1 << 19), Some(409), "0 is no limit");
        assert_eq!(room(limited(60 * mb, 100 * mb), 256 * mb, 0, 1 << 19), Some(15));
        assert_eq!(room(limited(60 * mb, 100 * mb), 256 * mb, 8 * mb, 1 << 19), Some(3));
        assert_eq!(room(limited(70 * mb, 100 * mb), 256 * mb, 0, 16), None, "already full");
        assert_eq!(room(limited(0, mb), 256 * mb, 0, 1 << 20), None, "one is too large");
        assert_eq!(room(None, 1 << 40, 0, 16), Some(MOST_KEYS));
    }

    #[test]
    fn rings_share_all_keys_without_overlap() {
        for (total, places) in [(10, 3), (9, 3), (3, 3), (100, 1), (7, 6)] {
            let mut seen = Vec::new();
            for place in 0..places {
                let mut ring = Ring::new(total, place, places);
                seen.extend((0..ring.len).map(|_| ring.next_to_write()));
                assert_eq!(ring.next_to_write(), place, "goes round");
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>(), "{total} over {places}");
        }
    }

    #[test]
    fn fewer_keys_than_connections_are_shared() {
        let keys: Vec<_> = (0..5).map(|place| Ring::new(2, place, 5).next_to_write()).collect();
        assert_eq!(keys, [0, 1, 0, 1, 0]);
    }

    #[test]
    fn only_confirmed_keys_are_read() {
        let mut ring = Ring::new(1000, 1, 2);
        for turn in 0..10 {
            let key = ring.next_to_write();
            if turn % 3 != 0 {
                ring.confirm(key);
            }
        }
        ring.rewind();
        let expected = [3, 5, 9, 11, 15, 17, 3, 5];
        assert_eq!(expected.map(|_| ring.next_to_read()), expected);
        assert_eq!(ring.confirmed(), 6);
        assert_eq!(ring.written().count(), 10);
    }

    #[test]
    fn a_ring_without_any_confirmed_key_reads_its_first() {
        let mut ring = Ring::new(1000, 1, 2);
        ring.next_to_write();
        ring.rewind();
        assert_eq!([ring.next_to_read(), ring.next_to_read()], [1, 1]);
    }

    #[test]
    fn names_carry_run_size_and_index() {
        let mut out = Vec::new();
        Names::new("ab12", 16).write(&mut out, 10);
        assert_eq!(out, b"$25\r\nevenkeel:bench:ab12:16:10\r\n");
    }
}
