//! Ctrl-C during a run. Alone in its file, because the signal goes to the whole process.

mod parts;

use std::time::{Duration, Instant};

use evenkeel_proof::bench::{Outcome, run};
use parts::{Server, args, json};

#[test]
fn ctrl_c_writes_what_was_measured_and_removes_the_keys() {
    let (server, dir) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let line = format!("--sizes 16..32 --seconds 60 --addr {} --out {}", server.addr(), dir.path().display());
    let started = Instant::now();
    let running = std::thread::spawn(move || run(args(&line)));
    while server.ask("DBSIZE") == ":0" {
        assert!(started.elapsed() < Duration::from_secs(20), "no keys came");
        std::thread::sleep(Duration::from_millis(20));
    }
    let me = std::process::id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &me]).status().unwrap().success());
    let outcome = running.join().unwrap().unwrap();
    assert_eq!(outcome, Outcome::Stopped);
    assert!(started.elapsed() < Duration::from_secs(40));
    let report = json(dir.path().join("report.json"));
    assert_eq!(report["ending"], "stopped");
    assert!(report["sizes"][0]["set"]["requests"].as_u64().unwrap() > 0);
    assert!(report["sizes"][0]["get"].is_null());
    assert_eq!(json(dir.path().join("results-set-client1.txt")).as_array().unwrap().len(), 1);
    assert_eq!(json(dir.path().join("results-raw-get-client1.txt")).as_array().unwrap().len(), 0);
    assert_eq!(server.ask("DBSIZE"), ":0");
}
