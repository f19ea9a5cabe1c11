//! The page's server as its users see it: real connections, hand-made statuses.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod web_fixtures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use evenkeel_control::status::Status;
use evenkeel_control::web;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

const PASSWORD: &str = "correct horse";
/// `evenkeel:correct horse`, encoded by hand.
const BASIC: &str = "Authorization: Basic ZXZlbmtlZWw6Y29ycmVjdCBob3JzZQ==\r\n";

/// The server on a free port.
struct Served {
    addr: std::net::SocketAddr,
    publish: watch::Sender<Arc<Status>>,
    stop: oneshot::Sender<()>,
    done: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Served {
    async fn start(status: Status, password: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (publish, status) = watch::channel(Arc::new(now(status)));
        let (stop, stopped) = oneshot::channel::<()>();
        let password = password.map(str::to_owned);
        let done = tokio::spawn(web::serve(listener, status, password, async { drop(stopped.await) }));
        Self { addr, publish, stop, done }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
    }

    async fn get_with(&self, path: &str, headers: &str) -> Answer {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"))
            .await
    }

    async fn ask(&self, request: &str) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        Answer::read(&String::from_utf8(bytes).unwrap())
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.done.await.unwrap().unwrap();
    }
}

struct Answer {
    code: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { joined(body) } else { body.to_owned() };
        Self { code, head: head.to_lowercase(), body }
    }

    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }
}

/// The content of a chunked body.
fn joined(mut body: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text.push_str(&rest[..size]);
        body = &rest[(size + 2).min(rest.len())..];
    }
    text
}

/// A fixed status, moved to the present.
fn now(mut status: Status) -> Status {
    status.at_ms = web::wall_clock()();
    status
}

#[tokio::test]
async fn every_state_is_shown_and_escaped() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    for (status, wanted) in [
        (
            web_fixtures::healthy(),
            &["Healthy. Every slot is served", "node-7006", "45.2\u{a0}k/s", "7.0.15"][..],
        ),
        (
            web_fixtures::primary_down(),
            &["slots served", "killed by signal 9", "node-7002 is down", "asked to take over"],
        ),
        (web_fixtures::starting(), &["so far", "Owned by nobody", "10922–16383", "It does not answer"]),
        (
            web_fixtures::empty(),
            &["No node is wanted or seen", "No gateway is wanted", "Nothing has happened"],
        ),
        (web_fixtures::large(), &["39 shards, 2 replicas each", "10.0.0.13:7010", "m13-7009"]),
        (web_fixtures::hostile(), &["&lt;/script&gt;&lt;script&gt;alert(1)"]),
    ] {
        served.publish.send_replace(Arc::new(now(status)));
        let page = served.get("/stats").await;
        assert_eq!(page.code, 200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        for text in wanted {
            assert!(page.body.contains(text), "no {text:?}");
        }
        assert!(!page.body.contains("<script>alert"), "something was not escaped");
        assert!(!page.body.contains("<img"), "something was not escaped");
        assert_eq!(page.body.matches("<script").count(), 1);
        assert!(!page.body.contains(" style="), "the policy forbids inline styles");
        for outside in ["src=", "href=\"http", "url(http", "@import"] {
            assert!(
                !page.body.replace("&lt;img src=x", "").contains(outside),
                "{outside} is an external asset"
            );
        }
    }
    served.stop().await;
}

#[tokio::test]
async fn a_live_stream_delivers_what_changed_and_ends_with_the_server() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    let mut stream = TcpStream::connect(served.addr).await.unwrap();
    stream.write_all(b"GET /stats/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let first = event(&mut lines).await;
    assert!(first["main"].as_str().unwrap().contains("Healthy. Every slot is served"));
    let mut status = web_fixtures::healthy();
    status.nodes[0].keys = 7_654_321;
    served.publish.send_replace(Arc::new(now(status)));
    let second = event(&mut lines).await;
    assert_eq!(second["main"], serde_json::Value::Null);
    let parts = second["parts"].as_array().unwrap();
    let ids: Vec<_> = parts.iter().map(|part| part["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["figures", "node-0"], "only what changed is sent");
    assert!(parts[1]["html"].as_str().unwrap().contains("7.65\u{a0}M"));
    // Without news it still ticks, so that the page knows that it is connected.
    let tick = event(&mut lines).await;
    assert!(tick["now"].as_u64().unwrap() >= second["now"].as_u64().unwrap());
    assert_eq!(tick.get("parts"), None);
    // Nodes that go change the layout: everything is sent.
    served.publish.send_replace(Arc::new(now(web_fixtures::empty())));
    assert!(event(&mut lines).await["main"].as_str().unwrap().contains("No node is wanted"));
    let started = Instant::now();
    served.stop().await;
    assert!(started.elapsed() < Duration::from_secs(2), "a stream must not hold up the end");
    while lines.next_line().await.unwrap().is_some() {}
}

/// The next event of a stream.
async fn event(lines: &mut tokio::io::Lines<BufReader<TcpStream>>) -> serde_json::Value {
    loop {
        let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await.unwrap().unwrap();
        if let Some(data) = line.expect("the stream goes on").strip_prefix("data: ") {
            return serde_json::from_str(data).unwrap();
        }
    }
}

#[tokio::test]
async fn streams_are_limited_and_their_places_come_back() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(b"GET /stats/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let refused = served.get("/stats/events").await;
    assert_eq!((refused.code, refused.header("retry-after")), (503, "10"));
    assert_eq!(served.get("/stats").await.code, 200);
    drop(streams);
    let started = Instant::now();
    loop {
        let mut stream = TcpStream::connect(served.addr).await.unwrap();
        stream.write_all(b"GET /stats/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        if &start == b"HTTP/1.1 200" {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(10), "places of closed streams do not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    served.stop().await;
}

#[tokio::test]
async fn a_password_guards_everything_but_healthz() {
    let served = Served::start(web_fixtures::healthy(), Some(PASSWORD)).await;
    for path in ["/", "/stats", "/stats/events", "/stats;csv", "/metrics", "/api/status", "/nowhere"] {
        let refused = served.get(path).await;
        assert_eq!(refused.code, 401, "{path}");
        assert_eq!(refused.header("www-authenticate"), "basic realm=\"evenkeel\", charset=\"utf-8\"");
        assert!(!refused.body.contains("node-"), "{path} tells something");
        let wrong = served.get_with(path, "Authorization: Basic ZXZlbmtlZWw6d3Jvbmc=\r\n").await;
        assert_eq!(wrong.code, 401, "{path}");
    }
    assert_eq!(served.get("/healthz").await.code, 200);
    for path in ["/stats", "/stats;csv", "/metrics", "/api/status"] {
        assert_eq!(served.get_with(path, BASIC).await.code, 200, "{path}");
    }
    served.stop().await;
}

#[tokio::test]
async fn every_answer_is_protected() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    let mut nonces = Vec::new();
    for path in ["/", "/stats", "/stats;csv", "/metrics", "/api/status", "/healthz", "/nowhere"] {
        let answer = served.get(path).await;
        let policy = answer.header("content-security-policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "deny");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert_eq!(answer.header("cache-control"), "no-store");
        nonces.push(policy);
    }
    nonces.sort();
    nonces.dedup();
    assert_eq!(nonces.len(), 7, "a nonce was used twice");
    assert_eq!(served.get("/").await.header("location"), "/stats");
    served.stop().await;
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    assert_eq!(
        served.ask("POST /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.code,
        405
    );
    let large = "GET /stats HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    assert_eq!(served.ask(large).await.code, 413);
    let chunked = "GET /stats HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(served.ask(chunked).await.code, 413);
    let long = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert_eq!(served.ask(&long).await.code, 431);
    let many = format!("GET /stats HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(100));
    assert_eq!(served.ask(&many).await.code, 431);
    let rebound = "GET /stats HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(served.ask(rebound).await.code, 421);
    assert_eq!(served.ask("\x16\x03\x01 garbage\r\n\r\n").await.code, 400);
    assert_eq!(served.get("/stats").await.code, 200);
    served.stop().await;
}

#[tokio::test]
async fn healthz_is_well_only_with_every_slot_and_a_fresh_look() {
    let served = Served::start(web_fixtures::healthy(), None).await;
    let well = served.get("/healthz").await;
    assert_eq!((well.code, well.body.as_str()), (200, "ok\n"));
    served.publish.send_replace(Arc::new(now(web_fixtures::primary_down())));
    let down = served.get("/healthz").await;
    assert_eq!(down.code, 503);
    assert!(
        down.body.starts_with("slots served is 10923, expected 16384: node-7002 was killed"),
        "{}",
        down.body
    );
    let mut degraded = now(web_fixtures::healthy());
    degraded.health = evenkeel_control::status::Health::Degraded;
    served.publish.send_replace(Arc::new(degraded));
    assert_eq!(served.get("/healthz").await.code, 200, "a missing replica refuses nothing");
    let mut old = now(web_fixtures::healthy());
    old.at_ms -= 12_000;
    served.publish.send_replace(Arc::new(old));
    let stale = served.get("/healthz").await;
    assert_eq!(stale.code, 503);
    assert!(stale.body.starts_with("the last observation is 12 s old"), "{}", stale.body);
    assert!(served.get("/stats").await.body.contains("No fresh observation"));
    served.stop().await;
}

#[tokio::test]
async fn the_api_gives_the_status_as_it_is() {
    let status = now(web_fixtures::primary_down());
    let served = Served::start(web_fixtures::healthy(), None).await;
    served.publish.send_replace(Arc::new(status.clone()));
    let answer = served.get("/api/status").await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(serde_json::from_str::<Status>(&answer.body).unwrap() == status, "{}", answer.body);
    served.stop().await;
}
