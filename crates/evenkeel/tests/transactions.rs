//! Transactions through the gateway, with real servers: nothing of them is lost, done twice or done by half, while
//! clients compete, a primary is killed, and slots move.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::resp::{Elements, integer};
use evenkeel_core::topology::slot;
use evenkeel_gateway::{Gateway, Settings};
use stage::cluster::{Cluster, Node};
use stage::raw::{Raw, command, shown, still_serves};
use stage::service::wait_until_served;
use stage::{alone, loopback, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const CLIENTS: usize = 8;
const NULL: &[u8] = b"*-1\r\n";

#[test]
fn no_update_is_lost_when_clients_compete() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let crew: Vec<JoinHandle<u32>> =
        (0..CLIENTS).map(|_| std::thread::spawn(move || count_up(addr, "counter", 125))).collect();
    let retries: u32 = crew.into_iter().map(|one| one.join().expect("a client")).sum();
    println!("1000 increments by {CLIENTS} clients, {retries} times a watched key had changed");
    assert_eq!(Raw::connect(addr).ask_text(&["GET", "counter"]), "1000");
    assert!(retries > 0, "the clients did not compete");
    // An own write between WATCH and EXEC counts as anybody's.
    let mut client = Raw::connect(addr);
    for words in [&["WATCH", "counter"][..], &["SET", "counter", "7"], &["MULTI"]] {
        assert_eq!(shown(&client.ask(words)), "+OK\\r\\n");
    }
    client.ask(&["SET", "counter", "8"]);
    assert_eq!(client.ask(&["EXEC"]), NULL);
    still_serves(addr);
}

/// Adds 1 as often as it has to, reading and writing apart; returns how often somebody else was faster.
fn count_up(addr: SocketAddr, key: &str, times: u32) -> u32 {
    let mut client = Raw::connect(addr);
    let (mut done, mut retries) = (0, 0);
    while done < times {
        assert_eq!(shown(&client.ask(&["WATCH", key])), "+OK\\r\\n");
        let reply = client.ask(&["GET", key]);
        let value: u64 = if reply == b"$-1\r\n" { 0 } else { number(&reply) };
        let set = command(&["SET", key, &(value + 1).to_string()]);
        client.send(&[command(&["MULTI"]), set, command(&["EXEC"])].concat());
        assert_eq!((client.reply(), client.reply()), (b"+OK\r\n".to_vec(), b"+QUEUED\r\n".to_vec()));
        match client.reply() {
            reply if reply == NULL => retries += 1,
            reply => {
                assert_eq!(shown(&reply), "*1\\r\\n+OK\\r\\n");
                done += 1;
            }
        }
    }
    retries
}

fn number(bulk: &[u8]) -> u64 {
    let text = evenkeel_core::resp::text(bulk).unwrap_or_else(|| panic!("a number, not {}", shown(bulk)));
    String::from_utf8_lossy(text).parse().expect("a number")
}

#[test]
fn a_killed_primary_takes_all_of_a_transaction_or_nothing() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &["--cluster-node-timeout", "1000"]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let pairs = Pairs::start(addr);
    std::thread::sleep(Duration::from_millis(700));
    cluster.primaries[1].kill();
    wait_until("a replica took over", || cluster.replicas[1].role() == "master");
    std::thread::sleep(Duration::from_millis(700));
    let (done, uncertain) = pairs.stop();
    println!("{done} transactions, {uncertain} of them uncertain");
    assert!(done > 100 && uncertain < 2 * CLIENTS as u32, "{done} done, {uncertain} uncertain");
    both_counters_are_equal(addr);
}

/// Clients that add to two counters in one transaction.
struct Pairs {
    ends: Arc<AtomicBool>,
    crew: Vec<JoinHandle<(u32, u32)>>,
}

impl Pairs {
    fn start(addr: SocketAddr) -> Pairs {
        let ends = Arc::new(AtomicBool::new(false));
        let one = |client: usize| {
            let ends = ends.clone();
            std::thread::spawn(move || add_pairs(addr, client, &ends))
        };
        Pairs { crew: (0..CLIENTS).map(one).collect(), ends }
    }

    /// Transactions that were executed, and those of which nobody knows.
    fn stop(self) -> (u32, u32) {
        self.ends.store(true, Ordering::Relaxed);
        let counts = self.crew.into_iter().map(|one| one.join().expect("a client"));
        counts.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1))
    }
}

fn add_pairs(addr: SocketAddr, client: usize, ends: &AtomicBool) -> (u32, u32) {
    let mut raw = Raw::connect(addr);
    let (mut done, mut uncertain, mut expected) = (0, 0, None);
    let [one, other] = pair(client);
    let words: [&[&str]; 4] = [&["MULTI"], &["INCR", &one], &["INCR", &other], &["EXEC"]];
    let request: Vec<u8> = words.iter().flat_map(|words| command(words)).collect();
    while !ends.load(Ordering::Relaxed) {
        raw.send(&request);
        (0..3).for_each(|_| drop(raw.reply()));
        let reply = raw.reply();
        if reply.starts_with(b"-UNCERTAIN") {
            (uncertain, expected) = (uncertain + 1, None);
            continue;
        }
        let counts: Vec<i64> =
            Elements::of(&reply).unwrap_or_else(|| panic!("{}", shown(&reply))).filter_map(integer).collect();
        assert_eq!((counts.len(), counts[0]), (2, counts[1]), "one half was done without the other");
        // What a dead primary had not told its replica may be missing, but nothing may have been done twice.
        assert!(expected.is_none_or(|expected| counts[0] <= expected), "{} after {expected:?}", counts[0]);
        (done, expected) = (done + 1, Some(counts[0] + 1));
    }
    (done, uncertain)
}

fn pair(client: usize) -> [String; 2] {
    [format!("one{{{client}}}"), format!("other{{{client}}}")]
}

fn both_counters_are_equal(addr: SocketAddr) {
    let mut raw = Raw::connect(addr);
    for client in 0..CLIENTS {
        let [one, other] = pair(client).map(|key| raw.ask_text(&["GET", &key]));
        assert_eq!(one, other, "the counters of client {client}");
    }
}

#[test]
fn transactions_follow_slots_that_move() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    half_moved(&cluster, addr);
    let pairs = Pairs::start(addr);
    for (from, to) in [(0, 1), (1, 2)] {
        cluster.reshard(&cluster.primaries[from], &cluster.primaries[to], 300);
    }
    let (done, uncertain) = pairs.stop();
    println!("{done} transactions while slots moved");
    assert!(done > 100 && uncertain == 0, "{done} done, {uncertain} uncertain");
    both_counters_are_equal(addr);
}

/// A slot of which some keys are at the new node already: the transaction goes where its keys are, ASKING and all;
/// and while they are on both sides it waits.
fn half_moved(cluster: &Cluster, addr: SocketAddr) {
    let tag = (0..).map(|n| format!("t{n}")).find(|tag| slot(tag.as_bytes()) < 5000).expect("one of three");
    let moved = slot(tag.as_bytes()).to_string();
    let (from, to) = (&cluster.primaries[0], &cluster.primaries[1]);
    let mut client = Raw::connect(addr);
    client.ask(&["SET", &format!("{{{tag}}}old"), "1"]);
    setslot(to, &moved, "IMPORTING", &from.id());
    setslot(from, &moved, "MIGRATING", &to.id());
    let new = format!("{{{tag}}}new");
    assert_eq!(
        transaction(&mut client, &[&["SET", &new, "1"], &["INCR", &new]]),
        "*2\\r\\n+OK\\r\\n:2\\r\\n"
    );
    assert!(to.info(&["INFO", "keyspace"], "db0").starts_with("keys=1,"), "it went to the new node");
    // The same with WATCH: the key is at the new node only.
    assert_eq!(client.ask(&["WATCH", &new]), b"+OK\r\n");
    assert_eq!(transaction(&mut client, &[&["INCR", &new]]), "*1\\r\\n:3\\r\\n");
    assert_eq!(client.ask(&["WATCH", &new]), b"+OK\r\n");
    client.ask(&["INCR", &new]);
    assert_eq!(transaction(&mut client, &[&["INCR", &new]]), "*-1\\r\\n");
    // Keys on both sides: it waits until they are together.
    let old = format!("{{{tag}}}old");
    let words = [old.clone(), new.clone()];
    let waits = std::thread::spawn(move || {
        let mut client = Raw::connect(addr);
        transaction(&mut client, &[&["INCR", &words[0]], &["INCR", &words[1]]])
    });
    std::thread::sleep(Duration::from_millis(200));
    let port = to.addr.port().to_string();
    assert!(from.ask(&["MIGRATE", "127.0.0.1", &port, &old, "0", "5000"]).starts_with("+OK"));
    assert_eq!(waits.join().expect("a client"), "*2\\r\\n:2\\r\\n:5\\r\\n");
    for node in [to, from, &cluster.primaries[2]] {
        setslot(node, &moved, "NODE", &to.id());
    }
    assert_eq!(transaction(&mut client, &[&["INCR", &old]]), "*1\\r\\n:3\\r\\n");
}

fn setslot(node: &Node, slot: &str, state: &str, id: &str) {
    let reply = node.ask(&["CLUSTER", "SETSLOT", slot, state, id]);
    assert!(reply.starts_with("+OK"), "{reply}");
}

/// What EXEC answers.
fn transaction(client: &mut Raw, commands: &[&[&str]]) -> String {
    assert_eq!(client.ask(&["MULTI"]), b"+OK\r\n");
    for words in commands {
        assert_eq!(shown(&client.ask(words)), "+QUEUED\\r\\n");
    }
    shown(&client.ask(&["EXEC"]))
}

fn gateway(cluster: &Cluster) -> Gateway {
    let gateway = Gateway::start(Settings::new(loopback(0), cluster.addrs())).expect("a gateway");
    wait_until_served(gateway.listen());
    gateway
}
