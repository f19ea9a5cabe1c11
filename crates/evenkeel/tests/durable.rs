//! Durability `replicated`: no write that was acknowledged is lost with its primary, under a load that verifies every
//! answer, with real servers.
//!
//! `EVENKEEL_MEASURE=1` repeats each fault ten times.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_gateway::{Durability, Gateway, Settings};
use evenkeel_proof::load::{Load, LoadHandle, LoadOptions, Verdict};
use rustix::process::Signal;
use stage::cluster::{Cluster, Node};
use stage::raw::{Raw, metric, shown, still_serves};
use stage::service::wait_until_served;
use stage::{SOON, alone, block_on, loopback, switched_on, wait_until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A replica must not ask for an election by itself.
const NODE_TIMEOUT: [&str; 2] = ["--cluster-node-timeout", "60000"];

fn gateway(cluster: &Cluster, durability: Durability) -> Gateway {
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.durability = durability;
    let gateway = Gateway::start(settings).expect("the gateway starts");
    wait_until_served(gateway.listen());
    gateway
}

fn load(addr: SocketAddr) -> LoadHandle {
    let options = LoadOptions {
        connections: 8,
        pipeline: 16,
        key_space: 64,
        patience: Duration::from_secs(30),
        ..LoadOptions::default()
    };
    Load::start(addr.to_string(), options).unwrap()
}

fn goes_on(load: &LoadHandle, requests: u64) {
    let (start, before) = (Instant::now(), load.acknowledged());
    while load.acknowledged() < before + requests {
        assert!(start.elapsed() < SOON, "the load stands still");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn becomes(node: &Node, role: &str) {
    wait_until(&format!("{} is a {role}", node.addr), || node.role() == role);
}

/// A read may have seen a write that was not acknowledged then and is gone now: that counts as stale and is not judged.
fn nothing_acknowledged_is_lost(verdict: &Verdict) {
    println!("{verdict}");
    let amiss = verdict.lost_writes + verdict.doubled_writes + verdict.wrong_reads + verdict.unverified_keys;
    assert!(amiss == 0 && verdict.acknowledged_writes > 0, "{verdict}: {:?}", verdict.findings);
}

/// How often each fault is tried.
fn times() -> usize {
    if switched_on("EVENKEEL_MEASURE") { 10 } else { 1 }
}

#[test]
fn a_write_is_acknowledged_when_a_replica_has_it() {
    let _alone = alone();
    let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster, Durability::Replicated);
    let mut client = Raw::connect(gateway.listen());
    for key in ["a", "b", "c"] {
        assert_eq!(shown(&client.ask(&["SET", key, "1"])), "+OK\\r\\n");
    }
    assert!(metric(gateway.listen(), "confirmations") > 0);
    for replica in &cluster.replicas {
        replica.signal(Signal::STOP);
    }
    let start = Instant::now();
    let refused = shown(&client.ask(&["SET", "a", "2"]));
    assert!(refused.starts_with("-UNREPLICATED this was applied on node"), "{refused}");
    assert!(start.elapsed() >= Duration::from_millis(900));
    assert_eq!(client.ask_text(&["GET", "a"]), "2");
    assert_eq!(metric(gateway.listen(), "unreplicated"), 1);
    for replica in &cluster.replicas {
        replica.signal(Signal::CONT);
    }
    assert_eq!(shown(&client.ask(&["SET", "a", "3"])), "+OK\\r\\n");
    assert_eq!(metric(gateway.listen(), "withheld"), 0);
    still_serves(gateway.listen());
}

/// A primary stops in the middle of the load, its replica is promoted, and it comes back.
#[test]
fn a_primary_that_hangs_and_is_replaced_loses_nothing_acknowledged() {
    let _alone = alone();
    for _ in 0..times() {
        let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
        let gateway = gateway(&cluster, Durability::Replicated);
        let load = load(gateway.listen());
        goes_on(&load, 2000);
        cluster.primaries[0].signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(50));
        promote(&cluster.replicas[0], "TAKEOVER");
        goes_on(&load, 2000);
        cluster.primaries[0].signal(Signal::CONT);
        becomes(&cluster.primaries[0], "slave");
        goes_on(&load, 2000);
        nothing_acknowledged_is_lost(&block_on(load.stop()));
    }
}

#[test]
fn a_false_alarm_loses_nothing_acknowledged() {
    let _alone = alone();
    for _ in 0..times() {
        let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
        let gateway = gateway(&cluster, Durability::Replicated);
        let load = load(gateway.listen());
        goes_on(&load, 2000);
        promote(&cluster.replicas[0], "TAKEOVER");
        becomes(&cluster.primaries[0], "slave");
        goes_on(&load, 4000);
        nothing_acknowledged_is_lost(&block_on(load.stop()));
    }
}

#[test]
fn nobody_notices_a_planned_switch() {
    let _alone = alone();
    for _ in 0..times() {
        let cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
        let gateway = gateway(&cluster, Durability::Replicated);
        let load = load(gateway.listen());
        goes_on(&load, 2000);
        assert_eq!(cluster.replicas[0].ask(&["CLUSTER", "FAILOVER"]), "+OK\r\n");
        becomes(&cluster.replicas[0], "master");
        becomes(&cluster.primaries[0], "slave");
        goes_on(&load, 4000);
        let verdict = block_on(load.stop());
        println!("{verdict}");
        assert!(verdict.is_clean(), "{verdict}: {:?}", verdict.findings);
    }
}

fn promote(replica: &Node, how: &str) {
    assert_eq!(replica.ask(&["CLUSTER", "FAILOVER", how]), "+OK\r\n");
    becomes(replica, "master");
}
