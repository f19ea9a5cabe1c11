//! Hash slots (cluster specification, "Key distribution model"; `cluster.c`: `keyHashSlot`).

use super::SLOTS;

/// CRC16/XMODEM, polynomial 0x1021, for four input bytes at a time: `TABLE[k][b]` is the remainder of byte `b`
/// followed by `k` zero bytes.
static TABLE: [[u16; 256]; 4] = tables();

const fn tables() -> [[u16; 256]; 4] {
    let mut tables = [[0u16; 256]; 4];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 0x8000 != 0 { rest << 1 ^ 0x1021 } else { rest << 1 };
            bit += 1;
        }
        tables[0][byte] = rest;
        byte += 1;
    }
    let mut k = 1;
    while k < 4 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[k - 1][byte];
            tables[k][byte] = before << 8 ^ tables[0][(before >> 8) as usize];
            byte += 1;
        }
        k += 1;
    }
    tables
}

fn crc16(bytes: &[u8]) -> u16 {
    let mut quads = bytes.chunks_exact(4);
    let mut crc = 0u16;
    for quad in &mut quads {
        crc = TABLE[3][usize::from(quad[0] ^ (crc >> 8) as u8)]
            ^ TABLE[2][usize::from(quad[1] ^ crc as u8)]
            ^ TABLE[1][usize::from(quad[2])]
            ^ TABLE[0][usize::from(quad[3])];
    }
    for byte in quads.remainder() {
        crc = crc << 8 ^ TABLE[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// The slot of a key, 0 to 16383. Where the key has a hash tag (`{…}`, not empty), only the tag counts.
#[inline]
pub fn slot(key: &[u8]) -> u16 {
    crc16(tagged(key)) & (SLOTS - 1)
}

#[inline]
fn tagged(key: &[u8]) -> &[u8] {
    let Some(open) = brace(key) else { return key };
    let inner = &key[open + 1..];
    match memchr::memchr(b'}', inner) {
        None | Some(0) => key,
        Some(close) => &inner[..close],
    }
}

/// The first `{`. Keys are short and nearly none has one: eight bytes at a time, without setting up a search.
#[inline]
fn brace(key: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut words = key.chunks_exact(8);
    let has = |word: &[u8]| {
        let word = word.first_chunk().map_or(0, |word| u64::from_ne_bytes(*word)) ^ (ONES * u64::from(b'{'));
        word.wrapping_sub(ONES) & !word & ONES << 7 != 0
    };
    if words.any(has) || words.remainder().contains(&b'{') {
        return memchr::memchr(b'{', key);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, crc16, slot};

    #[test]
    fn the_specifications_examples() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12182);
        assert_eq!(slot(b""), 0);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }

    #[test]
    fn four_at_a_time_is_one_at_a_time() {
        let bytes: Vec<u8> = (0..100u8).map(|byte| byte.wrapping_mul(37)).collect();
        for len in 0..bytes.len() {
            let plain = bytes[..len].iter().fold(0u16, |crc, byte| {
                (0..8).fold(crc ^ u16::from(*byte) << 8, |c, _| {
                    if c & 0x8000 != 0 { c << 1 ^ 0x1021 } else { c << 1 }
                })
            });
            assert_eq!(crc16(&bytes[..len]), plain);
            assert!(slot(&bytes[..len]) < SLOTS);
        }
    }
}
