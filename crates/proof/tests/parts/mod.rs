//! Parts for tests: a real redis-server on a free port, and a scripted one that misbehaves on purpose.

#![allow(dead_code, reason = "each test file uses some of the parts")]
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a part that fails has to fail the test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use clap::{Args as _, FromArgMatches};
use evenkeel_proof::bench::Args;

/// A redis-server that ends with the test.
pub struct Server {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Server {
    /// Starts one without persistence, with more options after that.
    pub fn start(options: &[&str]) -> Server {
        // Between finding a free port and listening on it another program may take it.
        (0..5).find_map(|_| Server::try_start(options)).expect("redis-server does not start, see above")
    }

    fn try_start(options: &[&str]) -> Option<Server> {
        let port = free_port();
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--logfile", "log"])
            .args(options)
            .current_dir(dir.path())
            .spawn()
            .expect("redis-server has to be installed for this test (apt-get install redis-server)");
        let mut server = Server { child, port, dir };
        let start = Instant::now();
        while TcpStream::connect(server.addr()).is_err() {
            let log = || std::fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
            if server.child.try_wait().unwrap().is_some() {
                eprintln!("redis-server has ended: {}", log());
                return None;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not listen: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(server)
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The first line of the answer to an inline command.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.addr()).unwrap();
        stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a scripted server does about a command.
pub enum Act {
    /// Answers these bytes.
    Say(Vec<u8>),
    /// Answers these bytes and closes.
    SayAndClose(Vec<u8>),
    /// Answers nothing from here on.
    Stall,
}

/// A server that answers by a script: it is given the command's parts and the number of commands with this
/// name before it (over all connections). Returns its address.
pub fn scripted(script: impl Fn(&[Vec<u8>], u64) -> Act + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let script = std::sync::Arc::new((script, std::sync::Mutex::new(std::collections::HashMap::new())));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = std::sync::Arc::clone(&script);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some(parts) = command(&mut reader) {
                    let number = {
                        let mut seen = script.1.lock().unwrap();
                        let count = seen.entry(parts[0].clone()).or_insert(0u64);
                        *count += 1;
                        *count - 1
                    };
                    let said = match (script.0)(&parts, number) {
                        Act::Say(bytes) => stream.write_all(&bytes),
                        Act::SayAndClose(bytes) => {
                            let _ = stream.write_all(&bytes);
                            let _ = stream.shutdown(std::net::Shutdown::Both);
                            return;
                        }
                        Act::Stall => {
                            std::thread::sleep(Duration::from_secs(30));
                            return;
                        }
                    };
                    if said.is_err() {
                        return;
                    }
                }
            });
        }
    });
    addr
}

fn command(reader: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let mut line = String::new();
    let mut number = |reader: &mut dyn BufRead| {
        line.clear();
        reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse::<usize>().ok()
    };
    let parts = number(reader)?;
    (0..parts)
        .map(|_| {
            let mut bytes = vec![0; number(reader)? + 2];
            reader.read_exact(&mut bytes).ok()?;
            bytes.truncate(bytes.len() - 2);
            Some(bytes)
        })
        .collect()
}

/// Arguments as they are written on the command line.
pub fn args(line: &str) -> Args {
    let command = Args::augment_args(clap::Command::new("bench"));
    let words = std::iter::once("bench").chain(line.split_whitespace());
    Args::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

/// A JSON file.
pub fn json(path: impl AsRef<std::path::Path>) -> serde_json::Value {
    let path = path.as_ref();
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
