//! Clients that wait: blocking commands, CLIENT UNBLOCK and WAIT, with real servers.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_gateway::{Gateway, Settings};
use rustix::process::Signal;
use stage::cluster::Cluster;
use stage::raw::{Raw, command, metric, shown, still_serves, texts};
use stage::service::{Service, kill, wait_until_served};
use stage::{alone, loopback, wait_until};
use std::net::SocketAddr;
use std::time::Duration;

const NODE_TIMEOUT: [&str; 2] = ["--cluster-node-timeout", "1000"];

fn gateway(cluster: &Cluster) -> Gateway {
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.workers = 2;
    let gateway = Gateway::start(settings).expect("the gateway starts");
    wait_until_served(gateway.listen());
    gateway
}

/// Waits until so many clients wait at the nodes.
fn blocked(cluster: &Cluster, count: usize) {
    wait_until("the clients wait", || {
        let waiting = |node: &stage::cluster::Node| node.info(&["INFO", "clients"], "blocked_clients");
        cluster.primaries.iter().filter_map(|node| waiting(node).parse::<usize>().ok()).sum::<usize>()
            == count
    });
}

fn waits(addr: SocketAddr, words: &[&str]) -> Raw {
    let mut client = Raw::connect(addr);
    client.send(&command(words));
    client
}

#[test]
fn every_blocking_command_is_served_as_by_a_server() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let mut other = Raw::connect(addr);
    for (waiting, served, expected) in [
        (vec!["BLPOP", "{q}a", "{q}b", "0"], vec!["RPUSH", "{q}b", "1"], "*2\r\n$4\r\n{q}b\r\n$1\r\n1\r\n"),
        (vec!["BRPOP", "{q}a", "9"], vec!["RPUSH", "{q}a", "1", "2"], "*2\r\n$4\r\n{q}a\r\n$1\r\n2\r\n"),
        (vec!["BLMOVE", "l", "l", "LEFT", "RIGHT", "0"], vec!["RPUSH", "l", "v"], "$1\r\nv\r\n"),
        (vec!["BRPOPLPUSH", "r", "r", "0"], vec!["RPUSH", "r", "v"], "$1\r\nv\r\n"),
        (
            vec!["BLMPOP", "0", "1", "m", "LEFT"],
            vec!["RPUSH", "m", "v"],
            "*2\r\n$1\r\nm\r\n*1\r\n$1\r\nv\r\n",
        ),
        (vec!["BZPOPMIN", "z", "0"], vec!["ZADD", "z", "1", "v"], "*3\r\n$1\r\nz\r\n$1\r\nv\r\n$1\r\n1\r\n"),
        (vec!["BZPOPMAX", "y", "0"], vec!["ZADD", "y", "1", "v"], "*3\r\n$1\r\ny\r\n$1\r\nv\r\n$1\r\n1\r\n"),
        (
            vec!["BZMPOP", "0", "1", "x", "MIN"],
            vec!["ZADD", "x", "1", "v"],
            "*2\r\n$1\r\nx\r\n*1\r\n*2\r\n$1\r\nv\r\n$1\r\n1\r\n",
        ),
        (
            vec!["XREAD", "BLOCK", "0", "STREAMS", "s", "$"],
            vec!["XADD", "s", "1-1", "f", "v"],
            "*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
        ),
    ] {
        let mut client = waits(addr, &waiting);
        blocked(&cluster, 1);
        assert_eq!(metric(addr, "blocked_clients"), 1);
        assert!(!shown(&other.ask(&served)).starts_with('-'), "{served:?}");
        assert_eq!(shown(&client.reply()), shown(expected.as_bytes()), "{waiting:?}");
        assert_eq!(client.ask(&["PING"]), b"+PONG\r\n");
    }
    other.ask(&["XGROUP", "CREATE", "s", "g", "$"]);
    let mut client = waits(addr, &["XREADGROUP", "GROUP", "g", "c", "BLOCK", "0", "STREAMS", "s", ">"]);
    blocked(&cluster, 1);
    other.ask(&["XADD", "s", "2-1", "f", "v"]);
    assert!(shown(&client.reply()).contains("2-1"));
    assert_eq!(client.ask(&["BLPOP", "none", "0.01"]), b"*-1\r\n");
    assert_eq!(shown(&client.ask(&["BLPOP", "none", "-1"])), "-ERR timeout is negative\\r\\n");
    assert_eq!(metric(addr, "blocked_clients"), 0);
    still_serves(addr);
}

#[test]
fn who_waits_is_found_and_freed_on_any_worker() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let mut other = Raw::connect(addr);
    // On both workers: a client goes to the one with fewer.
    for (reason, expected) in
        [("TIMEOUT", "*-1\r\n"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")].repeat(4)
    {
        let mut client = Raw::connect(addr);
        let number = shown(&client.ask(&["CLIENT", "ID"])).replace([':', '\\', 'r', 'n'], "");
        assert_eq!(shown(&other.ask(&["CLIENT", "UNBLOCK", &number])), ":0\\r\\n");
        client.send(&command(&["BLPOP", "q", "0"]));
        blocked(&cluster, 1);
        assert!(other.ask_text(&["CLIENT", "LIST", "ID", &number]).contains(" flags=b "));
        assert_eq!(shown(&other.ask(&["CLIENT", "UNBLOCK", &number, reason])), ":1\\r\\n");
        assert_eq!(shown(&client.reply()), shown(expected.as_bytes()));
    }
    for gone in [std::net::Shutdown::Write, std::net::Shutdown::Both] {
        let client = waits(addr, &["BLPOP", "q", "0"]);
        blocked(&cluster, 1);
        client.stream.shutdown(gone).unwrap();
        blocked(&cluster, 0);
    }
    other.ask(&["RPUSH", "q", "kept"]);
    assert_eq!(shown(&other.ask(&["LLEN", "q"])), ":1\\r\\n");
}

#[test]
fn a_wait_goes_on_across_a_failover() {
    let _alone = alone();
    let mut service = Service::start("");
    let addr = service.addr;
    let keys: Vec<String> = (0..30).map(|n| format!("queue:{n}")).collect();
    let mut clients: Vec<Raw> = keys.iter().map(|key| waits(addr, &["BLPOP", key, "50"])).collect();
    let mut streams: Vec<Raw> = keys
        .iter()
        .map(|key| waits(addr, &["XREAD", "BLOCK", "0", "STREAMS", &format!("{key}s"), "$"]))
        .collect();
    wait_until("they wait", || metric(addr, "blocked_clients") == 60);
    std::thread::sleep(Duration::from_millis(300)); // known to wait
    let (_, pid) = service.nodes("primary").remove(0);
    kill(pid);
    wait_until("a replica has taken over", || {
        let primaries = service.nodes("primary");
        primaries.len() == 3 && primaries.iter().all(|(_, other)| *other != pid)
    });
    service.wait_until_ok("all is well again");
    let mut other = Raw::connect(addr);
    for key in &keys {
        assert_eq!(shown(&other.ask(&["RPUSH", key, key])), ":1\\r\\n");
        other.ask(&["XADD", &format!("{key}s"), "5-1", "f", "v"]);
    }
    for ((key, client), stream) in keys.iter().zip(&mut clients).zip(&mut streams) {
        let popped = client.reply();
        assert_eq!(texts(&popped), [Some(key.clone()), Some(key.clone())], "{}", shown(&popped));
        assert!(shown(&stream.reply()).contains("5-1"));
    }
    still_serves(addr);
}

#[test]
fn waits_follow_their_slots() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let keys: Vec<String> = (0..60).map(|n| format!("moving:{n}")).collect();
    let mut clients: Vec<Raw> = keys.iter().map(|key| waits(addr, &["BRPOP", key, "0"])).collect();
    blocked(&cluster, 60);
    let [from, to, _] = cluster.primaries.as_slice() else { unreachable!("three were started") };
    cluster.reshard(from, to, 5461);
    let mut other = Raw::connect(addr);
    for (key, client) in keys.iter().zip(&mut clients) {
        assert_eq!(shown(&other.ask(&["LPUSH", key, "v"])), ":1\\r\\n");
        assert_eq!(texts(&client.reply()), [Some(key.clone()), Some("v".to_owned())]);
    }
    still_serves(addr);
}

#[test]
fn replicas_are_counted_for_what_this_connection_wrote() {
    let _alone = alone();
    let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster);
    let mut client = Raw::connect(gateway.listen());
    let mut other = Raw::connect(gateway.listen());
    assert_eq!(client.ask(&["WAIT", "1", "30000"]), b":1\r\n");
    for key in ["a", "b", "c"] {
        client.ask(&["SET", key, "1"]);
    }
    assert_eq!(client.ask(&["WAIT", "1", "30000"]), b":1\r\n");
    assert_eq!(client.ask(&["WAIT", "2", "1500"]), b":1\r\n");
    // Which keys are whose does not matter: one replica of the three stands still.
    cluster.replicas[0].signal(Signal::STOP);
    let held = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let mine = held.iter().find(|key| evenkeel_core::topology::slot(key.as_bytes()) <= 5460).expect("a key");
    let yours = held.iter().find(|key| evenkeel_core::topology::slot(key.as_bytes()) > 5461).expect("a key");
    other.ask(&["SET", yours, "2"]);
    assert_eq!(other.ask(&["WAIT", "1", "30000"]), b":1\r\n");
    client.ask(&["SET", mine, "2"]);
    assert_eq!(client.ask(&["WAIT", "1", "200"]), b":0\r\n");
    client.send(&command(&["WAIT", "1", "0"]));
    cluster.replicas[0].signal(Signal::CONT);
    assert_eq!(client.reply(), b":1\r\n");
    still_serves(gateway.listen());
}
