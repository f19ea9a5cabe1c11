//! Holds the command table against a real server: every command it knows has a row with the server's arity, key
//! positions and access, and the keys found in sample calls are the ones that the server finds.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the test is not core: it starts a server"
)]

#[path = "../../evenkeel/tests/server/mod.rs"]
mod server;

use evenkeel_core::command::{Access, Args, Command, Keys, Lookup, Span, TABLE, Treat, keys, lookup};
use redis::Value;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Commands that the server flags neither as reading nor as writing, though what they do must not be done twice.
const MAY_WRITE: [&str; 5] = ["eval", "evalsha", "fcall", "publish", "spublish"];

/// Rows that are wider than they were in Redis 7.0, with that arity: an older node turns down itself what it does not know.
const WIDENED: [(&str, i64); 6] = [
    ("zrank", 3),
    ("zrevrank", 3),
    ("script|debug", 3),
    ("command|getkeys", -4),
    ("command|getkeysandflags", -4),
    ("cluster|replicate", 3),
];

/// A server of this test's own on a free loopback port; ended when dropped.
struct Server {
    child: Child,
    dir: PathBuf,
    port: u16,
}

impl Server {
    fn start(purpose: &str) -> Self {
        let port =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let dir =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{purpose}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory for the server");
        let child = std::process::Command::new(server::program())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--logfile", "server.log", "--dir"])
            .arg(&dir)
            .stdout(Stdio::null())
            .spawn()
            .expect(server::MISSING);
        Self { child, dir, port }
    }

    fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(("127.0.0.1", self.port)).expect("a valid address");
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match client.get_connection() {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > deadline => panic!("the server does not answer: {error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

/// One entry of the server's `COMMAND`, as far as the table repeats it.
struct Entry {
    name: String,
    arity: i64,
    flags: BTreeSet<String>,
    first: i64,
    last: i64,
    step: i64,
}

/// Reads `COMMAND`'s reply: name, arity, flags, first key, last key, step, categories, tips, key specs, subcommands.
fn entries(reply: Value) -> Vec<Entry> {
    let mut all = Vec::new();
    for value in list(reply) {
        let mut fields = list(value);
        let subcommands = fields.remove(9);
        let number = |at: usize| match &fields[at] {
            Value::Int(number) => *number,
            other => panic!("a number expected, got {other:?}"),
        };
        let (arity, first, last, step) = (number(1), number(3), number(4), number(5));
        let flags = list(fields.swap_remove(2)).into_iter().map(text).collect();
        all.push(Entry { name: text(fields.swap_remove(0)), arity, flags, first, last, step });
        all.extend(entries(subcommands));
    }
    all
}

fn list(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => panic!("a list expected, got {other:?}"),
    }
}

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).expect("UTF-8"),
        Value::SimpleString(text) => text,
        other => panic!("a text expected, got {other:?}"),
    }
}

fn row(words: &[&str]) -> &'static Command {
    match lookup(words[0].as_bytes(), words.get(1).map(|word| word.as_bytes())) {
        Lookup::Found(command) => command,
        missing @ (Lookup::UnknownSubcommand(_) | Lookup::Unknown) => panic!("{words:?}: {missing:?}"),
    }
}

/// What `COMMAND` prints for a row: first key, last key, step. Zeros where the server does not say statically.
fn positions(command: &Command) -> (i64, i64, i64) {
    match command.keys {
        Keys::Range { first, last, step } => (i64::from(first), i64::from(last), i64::from(step)),
        Keys::Counted { dest: evenkeel_core::command::Dest::First, .. } | Keys::Store { .. } => (1, 1, 1),
        Keys::None | Keys::Counted { .. } | Keys::Streams => (0, 0, 0),
    }
}

#[test]
fn every_command_of_the_server_has_its_row() {
    let server = Server::start("command-table");
    let reply = redis::cmd("COMMAND").query(&mut server.connect()).expect("COMMAND");
    let entries = entries(reply);
    assert!(entries.len() > 300, "the server lists only {} commands", entries.len());
    let mut wrong = Vec::new();
    for entry in &entries {
        let Some(command) = TABLE.iter().find(|command| command.name == entry.name) else {
            wrong.push(format!("{} has no row", entry.name));
            continue;
        };
        if i64::from(command.arity) != entry.arity && !WIDENED.contains(&(command.name, entry.arity)) {
            wrong.push(format!("{}: arity {}, the server's is {}", entry.name, command.arity, entry.arity));
        }
        let theirs = (entry.first, entry.last, entry.step);
        if positions(command) != theirs {
            wrong.push(format!("{}: keys at {:?}, the server's {theirs:?}", entry.name, positions(command)));
        }
        let access = match (entry.flags.contains("write"), entry.flags.contains("readonly")) {
            (true, _) => Access::Write,
            (false, true) => Access::Read,
            (false, false) if MAY_WRITE.contains(&command.name) => Access::Write,
            (false, false) => Access::Admin,
        };
        if command.access != access {
            wrong.push(format!("{}: {:?}, by the server's flags {access:?}", entry.name, command.access));
        }
        if entry.flags.contains("blocking")
            && !matches!(command.treat, Treat::Blocking(_) | Treat::Confirm)
            && command.keys != Keys::Streams
        {
            wrong.push(format!("{} blocks, but is treated as {:?}", entry.name, command.treat));
        }
    }
    assert!(wrong.is_empty(), "{} rows differ from the server:\n{}", wrong.len(), wrong.join("\n"));
}

/// Calls of every shape. Each names at least one key; none is executed.
const CALLS: &[&str] = &[
    "GET a",
    "set a 1 EX 5",
    "GETRANGE a 0 1",
    "MGET a",
    "MGET a b c a",
    "MSET a 1",
    "MSET a 1 b 2 c 3",
    "MSETNX a 1 b 2",
    "DEL a b",
    "UNLINK a",
    "EXISTS a b b",
    "TOUCH a b",
    "LCS a b LEN",
    "BITOP AND d a b",
    "BITOP NOT d a",
    "BITFIELD a GET u8 0",
    "COPY a b REPLACE",
    "RENAME a b",
    "OBJECT ENCODING a",
    "OBJECT FREQ a",
    "MEMORY USAGE a SAMPLES 5",
    "SORT a",
    "SORT a LIMIT 0 10 GET # ASC ALPHA",
    "SORT a BY store DESC",
    "SORT a STORE b",
    "SORT a LIMIT 0 1 STORE b GET x STORE c",
    "SORT a BY nosort GET store STORE b",
    "SORT_RO a BY x GET y",
    "HSET a f v f2 v2",
    "HSCAN a 0",
    "BLPOP a 0",
    "BLPOP a b c 0",
    "BRPOPLPUSH a b 0",
    "BLMOVE a b LEFT RIGHT 0",
    "LMOVE a b LEFT RIGHT",
    "LMPOP 1 a LEFT",
    "LMPOP 2 a b LEFT COUNT 3",
    "BLMPOP 0 2 a b LEFT",
    "SINTER a b c",
    "SUNIONSTORE d a b",
    "SINTERCARD 2 a b LIMIT 1",
    "SMOVE a b m",
    "ZUNION 1 a WITHSCORES",
    "ZINTER 3 a b c WEIGHTS 1 2 3 AGGREGATE MAX",
    "ZDIFF 2 a b",
    "ZINTERCARD 2 a b LIMIT 1",
    "ZUNIONSTORE d 2 a b WEIGHTS 1 2",
    "ZINTERSTORE d 1 a",
    "ZDIFFSTORE d 3 a b c",
    "ZRANGESTORE d a 0 -1",
    "ZMPOP 2 a b MIN",
    "BZMPOP 1 2 a b MAX COUNT 2",
    "BZPOPMIN a b 0",
    "GEOADD a 1 2 m",
    "GEORADIUS a 1 2 3 m",
    "GEORADIUS a 1 2 3 m STORE b",
    "GEORADIUS a 1 2 3 m COUNT 5 STOREDIST b",
    "GEORADIUSBYMEMBER a store 3 m",
    "GEORADIUSBYMEMBER a m 3 km STORE b",
    "GEORADIUS_RO a 1 2 3 m",
    "GEOSEARCHSTORE d a FROMMEMBER m BYRADIUS 1 m",
    "PFCOUNT a b",
    "PFMERGE d a b",
    "XADD a * f v",
    "XREAD STREAMS a 0",
    "XREAD COUNT 2 STREAMS a b c 0 0 0",
    "XREAD BLOCK 0 STREAMS a b $ $",
    "XREADGROUP GROUP g c STREAMS a >",
    "XREADGROUP GROUP g c COUNT 1 NOACK STREAMS a b > >",
    "XGROUP CREATE a g $",
    "XINFO STREAM a FULL",
    "EVAL script 1 a",
    "EVAL script 2 a b c d",
    "EVALSHA sha 1 a x",
    "EVAL_RO script 3 a b c",
    "EVALSHA_RO sha 1 a",
    "FCALL f 2 a b c",
    "FCALL_RO f 1 a",
    "WATCH a b",
    "RESTORE a 0 payload",
    "DUMP a",
];

#[test]
fn keys_are_found_where_the_server_finds_them() {
    let server = Server::start("command-keys");
    let mut connection = server.connect();
    let mut shapes = BTreeSet::new();
    for call in CALLS {
        let words: Vec<&str> = call.split(' ').collect();
        let mut question = redis::cmd("COMMAND");
        question.arg("GETKEYS").arg(&words);
        let theirs: Vec<String> =
            question.query(&mut connection).unwrap_or_else(|error| panic!("{call}: {error}"));
        let command = row(&words);
        let shape = format!("{:?}", command.keys);
        shapes.insert(shape.split([' ', '{']).next().expect("a name").to_owned());
        assert_eq!(our_keys(command, &words), theirs, "{call}");
    }
    assert!(CALLS.len() >= 60);
    assert_eq!(shapes.into_iter().collect::<Vec<_>>(), ["Counted", "Range", "Store", "Streams"]);
}

fn our_keys(command: &Command, words: &[&str]) -> Vec<String> {
    let bytes = words.concat();
    let mut at = 0;
    let mut spans = Vec::new();
    for word in words {
        spans.push(Span { at, len: word.len() as u32 });
        at += word.len() as u32;
    }
    let args = Args::new(bytes.as_bytes(), &spans);
    keys(command, &args).expect("keys of a valid call").map(|at| words[at].to_owned()).collect()
}

#[test]
fn counts_that_make_no_sense_are_answered_as_the_server_does() {
    let server = Server::start("command-counts");
    let mut connection = server.connect();
    for count in ["0", "-1", "x", "01", "+1", "", "3", "2147483648", "99999999999999999999"] {
        for (before, after) in [
            ("ZUNION", "a"),
            ("ZINTER", "a"),
            ("ZDIFF", "a"),
            ("ZINTERCARD", "a"),
            ("ZUNIONSTORE d", "a"),
            ("ZDIFFSTORE d", "a"),
            ("SINTERCARD", "a"),
            ("LMPOP", "a LEFT"),
            ("ZMPOP", "a MIN"),
            ("BLMPOP 0.01", "a LEFT"),
            ("BZMPOP 0.01", "a MIN"),
            ("EVAL return", "a"),
            ("EVAL_RO return", "a"),
        ] {
            let line = format!("{before} {count} {after}");
            let words: Vec<&str> = line.split(' ').collect();
            let theirs = redis::cmd(words[0]).arg(&words[1..]).query::<Value>(&mut connection);
            let command = row(&words);
            let bytes = line.as_bytes();
            let start = |word: &str| word.as_ptr() as usize - line.as_ptr() as usize;
            let spans: Vec<Span> =
                words.iter().map(|word| Span { at: start(word) as u32, len: word.len() as u32 }).collect();
            match keys(command, &Args::new(bytes, &spans)) {
                Ok(_) => assert!(theirs.is_ok(), "{line}: the server says {theirs:?}"),
                Err(ours) => {
                    let theirs = theirs.expect_err(&line);
                    let theirs = format!("{} {}", theirs.code().unwrap_or(""), theirs.detail().unwrap_or(""));
                    assert_eq!(ours.to_string(), theirs, "{line}");
                }
            }
        }
    }
}
