//! The arguments of one request: spans into the bytes in which they arrived. Never owns or copies a byte.

/// Where one argument stands in the bytes of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub at: u32,
    /// Number of bytes.
    pub len: u32,
}

/// The arguments of one request; argument 0 is the command name.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// The arguments that `spans` mark in `bytes`.
    pub const fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    /// How many arguments there are, the command name among them.
    pub const fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is not even a command name.
    pub const fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`. One that does not exist, or whose span leaves the bytes, reads as empty.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [u8] {
        let Some(span) = self.spans.get(i) else { return &[] };
        let at = span.at as usize;
        self.bytes.get(at..at.saturating_add(span.len as usize)).unwrap_or(&[])
    }

    /// The arguments one after the other, the command name first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let args = *self;
        (0..args.len()).map(move |i| args.get(i))
    }

    /// The bytes that the spans refer to.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where each argument stands.
    pub const fn spans(&self) -> &'a [Span] {
        self.spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_spans_mark() {
        let spans = [Span { at: 4, len: 3 }, Span { at: 13, len: 1 }];
        let args = Args::new(b"$3\r\nGET\r\n$1\r\na\r\n", &spans);
        assert_eq!(args.iter().collect::<Vec<_>>(), [b"GET".as_slice(), b"a"]);
        assert_eq!((args.len(), args.is_empty()), (2, false));
    }

    #[test]
    fn what_is_not_there_is_empty() {
        let spans = [Span { at: 2, len: 5 }, Span { at: u32::MAX, len: u32::MAX }];
        let args = Args::new(b"abc", &spans);
        assert_eq!(args.iter().collect::<Vec<_>>(), [b"".as_slice(), b""]);
        assert_eq!(args.get(2), b"");
    }
}
