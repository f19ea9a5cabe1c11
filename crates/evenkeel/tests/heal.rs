//! Servers die by SIGKILL: a replica, a primary, both roles in turn, several at once. Data that a living copy had
//! is still there, and nobody restarts empty over it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::{Duration, Instant};

use common::{Deployment, missing_keys, named, primaries, replicas, signal, write_keys};
use evenkeel_control::status::{Event, Health, Node, Role, Status};
use rustix::process::Signal;

/// Waits until a killed node runs as a new process and everything is as desired.
fn healed(service: &Deployment, killed: &Node) -> Status {
    service.wait(&format!("{} is healed", killed.name), 40, |status| {
        let now = named(status, &killed.name);
        now.pid.is_some() && now.pid != killed.pid && status.health == Health::Ok
    })
}

/// The replica's promotion is noted, and before the start of the primary that it replaces.
fn promoted_first(events: &[Event], primary: &str, replica: &str) {
    let last = |subject: &str, what: &str| {
        events.iter().rposition(|event| event.subject == subject && event.what.starts_with(what))
    };
    let promoted = last(replica, "promote by takeover")
        .unwrap_or_else(|| panic!("{replica} was not promoted: {events:#?}"));
    let started = last(primary, "start the server").unwrap();
    assert!(promoted < started, "{primary} was started before {replica} was promoted: {events:#?}");
    assert!(events[promoted].because.contains(&format!("{primary} (")), "{:?}", events[promoted]);
}

fn replica_of(status: &Status, primary: &Node) -> Node {
    replicas(status).into_iter().find(|node| node.replica_of.as_ref() == Some(&primary.name)).unwrap()
}

#[test]
fn a_killed_replica_is_started_again() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 100);
    let victim = replicas(&status)[1].clone();
    signal(victim.pid.unwrap(), Signal::KILL);
    let after = healed(&service, &victim);
    let now = named(&after, &victim.name);
    assert_eq!((now.role, &now.id, &now.replica_of), (Role::Replica, &victim.id, &victim.replica_of));
    assert_eq!(primaries(&after).len(), 3);
    assert!(service.journal().iter().any(|event| event.subject == victim.name
        && event.what == "start the server"
        && event.because.contains("was killed by signal 9")));
}

fn primary_is_replaced(persistence: &str) {
    let mut service = Deployment::new(&format!("persistence = \"{persistence}\""));
    let mut status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    // in turn: the primary, then the one that replaced it, so that each process has both roles
    for _ in 0..2 {
        let victim = status
            .nodes
            .iter()
            .filter(|node| node.role == Role::Primary)
            .max_by_key(|node| node.epoch)
            .unwrap()
            .clone();
        let heir = replica_of(&status, &victim);
        wait_in_sync(&service);
        signal(victim.pid.unwrap(), Signal::KILL);
        status = healed(&service, &victim);
        promoted_first(&service.journal(), &victim.name, &heir.name);
        let (old, new) = (named(&status, &victim.name), named(&status, &heir.name));
        assert_eq!((new.role, &new.slots, new.pid), (Role::Primary, &victim.slots, heir.pid));
        assert_eq!((old.role, old.replica_of.as_ref()), (Role::Replica, Some(&heir.name)));
        assert!(new.epoch > victim.epoch, "{new:?}");
        assert_eq!(missing_keys(&mut service.client(), 300), 0);
    }
}

fn wait_in_sync(service: &Deployment) {
    service.wait("replicas are in sync", 20, |status| {
        status.health == Health::Ok
            && replicas(status).iter().all(|node| node.link_up && node.lag_bytes == Some(0))
    });
}

#[test]
fn a_killed_primary_is_replaced_before_it_is_started_again() {
    primary_is_replaced("aof");
}

#[test]
fn a_killed_primary_without_persistence_loses_nothing() {
    primary_is_replaced("none");
}

#[test]
fn primaries_without_persistence_that_die_together_lose_nothing() {
    let mut service = Deployment::new("persistence = \"none\"");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    wait_in_sync(&service);
    let victims = primaries(&status);
    for victim in &victims {
        signal(victim.pid.unwrap(), Signal::KILL);
    }
    for victim in &victims {
        healed(&service, victim);
    }
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn a_hung_primary_is_ended_and_replaced() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    wait_in_sync(&service);
    let victim = primaries(&status)[1].clone();
    let heir = replica_of(&status, &victim);
    signal(victim.pid.unwrap(), Signal::STOP);
    let after = healed(&service, &victim);
    promoted_first(&service.journal(), &victim.name, &heir.name);
    let (old, new) = (named(&after, &victim.name), named(&after, &heir.name));
    assert_eq!((old.role, new.role, &new.slots), (Role::Replica, Role::Primary, &victim.slots));
    let ended = |event: &&Event| event.what == "end the server that hangs";
    let journal = service.journal();
    let because: Vec<_> =
        journal.iter().filter(ended).map(|event| (&event.subject, &event.because)).collect();
    assert_eq!(because.len(), 1, "{because:?}");
    assert!(because[0].0 == &victim.name && because[0].1.contains("pings an answer"), "{because:?}");
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn a_server_that_computes_is_left_alone() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    let busy = primaries(&status)[0].clone();
    let (begun, mut times) = (Instant::now(), 0);
    // a second of work at a time, without a word in between: less than what makes the server answer BUSY
    while begun.elapsed() < Duration::from_millis(2_500) {
        let loops = "local n = 0 for i = 1, 40000000 do n = n + i end return n";
        let _: i64 = redis::cmd("EVAL").arg(loops).arg(0).query(&mut service.node(&busy.addr)).unwrap();
        times += 1;
    }
    println!("{times} scripts took {:.1?}", begun.elapsed());
    let after = service.healthy();
    assert_eq!(named(&after, &busy.name).pid, busy.pid);
    assert!(service.journal().iter().all(|event| event.what != "end the server that hangs"));
}

#[test]
fn a_whole_shard_comes_back_from_disk() {
    let mut service = Deployment::new("persistence = \"aof\"");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    wait_in_sync(&service);
    std::thread::sleep(Duration::from_millis(1_500)); // the disk is written once a second
    let primary = primaries(&status)[0].clone();
    let replica = replica_of(&status, &primary);
    signal(replica.pid.unwrap(), Signal::KILL);
    signal(primary.pid.unwrap(), Signal::KILL);
    healed(&service, &primary);
    healed(&service, &replica);
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

#[test]
fn a_node_that_lost_its_directory_joins_anew() {
    let mut service = Deployment::new("");
    let status = service.up_healthy();
    write_keys(&mut service.client(), 300);
    wait_in_sync(&service);
    assert_eq!(service.stop(), Some(0));
    let victim = primaries(&status)[0].clone();
    std::fs::remove_dir_all(service.node_dir(&victim)).unwrap();
    service.up();
    let after = service.wait("all is well again", 60, |status| status.health == Health::Ok);
    let now = named(&after, &victim.name);
    assert_ne!(now.id, victim.id);
    assert_eq!((now.role, now.keys), (Role::Replica, named(&after, now.replica_of.as_ref().unwrap()).keys));
    assert_eq!(missing_keys(&mut service.client(), 300), 0);
}

/// How a primary is taken out of service.
#[derive(Clone, Copy, Debug)]
enum Blow {
    Dies,
    Hangs,
}

/// Not a test but a measurement: `cargo test --release -p evenkeel --test heal -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_long_writes_are_gone_when_a_primary_is_killed() {
    measure(Blow::Dies);
}

/// The same for a primary that stands still.
#[test]
#[ignore = "a measurement"]
fn how_long_writes_are_gone_when_a_primary_hangs() {
    measure(Blow::Hangs);
}

fn measure(blow: Blow) {
    let mut service = Deployment::new("");
    let begun = Instant::now();
    service.up_healthy();
    println!("up to healthy: {:.2} s", begun.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for round in 0..12 {
        wait_in_sync(&service);
        let status = service.healthy();
        let victim = primaries(&status)[round % 3].clone();
        let heir = replica_of(&status, &victim);
        let key = (0..).map(|at| format!("k{at}")).find(|key| slot_in(key, &victim)).unwrap();
        let mut connection = service.node(&heir.addr);
        std::thread::sleep(Duration::from_millis(37 * round as u64));
        let struck = Instant::now();
        signal(
            victim.pid.unwrap(),
            match blow {
                Blow::Dies => Signal::KILL,
                Blow::Hangs => Signal::STOP,
            },
        );
        let took = loop {
            let done = redis::cmd("SET").arg(&key).arg(round).query::<()>(&mut connection);
            match done {
                Ok(()) => break struck.elapsed(),
                Err(error) if struck.elapsed() > Duration::from_secs(20) => {
                    panic!(
                        "{error} of {} for {}, after {times:?}: {:#?}",
                        heir.name,
                        victim.name,
                        service.status()
                    );
                }
                Err(_) => {}
            }
        };
        times.push(took.as_secs_f64() * 1e3);
        healed(&service, &victim);
    }
    times.sort_by(f64::total_cmp);
    println!("a primary {blow:?}: ms until its slots take writes, n={}: {times:.1?}", times.len());
    println!("median {:.1}, min {:.1}, max {:.1}", times[times.len() / 2], times[0], times[times.len() - 1]);
}

fn slot_in(key: &str, node: &Node) -> bool {
    let slot = crc16(key.as_bytes()) % 16_384;
    node.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}
