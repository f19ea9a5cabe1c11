//! The verifying load against a real redis-server to which bad things happen.

#![allow(clippy::unwrap_used, reason = "a part that fails has to fail the test")]

mod parts;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use evenkeel_proof::load::{Load, LoadHandle, LoadOptions, Verdict};
use parts::{Act, Server, free_port, scripted};

const SOON: Duration = Duration::from_secs(20);

fn start(server: &Server) -> LoadHandle {
    let options = LoadOptions { connections: 3, key_space: 20, ..LoadOptions::default() };
    Load::start(server.addr(), options).expect("a thread can be started")
}

/// Loads, does something to the server, and loads on.
async fn while_loaded(server: &Server, commands: &[&str]) -> Verdict {
    let load = start(server);
    assert!(load.wait_for(2000, SOON).await, "the load does not run");
    for command in commands {
        server.ask(command);
    }
    assert!(load.wait_for(2000, SOON).await, "the load does not go on");
    load.stop().await
}

#[tokio::test]
async fn a_quiet_server_gives_a_clean_verdict_and_is_left_empty() {
    let server = Server::start(&["--requirepass", "secret"]);
    let options =
        LoadOptions { password: Some("secret".to_owned()), value_size: 5000, ..LoadOptions::default() };
    let load = Load::start(server.addr(), options).unwrap();
    assert!(load.wait_for(5000, SOON).await);
    assert_eq!(load.failed(), 0);
    let verdict = load.stop().await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.acknowledged >= 5000 && verdict.requests == verdict.acknowledged, "{verdict}");
    assert!(verdict.acknowledged_writes > 2000 && verdict.longest_stall > Duration::ZERO, "{verdict}");
    let server_left = std::process::Command::new("redis-cli")
        .args([
            "-p",
            server.addr().rsplit(':').next().unwrap(),
            "--no-auth-warning",
            "-a",
            "secret",
            "DBSIZE",
        ])
        .output()
        .expect("redis-cli has to be installed for this test (apt-get install redis-tools)");
    assert_eq!(String::from_utf8_lossy(&server_left.stdout).trim(), "0");
}

#[tokio::test]
async fn lost_data_is_seen() {
    let verdict = while_loaded(&Server::start(&[]), &["FLUSHALL"]).await;
    assert!(verdict.lost_writes > 0 && !verdict.is_intact(), "{verdict}");
    assert!(verdict.errors.is_empty() && verdict.doubled_writes == 0, "{verdict}");
    assert!(!verdict.findings.is_empty());
}

#[tokio::test]
async fn lost_connections_leave_writes_uncertain_and_nothing_lost() {
    let verdict =
        while_loaded(&Server::start(&[]), &["CLIENT KILL TYPE normal", "CLIENT KILL TYPE normal"]).await;
    assert!(verdict.is_intact() && verdict.failed() > 0 && !verdict.is_clean(), "{verdict}");
}

#[tokio::test]
async fn a_pause_is_seen_as_a_stall() {
    let verdict = while_loaded(&Server::start(&[]), &["CLIENT PAUSE 700 ALL"]).await;
    assert!(verdict.is_clean(), "{verdict}");
    assert!(verdict.longest_stall >= Duration::from_millis(600), "{verdict}");
    assert!(verdict.longest_outage >= Duration::from_millis(600), "{verdict}");
}

#[tokio::test]
async fn refusals_are_counted_by_text_and_lose_nothing() {
    let refuse = "CONFIG SET min-replicas-to-write 1";
    let server = Server::start(&[]);
    let load = start(&server);
    assert!(load.wait_for(1000, SOON).await);
    server.ask(refuse);
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.ask("CONFIG SET min-replicas-to-write 0");
    assert!(load.wait_for(1000, SOON).await);
    let verdict = load.stop().await;
    assert!(verdict.is_intact() && verdict.uncertain_writes == 0, "{verdict}");
    assert!(verdict.errors.keys().all(|text| text.starts_with("NOREPLICAS")), "{verdict}");
    assert!(verdict.failed() > 0, "{verdict}");
}

#[tokio::test]
async fn a_server_that_is_gone_leaves_keys_unverified() {
    let options = LoadOptions { settle: Duration::from_millis(300), ..LoadOptions::default() };
    let load = Load::start(format!("127.0.0.1:{}", free_port()), options).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let verdict = load.stop().await;
    assert_eq!(verdict.unverified_keys, 8 * 64 * 3, "{verdict}");
    assert!(!verdict.is_intact() && verdict.acknowledged == 0 && verdict.failed() > 0, "{verdict}");
}

/// What a lying server does wrong, now and then.
#[derive(Clone, Copy, PartialEq)]
enum Lie {
    None,
    /// It acknowledges what it does not apply.
    Loses(&'static str),
    /// It applies twice.
    Doubles(&'static str),
    /// It answers what was there before.
    ReadsOldValues,
    /// It appends out of order.
    Swaps,
}

/// A server of few commands that lies.
fn liar(lie: Lie) -> String {
    // the values of a register, the elements of a list, or as many entries as a counter counts
    let data: Mutex<HashMap<Vec<u8>, Vec<Vec<u8>>>> = Mutex::default();
    scripted(move |parts, number| {
        let mut data = data.lock().unwrap();
        let name = String::from_utf8(parts[0].clone()).unwrap();
        let entry = data.entry(parts[1].clone()).or_default();
        let times = match lie {
            Lie::Loses(which) if which == name && number % 50 == 49 => 0,
            Lie::Doubles(which) if which == name && number % 50 == 49 => 2,
            Lie::None | Lie::Loses(_) | Lie::Doubles(_) | Lie::ReadsOldValues | Lie::Swaps => 1,
        };
        let bulk = |bytes: &[u8]| [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        Act::Say(match name.as_str() {
            "GET" if parts[1].windows(2).any(|two| two == b":c") => bulk(entry.len().to_string().as_bytes()),
            "GET" => {
                let old = usize::from(lie == Lie::ReadsOldValues && number % 50 == 49);
                entry.iter().rev().nth(old).map_or(b"$-1\r\n".to_vec(), |value| bulk(value))
            }
            "LRANGE" => {
                let elements: Vec<u8> = entry.iter().flat_map(|element| bulk(element)).collect();
                [format!("*{}\r\n", entry.len()).into_bytes(), elements].concat()
            }
            "UNLINK" => b":1\r\n".to_vec(),
            _ => {
                entry.extend(vec![parts.get(2).cloned().unwrap_or_default(); times]);
                if lie == Lie::Swaps && name == "RPUSH" && entry.len() % 5 == 4 {
                    let last = entry.len() - 1;
                    entry.swap(last, last - 1);
                }
                let length = format!(":{}\r\n", entry.len().max(1)).into_bytes();
                if name == "SET" { b"+OK\r\n".to_vec() } else { length }
            }
        })
    })
}

async fn lied_to(lie: Lie) -> Verdict {
    let options = LoadOptions { connections: 2, key_space: 8, ..LoadOptions::default() };
    let load = Load::start(liar(lie), options).unwrap();
    assert!(load.wait_for(3000, SOON).await);
    load.stop().await
}

#[tokio::test]
async fn every_kind_of_lie_is_seen_as_what_it_is() {
    let verdict = lied_to(Lie::None).await;
    assert!(verdict.is_clean(), "{verdict}");
    for command in ["INCR", "RPUSH"] {
        let verdict = lied_to(Lie::Loses(command)).await;
        assert!(verdict.lost_writes >= 5 && verdict.doubled_writes == 0, "{command}: {verdict}");
        let verdict = lied_to(Lie::Doubles(command)).await;
        assert!(verdict.doubled_writes >= 5 && verdict.lost_writes == 0, "{command}: {verdict}");
    }
    for lie in [Lie::Loses("SET"), Lie::ReadsOldValues] {
        let verdict = lied_to(lie).await;
        assert!(verdict.stale_reads >= 5 && verdict.doubled_writes == 0, "{verdict}");
    }
    let verdict = lied_to(Lie::Swaps).await;
    assert!(verdict.wrong_reads >= 5 && verdict.lost_writes == 0, "{verdict}");
}

#[tokio::test]
async fn groups_of_slots_are_watched_apart_and_other_addresses_used() {
    let (one, other) = (Server::start(&[]), Server::start(&[]));
    let options = LoadOptions {
        connections: 4,
        groups: vec![vec![(0, 8191)], vec![(8192, 16383)]],
        other_addrs: vec![other.addr()],
        ..LoadOptions::default()
    };
    let load = Load::start(one.addr(), options).unwrap();
    assert!(load.wait_for(2000, SOON).await);
    load.mark();
    other.ask("CLIENT PAUSE 300 ALL");
    assert!(load.wait_for(2000, SOON).await);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let verdict = load.stop().await;
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!(verdict.groups.len(), 2);
    for group in &verdict.groups {
        let sampled: u64 = group.samples.iter().map(|sample| u64::from(sample.acknowledged)).sum();
        assert!(group.acknowledged > 0 && group.acknowledged == sampled, "{group:?}");
        // one of the two connections of each group is at the paused server, the other goes on
        assert!(group.stall >= Duration::from_millis(250), "{group:?}");
        assert!(group.outage < group.stall, "{group:?}");
    }
}
