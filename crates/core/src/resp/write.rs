//! Writes requests and replies into a buffer.

use std::fmt::Display;
use std::io::Write;

/// The protocol version that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// RESP2: what every connection starts with.
    #[default]
    Two,
    /// RESP3: after `HELLO 3`.
    Three,
}

impl Proto {
    /// 0 for RESP2, 1 for RESP3: for arrays by protocol.
    pub fn index(self) -> usize {
        match self {
            Proto::Two => 0,
            Proto::Three => 1,
        }
    }
}

/// Appends protocol text to a buffer.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

impl<'a> Writer<'a> {
    /// Writes replies of protocol `proto` (requests are the same in both).
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Self {
        Writer { out, proto }
    }

    fn header(&mut self, kind: u8, number: impl itoa::Integer) {
        let mut digits = itoa::Buffer::new();
        self.out.push(kind);
        self.out.extend_from_slice(digits.format(number).as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// `*<len>`: that many values follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len);
    }

    /// That many pairs of values follow: a map in RESP3, a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Two => self.header(b'*', pairs * 2),
            Proto::Three => self.header(b'%', pairs),
        }
    }

    /// That many values follow in no order: a set in RESP3, an array in RESP2.
    pub fn set(&mut self, len: usize) {
        match self.proto {
            Proto::Two => self.header(b'*', len),
            Proto::Three => self.header(b'~', len),
        }
    }

    /// That many values of a message follow: a push in RESP3, an array in RESP2.
    pub fn push(&mut self, len: usize) {
        match self.proto {
            Proto::Two => self.header(b'*', len),
            Proto::Three => self.header(b'>', len),
        }
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A text for people: verbatim in RESP3, a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &[u8]) {
        match self.proto {
            Proto::Two => self.bulk(text),
            Proto::Three => {
                self.header(b'=', text.len() + 4);
                self.out.extend_from_slice(b"txt:");
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A simple string: one line without CR and LF.
    pub fn simple(&mut self, text: &str) {
        self.out.push(b'+');
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// Nothing: `_` in RESP3, the null bulk string in RESP2.
    pub fn null(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Two => b"$-1\r\n",
            Proto::Three => b"_\r\n",
        });
    }

    /// No array: `_` in RESP3, the null array in RESP2.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(match self.proto {
            Proto::Two => b"*-1\r\n",
            Proto::Three => b"_\r\n",
        });
    }

    /// An error line.
    pub fn error(&mut self, text: impl Display) {
        write!(self.out, "-{text}\r\n").expect("writing to memory does not fail");
    }

    /// A whole value as it came from a node.
    pub fn raw(&mut self, value: &[u8]) {
        self.out.extend_from_slice(value);
    }

    /// An error line of bytes that need not be text; it holds no CR and LF.
    pub fn error_line(&mut self, line: &[u8]) {
        self.out.push(b'-');
        self.out.extend_from_slice(line);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A request: an array of bulk strings.
    pub fn request<'w>(&mut self, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        self.array(words.len());
        words.for_each(|word| self.bulk(word));
    }
}
