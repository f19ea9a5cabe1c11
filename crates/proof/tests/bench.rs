//! The benchmark against a real redis-server, and against scripted ones that misbehave.

#![allow(clippy::unwrap_used, reason = "what fails outside a test function has to fail the test")]

mod parts;

use std::collections::HashMap;
use std::sync::Mutex;

use evenkeel_proof::bench::{BenchError, Outcome, run};
use parts::{Act, Server, args, free_port, json, scripted};

#[test]
fn a_run_measures_every_size_and_writes_everything() {
    let (server, dir) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let out = dir.path();
    let line = "--sizes 16..1k --seconds 0.2 --connections 4 --pipeline 8 --threads 2 --client 2";
    let outcome = run(args(&format!("{line} --addr {} --out {}", server.addr(), out.display()))).unwrap();
    assert_eq!(outcome, Outcome::Clean);
    let report = json(out.join("report-client2.json"));
    assert_eq!(report["sizes"].as_array().unwrap().len(), 7);
    assert!(report["target"]["server"].as_str().unwrap().starts_with("redis "));
    for op in ["set", "get"] {
        let results = json(out.join(format!("results-{op}-client2.txt")));
        let bits: Vec<_> =
            results.as_array().unwrap().iter().map(|row| row["NUM OF BITS"].as_u64().unwrap()).collect();
        assert_eq!(bits, [128, 256, 512, 1024, 2048, 4096, 8192]);
        let raw = json(out.join(format!("results-raw-{op}-client2.txt")));
        for (at, size) in report["sizes"].as_array().unwrap().iter().enumerate() {
            let (row, figures) = (&results[at], &size[op]);
            let requests = figures["requests"].as_u64().unwrap();
            assert!(requests > 100 && row["ERROR PERCENTAGE"] == 0.0, "{row}");
            let (iops, latency) = (row["IOPS"].as_f64().unwrap(), row["LATENCY"].as_f64().unwrap());
            // Little's law: requests in flight = rate × latency; the generator's own time is what is missing.
            assert!((2.0..=33.0).contains(&(iops * latency)), "{iops} a second at {latency} s");
            assert!((row["BANDWIDTH"].as_f64().unwrap() / iops - bits[at] as f64).abs() < 1e-6);
            let batches: Vec<_> =
                raw.as_array().unwrap().iter().filter(|batch| batch["NUM OF BITS"] == bits[at]).collect();
            assert!(batches.len() as u64 >= requests / 1000);
            assert!(batches.iter().all(|batch| batch["END"].as_f64() >= batch["START"].as_f64()));
        }
        let all: u64 = report["sizes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|size| size[op]["requests"].as_u64().unwrap())
            .sum();
        assert_eq!(
            raw.as_array().unwrap().last().unwrap()["COUNT"],
            all,
            "no request is missing in the raw file"
        );
    }
    let page = std::fs::read_to_string(out.join("report-client2.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("every answer was right"));
    assert_eq!(server.ask("DBSIZE"), ":0", "the keys were removed");
}

#[test]
fn kept_keys_are_namespaced_and_hold_their_size() {
    let (server, dir) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let line = format!(
        "--sizes 64..128 --seconds 0.1 --keep --addr {} --out {}",
        server.addr(),
        dir.path().display()
    );
    assert_eq!(run(args(&line)).unwrap(), Outcome::Clean);
    let run = json(dir.path().join("report.json"))["run"].as_str().unwrap().to_owned();
    assert_ne!(server.ask("DBSIZE"), ":0");
    assert_eq!(server.ask(&format!("STRLEN evenkeel:bench:{run}:64:0")), ":64");
    assert_eq!(server.ask(&format!("STRLEN evenkeel:bench:{run}:128:0")), ":128");
}

#[test]
fn a_full_server_is_not_filled_up() {
    let server = Server::start(&["--maxmemory", "8mb", "--maxmemory-policy", "noeviction"]);
    let dir = tempfile::tempdir().unwrap();
    let line = "--sizes 64k..4mb --seconds 0.2 --connections 2 --addr";
    let outcome = run(args(&format!("{line} {} --out {}", server.addr(), dir.path().display()))).unwrap();
    let report = json(dir.path().join("report.json"));
    assert_eq!(outcome, Outcome::Clean, "{}", report["totals"]);
    let sizes = report["sizes"].as_array().unwrap();
    assert!((1..60).contains(&sizes[0]["keys"].as_u64().unwrap()), "{}", sizes[0]["keys"]);
    assert!(sizes.last().unwrap()["skipped"].as_str().unwrap().contains("maxmemory"));
}

#[test]
fn a_full_disk_is_named_and_the_keys_are_removed() {
    let (server, dir) = (Server::start(&[]), tempfile::tempdir().unwrap());
    let full = dir.path().join("results-raw-set-client1.txt");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let line =
        format!("--sizes 16..64 --seconds 0.2 --addr {} --out {}", server.addr(), dir.path().display());
    let error = run(args(&line)).unwrap_err();
    assert!(matches!(&error, BenchError::Write { path, .. } if *path == full), "{error}");
    assert_eq!(server.ask("DBSIZE"), ":0");
}

#[test]
fn logins_are_checked_before_anything_is_written() {
    let (server, dir) = (Server::start(&["--requirepass", "secret word"]), tempfile::tempdir().unwrap());
    let file = dir.path().join("password");
    let line = |more: &str| {
        args(&format!(
            "--sizes 16 --seconds 0.1 --addr {} --out {}/out {more}",
            server.addr(),
            dir.path().display()
        ))
    };
    assert!(matches!(run(line("")), Err(BenchError::Login { .. })));
    std::fs::write(&file, "another\n").unwrap();
    let with_file = format!("--password-file {}", file.display());
    let error = run(line(&with_file)).unwrap_err();
    assert!(matches!(error, BenchError::Login { .. }) && !error.to_string().contains("another"), "{error}");
    assert!(!dir.path().join("out").exists());
    std::fs::write(&file, "secret word\n").unwrap();
    assert_eq!(run(line(&with_file)).unwrap(), Outcome::Clean);
}

#[test]
fn nobody_there_is_a_clear_error() {
    let addr = format!("127.0.0.1:{}", free_port());
    let error = run(args(&format!("--addr {addr}"))).unwrap_err().to_string();
    assert!(error.contains(&addr) && error.contains("refused") && error.contains("evenkeel up"), "{error}");
}

#[test]
fn a_cluster_node_that_serves_half_of_the_slots_fails_half_of_the_requests() {
    // Without a bus port of its own the server adds 10000 to its port, which may be no port.
    let bus = free_port().to_string();
    let server = Server::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
    assert_eq!(server.ask("CLUSTER ADDSLOTSRANGE 0 8191"), "+OK");
    assert_eq!(server.ask("CONFIG SET cluster-require-full-coverage no"), "+OK");
    // The node waits a moment before it calls a cluster with slots up.
    let start = std::time::Instant::now();
    while server.ask("GET {06S}").starts_with("-CLUSTERDOWN The cluster is down")
        && start.elapsed().as_secs() < 10
    {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let dir = tempfile::tempdir().unwrap();
    let line = format!("--sizes 16 --seconds 0.3 --addr {} --out {}", server.addr(), dir.path().display());
    assert_eq!(run(args(&line)).unwrap(), Outcome::Failures);
    let report = json(dir.path().join("report.json"));
    let share = report["sizes"][0]["set"]["error_percentage"].as_f64().unwrap();
    assert!((40.0..60.0).contains(&share), "half of the slots have no owner: {share}");
    assert!(
        report["totals"]["errors_by_kind"]["CLUSTERDOWN"]["count"].as_u64().unwrap() > 0,
        "{}",
        report["totals"]
    );
    assert_eq!(report["sizes"][0]["get"]["errors"], 0, "only confirmed keys are read");
    assert_eq!(server.ask("DBSIZE"), ":0", "keys of many slots were removed one by one");
    // On a slow machine the load generator may remark on itself.
    let remarks = report["remarks"].as_array().unwrap();
    assert!(remarks.iter().all(|remark| remark.to_string().contains("load generator")), "{remarks:?}");
}

/// A store that keeps what is SET and answers GET with what `tamper` makes of it.
fn store(tamper: impl Fn(Vec<u8>, u64) -> Act + Send + Sync + 'static) -> String {
    let values = Mutex::new(HashMap::new());
    scripted(move |parts, number| match parts[0].as_slice() {
        b"SET" => {
            values.lock().unwrap().insert(parts[1].clone(), parts[2].clone());
            Act::Say(b"+OK\r\n".to_vec())
        }
        b"GET" => tamper(values.lock().unwrap()[&parts[1]].clone(), number),
        b"UNLINK" => Act::Say(format!(":{}\r\n", parts.len() - 1).into_bytes()),
        _ => Act::Say(b"-ERR unknown command\r\n".to_vec()),
    })
}

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

fn measure(addr: &str, more: &str) -> (Outcome, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let line = format!("--sizes 64 --seconds 0.4 --addr {addr} --out {} {more}", dir.path().display());
    let outcome = run(args(&line)).unwrap();
    (outcome, json(dir.path().join("report.json")))
}

#[test]
fn wrong_values_are_found_and_loud() {
    let addr = store(|mut value, number| {
        if number % 10 == 3 {
            value[63] ^= 1;
        }
        Act::Say(bulk(&value))
    });
    let (outcome, report) = measure(&addr, "");
    assert_eq!(outcome, Outcome::WrongValues);
    let get = &report["sizes"][0]["get"];
    let wrong = report["totals"]["wrong_values"].as_u64().unwrap();
    assert!(wrong > 0 && get["errors"] == wrong);
    assert!((5.0..15.0).contains(&get["error_percentage"].as_f64().unwrap()), "{get}");
}

#[test]
fn errors_closed_connections_and_missing_values_are_counted_by_kind() {
    let addr = store(|value, number| match number % 100 {
        5 => Act::Say(b"-MOVED 1 127.0.0.1:1\r\n".to_vec()),
        10 => Act::Say(b"-LOADING Redis is loading\r\n".to_vec()),
        20 => Act::Say(b"$-1\r\n".to_vec()),
        30 => Act::SayAndClose(bulk(&value)[..20].to_vec()),
        40 => Act::Say(b":1\r\n".to_vec()),
        50 => Act::SayAndClose(b"nonsense".to_vec()),
        _ => Act::Say(bulk(&value)),
    });
    let (outcome, report) = measure(&addr, "--pipeline 4");
    assert_eq!(outcome, Outcome::Failures);
    let kinds = &report["totals"]["errors_by_kind"];
    for kind in ["MOVED", "LOADING", "missing value", "connection lost", "unexpected reply"] {
        assert!(kinds[kind]["count"].as_u64().unwrap_or(0) > 0, "{kind} in {kinds}");
    }
    assert_eq!(kinds["LOADING"]["example"], "LOADING Redis is loading");
    assert!(report["remarks"].to_string().contains("gateway"), "{}", report["remarks"]);
    let get = &report["sizes"][0]["get"];
    assert!(get["requests"].as_u64().unwrap() > 100, "it went on after lost connections: {get}");
    let counted: u64 =
        get["errors_by_kind"].as_object().unwrap().values().map(|kind| kind["count"].as_u64().unwrap()).sum();
    assert_eq!(get["errors"], counted);
}

#[test]
fn a_stalled_target_fails_in_time_and_the_run_goes_on() {
    let addr = store(|value, number| if number == 5 { Act::Stall } else { Act::Say(bulk(&value)) });
    let (outcome, report) = measure(&addr, "--timeout 0.1 --connections 1");
    assert_eq!(outcome, Outcome::Failures);
    assert_eq!(report["totals"]["errors_by_kind"]["no answer in time"]["count"], 1);
    assert!(report["sizes"][0]["get"]["requests"].as_u64().unwrap() > 20);
}
