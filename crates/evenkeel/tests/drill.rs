//! `evenkeel drill` as an operator runs it: real faults on a deployment of its own, and on one that runs already.
//!
//! Times are reported and not judged here: the machine may be small and busy.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod common;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Deployment, dead_within, text};
use rustix::process::Signal;
use serde_json::Value;

fn drill(args: &[&str], out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .args(["drill", "--no-time-limits", "--seconds", "1", "--clients", "6", "--out"])
        .arg(out)
        .args(args);
    command.stdin(Stdio::null()).output().unwrap()
}

fn report(out: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(out.join("drill.json")).unwrap()).unwrap()
}

#[test]
fn a_deployment_of_its_own_is_drilled_and_removed() {
    let out = tempfile::tempdir().unwrap();
    let done = drill(&["primary-killed", "gateway-drained"], out.path());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    let report = report(out.path());
    assert_eq!((&report["verdict"], report["drills"].as_array().unwrap().len()), (&"held".into(), 2));
    for drill in report["drills"].as_array().unwrap() {
        let run = &drill["runs"][0];
        assert!(run["figures"]["acknowledged_writes"].as_u64().unwrap() > 100, "{run}");
        assert_eq!(
            (&run["figures"]["lost_writes"], &run["figures"]["doubled_writes"]),
            (&0.into(), &0.into())
        );
        assert!(run["figures"]["heal_ms"].is_u64(), "{run}");
        let answered =
            |shard: &Value| shard["acknowledged"].as_array().unwrap().iter().any(|count| *count != 0);
        assert!(run["timeline"]["shards"].as_array().unwrap().iter().all(answered), "{run}");
    }
    let events = report["drills"][0]["runs"][0]["timeline"]["events"].to_string();
    assert!(events.contains("kill -9") && events.contains("promote by takeover"), "{events}");
    let page = std::fs::read_to_string(out.path().join("drill.html")).unwrap();
    assert!(page.contains("every promise held") && !page.contains("http://"), "{page}");
    let said = text(&done);
    assert!(said.contains("primary-killed") && said.contains("held"), "{said}");
}

#[test]
fn a_running_deployment_is_drilled_only_when_that_is_agreed() {
    let mut service = Deployment::new("");
    service.up_healthy();
    let out = tempfile::tempdir().unwrap();
    let dir = service.dir.to_str().unwrap().to_owned();
    let refused = drill(&["replica-killed", "--dir", &dir], out.path());
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("--yes"), "{}", text(&refused));
    let unable = drill(&["memory-full", "--dir", &dir, "--yes"], out.path());
    assert_eq!(unable.status.code(), Some(1), "{}", text(&unable));
    let done = drill(&["replica-killed", "--dir", &dir, "--yes"], out.path());
    assert_eq!(done.status.code(), Some(0), "{}", text(&done));
    assert_eq!(report(out.path())["drills"][0]["summary"]["errors"], serde_json::json!({}));
    let left: i64 = redis::cmd("DBSIZE").query(&mut service.client()).unwrap();
    assert_eq!(left, 0, "the load's keys are removed");
    service.healthy();
}

/// A deployment that loses what it acknowledged does not pass: the load's own nodes are emptied behind its back.
#[test]
fn a_broken_promise_fails_the_drill() {
    let mut service = Deployment::new("persistence = \"none\"");
    let status = service.up_healthy();
    let out = tempfile::tempdir().unwrap();
    let dir = service.dir.to_str().unwrap().to_owned();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut primary = service.node(&common::primaries(&status)[1].addr);
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(500));
                // the node may be one that the drill has just killed
                let _ = redis::cmd("FLUSHALL").query::<()>(&mut primary);
            }
        });
        let done = drill(&["replica-killed", "--dir", &dir, "--yes"], out.path());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        done
    });
    assert_eq!(done.status.code(), Some(3), "{}", text(&done));
    assert!(text(&done).contains("BROKEN") && text(&done).contains("were lost"), "{}", text(&done));
    assert_eq!(report(out.path())["verdict"], "broken");
}

#[test]
fn what_a_drill_started_ends_with_it_even_when_it_is_killed() {
    let out = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["drill", "primary-killed", "--seconds", "60", "--out"])
        .arg(out.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let place = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        name.starts_with(&format!("evenkeel-drill-{}-", child.id())).then(|| entry.path())
    };
    let begun = Instant::now();
    let service = loop {
        let mut places = std::fs::read_dir(std::env::temp_dir()).unwrap().flatten().filter_map(place);
        let status = places.next().and_then(|place| {
            let text = std::fs::read(place.join("home/status.json")).ok()?;
            let status: evenkeel_control::status::Status = serde_json::from_slice(&text).ok()?;
            let up = evenkeel_control::home::Home::holder(&place.join("home"))?;
            (status.slots_served == 16_384).then_some((place, up, status))
        });
        match status {
            Some(found) => break found,
            None => assert!(begun.elapsed() < Duration::from_secs(60), "its deployment does not come up"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    common::signal(child.id(), Signal::KILL);
    child.wait().unwrap();
    let (place, up, status) = service;
    assert!(dead_within(up, 60), "evenkeel {up} lives on");
    assert!(
        status.nodes.iter().filter_map(|node| node.pid).all(|pid| dead_within(pid, 60)),
        "servers live on"
    );
    std::fs::remove_dir_all(place).unwrap();
}
