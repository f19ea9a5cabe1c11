//! `up`, `down` and `status` as a user has them: formed from nothing, stopped, brought back, left alone, adopted.

mod common;

use common::{
    Deployment, dead_within, lives, missing_keys, mode, primaries, replicas, signal, text, write_keys,
};
use rustix::process::Signal;

#[test]
fn a_cluster_is_formed_from_nothing_and_comes_back_with_data_and_identities() {
    let mut service = Deployment::new("");
    assert_eq!(service.evenkeel(&["status"]).status.code(), Some(2), "not running yet");
    let status = service.up_healthy();
    assert_eq!((primaries(&status).len(), replicas(&status).len(), status.slots_served), (3, 3, 16_384));
    for node in &status.nodes {
        let view: String = redis::cmd("CLUSTER").arg("NODES").query(&mut service.node(&node.addr)).unwrap();
        assert_eq!(view.lines().filter(|line| line.contains(" connected")).count(), 6, "{view}");
        for primary in primaries(&status) {
            let (first, last) = primary.slots[0];
            assert!(view.contains(&format!(" {first}-{last}")), "{} of {}:\n{view}", primary.name, node.name);
        }
    }
    write_keys(&mut service.client(), 300);
    let shown = service.evenkeel(&["status"]);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown));
    assert!(
        text(&shown).contains("16384 of 16384 slots served") && !text(&shown).contains('\x1b'),
        "{}",
        text(&shown)
    );
    let json: serde_json::Value =
        serde_json::from_slice(&service.evenkeel(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["health"], "ok");
    assert_eq!((mode(&service.dir), mode(&service.dir.join("secrets.json"))), (0o700, 0o600));
    assert_eq!(mode(&service.node_dir(&status.nodes[0]).join("redis.conf")), 0o600);

    assert_eq!(service.stop(), Some(0));
    assert!(status.nodes.iter().all(|node| !lives(node.pid.unwrap())), "a server is left over");
    assert_eq!(service.evenkeel(&["status"]).status.code(), Some(2));

    let again = service.up_healthy();
    let ids = |status: &evenkeel_control::status::Status| {
        status.nodes.iter().map(|node| node.id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&again), ids(&status));
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn servers_end_with_an_evenkeel_that_was_killed_in_the_foreground() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 50);
    service.kill();
    for node in &status.nodes {
        assert!(dead_within(node.pid.unwrap(), 15), "{} outlives its evenkeel", node.name);
    }
    service.up_healthy();
    assert_eq!(missing_keys(&mut service.client(), 50), 0);
}

#[test]
fn a_detached_service_survives_its_evenkeel_and_is_adopted_by_the_next() {
    let service = Deployment::new("");
    let up = service.evenkeel(&["up", "--detach"]);
    assert_eq!(up.status.code(), Some(0), "{}", text(&up));
    assert!(text(&up).contains("Ready after"), "{}", text(&up));
    let before = service.healthy();
    write_keys(&mut service.client(), 50);
    let holder = |service: &Deployment| -> u32 {
        let lock = std::fs::read_to_string(service.dir.join("evenkeel.lock")).unwrap();
        lock.lines().next().unwrap().parse().unwrap()
    };
    let first = holder(&service);
    signal(first, Signal::KILL);
    assert!(dead_within(first, 5));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let pids = |status: &evenkeel_control::status::Status| {
        status.nodes.iter().map(|node| node.pid).collect::<Vec<_>>()
    };
    assert!(
        before.nodes.iter().all(|node| lives(node.pid.unwrap())),
        "servers died with a detached evenkeel"
    );
    assert_eq!(service.evenkeel(&["status"]).status.code(), Some(2), "evenkeel itself is gone");

    let up = service.evenkeel(&["up", "--detach"]);
    assert_eq!(up.status.code(), Some(0), "{}", text(&up));
    let after = service.healthy();
    assert_eq!(pids(&after), pids(&before), "the same processes");
    assert_ne!(holder(&service), first);
    assert_eq!(missing_keys(&mut service.client(), 50), 0);

    // an adopted server is watched like a child
    let victim = replicas(&after)[0].clone();
    signal(victim.pid.unwrap(), Signal::KILL);
    service.wait("the replica runs again", 30, |status| {
        let now = common::named(status, &victim.name);
        now.pid.is_some() && now.pid != victim.pid && status.health == evenkeel_control::status::Health::Ok
    });

    let second = holder(&service);
    signal(second, Signal::KILL);
    assert!(dead_within(second, 5));
    let down = service.evenkeel(&["down"]);
    assert!(text(&down).contains("stopped 6 servers"), "{}", text(&down));
    assert!(pids(&service.status().unwrap()).iter().flatten().all(|pid| !lives(*pid)));
    assert!(text(&service.evenkeel(&["down"])).contains("not running"));
}

#[test]
fn down_stops_a_detached_service() {
    let service = Deployment::new("persistence = \"rdb\"");
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    let status = service.healthy();
    write_keys(&mut service.client(), 50);
    let down = service.evenkeel(&["down"]);
    assert_eq!((down.status.code(), text(&down).trim()), (Some(0), "stopped"));
    assert!(status.nodes.iter().all(|node| !lives(node.pid.unwrap())));
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    assert_eq!(missing_keys(&mut service.client(), 50), 0, "snapshots are saved at a stop");
}
