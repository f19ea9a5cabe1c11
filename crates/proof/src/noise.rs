//! Values that can be recognised: which key, which size and which run a value belongs to follows from its bytes.
//!
//! A value is a tag of 16 bytes (made from run seed, key and size) and then a slice of one block of noise,
//! whose place follows from the tag. Writing one is a copy and checking one is a comparison: no hashing of
//! the value's bytes, so the load generator stays cheap at every size.

use std::ops::Range;

/// Length of the part that is different for every key and size.
pub(crate) const TAG: usize = 16;

/// How far apart the slices of two values can start.
const SHIFTS: usize = 4096;

/// The noise of one run.
pub(crate) struct Noise {
    seed: u64,
    block: Vec<u8>,
}

impl Noise {
    /// Noise for values up to `longest` bytes.
    pub(crate) fn new(seed: u64, longest: usize) -> Noise {
        let mut state = seed;
        let words = (longest + SHIFTS).div_ceil(8);
        let block = (0..words).flat_map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state).to_le_bytes()
        });
        Noise { seed, block: block.collect() }
    }

    /// Appends the value of `key` with `len` bytes; `version` tells values of one key apart.
    pub(crate) fn write(&self, out: &mut Vec<u8>, key: u64, version: u64, len: usize) {
        let (tag, slice) = self.value(key, version, len);
        out.extend_from_slice(&tag[..len.min(TAG)]);
        out.extend_from_slice(&self.block[slice]);
    }

    /// Whether `bytes` are the value of `key` with `len` bytes.
    pub(crate) fn is(&self, bytes: &[u8], key: u64, version: u64, len: usize) -> bool {
        let (tag, slice) = self.value(key, version, len);
        let split = len.min(TAG);
        bytes.len() == len && bytes[..split] == tag[..split] && bytes[split..] == self.block[slice]
    }

    fn value(&self, key: u64, version: u64, len: usize) -> ([u8; TAG], Range<usize>) {
        let first = mix(self.seed ^ mix(key));
        let second = mix(first ^ mix(len as u64) ^ version.rotate_left(32));
        let mut tag = [0; TAG];
        tag[..8].copy_from_slice(&first.to_le_bytes());
        tag[8..].copy_from_slice(&second.to_le_bytes());
        let start = second as usize % SHIFTS;
        (tag, start..start + len.saturating_sub(TAG))
    }
}

/// Spreads every bit of `x` over the whole result (the finaliser of splitmix64).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(noise: &Noise, key: u64, version: u64, len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        noise.write(&mut out, key, version, len);
        assert_eq!(out.len(), len);
        out
    }

    #[test]
    fn a_value_is_recognised_and_no_other_is() {
        let (noise, other_run) = (Noise::new(7, 1 << 17), Noise::new(8, 1 << 17));
        for len in [16, 17, 64, 1 << 16] {
            let bytes = value(&noise, 3, 1, len);
            assert!(noise.is(&bytes, 3, 1, len));
            assert!(!noise.is(&bytes, 4, 1, len), "another key");
            assert!(!noise.is(&bytes, 3, 2, len), "another version");
            assert!(!noise.is(&bytes[..len - 1], 3, 1, len), "cut");
            assert!(!other_run.is(&bytes, 3, 1, len), "another run");
            assert!(!noise.is(&value(&noise, 3, 1, len * 2 - 1)[..len], 3, 1, len), "another size, cut");
            let mut flipped = bytes.clone();
            flipped[len - 1] ^= 1;
            assert!(!noise.is(&flipped, 3, 1, len), "the last bit");
        }
    }

    #[test]
    fn short_values_work() {
        let noise = Noise::new(7, 16);
        assert!(noise.is(&value(&noise, 3, 0, 1), 3, 0, 1));
        assert!(noise.is(b"", 3, 0, 0));
    }
}
