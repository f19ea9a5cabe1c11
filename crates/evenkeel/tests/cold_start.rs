//! Everything was off: killed at once, with other ports, without identities, or with disks that are gone. What was on
//! any disk comes back, and where it cannot, a person is asked first.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Deployment, missing_keys, named, primaries, replicas, signal, text, write_keys};
use evenkeel_control::status::{Health, Node, Status};
use rustix::process::Signal;

fn ids(status: &Status) -> Vec<(String, String)> {
    status.nodes.iter().map(|node| (node.name.clone(), node.id.clone())).collect()
}

fn replica_of(status: &Status, primary: &Node) -> Node {
    replicas(status).into_iter().find(|node| node.replica_of.as_ref() == Some(&primary.name)).unwrap()
}

/// Three hundred keys that every copy has.
fn filled(service: &mut Deployment) -> Status {
    service.up_healthy();
    write_keys(&mut service.client(), 300);
    service.wait("replicas are in sync", 20, |status| {
        status.health == Health::Ok && replicas(status).iter().all(|node| node.lag_bytes == Some(0))
    })
}

#[test]
fn all_servers_killed_at_once_come_back_with_everything() {
    let mut service = Deployment::new("");
    let before = filled(&mut service);
    for node in &before.nodes {
        signal(node.pid.unwrap(), Signal::KILL);
    }
    let renewed =
        |status: &Status| status.nodes.iter().all(|node| node.pid != named(&before, &node.name).pid);
    let after = service.wait("all run again", 60, |status| status.health == Health::Ok && renewed(status));
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn other_ports_find_the_same_nodes() {
    let mut service = Deployment::new("");
    let before = filled(&mut service);
    service.kill();
    for node in &before.nodes {
        assert!(common::dead_within(node.pid.unwrap(), 15));
    }
    service.move_ports();
    service.configure("");
    let after = service.up_healthy();
    assert_eq!(ids(&after), ids(&before));
    for node in &after.nodes {
        assert_ne!(node.addr, named(&before, &node.name).addr);
        assert_eq!(node.slots, named(&before, &node.name).slots);
    }
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn ports_of_servers_that_run_are_not_changed() {
    let mut service = Deployment::new("");
    assert_eq!(service.evenkeel(&["up", "--detach"]).status.code(), Some(0));
    service.healthy();
    let holder = std::fs::read_to_string(service.dir.join("evenkeel.lock")).unwrap();
    let pid: u32 = holder.lines().next().unwrap().parse().unwrap();
    signal(pid, Signal::KILL);
    assert!(common::dead_within(pid, 5));
    service.move_ports();
    service.configure("");
    let output = service.evenkeel(&["up", "--detach"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("ports can be changed only while no server runs"), "{}", text(&output));
}

#[test]
fn lost_identities_are_restored_from_the_record() {
    let mut service = Deployment::new("");
    let before = filled(&mut service);
    let one = primaries(&before)[0].clone();
    for lost in [vec![one], before.nodes.clone()] {
        assert_eq!(service.stop(), Some(0));
        for node in &lost {
            std::fs::remove_file(service.node_dir(node).join("nodes.conf")).unwrap();
        }
        let after = service.up_healthy();
        assert_eq!(ids(&after), ids(&before));
        assert_eq!(missing_keys(&mut service.client(), 300), 0);
        let restored = service.journal().iter().filter(|event| event.what == "restore its identity").count();
        assert!(restored >= lost.len(), "{restored}");
    }
}

#[test]
fn a_primary_whose_disk_is_empty_waits_for_its_replica() {
    let mut service = Deployment::new("");
    let before = filled(&mut service);
    let victim = primaries(&before)[1].clone();
    let heir = replica_of(&before, &victim);
    assert_eq!(service.stop(), Some(0));
    std::fs::remove_dir_all(service.node_dir(&victim)).unwrap();
    let after = service.up_healthy();
    assert_eq!(named(&after, &heir.name).slots, victim.slots);
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
    let journal = service.journal();
    let last = |subject: &str, what: &str| {
        journal.iter().rposition(|event| event.subject == subject && event.what.starts_with(what)).unwrap()
    };
    assert!(last(&heir.name, "promote") < last(&victim.name, "start the server"));
}

#[test]
fn data_that_is_on_no_disk_is_given_up_by_a_person_only() {
    let mut service = Deployment::new("");
    let before = filled(&mut service);
    let victim = primaries(&before)[1].clone();
    let copy = replica_of(&before, &victim);
    assert_eq!(service.stop(), Some(0));
    let place = service.place.path().to_owned();
    let aside = |node: &Node| place.join(&node.name);
    for node in [&victim, &copy] {
        std::fs::rename(service.node_dir(node), aside(node)).unwrap();
    }
    service.up();
    let asks = |status: &Status| {
        let because = &named(status, &victim.name).because;
        because.contains(&format!("`evenkeel accept-loss {}`", victim.name)) && status.slots_served > 10_000
    };
    service.wait("a person is asked", 60, asks);
    std::thread::sleep(Duration::from_secs(3));
    let still = service.wait("nothing is done meanwhile", 10, asks);
    assert_eq!(named(&still, &victim.name).pid, None);
    // the disk is put back: no harm was done
    for node in [&victim, &copy] {
        let _ = std::fs::remove_dir_all(service.node_dir(node));
        std::fs::rename(aside(node), service.node_dir(node)).unwrap();
    }
    let after = service.healthy();
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
    assert_eq!(named(&after, &victim.name).slots, victim.slots);
    // and now it really is gone
    assert_eq!(service.stop(), Some(0));
    for node in [&victim, &copy] {
        std::fs::remove_dir_all(service.node_dir(node)).unwrap();
    }
    service.up();
    service.wait("a person is asked again", 60, asks);
    let output = service.evenkeel(&["accept-loss", &victim.name]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    service.healthy();
    let missing = missing_keys(&mut service.client(), 300);
    assert!(missing > 50 && missing < 150, "{missing} keys of one shard of three");
}

#[test]
fn a_replica_with_a_newer_snapshot_becomes_the_primary() {
    let mut service = Deployment::new("persistence = \"rdb\"");
    let before = filled(&mut service);
    for primary in primaries(&before) {
        let _: () = redis::cmd("SAVE").query(&mut service.node(&primary.addr)).unwrap();
    }
    for key in 300..400 {
        let _: () =
            redis::cmd("SET").arg(format!("key:{key}")).arg(key).query(&mut service.client()).unwrap();
    }
    service.wait("replicas are in sync", 20, |status| {
        replicas(status).iter().all(|node| node.lag_bytes == Some(0))
            && replicas(status).iter().map(|node| node.keys).sum::<u64>() == 400
    });
    for replica in replicas(&before) {
        let _: () = redis::cmd("SAVE").query(&mut service.node(&replica.addr)).unwrap();
    }
    for node in &before.nodes {
        signal(node.pid.unwrap(), Signal::KILL);
    }
    let renewed =
        |status: &Status| status.nodes.iter().all(|node| node.pid != named(&before, &node.name).pid);
    service.wait("all run again", 60, |status| status.health == Health::Ok && renewed(status));
    assert_eq!(missing_keys(&mut service.client(), 400), 0);
}
