//! Commands over the whole cluster, against real servers: who is reached, what SCAN returns while nodes fail over, start
//! again and hand slots on, and commands that the gateway learns from the servers.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::resp::{Elements, text};
use evenkeel_gateway::{Gateway, Settings};
use stage::cluster::Cluster;
use stage::raw::{Raw, command, shown, texts};
use stage::service::wait_until_served;
use stage::{alone, loopback, wait_until};
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

fn gateway(cluster: &Cluster) -> Gateway {
    let gateway = Gateway::start(Settings::new(loopback(0), cluster.addrs())).unwrap();
    wait_until_served(gateway.listen());
    gateway
}

#[test]
fn settings_scripts_and_logs_are_the_whole_clusters() {
    let _alone = alone();
    let cluster = Cluster::start(3, 3, &["--enable-debug-command", "yes"]);
    let gateway = gateway(&cluster);
    let mut client = Raw::connect(gateway.listen());
    let nodes = || cluster.nodes();

    assert_eq!(client.ask(&["CONFIG", "SET", "maxmemory-samples", "7"]), b"+OK\r\n");
    assert!(nodes().all(|node| node.ask(&["CONFIG", "GET", "maxmemory-samples"]).ends_with("$1\r\n7\r\n")));
    let refused = client.ask(&["CONFIG", "SET", "maxmemory-samples", "8", "port", "1"]);
    assert!(refused.starts_with(b"-ERR evenkeel: 'port' is evenkeel's own"), "{}", shown(&refused));

    let sha = client.ask_text(&["SCRIPT", "LOAD", "return 1"]);
    assert!(nodes().all(|node| node.ask(&["SCRIPT", "EXISTS", &sha]) == "*1\r\n:1\r\n"));
    assert_eq!(client.ask(&["SCRIPT", "FLUSH"]), b"+OK\r\n");
    assert!(nodes().all(|node| node.ask(&["SCRIPT", "EXISTS", &sha]) == "*1\r\n:0\r\n"));

    let library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(client.ask_text(&["FUNCTION", "LOAD", library]), "lib");
    let dump = client.ask(&["FUNCTION", "DUMP"]);
    assert_eq!(client.ask(&["FUNCTION", "FLUSH"]), b"+OK\r\n");
    let restore = [b"*3\r\n$8\r\nFUNCTION\r\n$7\r\nRESTORE\r\n".as_slice(), &dump].concat();
    client.send(&restore);
    assert_eq!(client.reply(), b"+OK\r\n");
    for key in ["a", "foo", "bar"] {
        assert_eq!(client.ask(&["FCALL", "f", "1", key]), b":1\r\n", "{key}");
    }

    client.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    client.ask(&["SLOWLOG", "RESET"]);
    for key in ["a", "foo", "bar"] {
        client.ask(&["SET", key, "1"]); // each on another node
    }
    client.ask(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    let log = client.ask(&["SLOWLOG", "GET", "-1"]);
    let nodes_in_log: HashSet<String> =
        Elements::of(&log).unwrap().map(|entry| texts(entry)[5].clone().unwrap()).collect();
    let primaries: HashSet<String> = cluster.primaries.iter().map(|node| node.addr.to_string()).collect();
    assert_eq!(nodes_in_log, primaries);
    assert_eq!(Elements::of(&client.ask(&["SLOWLOG", "GET", "2"])).unwrap().left(), 2);

    let info = client.ask_text(&["INFO", "nodes", "server"]);
    assert!(nodes().all(|node| info.contains(&format!("# Node {}\r\n", node.addr))), "{info}");
    let replica = &cluster.replicas[0];
    let role = client.ask(&["EVENKEEL", "NODE", &replica.addr.to_string(), "ROLE"]);
    assert!(role.starts_with(b"*5\r\n$5\r\nslave\r\n"), "{}", shown(&role));
    let moved = client.ask(&["EVENKEEL", "NODE", &cluster.primaries[0].id()[..12], "GET", "foo"]);
    assert!(moved.starts_with(b"-MOVED 12182 "), "{}", shown(&moved));
    assert_eq!(client.ask(&["CLUSTER", "COUNTKEYSINSLOT", "12182"]), b":1\r\n");
    assert_eq!(client.ask(&["DEBUG", "SET-ACTIVE-EXPIRE", "1"]), b"+OK\r\n");
}

#[test]
fn a_replica_that_is_gone_does_not_stop_settings() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 1, &[]);
    let gateway = gateway(&cluster);
    let mut client = Raw::connect(gateway.listen());
    assert_eq!(client.ask(&["CONFIG", "SET", "maxmemory-samples", "7"]), b"+OK\r\n");
    cluster.replicas[0].kill();
    assert_eq!(client.ask(&["CONFIG", "SET", "maxmemory-samples", "8"]), b"+OK\r\n");
    assert!(
        cluster
            .primaries
            .iter()
            .all(|node| node.ask(&["CONFIG", "GET", "maxmemory-samples"]).ends_with("8\r\n"))
    );
    let gone = client.ask(&["EVENKEEL", "NODE", &cluster.replicas[0].addr.to_string(), "PING"]);
    assert!(gone.starts_with(b"-UNAVAILABLE node "), "{}", shown(&gone));
}

#[test]
fn a_script_that_does_not_end_is_killed_through_the_gateway() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &["--busy-reply-threshold", "50"]);
    let gateway = gateway(&cluster);
    let mut busy = Raw::connect(gateway.listen());
    let mut other = Raw::connect(gateway.listen());
    for (call, kill) in [
        (vec!["EVAL", "while true do end", "1", "foo"], ["SCRIPT", "KILL"]),
        (vec!["FCALL", "forever", "1", "foo"], ["FUNCTION", "KILL"]),
    ] {
        let library = "#!lua name=lib\nredis.register_function{function_name='forever', flags={'no-writes'}, \
                       callback=function() while true do end end}";
        other.ask(&["FUNCTION", "LOAD", "REPLACE", library]);
        busy.send(&command(&call));
        if kill[0] == "FUNCTION" {
            wait_until("the function is seen to run", || {
                shown(&other.ask(&["FUNCTION", "STATS"])).contains("duration_ms")
            });
        }
        wait_until("it is killed", || other.ask(&kill) == b"+OK\r\n");
        let killed = busy.reply();
        assert!(
            killed.starts_with(b"-ERR Error running") || killed.starts_with(b"-ERR"),
            "{}",
            shown(&killed)
        );
        assert!(other.ask(&kill).starts_with(b"-NOTBUSY"));
    }
    assert_eq!(busy.ask(&["SET", "foo", "1"]), b"+OK\r\n");
}

/// Sets `count` keys and returns them.
fn fill(client: &mut Raw, count: usize) -> HashSet<String> {
    let keys: HashSet<String> = (0..count).map(|at| format!("key:{at}")).collect();
    for key in &keys {
        client.send(&command(&["SET", key, "1"]));
    }
    keys.iter().for_each(|_| assert_eq!(client.reply(), b"+OK\r\n"));
    keys
}

/// One SCAN: the next cursor and the keys.
fn scan(client: &mut Raw, cursor: &str, count: &str) -> (String, Vec<String>) {
    let reply = client.ask(&["SCAN", cursor, "COUNT", count]);
    let mut pair = Elements::of(&reply).unwrap_or_else(|| panic!("{}", shown(&reply)));
    let cursor = String::from_utf8(text(pair.next().unwrap()).unwrap().to_vec()).unwrap();
    (cursor, texts(pair.next().unwrap()).into_iter().flatten().collect())
}

/// A walk to its end, with something done after some calls; every key has to be seen.
fn walk(clients: &mut [Raw], keys: &HashSet<String>, what: &str, mut meanwhile: impl FnMut(usize)) -> usize {
    let (mut cursor, mut seen, mut calls) = ("0".to_owned(), HashSet::new(), 0);
    loop {
        let of = calls % clients.len();
        let (next, found) = scan(&mut clients[of], &cursor, "40");
        seen.extend(found);
        calls += 1;
        assert!(next.parse::<u64>().unwrap() < 1 << 53, "{next}");
        assert!(calls < 100_000, "{what}: the walk does not end");
        if next == "0" {
            break;
        }
        cursor = next;
        meanwhile(calls);
    }
    let missed: Vec<&String> = keys.difference(&seen).take(10).collect();
    assert!(missed.is_empty(), "{what}: of {} keys {missed:?} … were missed", keys.len());
    calls
}

#[test]
fn scan_misses_no_key_when_a_primary_fails_over_or_starts_again() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &["--appendonly", "yes", "--appendfsync", "always"]);
    let (one, two) = (gateway(&cluster), gateway(&cluster));
    let mut clients = [Raw::connect(one.listen()), Raw::connect(two.listen())];
    let keys = fill(&mut clients[0], 4000);
    cluster.wait_until_copied();
    let calls = walk(&mut clients, &keys, "two gateways in turn", |_| ());
    println!("{calls} calls when nothing happens");
    let calls = walk(&mut clients, &keys, "a failover", |calls| {
        if calls == 20 {
            let promoted = cluster.replicas[0].ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
            assert_eq!(promoted, "+OK\r\n");
        }
    });
    println!("{calls} calls with a failover");
    wait_until("the old primary copies the new one", || cluster.primaries[0].role() == "slave");
    // Started again before anybody replaces it: the same node, and another order of its keys.
    let node = &mut cluster.primaries[1];
    let calls = walk(&mut clients, &keys, "a restart", |calls| {
        if calls == 50 {
            node.kill();
            node.start_again();
        }
    });
    println!("{calls} calls with a restart");
}

#[test]
fn scan_misses_no_key_while_slots_move() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let mut clients = [Raw::connect(gateway.listen())];
    let keys = fill(&mut clients[0], 3000);
    let done = AtomicBool::new(false);
    let walks = std::thread::scope(|scope| {
        scope.spawn(|| {
            let [a, b, c] = cluster.primaries.as_slice() else { unreachable!("three were started") };
            for (from, to) in [(c, a), (a, b), (b, c)] {
                cluster.reshard(from, to, 150);
            }
            done.store(true, Ordering::Relaxed);
        });
        let mut walks = 0;
        while !done.load(Ordering::Relaxed) {
            walk(&mut clients, &keys, "slots move", |_| ());
            walks += 1;
        }
        walks
    });
    println!("{walks} walks while 450 slots moved");
    assert!(walks > 0);
    // A move that nobody finishes: keys are in both places, and the walk ends all the same.
    let (from, to) = (&cluster.primaries[1], &cluster.primaries[0]);
    let key = keys.iter().find(|key| from.ask(&["EXISTS", key]) == ":1\r\n").unwrap();
    let slot = evenkeel_core::topology::slot(key.as_bytes()).to_string();
    assert_eq!(to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.id()]), "+OK\r\n");
    assert_eq!(from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.id()]), "+OK\r\n");
    let port = to.addr.port().to_string();
    walk(&mut clients, &keys, "an open slot", |calls| {
        if calls == 70 {
            let migrated = from.ask(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]);
            assert!(migrated.starts_with('+'), "{migrated}");
        }
    });
}

#[test]
fn a_modules_commands_are_learned() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("strange.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/module/strange.c");
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&module).arg(&source).status();
    assert!(built.expect("a C compiler (apt install build-essential)").success());
    let cluster = Cluster::start(3, 0, &["--loadmodule", module.to_str().unwrap()]);
    let gateway = gateway(&cluster);
    let mut client = Raw::connect(gateway.listen());
    wait_until("the module is known", || client.ask(&["STRANGE.NUMBER"]) == b":4711\r\n");
    for key in ["a", "foo", "bar"] {
        assert_eq!(client.ask(&["strange.put", key, "x"]), b"+OK\r\n");
        assert_eq!(client.ask_text(&["GET", key]), "x");
    }
    assert_eq!(client.ask(&["STRANGE.BOTH", "{a}1", "{a}2"]), b":2\r\n");
    let across = client.ask(&["STRANGE.BOTH", "a", "foo"]);
    assert_eq!(across, b"-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    let ruled = client.ask(&["STRANGE.RULE"]);
    assert!(ruled.starts_with(b"-ERR this command administers a node"), "{}", shown(&ruled));
    assert!(client.ask(&["STRANGE.NOPE"]).starts_with(b"-ERR unknown command 'STRANGE.NOPE'"));
}
