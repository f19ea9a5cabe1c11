//! Any node's bytes: the scan does not panic, and cutting them in two changes nothing.
#![no_main]

use evenkeel_core::resp::{Elements, ReplyScan, Scan, integer, text};
use libfuzzer_sys::fuzz_target;

/// Where the first reply ends: `Ok(None)` while it does not, `Err` where it is none.
fn end(bytes: &[u8], cut: usize) -> Result<Option<usize>, ()> {
    let mut scan = ReplyScan::default();
    let taken = match scan.advance(&bytes[..cut]).map_err(drop)? {
        Scan::Done(len) => return Ok(Some(len)),
        Scan::More(taken) => taken,
    };
    match scan.advance(&bytes[taken..]).map_err(drop)? {
        Scan::Done(len) => Ok(Some(taken + len)),
        Scan::More(_) => Ok(None),
    }
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let cut = usize::from(cut).min(bytes.len());
    assert_eq!(end(bytes, cut), end(bytes, bytes.len()));
    let _ = (text(bytes), integer(bytes));
    if let Some(elements) = Elements::of(bytes) {
        assert!(elements.map(<[u8]>::len).sum::<usize>() <= bytes.len());
    }
});
