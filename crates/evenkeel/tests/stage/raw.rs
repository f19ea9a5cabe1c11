//! A client that speaks bytes, so that it can say what no library would.

use super::SOON;
use evenkeel_core::resp::{Elements, Proto, ReplyScan, Scan, Writer, text};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

pub struct Raw {
    pub stream: TcpStream,
    bytes: Vec<u8>,
}

impl Raw {
    pub fn connect(addr: SocketAddr) -> Raw {
        let start = Instant::now();
        loop {
            match TcpStream::connect(addr) {
                Ok(stream) => return Raw::over(stream),
                Err(error) => assert!(start.elapsed() < SOON, "{addr}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A client over a connection that is there.
    pub fn over(stream: TcpStream) -> Raw {
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.set_write_timeout(Some(SOON)).unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, bytes: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other side takes bytes");
    }

    /// The next reply, as it came.
    pub fn reply(&mut self) -> Vec<u8> {
        self.try_reply().expect("a reply")
    }

    /// The next reply; `None` when the connection was closed before it was whole.
    pub fn try_reply(&mut self) -> Option<Vec<u8>> {
        let (mut scan, mut at) = (ReplyScan::default(), 0);
        loop {
            match scan.advance(&self.bytes[at..]).expect("what comes is the Redis protocol") {
                Scan::Done(len) => return Some(self.bytes.drain(..at + len).collect()),
                Scan::More(len) => at += len,
            }
            if self.more()? == 0 {
                return None;
            }
        }
    }

    /// Reads once; the number of bytes, 0 at the end, `None` when it was reset.
    fn more(&mut self) -> Option<usize> {
        let mut buffer = [0; 64 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(len) => {
                    self.bytes.extend_from_slice(&buffer[..len]);
                    return Some(len);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing came for {:?}", self.stream.read_timeout().unwrap())
                }
                Err(_) => return None,
            }
        }
    }

    /// Everything up to the end of the connection.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more().is_some_and(|len| len > 0) {}
        std::mem::take(&mut self.bytes)
    }

    /// What comes within a while; an open connection is fine.
    pub fn within(&mut self, time: Duration) -> Vec<u8> {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 64 * 1024];
        while let Ok(len @ 1..) = self.stream.read(&mut buffer) {
            self.bytes.extend_from_slice(&buffer[..len]);
        }
        self.stream.set_read_timeout(Some(SOON)).unwrap();
        std::mem::take(&mut self.bytes)
    }

    pub fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        self.send(&command(words));
        self.reply()
    }

    /// A question whose answer is one text.
    pub fn ask_text(&mut self, words: &[&str]) -> String {
        let reply = self.ask(words);
        let text = text(&reply).unwrap_or_else(|| panic!("{words:?}: {}", shown(&reply)));
        String::from_utf8_lossy(text).into_owned()
    }
}

/// A request of words.
pub fn command(words: &[&str]) -> Vec<u8> {
    request(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
}

/// A request of byte strings.
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut frame = Vec::new();
    Writer::new(&mut frame, Proto::Two).request(words.iter().copied());
    frame
}

/// The elements of an array as texts; `None` where there is no value.
pub fn texts(reply: &[u8]) -> Vec<Option<String>> {
    let elements = Elements::of(reply).unwrap_or_else(|| panic!("an array, not {}", shown(reply)));
    elements.map(|element| text(element).map(|text| String::from_utf8_lossy(text).into_owned())).collect()
}

/// The start of some bytes, for messages.
pub fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

/// A new connection is served by every node: what has to be true after whatever was done to the gateway.
pub fn still_serves(addr: SocketAddr) {
    let mut client = Raw::connect(addr);
    assert_eq!(client.ask(&["PING"]), b"+PONG\r\n");
    for key in ["a", "b", "c", "foo", "bar", "42"] {
        let value = format!("{key}-{:?}", client.stream.local_addr().unwrap());
        assert_eq!(shown(&client.ask(&["SET", key, &value])), "+OK\\r\\n");
        assert_eq!(client.ask_text(&["GET", key]), value);
    }
}

/// One of the gateway's own counters, from `EVENKEEL METRICS`.
pub fn metric(addr: SocketAddr, name: &str) -> u64 {
    let json = Raw::connect(addr).ask_text(&["EVENKEEL", "METRICS"]);
    let parsed: serde_json::Value = serde_json::from_str(&json).expect("metrics are JSON");
    parsed["values"][name].as_u64().unwrap_or_else(|| panic!("no metric {name} in {json}"))
}
