//! What clients of the gateway notice while slots move, nodes die or hang, and the gateway itself is drained: under a
//! load that verifies every answer, with real servers.
//!
//! `EVENKEEL_MEASURE=1` kills ten primaries instead of one and prints how long writes stood still.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::topology::slot;
use evenkeel_gateway::{Gateway, Settings};
use evenkeel_proof::load::{Load, LoadHandle, LoadOptions, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use stage::cluster::{Cluster, Node};
use stage::raw::{Raw, command, shown, still_serves, texts};
use stage::service::{Service, kill, wait_until_served};
use stage::{SOON, alone, block_on, loopback, spread, switched_on, wait_until};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Gossip alone replaces a primary after this time and an election.
const NODE_TIMEOUT: [&str; 2] = ["--cluster-node-timeout", "1000"];

#[test]
fn slots_move_under_load_and_nobody_notices() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let tags: Vec<String> =
        (0..8000).map(|n| format!("t{n}")).filter(|tag| slot(tag.as_bytes()) < 320).collect();
    fill(gateway.listen(), &tags);
    let several = SeveralKeys::start(gateway.listen(), tags);
    let load = load(gateway.listen(), LoadOptions { key_space: 512, ..calm() });
    let [from, to, _] = cluster.primaries.as_slice() else { unreachable!("three were started") };
    for (from, to) in [(from, to), (to, from)] {
        let start = Instant::now();
        goes_on(&load, 500);
        cluster.reshard(from, to, 320);
        println!("320 slots moved in {:.1?}", start.elapsed());
        goes_on(&load, 500);
    }
    let verdict = block_on(load.stop());
    let rounds = several.stop();
    println!("{rounds} rounds of commands with several keys; {verdict}");
    assert!(verdict.is_clean() && rounds > 20, "{rounds} rounds; {verdict}");
    still_serves(gateway.listen());
}

#[test]
fn a_killed_primary_is_replaced_and_nothing_acknowledged_is_lost() {
    let _alone = alone();
    kill_primaries("persistence = \"aof\"");
}

#[test]
fn a_killed_primary_without_persistence_is_replaced_before_it_starts_empty() {
    let _alone = alone();
    kill_primaries("persistence = \"none\"");
}

#[test]
fn a_killed_replica_is_not_noticed() {
    let _alone = alone();
    let mut service = Service::start("");
    let load = load(service.addr, calm());
    goes_on(&load, 300);
    let (name, pid) = service.nodes("replica").remove(0);
    kill(pid);
    wait_until("the replica runs again", || {
        service.nodes("replica").iter().any(|(other, new)| *other == name && *new != pid)
    });
    service.wait_until_ok("the replica is back");
    goes_on(&load, 300);
    let verdict = block_on(load.stop());
    assert!(verdict.is_clean(), "{verdict}");
}

#[test]
fn a_killed_primary_is_replaced_by_the_servers_alone() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster);
    let load = load(gateway.listen(), calm());
    goes_on(&load, 300);
    cluster.primaries[0].kill();
    let start = Instant::now();
    becomes(&cluster.replicas[0], "master");
    println!("an election took {:.1?}", start.elapsed());
    goes_on(&load, 500);
    cluster.primaries[0].start_again();
    becomes(&cluster.primaries[0], "slave");
    goes_on(&load, 300);
    only_uncertain(&block_on(load.stop()));
}

#[test]
fn a_hung_primary_is_given_up_once_it_is_replaced() {
    let _alone = alone();
    let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster);
    let (addr, hung) = (gateway.listen(), &cluster.primaries[0]);
    let key = key_in(0, 5461);
    let load = load(addr, calm());
    goes_on(&load, 300);
    hung.signal(Signal::STOP);
    // Asked while it hangs: what was sent already, and what a new connection to it would wait for.
    let asked: Vec<JoinHandle<(String, String)>> = (0..4)
        .map(|n| {
            let key = key.clone();
            std::thread::sleep(Duration::from_millis(300));
            std::thread::spawn(move || {
                let mut client = Raw::connect(addr);
                if n % 2 == 1 {
                    client.ask(&["HELLO", "3"]);
                }
                let write = client.ask(&["SET", &format!("{{{key}}}{n}"), "1"]);
                (shown(&client.ask(&["EXISTS", &key])), shown(&write))
            })
        })
        .collect();
    becomes(&cluster.replicas[0], "master");
    for asked in asked {
        let (read, write) = asked.join().expect("an answer");
        assert!(read.starts_with(':'), "{read}");
        assert!(write == "+OK\\r\\n" || write.starts_with("-UNCERTAIN"), "{write}");
    }
    goes_on(&load, 500);
    hung.signal(Signal::CONT);
    becomes(hung, "slave");
    goes_on(&load, 300);
    let verdict = block_on(load.stop());
    only_uncertain(&verdict);
    still_serves(addr);
}

#[test]
fn a_drain_answers_everything_that_was_sent() {
    const EACH: usize = 6000;
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let addr = gateway.listen();
    let mut clients: Vec<(String, Raw)> =
        (0..8).map(|n| (format!("drained-{n}"), Raw::connect(addr))).collect();
    let mut idle = Raw::connect(addr);
    assert_eq!(idle.ask(&["PING"]), b"+PONG\r\n");
    for (key, client) in &mut clients {
        client.send(&command(&["INCR", key]).repeat(EACH));
    }
    gateway.drain();
    assert!(std::net::TcpStream::connect(addr).is_err(), "nobody listens any more");
    assert!(idle.try_reply().is_none());
    for (key, client) in &mut clients {
        let replies = client.rest();
        let expected: Vec<u8> = (1..=EACH).flat_map(|n| format!(":{n}\r\n").into_bytes()).collect();
        let got = replies.iter().filter(|byte| **byte == b':').count();
        assert!(replies == expected, "{key}: {got} of {EACH} replies");
    }
    let again = self::gateway(&cluster);
    for (key, _) in &clients {
        assert_eq!(Raw::connect(again.listen()).ask_text(&["GET", key]), EACH.to_string());
    }
}

#[test]
fn a_drain_under_load_loses_nothing() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster);
    let port = gateway.listen().port();
    let load = load(gateway.listen(), LoadOptions { pipeline: 16, ..calm() });
    goes_on(&load, 500);
    let start = Instant::now();
    gateway.drain();
    println!("a drain under load took {:.1?}", start.elapsed());
    let settings = Settings::new(loopback(port), cluster.addrs());
    let again = Gateway::start(settings).expect("the port is free again");
    goes_on(&load, 500);
    let verdict = block_on(load.stop());
    println!("{verdict}");
    assert!(verdict.is_intact(), "{verdict}");
    drop(again);
}

/// New connections all the time, each with one request, while one gateway process after the other takes the port over:
/// none is refused or reset, and every one is answered.
#[test]
fn a_gateway_takes_over_from_another_without_a_refused_connection() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let place = tempfile::tempdir().unwrap();
    let (addr, socket) = (loopback(stage::ports::free(1)), place.path().join("handover.sock"));
    let start = || {
        let seeds: Vec<String> = cluster.addrs().iter().map(SocketAddr::to_string).collect();
        Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["run", "--role", "gateway", "--listen", &addr.to_string(), "--seeds", &seeds.join(",")])
            .arg("--handover")
            .arg(&socket)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut old = start();
    wait_until_served(addr);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<u64>> = (0..4)
        .map(|n| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::Relaxed) {
                    let stream = TcpStream::connect(addr).expect("nobody is refused");
                    let mut client = Raw::over(stream);
                    let reply = client.ask(&["INCR", &format!("handed:{n}")]);
                    count += 1;
                    assert_eq!(shown(&reply), format!(":{count}\\r\\n"));
                }
                count
            })
        })
        .collect();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(300));
        let mut new = start();
        wait_until("the old gateway has ended", || {
            old.try_wait().unwrap().is_some_and(|status| status.success())
        });
        assert!(new.try_wait().unwrap().is_none(), "the new one runs");
        old = new;
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let counts: Vec<u64> =
        clients.into_iter().map(|client| client.join().expect("every request is answered")).collect();
    println!("{counts:?} connections while the gateway changed hands three times");
    kill_process(Pid::from_child(&old), Signal::TERM).unwrap();
    assert!(old.wait().unwrap().success());
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

fn kill_primaries(options: &str) {
    let mut service = Service::start(options);
    let load = load(service.addr, calm());
    let kills = if switched_on("EVENKEEL_MEASURE") { 12 } else { 1 };
    let mut stalls = Vec::new();
    for n in 0..kills {
        goes_on(&load, 300);
        let primaries = service.nodes("primary");
        let (name, pid) = primaries[n % primaries.len()].clone();
        let key = key_of(&service, &name);
        let mut client = Raw::connect(service.addr);
        assert_eq!(client.ask(&["SET", &key, "before"]), b"+OK\r\n");
        kill(pid);
        let killed = Instant::now();
        while !client.ask(&["SET", &key, "after"]).starts_with(b"+OK") {
            assert!(killed.elapsed() < SOON, "writes do not come back");
        }
        stalls.push(killed.elapsed());
        wait_until("the old process is a replica", || {
            service.nodes("replica").iter().any(|(other, new)| *other == name && *new != pid)
        });
        service.wait_until_ok("everything is as before");
        goes_on(&load, 300);
    }
    println!("{options}: writes came back after {} (median / least / most)", spread(&mut stalls));
    only_uncertain(&block_on(load.stop()));
}

/// A key that a node of the service owns.
fn key_of(service: &Service, name: &str) -> String {
    let status = service.status();
    let nodes = status["nodes"].as_array().expect("nodes");
    let node = nodes.iter().find(|node| node["name"] == name).expect("a node of that name");
    let from = node["slots"][0][0].as_u64().expect("slots") as u16;
    let to = node["slots"][0][1].as_u64().expect("slots") as u16;
    key_in(from, to)
}

fn key_in(from: u16, to: u16) -> String {
    let keys = (0..).map(|n: u32| format!("key-{n}"));
    keys.into_iter().find(|key| (from..=to).contains(&slot(key.as_bytes()))).expect("numbers do not end")
}

fn gateway(cluster: &Cluster) -> Gateway {
    let gateway = Gateway::start(Settings::new(loopback(0), cluster.addrs())).expect("a gateway");
    wait_until_served(gateway.listen());
    gateway
}

/// A load that leaves time to the servers on a small machine.
fn calm() -> LoadOptions {
    LoadOptions {
        connections: 6,
        key_space: 64,
        patience: Duration::from_secs(30),
        pause: Duration::from_millis(2),
        settle: SOON,
        ..LoadOptions::default()
    }
}

fn load(addr: SocketAddr, options: LoadOptions) -> LoadHandle {
    Load::start(addr.to_string(), options).expect("a thread for the load")
}

fn goes_on(load: &LoadHandle, requests: u64) {
    assert!(block_on(load.wait_for(requests, SOON)), "the load stands still");
}

fn becomes(node: &Node, role: &str) {
    wait_until(&format!("{} is a {role}", node.addr), || node.role() == role);
}

/// Nothing was lost, and the only errors were those of writes that were on their way to the node that died.
fn only_uncertain(verdict: &Verdict) {
    println!("{verdict}");
    assert!(verdict.is_intact() && verdict.late_writes == 0, "{verdict}");
    assert!(verdict.errors.keys().all(|text| text.starts_with("UNCERTAIN ")), "{verdict}");
}

/// Gives every tag so many keys that its slot takes a while to move.
fn fill(addr: SocketAddr, tags: &[String]) {
    let mut client = Raw::connect(addr);
    for tag in tags {
        let pairs = (0..40).flat_map(|n| [format!("{{{tag}}}:fill:{n}"), "x".repeat(100)]);
        let words: Vec<String> = std::iter::once("MSET".to_owned()).chain(pairs).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(shown(&client.ask(&words)), "+OK\\r\\n");
    }
}

/// A client that uses several keys at a time, some in one slot, some in many.
struct SeveralKeys {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl SeveralKeys {
    fn start(addr: SocketAddr, tags: Vec<String>) -> SeveralKeys {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut client, mut rounds) = (Raw::connect(addr), 0);
            while !stopped.load(Ordering::Relaxed) {
                let tag = &tags[rounds % tags.len()];
                let keys: [String; 3] = std::array::from_fn(|n| format!("{{{tag}}}:{n}"));
                round(&mut client, &keys, rounds);
                let keys: [String; 8] = std::array::from_fn(|n| format!("{tag}:{n}"));
                round(&mut client, &keys, rounds);
                rounds += 1;
            }
            rounds
        });
        SeveralKeys { stop, thread }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("commands with several keys are answered as ever")
    }
}

/// Sets all keys at once, reads them, counts them, deletes them, and misses them.
fn round(client: &mut Raw, keys: &[String], number: usize) {
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let values: Vec<String> = (0..keys.len()).map(|n| format!("{number}-{n}")).collect();
    let pairs: Vec<&str> =
        names.iter().zip(&values).flat_map(|(name, value)| [*name, value.as_str()]).collect();
    let all = |verb: &'static str| std::iter::once(verb).chain(names.iter().copied()).collect::<Vec<_>>();
    let count = format!(":{}\\r\\n", keys.len());
    let set: Vec<&str> = std::iter::once("MSET").chain(pairs).collect();
    assert_eq!(shown(&client.ask(&set)), "+OK\\r\\n");
    let expected: Vec<Option<String>> = values.into_iter().map(Some).collect();
    assert_eq!(texts(&client.ask(&all("MGET"))), expected);
    assert_eq!(shown(&client.ask(&all("EXISTS"))), count);
    assert_eq!(shown(&client.ask(&all("DEL"))), count);
    assert_eq!(texts(&client.ask(&all("MGET"))), vec![None; keys.len()]);
}
