//! Any client's bytes: the reader does not panic, and cutting them in two changes nothing.
#![no_main]

use evenkeel_core::resp::{Limits, Read, RequestReader, Span, split_inline};
use libfuzzer_sys::fuzz_target;

/// What the bytes are read as, and the arguments of what is whole.
fn read(bytes: &[u8], cut: usize) -> (String, Vec<Span>) {
    let (mut reader, mut spans) = (RequestReader::default(), Vec::new());
    let first = reader.read(&bytes[..cut], &mut spans, &Limits::SERVER);
    let read = match first {
        Ok(Read::Partial { .. }) => reader.read(bytes, &mut spans, &Limits::SERVER),
        whole => whole,
    };
    if !matches!(read, Ok(Read::Frame { .. })) {
        spans.clear(); // they mean nothing yet
    }
    (format!("{read:?}"), spans)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let cut = usize::from(cut).min(bytes.len());
    assert_eq!(read(bytes, cut), read(bytes, bytes.len()));
    RequestReader::ahead(bytes, &mut Vec::new(), &Limits::SERVER);
    let _ = split_inline(bytes);
});
