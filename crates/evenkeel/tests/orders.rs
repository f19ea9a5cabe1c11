//! Orders to a running service: planned failovers, rolling restarts, changed settings; under a load that verifies
//! every answer no client may notice any of it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Deployment, missing_keys, mode, named, primaries, replicas, signal, text, write_keys};
use evenkeel_control::status::{Health, Node, Role, Status};
use evenkeel_proof::load::{Load, LoadHandle, LoadOptions, Verdict};
use rustix::process::Signal;

/// The servers' votes of an election count again for four times this long: orders wait for it.
const SHORT: &str = "node-timeout = \"1s\"";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn load(service: &Deployment) -> LoadHandle {
    let options = LoadOptions {
        connections: 8,
        pipeline: 1,
        pause: Duration::from_millis(1),
        patience: Duration::from_secs(30),
        settle: Duration::from_secs(60),
        ..LoadOptions::default()
    };
    let load = Load::start(format!("127.0.0.1:{}", service.gateway), options).unwrap();
    goes_on(&load);
    load
}

fn goes_on(load: &LoadHandle) {
    assert!(block_on(load.wait_for(500, Duration::from_secs(60))), "the load stands still");
}

fn ends_clean(load: LoadHandle) -> Verdict {
    goes_on(&load);
    let verdict = block_on(load.stop());
    println!("{verdict}");
    assert!(verdict.is_clean(), "{verdict}");
    verdict
}

fn replica_of(status: &Status, primary: &Node) -> Node {
    replicas(status).into_iter().find(|node| node.replica_of.as_ref() == Some(&primary.name)).unwrap()
}

/// Gives an order and waits until it is done.
fn done(service: &Deployment, args: &[&str]) -> String {
    let output = service.evenkeel(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
    text(&output)
}

#[test]
fn a_planned_failover_is_not_noticed() {
    let mut service = Deployment::new(SHORT);
    let status = service.up_healthy();
    assert_eq!(mode(&service.dir.join("control.sock")), 0o600);
    let (old, load) = (primaries(&status)[0].clone(), load(&service));
    let heir = replica_of(&status, &old);
    let said = done(&service, &["failover", &old.name]);
    assert!(said.contains(&format!("{} take over from {}: order 1", heir.name, old.name)), "{said}");
    assert!(said.contains("done after"), "{said}");
    // back again, by the number of the shard, and by the name of the replica
    done(&service, &["failover", "1"]);
    let json = done(&service, &["failover", &heir.name, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["state"], &json["order"]["what"]["to"]), (&"done".into(), &heir.name.as_str().into()));
    let after = service.healthy();
    assert_eq!(
        (named(&after, &heir.name).role, named(&after, &old.name).role),
        (Role::Primary, Role::Replica)
    );
    assert_eq!(named(&after, &heir.name).slots, old.slots);
    ends_clean(load);
}

#[test]
fn a_rolling_restart_is_not_noticed() {
    let mut service = Deployment::new(SHORT);
    let status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    let load = load(&service);
    let said = done(&service, &["restart", "all"]);
    println!("{said}");
    let after = service.healthy();
    for node in &status.nodes {
        assert_ne!(named(&after, &node.name).pid, node.pid, "{}", node.name);
        assert_eq!(named(&after, &node.name).id, node.id);
    }
    let first = |what: &str| said.lines().position(|line| line.contains(what)).unwrap();
    let (replica, primary) = (&replicas(&status)[2], &primaries(&status)[0]);
    assert!(
        first(&format!("{} stop the server", replica.name))
            < first(&format!("take over from {}", primary.name))
    );
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
    ends_clean(load);
}

#[test]
fn a_restart_survives_an_evenkeel_that_dies_on_the_way() {
    let service = Deployment::new(SHORT);
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    let before = service.healthy();
    done(&service, &["restart", "all", "--no-wait"]);
    let holder = std::fs::read_to_string(service.dir.join("evenkeel.lock")).unwrap();
    let pid: u32 = holder.lines().next().unwrap().parse().unwrap();
    service.wait("the first node has a new process", 30, |status| {
        status.nodes.iter().any(|node| node.pid.is_some() && node.pid != named(&before, &node.name).pid)
    });
    signal(pid, Signal::KILL);
    assert!(common::dead_within(pid, 5));
    let again = service.evenkeel(&["up", "--detach"]);
    assert_eq!(again.status.code(), Some(0), "{}", common::text(&again));
    let renewed = |status: &Status| {
        status.nodes.iter().all(|node| node.pid.is_some() && node.pid != named(&before, &node.name).pid)
    };
    let after = service
        .wait("every node has a new process", 90, |status| status.health == Health::Ok && renewed(status));
    assert!(renewed(&after));
}

#[test]
fn changed_settings_are_set_without_a_restart() {
    let service = Deployment::new(&format!("{SHORT}\npersistence = \"rdb\""));
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    let before = service.healthy();
    write_keys(&mut service.client(), 300);
    let holder = std::fs::read_to_string(service.dir.join("evenkeel.lock")).unwrap();
    let pid: u32 = holder.lines().next().unwrap().parse().unwrap();
    signal(pid, Signal::KILL);
    assert!(common::dead_within(pid, 5));
    service
        .configure(&format!("{SHORT}\npersistence = \"aof\"\nmemory = \"64mb\"\neviction = \"allkeys-lru\""));
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    let asked = |node: &Node, key: &str| -> String {
        let pair: Vec<String> =
            redis::cmd("CONFIG").arg("GET").arg(key).query(&mut service.node(&node.addr)).unwrap();
        pair[1].clone()
    };
    let after = service.wait("the settings are in force", 30, |status| {
        let kept = |node: &Node| {
            let conf = std::fs::read_to_string(service.node_dir(node).join("redis.conf")).unwrap();
            conf.contains("maxmemory 67108864\n") && conf.contains("appendonly yes\n")
        };
        status.health == Health::Ok && status.nodes.iter().all(kept)
    });
    for node in &after.nodes {
        assert_eq!(node.pid, named(&before, &node.name).pid, "nobody was restarted");
        assert_eq!(
            (asked(node, "maxmemory"), asked(node, "maxmemory-policy")),
            ("67108864".into(), "allkeys-lru".into())
        );
        assert_eq!((asked(node, "appendonly"), asked(node, "save")), ("yes".into(), String::new()));
    }
    // what was written in one form is found in the other
    assert_eq!(service.evenkeel(&["down"]).status.code(), Some(0));
    service.configure(&format!("{SHORT}\npersistence = \"rdb\""));
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    service.healthy();
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let mut service = Deployment::new("");
    let refused = |service: &Deployment, args: &[&str], code: i32, words: &str| {
        let output = service.evenkeel(args);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(words), "{args:?}: {}", text(&output));
    };
    refused(&service, &["failover", "1"], 2, "not running in");
    let status = service.up_healthy();
    refused(&service, &["failover", "4"], 1, "there is no shard 4, expected 1..=3");
    refused(&service, &["restart", "node-1"], 1, "there is no node \"node-1\", expected one of node-");
    refused(&service, &["accept-loss", &status.nodes[0].name], 1, "there is nothing to accept");
    let healthy = service.healthy();
    assert!(status.nodes.iter().all(|node| node.pid == named(&healthy, &node.name).pid));
}
