//! The verifying load against a real redis-server to which bad things happen.

mod parts;

use std::time::Duration;

use evenkeel_proof::load::{Load, LoadHandle, LoadOptions, Verdict};
use parts::{Server, free_port};

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
