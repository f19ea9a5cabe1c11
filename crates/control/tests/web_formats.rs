//! What scrapers read, judged by the real thing: Prometheus's own parsers and Debian's haproxy.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod web_fixtures;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, header};
use evenkeel_control::status::Status;
use evenkeel_control::web;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

/// Asks the routes without a socket, at the time of the fixed statuses.
async fn get(status: Status, path: &str, accept: &str) -> (String, String) {
    let (_publish, status) = tokio::sync::watch::channel(Arc::new(status));
    let routes = web::router(status, None, Arc::new(|| web_fixtures::NOW_MS));
    let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty()).unwrap();
    let answer = TowerToHyperService::new(routes).call(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    (kind, String::from_utf8(body.to_vec()).unwrap())
}

fn statuses() -> [(&'static str, Status); 6] {
    [
        ("healthy", web_fixtures::healthy()),
        ("down", web_fixtures::primary_down()),
        ("starting", web_fixtures::starting()),
        ("empty", web_fixtures::empty()),
        ("large", web_fixtures::large()),
        ("hostile", web_fixtures::hostile()),
    ]
}

/// The cells of a CSV row with quotes.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => cell.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            other => cell.push(other),
        }
    }
    assert!(!quoted && cell.is_empty(), "a row ends with a comma: {line}");
    cells
}

async fn rows(status: Status) -> Vec<HashMap<String, String>> {
    let (kind, text) = get(status, "/stats;csv", "*/*").await;
    assert_eq!(kind, "text/plain; charset=utf-8");
    let mut lines = text.lines();
    let columns = cells(lines.next().unwrap().strip_prefix("# ").unwrap());
    let row = |line| {
        let cells = cells(line);
        assert_eq!(cells.len(), columns.len(), "{line}");
        columns.iter().cloned().zip(cells).collect()
    };
    lines.map(row).collect()
}

#[tokio::test]
async fn csv_rows_tell_what_is_true() {
    let down = rows(web_fixtures::primary_down()).await;
    let names: Vec<_> = down.iter().map(|row| (row["pxname"].as_str(), row["svname"].as_str())).collect();
    assert_eq!(names[0], ("gateway-127.0.0.1:7010", "FRONTEND"));
    assert_eq!(names[1], ("redis", "node-7001"));
    assert_eq!(*names.last().unwrap(), ("redis", "BACKEND"));
    assert_eq!(names.len(), 8);
    let field = |row: usize, column: &str| down[row][column].as_str();
    assert_eq!((field(0, "status"), field(0, "scur"), field(0, "stot")), ("OPEN", "48", "1930"));
    assert_eq!((field(0, "req_tot"), field(0, "type")), ("612443120", "0"));
    assert_eq!(
        (field(1, "status"), field(1, "act"), field(1, "bck"), field(1, "type")),
        ("UP", "1", "0", "2")
    );
    assert_eq!((field(2, "status"), field(2, "scur")), ("DOWN", ""), "what is not known is empty");
    assert_eq!(field(2, "last_chk"), "process 41002 ended by signal 9");
    assert_eq!((field(4, "act"), field(4, "bck")), ("0", "1"));
    assert_eq!((field(7, "status"), field(7, "act"), field(7, "bck")), ("DOWN", "2", "3"));
    assert_eq!((field(7, "qcur"), field(7, "type")), ("318", "1"));
    assert_eq!(rows(web_fixtures::healthy()).await[7]["status"], "UP");
    for (name, status) in statuses() {
        let nodes = status.nodes.len() + status.gateways.len();
        assert_eq!(rows(status).await.len(), nodes + 1, "{name}");
    }
}

/// An haproxy of this test; ends with the value.
struct Haproxy {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Haproxy {
    fn start(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config: PathBuf = directory.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n timeout connect 1s\n timeout client 1s\n timeout server 1s\n mode http\n\
             listen stats\n bind 127.0.0.1:{port}\n stats enable\n stats uri /stats\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs haproxy: apt-get install haproxy");
        Self { child, _directory: directory }
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn csv_has_the_columns_of_a_real_haproxy() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let _haproxy = Haproxy::start(port);
    let started = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(error) => {
                assert!(started.elapsed() < Duration::from_secs(10), "haproxy does not listen: {error}");
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    stream.write_all(b"GET /stats;csv HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let real = answer.lines().find(|line| line.starts_with("# pxname")).expect("haproxy tells its columns");
    let (_, text) = get(web_fixtures::healthy(), "/stats;csv", "*/*").await;
    let ours = text.lines().next().unwrap();
    // Newer versions add columns behind those of 2.6; the columns of modules follow a column named "-".
    assert!(real.starts_with(ours), "ours are\n{ours}\nhaproxy has\n{real}");
    assert_eq!(ours.split(',').count(), 104, "up to the last column that every row kind of 2.6 shares");
}

/// Python's own parsers of both formats, in an environment that is made once.
fn python() -> PathBuf {
    let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("prometheus-parser");
    let python = home.join("bin/python");
    if !home.join("ready").exists() {
        let run = |command: &mut Command| {
            let output =
                command.output().expect("this test needs python3 with venv: apt-get install python3-venv");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "prometheus-client==0.23.1"]));
        std::fs::write(home.join("ready"), "").unwrap();
    }
    python
}

/// Prints each family as `name type unit` and each sample as `name value labels`; fails on bad text.
const PARSE: &str = r#"
import sys
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
text = sys.stdin.buffer.read().decode()
for family in (openmetrics if sys.argv[1] == "open" else plain)(text):
    assert family.documentation, family.name
    print("F", family.name, family.type, family.unit)
    for sample in family.samples:
        print("S", sample.name, float(sample.value), sorted(v.encode("unicode_escape").decode() for k, v in sample.labels.items()))
"#;

fn parsed(dialect: &str, text: &str) -> String {
    let mut child = Command::new(python())
        .args(["-c", PARSE, dialect])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let feeding = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    feeding.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn metrics_parse_by_the_strict_parsers() {
    for (name, status) in statuses() {
        let open = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        for (dialect, accept) in [("open", open), ("plain", "text/plain")] {
            let (kind, text) = get(status.clone(), "/metrics", accept).await;
            assert_eq!(kind.starts_with("application/openmetrics-text; version=1.0.0"), dialect == "open");
            let seen = parsed(dialect, &text);
            assert!(seen.contains("F evenkeel_cluster_slots_served gauge"), "{name}: {seen}");
        }
    }
    let (_, text) = get(web_fixtures::primary_down(), "/metrics", "application/openmetrics-text").await;
    let seen = parsed("open", &text);
    for line in [
        "F evenkeel_gateway_requests counter ",
        "S evenkeel_gateway_requests_total 612443120.0 ['127.0.0.1:7010']",
        "F evenkeel_gateway_parked_bytes gauge bytes",
        "S evenkeel_gateway_parked_bytes 41220.0 ['127.0.0.1:7010']",
        "F evenkeel_gateway_client_bytes_in counter ",
        "F evenkeel_gateway_request_duration_seconds histogram seconds",
        "S evenkeel_gateway_request_duration_seconds_bucket 900000.0 ['0.000128', '127.0.0.1:7010', 'read']",
        "S evenkeel_gateway_request_duration_seconds_count 4676300.0 ['127.0.0.1:7010', 'read']",
        "S evenkeel_gateway_node_request_duration_seconds_count 4676300.0 ['127.0.0.1:7010', 'node-7001']",
        "S evenkeel_node_up 0.0 ['node-7002']",
        "S evenkeel_node_up 1.0 ['node-7001']",
        "S evenkeel_node_health 1.0 ['down', 'node-7002']",
        "S evenkeel_node_role 1.0 ['node-7005', 'replica']",
        "S evenkeel_cluster_slots_served 10923.0 []",
        "S evenkeel_cluster_healthy 0.0 []",
        "S evenkeel_build_info 1.0 ['0.1.0', 'redis-server 7.0.15']",
    ] {
        assert!(seen.lines().any(|seen| seen == line), "no {line:?} in\n{seen}");
    }
    assert!(!seen.contains("S evenkeel_node_keys 1.04e+06 ['node-7002']"), "a silent node has no levels");
    for &metric in evenkeel_core::metric::ALL {
        assert!(seen.contains(&format!("F evenkeel_gateway_{}", metric.name())), "no {}", metric.name());
    }
}
