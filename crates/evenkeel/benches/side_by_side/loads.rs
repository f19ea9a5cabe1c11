//! What is asked: one row of the table each. redis-benchmark does the asking.

use crate::stage::{Backend, Target};
use std::io::{Seek, Write};
use std::process::{Command, Stdio};

/// One kind of load.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) clients: u32,
    pub(crate) pipeline: u32,
    pub(crate) values: Values,
    pub(crate) proxy: Proxy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Get,
    /// GET of one key, by everyone; with direct access one of each primary.
    Hot,
    Set,
    /// MGET of ten keys, in ten slots as a rule.
    MultiGet,
}

/// Where the proxy runs, and whether its system calls are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    Together,
    TogetherCounted,
    /// On a core of its own, so that every hand-over wakes another core.
    Apart,
}

/// The values, and the keys that hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Values {
    /// 64 bytes.
    Small,
    /// 16 KiB.
    Middle,
    /// 512 KiB.
    Large,
}

impl Values {
    pub(crate) const ALL: [Values; 3] = [Values::Small, Values::Middle, Values::Large];

    pub(crate) fn bytes(self) -> usize {
        match self {
            Values::Small => 64,
            Values::Middle => 16 * 1024,
            Values::Large => 512 * 1024,
        }
    }

    fn keys(self) -> u32 {
        match self {
            Values::Small => 100_000,
            Values::Middle => 10_000,
            Values::Large => 200,
        }
    }

    /// A value as a program reads it; as an argument the large one would be too long.
    fn as_input(self) -> Stdio {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&vec![b'x'; self.bytes()]).and_then(|()| file.rewind()).expect("room for a value");
        file.into()
    }

    fn prefix(self) -> &'static str {
        match self {
            Values::Small => "key",
            Values::Middle => "middle",
            Values::Large => "large",
        }
    }
}

/// The number of the key that everyone asks for.
const HOT: &str = "000000000007";

const fn load(
    name: &'static str,
    ask: Ask,
    clients: u32,
    pipeline: u32,
    values: Values,
    proxy: Proxy,
) -> Load {
    Load { name, ask, clients, pipeline, values, proxy }
}

/// The table, in its order.
pub(crate) const LOADS: [Load; 17] = [
    load("GET 64 B, 50 connections", Ask::Get, 50, 1, Values::Small, Proxy::TogetherCounted),
    load("SET 64 B, 50 connections", Ask::Set, 50, 1, Values::Small, Proxy::Together),
    load("GET 64 B, 50 connections, pipeline 16", Ask::Get, 50, 16, Values::Small, Proxy::TogetherCounted),
    load("SET 64 B, 50 connections, pipeline 16", Ask::Set, 50, 16, Values::Small, Proxy::Together),
    load("GET 64 B, 500 connections", Ask::Get, 500, 1, Values::Small, Proxy::Together),
    load("SET 64 B, 500 connections", Ask::Set, 500, 1, Values::Small, Proxy::Together),
    load("GET 64 B, 1 connection", Ask::Get, 1, 1, Values::Small, Proxy::Together),
    load("GET 16 KiB, 50 connections", Ask::Get, 50, 1, Values::Middle, Proxy::Together),
    load("SET 16 KiB, 50 connections", Ask::Set, 50, 1, Values::Middle, Proxy::Together),
    load("GET 512 KiB, 16 connections", Ask::Get, 16, 1, Values::Large, Proxy::Together),
    load("SET 512 KiB, 16 connections", Ask::Set, 16, 1, Values::Large, Proxy::Together),
    load("MGET of 10 keys, 50 connections", Ask::MultiGet, 50, 1, Values::Small, Proxy::Together),
    load("GET of one hot key, 500 connections", Ask::Hot, 500, 1, Values::Small, Proxy::Together),
    load("GET of one hot key, 50 connections, pipeline 16", Ask::Hot, 50, 16, Values::Small, Proxy::Together),
    load("GET 64 B, 50 connections, proxy on its own core", Ask::Get, 50, 1, Values::Small, Proxy::Apart),
    load("GET 64 B, 500 connections, proxy on its own core", Ask::Get, 500, 1, Values::Small, Proxy::Apart),
    load("GET 64 B, 1 connection, proxy on its own core", Ask::Get, 1, 1, Values::Small, Proxy::Apart),
];

impl Load {
    /// The floor answers 64 bytes, whatever it is asked: it says something of small values only.
    pub(crate) fn has_floor(&self) -> bool {
        self.values == Values::Small && self.ask != Ask::MultiGet
    }

    /// The load generator, so many requests long.
    pub(crate) fn command(&self, target: &Target, requests: u64) -> Command {
        let (mut keys, mut key) = (self.values.keys(), format!("{}:__rand_int__", self.values.prefix()));
        let mut command = Command::new("redis-benchmark");
        command.args(["-h", "127.0.0.1", "-p", &target.port().to_string(), "--csv", "--precision", "3"]);
        command.args([
            "-c",
            &self.clients.to_string(),
            "-P",
            &self.pipeline.to_string(),
            "-n",
            &requests.to_string(),
        ]);
        if target.backend == Backend::Primaries {
            // One thread, as for the others: it would take one for each node. It puts a hash tag of each primary into
            // the keys, so that a third of the keys under each of three tags are as many.
            command.args(["--cluster", "--threads", "1"]);
            (keys, key) = (keys / 3, format!("{}:{{tag}}:__rand_int__", self.values.prefix()));
        }
        command.args(["-r", &keys.to_string()]);
        match self.ask {
            Ask::Get => command.args(["GET", &key]),
            Ask::Hot => command.args(["GET", &key.replace("__rand_int__", HOT)]),
            Ask::Set => command.args(["-x", "SET", &key]),
            Ask::MultiGet => command.arg("MGET").args(vec![key; 10]),
        };
        let value = if self.ask == Ask::Set { self.values.as_input() } else { Stdio::null() };
        command.stdin(value).stderr(Stdio::null());
        command
    }

    /// Writes the values that are read later: eight requests a key leave one in three thousand without.
    pub(crate) fn fill(values: Values, target: &Target) {
        let fill = load("fill", Ask::Set, 50, 8, values, Proxy::Together);
        let done = fill.command(target, 8 * u64::from(values.keys())).stdout(Stdio::null()).status();
        assert!(done.expect("redis-benchmark is installed").success(), "{} was not filled", target.name);
    }
}
