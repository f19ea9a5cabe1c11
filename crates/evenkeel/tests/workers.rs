//! The gateway's workers with real servers: how clients are spread, what a worker that sleeps costs, and that one wakes
//! when it is needed.
//!
//! `EVENKEEL_MEASURE=1` has the gateway wake its second worker by load: that needs a second core that is free, which a
//! machine that runs other tests has not.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::resp::{Elements, integer, text};
use evenkeel_gateway::{Gateway, Settings};
use stage::cluster::Cluster;
use stage::raw::{Raw, command, shown};
use stage::service::wait_until_served;
use stage::{alone, loopback, switched_on, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the settings say where the machine decides.
const AUTO: usize = 0;

fn gateway(cluster: &Cluster, workers: usize) -> Gateway {
    let settings = Settings { workers, ..Settings::new(loopback(0), cluster.addrs()) };
    let gateway = Gateway::start(settings).unwrap();
    wait_until_served(gateway.listen());
    gateway
}

fn subscriber(addr: SocketAddr, channel: &str) -> Raw {
    let mut client = Raw::connect(addr);
    client.send(&command(&["SUBSCRIBE", channel]));
    assert!(shown(&client.reply()).contains("subscribe"));
    client
}

/// Subscriptions to a channel: at a node, one for each worker that has a subscriber.
fn subscriptions(addr: SocketAddr, channel: &str) -> i64 {
    let reply = Raw::connect(addr).ask(&["PUBSUB", "NUMSUB", channel]);
    let words = Elements::of(&reply).unwrap();
    integer(words.last().unwrap()).unwrap()
}

/// Connections of gateways to a node: the one that asks is not counted.
fn connections(node: SocketAddr) -> usize {
    let list = Raw::connect(node).ask(&["CLIENT", "LIST", "TYPE", "normal"]);
    text(&list).map_or(0, |list| list.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count())
        - 1
}

fn said_of_itself(addr: SocketAddr, what: &str) -> u64 {
    let json = Raw::connect(addr).ask_text(&["EVENKEEL", "METRICS"]);
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    parsed[what].as_u64().unwrap()
}

#[test]
fn clients_are_spread_evenly_over_a_fixed_number_of_workers() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let node = cluster.primaries[0].addr;
    let gateway = gateway(&cluster, 2);
    let addr = gateway.listen();
    assert_eq!((said_of_itself(addr, "workers"), said_of_itself(addr, "slots_known")), (2, 16384));
    wait_until("only one client is there", || crowd(addr) == 1);
    let (first, second) = (subscriber(addr, "pair"), subscriber(addr, "pair"));
    assert_eq!(subscriptions(node, "pair"), 2, "each worker has one of two clients");
    drop(first);
    wait_until("it is gone", || subscriptions(node, "pair") == 1);
    // Clients that come now go where fewer are.
    let more: Vec<Raw> = (0..2).map(|_| subscriber(addr, "pair")).collect();
    assert_eq!(subscriptions(node, "pair"), 2);
    assert_eq!(Raw::connect(addr).ask(&["PUBLISH", "pair", "all"]), b":3\r\n");
    drop((second, more));
    gateway.drain();
}

#[test]
fn clients_of_all_workers_that_wait_for_the_end_of_a_pause_are_counted() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let gateway = gateway(&cluster, 2);
    let addr = gateway.listen();
    let mut clients: Vec<Raw> = (0..4).map(|_| Raw::connect(addr)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask(&["PING"]), b"+PONG\r\n"));
    let mut others: Vec<Raw> = (0..2).map(|_| Raw::connect(addr)).collect();
    let blocked = |client: &mut Raw| {
        let info = client.ask_text(&["INFO", "clients"]);
        info.lines().find_map(|line| line.strip_prefix("blocked_clients:")).unwrap().to_owned()
    };
    assert_eq!(others[0].ask(&["CLIENT", "PAUSE", "100000", "WRITE"]), b"+OK\r\n");
    clients.iter_mut().for_each(|client| client.send(&command(&["SET", "key", "1"])));
    for other in &mut others {
        wait_until("all four are counted", || blocked(other) == "4");
    }
    assert_eq!(others[0].ask(&["CLIENT", "UNPAUSE"]), b"+OK\r\n");
    clients.iter_mut().for_each(|client| assert_eq!(client.reply(), b"+OK\r\n"));
    others.iter_mut().for_each(|other| assert_eq!(blocked(other), "0"));
    drop((clients, others));
    gateway.drain();
}

/// Clients of a gateway, the one that asks included.
fn crowd(addr: SocketAddr) -> usize {
    Raw::connect(addr).ask_text(&["CLIENT", "LIST"]).lines().filter(|line| !line.is_empty()).count()
}

#[test]
fn a_worker_that_sleeps_has_no_clients_and_no_connections_to_nodes() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let node = cluster.primaries[0].addr;
    let mut counts = Vec::new();
    for workers in [1, AUTO] {
        let gateway = gateway(&cluster, workers);
        let addr = gateway.listen();
        assert_eq!((said_of_itself(addr, "workers"), said_of_itself(addr, "slots_known")), (1, 16384));
        let clients: Vec<Raw> = (0..20).map(|_| subscriber(addr, "news")).collect();
        assert_eq!(subscriptions(node, "news"), 1, "one worker has all clients");
        assert_eq!(Raw::connect(addr).ask(&["PUBLISH", "news", "all"]), b":20\r\n");
        assert_eq!(Raw::connect(addr).ask(&["SET", "key", "1"]), b"+OK\r\n");
        counts.push(connections(node));
        drop(clients);
        gateway.drain();
        wait_until("the gateway is gone", || connections(node) == 0);
    }
    assert_eq!(counts[0], counts[1], "connections to the node with one worker and with the machine's choice");
}

#[test]
fn a_drain_answers_what_needs_all_workers() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    for workers in [AUTO, 3] {
        let gateway = gateway(&cluster, workers);
        let mut client = Raw::connect(gateway.listen());
        assert_eq!(client.ask(&["MULTI"]), b"+OK\r\n");
        let start = Instant::now();
        let drained = std::thread::spawn(move || gateway.drain());
        std::thread::sleep(Duration::from_millis(200));
        client.send(&[command(&["DISCARD"]), command(&["CLIENT", "LIST"])].concat());
        assert_eq!(client.reply(), b"+OK\r\n");
        let list = client.reply();
        assert!(shown(&list).contains("id="), "{}", shown(&list));
        drop(client);
        drained.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    }
}

#[test]
fn a_full_worker_wakes_a_second_one() {
    if !switched_on("EVENKEEL_MEASURE") {
        return;
    }
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let node = cluster.primaries[0].addr;
    let gateway = gateway(&cluster, AUTO);
    let addr = gateway.listen();
    // Looking through many clients keeps the gateway busy, and neither who asks nor the server.
    let _idle: Vec<Raw> = (0..3000).map(|_| Raw::connect(addr)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let asks = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let mut client = Raw::connect(addr);
            let batch = command(&["CLIENT", "LIST", "TYPE", "pubsub"]).repeat(16);
            while !stop.load(Ordering::Relaxed) {
                client.send(&batch);
                (0..16).for_each(|_| drop(client.reply()));
            }
        })
    };
    while said_of_itself(addr, "workers") < 2 {
        assert!(start.elapsed() < Duration::from_secs(30), "no second worker");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("the second worker works {:?} after the load began", start.elapsed());
    std::thread::sleep(Duration::from_millis(200));
    let clients: Vec<Raw> = (0..5).map(|_| subscriber(addr, "news")).collect();
    assert_eq!(subscriptions(node, "news"), 1, "all of them go to the new one");
    assert_eq!(Raw::connect(addr).ask(&["PUBLISH", "news", "all"]), b":5\r\n");
    stop.store(true, Ordering::Relaxed);
    asks.join().unwrap();
    drop(clients);
    gateway.drain();
}
