//! CLIENT TRACKING through the gateway, with real servers: a client that keeps what it has read hears of every change,
//! whichever node it happens on, and while primaries die and slots move.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::resp::{Elements, text};
use evenkeel_gateway::{Gateway, Settings};
use stage::cluster::Cluster;
use stage::raw::{Raw, shown};
use stage::service::wait_until_served;
use stage::{SOON, alone, loopback, wait_until};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const KEYS: usize = 200;
const NODE_TIMEOUT: [&str; 2] = ["--cluster-node-timeout", "1000"];

#[test]
fn a_cache_is_told_of_every_change() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let (mut cache, mut writer) = (Cache::start(addr, &["ON"]), Raw::connect(addr));
    for turn in 0..3 {
        change_all(&mut writer, turn);
        cache.reads_all(turn);
    }
    assert_eq!(cache.told_all, 0, "every key was told by its name");
    // Slots move: what was read from their old owner is read again from the new one.
    cluster.reshard(&cluster.primaries[0], &cluster.primaries[1], 200);
    change_all(&mut writer, 3);
    cache.reads_all(3);
    // A primary is lost, and with it what it remembered.
    cluster.primaries[2].kill();
    wait_until("a replica took over", || cluster.replicas[2].role() == "master");
    change_all(&mut writer, 4);
    cache.reads_all(4);
    assert!(cache.told_all > 0, "the client has to forget what the lost node remembered");
    change_all(&mut writer, 5);
    cache.reads_all(5);
}

#[test]
fn a_broadcast_tells_of_keys_that_nobody_has_read() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let (mut cache, mut writer) =
        (Cache::start(addr, &["ON", "BCAST", "PREFIX", "key:"]), Raw::connect(addr));
    change_all(&mut writer, 0);
    writer.ask(&["SET", "other:1", "1"]);
    cache.hears_of(KEYS);
    cluster.primaries[1].kill();
    wait_until("a replica took over", || cluster.replicas[1].role() == "master");
    wait_until("the new primary tells of changes", || {
        change_all(&mut writer, 1);
        cache.listen(Duration::from_millis(300));
        cache.told.len() == KEYS
    });
}

#[test]
fn a_client_without_pushes_has_another_one_hear_for_it() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let (mut ear, mut client, mut writer) = (Raw::connect(addr), Raw::connect(addr), Raw::connect(addr));
    let number = String::from_utf8(ear.ask(&["CLIENT", "ID"])[1..].to_vec()).unwrap().trim().to_owned();
    ear.ask(&["SUBSCRIBE", "__redis__:invalidate"]);
    assert_eq!(client.ask(&["CLIENT", "TRACKING", "ON", "REDIRECT", &number]), b"+OK\r\n");
    for key in ["a", "b", "c", "foo", "bar"] {
        client.ask(&["GET", key]);
        writer.ask(&["SET", key, "1"]);
        let message = format!(
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n${}\r\n{key}\r\n",
            key.len()
        );
        assert_eq!(shown(&ear.reply()), shown(message.as_bytes()));
    }
}

/// A client that keeps what it has read until it hears that it has changed.
struct Cache {
    raw: Raw,
    values: HashMap<String, String>,
    /// Keys that it has heard of, and how often it had to forget all.
    told: HashMap<String, u32>,
    told_all: u32,
}

impl Cache {
    fn start(addr: SocketAddr, options: &[&str]) -> Cache {
        let mut raw = Raw::connect(addr);
        raw.ask(&["HELLO", "3"]);
        assert_eq!(raw.ask(&[&["CLIENT", "TRACKING"], options].concat()), b"+OK\r\n");
        Cache { raw, values: HashMap::new(), told: HashMap::new(), told_all: 0 }
    }

    /// Its own value, or what the server has.
    fn get(&mut self, key: &str) -> String {
        if let Some(value) = self.values.get(key) {
            return value.clone();
        }
        self.raw.send(&stage::raw::command(&["GET", key]));
        loop {
            let reply = self.raw.reply();
            if !self.hears(&reply) {
                let value = String::from_utf8_lossy(text(&reply).unwrap_or_default()).into_owned();
                self.values.insert(key.to_owned(), value.clone());
                return value;
            }
        }
    }

    /// Takes a push; whether it was one.
    fn hears(&mut self, reply: &[u8]) -> bool {
        if reply.first() != Some(&b'>') {
            return false;
        }
        let words: Vec<&[u8]> = Elements::of(reply).unwrap().collect();
        assert_eq!(text(words[0]), Some(b"invalidate".as_slice()), "{}", shown(reply));
        match Elements::of(words[1]) {
            None => {
                self.told_all += 1;
                self.values.clear();
            }
            Some(keys) => {
                for key in keys.filter_map(text) {
                    let key = String::from_utf8_lossy(key).into_owned();
                    self.values.remove(&key);
                    *self.told.entry(key).or_default() += 1;
                }
            }
        }
        true
    }

    /// Takes what comes within a while.
    fn listen(&mut self, time: Duration) {
        let bytes = self.raw.within(time);
        let mut rest: &[u8] = &bytes;
        while !rest.is_empty() {
            let len = match evenkeel_core::resp::ReplyScan::default().advance(rest).unwrap() {
                evenkeel_core::resp::Scan::Done(len) => len,
                evenkeel_core::resp::Scan::More(_) => panic!("half a push came: {}", shown(rest)),
            };
            assert!(self.hears(&rest[..len]), "{}", shown(rest));
            rest = &rest[len..];
        }
    }

    /// Waits until it has the new value of every key: what it keeps must not stay old.
    fn reads_all(&mut self, turn: u32) {
        let wanted = turn.to_string();
        let start = Instant::now();
        loop {
            self.listen(Duration::from_millis(100));
            let old: Vec<usize> = (0..KEYS).filter(|n| self.get(&format!("key:{n}")) != wanted).collect();
            if old.is_empty() {
                return;
            }
            assert!(start.elapsed() < SOON, "turn {turn}: nobody told that {} keys have changed", old.len());
        }
    }

    fn hears_of(&mut self, keys: usize) {
        wait_until("all changes are heard of", || {
            self.listen(Duration::from_millis(100));
            self.told.len() >= keys
        });
        assert!(self.told.keys().all(|key| key.starts_with("key:")), "{:?}", self.told.keys());
        self.told.clear();
    }
}

fn change_all(writer: &mut Raw, turn: u32) {
    for n in 0..KEYS {
        let reply = writer.ask(&["SET", &format!("key:{n}"), &turn.to_string()]);
        assert!(reply == b"+OK\r\n" || reply.starts_with(b"-UNCERTAIN"), "{}", shown(&reply));
    }
}

fn gateway(cluster: &Cluster) -> Gateway {
    let gateway = Gateway::start(Settings::new(loopback(0), cluster.addrs())).expect("a gateway");
    wait_until_served(gateway.listen());
    gateway
}
