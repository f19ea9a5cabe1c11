//! Clients that send what no library would, too much of it, or never read: each gets a clear answer, and the others
//! are served all the while.
//!
//! The gateway is a process of its own here, so that its memory can be looked at. `EVENKEEL_FULL=1` makes everything
//! ten times as much.

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_gateway::{Gateway, Settings};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use stage::cluster::Cluster;
use stage::raw::{Raw, command, metric, request, shown, still_serves, texts};
use stage::service::{GatewayProcess, wait_until_served};
use stage::{alone, loopback, switched_on, wait_until};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Memory in MiB that no client may make the gateway take.
const BOUND: u64 = 96;
/// What ends a look at answers: its own answer cannot be mistaken.
const END: &[&str] = &["ECHO", "the end of it"];

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_no_request_gets_the_servers_own_words() {
    let (_alone, front) = (alone(), Front::start());
    let (server, gateway) = (front.cluster.primaries[0].addr, front.gateway.addr);
    let long = |start: &str, fill: &str| format!("{start}{}", fill.repeat(70_000)).into_bytes();
    let texts = [
        "*abc\r\n",
        "*\r\n",
        "*+1\r\n",
        "*01\r\n$4\r\nPING\r\n",
        "* 1\r\n",
        "*0\r\n*1\r\n$4\r\nPING\r\n",
        "*-1\r\n*1\r\n$4\r\nPING\r\n",
        "*-2147483648\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*1\n$4\r\nPING\r\n",
        "*1\r\nxfoo\r\n",
        "*1\r\n:1\r\n",
        "*1\r\n\u{1}\r\n",
        "*1\r\n\r\n",
        "*1\r\n$abc\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-2\r\n",
        "*1\r\n$+4\r\nPING\r\n",
        "*1\r\n$04\r\nPING\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$1073741824\r\n",
        "*1\r\n$2147483648\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n$0\r\n\r\n",
        "*1\r\n$4\r\nPING\r\n*1\r\nx\r\n",
        "*1\r\nx\r\n*1\r\n$4\r\nPING\r\n",
        "\r\nPING\r\n",
        "   \r\nPING\r\n",
        "PING\n",
        "  ping\t hello  \r\n",
        "ECHO \"a\\x41\\n\\t\\\"b\"\r\n",
        "ECHO 'it\\'s \\n'\r\n",
        "ECHO \"abc\r\n",
        "ECHO 'abc\r\n",
        "ECHO ab\"c d\"\r\n",
        "\"\"\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\n",
        "*1\r\n$5\r\nHost:\r\n",
        "*1\r\n$4\r\npost\r\n",
        "%1\r\n",
        "+OK\r\n",
        "~2\r\n",
        "_\r\n",
        "$4\r\nPING\r\n",
        "*1\r\n$4\r\nQUIT\r\n",
        "FOO a \"b c\" d\r\n",
        "GET\r\n",
        "GET a b\r\n",
        "CLIENT\r\n",
        "CLIENT SETNAME\r\n",
        "CLIENT FOO\r\n",
        "GET|FOO a\r\n",
        "CLIENT|GETNAME\r\n",
        "SELECT abc\r\n",
        "PING a b\r\n",
        "QUIT a\r\n",
        "RESET x\r\n",
        "ECHO\r\n",
        "*1\r\n$6\r\na\r\nb\r\n\r\n",
        "*2\r\n$3\r\nfoo\r\n$4\r\n\r\nab\r\n",
        "*2\r\n$6\r\nclient\r\n$4\r\na\r\nb\r\n",
        "HELLO 4\r\n",
        "HELLO x\r\n",
        "HELLO 2 FOO\r\n",
        "HELLO 2 AUTH a\r\n",
        "AUTH x\r\n",
        "AUTH a b c\r\n",
        "AUTH default x\r\n",
        "AUTH nobody x\r\n",
        "SCAN abc\r\n",
        "SCAN 0 COUNT 0\r\n",
        "SCAN 0 COUNT x\r\n",
        "SCAN 0 FOO\r\n",
        "FLUSHALL FOO\r\n",
        "CLIENT LIST FOO\r\n",
        "CLIENT SETNAME \"a b\"\r\n",
    ];
    let mut cases: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    cases.extend([long("FOO ", "a\n")]);
    // Valkey takes a text right behind a closing quote; the gateway goes by Redis.
    if !stage::server::program().contains("valkey") {
        cases.push(b"ECHO \"abc\"d\r\n".to_vec());
    }
    cases.push(command(&["f".repeat(200).as_str()]));
    cases.push(command(&["FOO", &"a".repeat(100), &"b".repeat(100)]));
    let different: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let (theirs, ours) = (answer(server, case), answer(gateway, case));
            (theirs != ours)
                .then(|| format!("{}\n  server  {}\n  gateway {}", shown(case), shown(&theirs), shown(&ours)))
        })
        .collect();
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    still_serves(gateway);
}

#[test]
fn stricter_than_the_server_where_framing_would_be_in_doubt() {
    let (_alone, front) = (alone(), Front::start());
    let gateway = front.gateway.addr;
    let cases: [(&[u8], &str); 9] = [
        (b"*1\rX$4\r\nPING\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n$4\r\nPINGXX", "-ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$3\r\nPING\r\n", "-ERR Protocol error: invalid bulk length"),
        (&[&b"*"[..], &[b'1'; 70_000]].concat(), "-ERR Protocol error: too big mbulk count string"),
        (&[&b"*1\r\n$"[..], &[b'1'; 70_000]].concat(), "-ERR Protocol error: too big bulk count string"),
        (&[b'A'; 70_000], "-ERR Protocol error: too big inline request"),
        (b"*2147483648\r\n", "-ERR Protocol error: invalid multibulk length"),
        (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1073741824\r\n", "-ERR Protocol error: invalid bulk length"),
        (&[&b"ECHO "[..], &[b'A'; 70_000], b"\r\n"].concat(), "-ERR Protocol error: too big inline request"),
    ];
    for (case, text) in cases {
        assert_eq!(shown(&answer(gateway, case)), format!("{text}\\r\\n"), "{}", shown(case));
        still_serves(gateway);
    }
    // The server waits for ever when a line has a NUL byte; here it is answered.
    let nul = answer(gateway, b"ECHO a\0b\r\n");
    assert!(nul.ends_with(&reply_to_end()) && nul.len() > reply_to_end().len(), "{}", shown(&nul));
    // A length over the limit that comes when the request is on its way already.
    let two_mib = vec![b'v'; 2 << 20];
    for (tail, text) in [
        (b"$1073741824\r\nx".as_slice(), "-ERR Protocol error: invalid bulk length\\r\\n"),
        (b"no length\r\n", "-ERR Protocol error: expected \\'$\\', got \\'n\\'\\r\\n"),
        (b":5\r\n", "-ERR Protocol error: expected \\'$\\', got \\':\\'\\r\\n"),
    ] {
        let mut client = Raw::connect(gateway);
        client.send(b"*4\r\n$5\r\nLPUSH\r\n$4\r\nlist\r\n");
        client.send(&[b"$2097152\r\n".as_slice(), &two_mib, b"\r\n"].concat());
        client.send(tail);
        assert_eq!(shown(&client.rest()), text);
        still_serves(gateway);
    }
    assert_eq!(Raw::connect(gateway).ask(&["EXISTS", "list"]), b":0\r\n");
}

#[test]
fn half_a_request_hurts_nobody() {
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let set = command(&["SET", "half", "written"]);
    let mut waiting = Vec::new();
    for cut in 1..set.len() {
        let mut client = Raw::connect(addr);
        client.send(&set[..cut]);
        match cut % 3 {
            0 => drop(client),
            1 => {
                client.stream.shutdown(Shutdown::Write).unwrap();
                assert_eq!(client.rest(), b"", "cut at {cut}");
            }
            _ => waiting.push((cut, client)),
        }
    }
    still_serves(addr);
    assert_eq!(Raw::connect(addr).ask(&["EXISTS", "half"]), b":0\r\n");
    for (cut, mut client) in waiting {
        client.send(&set[cut..]);
        assert_eq!(shown(&client.reply()), "+OK\\r\\n", "cut at {cut}");
    }
    // Half of something large, by many: what came is held or passed on, what was only announced costs nothing.
    let before = front.gateway.memory().0;
    let mut announcers: Vec<Raw> = (0..times(100)).map(|_| Raw::connect(addr)).collect();
    for client in &mut announcers {
        client.send(b"*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$536870912\r\n");
        client.send(&[b'x'; 1000]);
        let mut other = Raw::connect(addr);
        other.send(b"*100000\r\n$4\r\nMSET\r\n$1\r\na\r\n$536870912\r\n");
        std::mem::swap(client, &mut other);
    }
    still_serves(addr);
    front.is_bounded(before);
}

#[test]
fn a_hundred_thousand_arguments() {
    const KEYS: usize = 100_000;
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let mut client = Raw::connect(addr);
    let names: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    let all = |verb: &'static str| {
        std::iter::once(verb).chain(names.iter().map(String::as_str)).collect::<Vec<_>>()
    };
    let pairs: Vec<&str> =
        std::iter::once("MSET").chain(names.iter().flat_map(|name| [name.as_str(), &name[4..]])).collect();
    assert_eq!(shown(&client.ask(&pairs)), "+OK\\r\\n");
    let values: Vec<Option<String>> = names.iter().map(|name| Some(name[4..].to_owned())).collect();
    assert!(texts(&client.ask(&all("MGET"))) == values);
    for verb in ["EXISTS", "TOUCH", "DEL"] {
        assert_eq!(shown(&client.ask(&all(verb))), format!(":{KEYS}\\r\\n"), "{verb}");
    }
    assert!(texts(&client.ask(&all("MGET"))) == vec![None; KEYS]);
    assert_eq!(
        shown(&client.ask(&all("SINTER"))),
        "-CROSSSLOT Keys in request don\\'t hash to the same slot\\r\\n"
    );
    let one_key: Vec<&str> = ["RPUSH", "list"].into_iter().chain(names.iter().map(String::as_str)).collect();
    assert_eq!(shown(&client.ask(&one_key)), format!(":{KEYS}\\r\\n"));
    still_serves(addr);
}

/// Each of these requests goes to thousands of slots: what is under way at a time has to be bounded by more than the
/// number of requests.
#[test]
fn many_requests_with_many_keys_take_turns() {
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let names: Vec<String> = (0..4000).map(|n| format!("key:{n}")).collect();
    let mget = command(&std::iter::once("MGET").chain(names.iter().map(String::as_str)).collect::<Vec<_>>());
    let (before, count) = (front.gateway.memory().0, times(300));
    let mut client = Raw::connect(addr);
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        (0..count).try_for_each(|_| writer.write_all(&mget)).expect("requests are taken");
    });
    std::thread::sleep(Duration::from_millis(300));
    still_serves(addr);
    let nothing = [b"*4000\r\n".as_slice(), &b"$-1\r\n".repeat(4000)].concat();
    for _ in 0..count {
        assert!(client.reply() == nothing);
    }
    sender.join().unwrap();
    front.is_bounded(before);
}

#[test]
fn deep_pipelines() {
    const DEEP: usize = 100_000;
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let before = front.gateway.memory().0;
    let mut client = Raw::connect(addr);
    client.send(&b"PING\r\n".repeat(DEEP));
    for _ in 0..DEEP {
        assert_eq!(client.reply(), b"+PONG\r\n");
    }
    let gets: Vec<u8> = (0..DEEP).flat_map(|n| command(&["GET", &format!("nothing:{n}")])).collect();
    client.send(&gets);
    still_serves(addr);
    for _ in 0..DEEP {
        assert_eq!(client.reply(), b"$-1\r\n");
    }
    // Writes and reads that all follow each other.
    let turns: Vec<u8> = (0..20_000)
        .flat_map(|n| [command(&["INCR", &format!("count:{}", n % 7)]), command(END)].concat())
        .collect();
    client.send(&turns);
    for n in 0..20_000 {
        assert_eq!(shown(&client.reply()), format!(":{}\\r\\n", n / 7 + 1));
        assert_eq!(client.reply(), reply_to_end());
    }
    front.is_bounded(before);
    still_serves(addr);
}

#[test]
fn who_never_reads_stops_only_itself() {
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let mut other = Raw::connect(addr);
    let (small, large) = ("s".repeat(10_000), vec![b'l'; 1 << 20]);
    assert_eq!(other.ask(&["SET", "small", &small]), b"+OK\r\n");
    other.send(&request(&[b"SET", b"large", &large]));
    assert_eq!(other.reply(), b"+OK\r\n");
    let before = front.gateway.memory().0;
    for (key, gets) in [("small", 50_000), ("large", 400)] {
        let dropped = metric(addr, "clients_dropped");
        let deaf = Raw::connect(addr);
        let (requests, mut writer) = (command(&["GET", key]).repeat(gets), deaf.stream.try_clone().unwrap());
        let sender = std::thread::spawn(move || writer.write_all(&requests).is_ok());
        let (start, mut longest, mut rounds) = (Instant::now(), Duration::ZERO, 0);
        while start.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            assert_eq!(other.ask(&["INCR", "count"]).first(), Some(&b':'));
            assert_eq!(other.ask_text(&["GET", "small"]).len(), small.len());
            longest = longest.max(asked.elapsed());
            rounds += 1;
        }
        println!(
            "beside {gets} unread values `{key}`: {rounds} rounds of two requests, the longest took {longest:.1?}"
        );
        still_serves(addr);
        front.is_bounded(before);
        let _ = deaf.stream.shutdown(Shutdown::Both); // it may have been closed
        let sent_all = sender.join().unwrap();
        println!("sent all: {sent_all}; dropped by then: {}", metric(addr, "clients_dropped") - dropped);
    }
    wait_until("its clients are gone", || metric(addr, "clients") <= 3);
}

#[test]
fn many_connections() {
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let count = times(2000);
    raise_file_limit(count as u64 + 500);
    let before = front.gateway.memory().0;
    let idle: Vec<Raw> = (0..count).map(|_| Raw::connect(addr)).collect();
    still_serves(addr);
    wait_until("all are welcome", || metric(addr, "clients") >= count as u64);
    let now = front.gateway.memory().0;
    println!(
        "{count} idle connections take {} MiB ({} bytes each)",
        now - before,
        ((now - before) << 20) / count as u64
    );
    let start = Instant::now();
    for mut client in idle.into_iter().step_by(40) {
        assert_eq!(client.ask(&["PING"]), b"+PONG\r\n");
    }
    println!("each fortieth pinged in {:.1?}", start.elapsed());
    // Storms: connections that come and go at once, some with a request that nobody waits for.
    storm(addr, times(4000), |n, stream| {
        if n % 2 == 0 {
            let _ = stream.write_all(&command(&["INCR", "storm"]));
        }
    });
    still_serves(addr);
    wait_until("they are gone", || metric(addr, "clients") <= 3);
    front.is_bounded(before);
}

#[test]
fn more_connections_than_are_allowed_are_told_so() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let mut settings = Settings::new(loopback(0), cluster.addrs());
    settings.max_clients = 50;
    let gateway = Gateway::start(settings).expect("a gateway");
    let addr = gateway.listen();
    wait_until_served(addr);
    wait_until("nobody is connected", || metric(addr, "clients") == 1);
    let mut clients = Vec::new();
    wait_until("fifty clients are in", || {
        let mut client = Raw::connect(addr);
        if client.try_reply_to_ping() {
            clients.push(client);
        }
        clients.len() == 50
    });
    for _ in 0..200 {
        assert_eq!(shown(&Raw::connect(addr).rest()), "-ERR max number of clients reached\\r\\n");
    }
    assert!(clients.iter_mut().all(|client| client.ask(&["PING"]) == b"+PONG\r\n"));
    clients.pop();
    wait_until("there is room again", || Raw::connect(addr).try_reply_to_ping());
    gateway.drain();
}

#[test]
fn random_bytes() {
    let (_alone, front) = (alone(), Front::start());
    let addr = front.gateway.addr;
    let before = front.gateway.memory().0;
    storm(addr, times(10_000), |n, stream| {
        let bytes = noise(n as u64);
        let _ = stream.write_all(&bytes);
    });
    still_serves(addr);
    wait_until("they are gone", || metric(addr, "clients") <= 3);
    front.is_bounded(before);
}

/// A cluster and a gateway in front of it.
struct Front {
    cluster: Cluster,
    gateway: GatewayProcess,
}

impl Front {
    fn start() -> Front {
        let cluster = Cluster::start(3, 0, &[]);
        let gateway = GatewayProcess::start(&cluster.addrs());
        Front { cluster, gateway }
    }

    /// What was done since memory was `before` has not made it much more.
    fn is_bounded(&self, before: u64) {
        let (now, peak) = self.gateway.memory();
        println!("memory {before} MiB before, {now} MiB now, {peak} MiB at most");
        assert!(peak < before + BOUND, "{before} MiB before, {peak} MiB at most");
    }
}

/// A number of connections, ten times as many for `EVENKEEL_FULL=1`.
fn times(count: usize) -> usize {
    if switched_on("EVENKEEL_FULL") { count * 10 } else { count }
}

fn reply_to_end() -> Vec<u8> {
    request(&[END[1].as_bytes()])[4..].to_vec()
}

/// Everything that is answered to some bytes, up to the end of the connection or the answer to a last request.
fn answer(addr: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut client = Raw::connect(addr);
    // Where the connection was closed meanwhile, that shows when it is read.
    let _ = client.stream.write_all(bytes);
    let _ = client.stream.write_all(&command(END));
    let (start, mut all, end) = (Instant::now(), Vec::new(), reply_to_end());
    client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 64 * 1024];
    while !all.ends_with(&end) {
        match client.stream.read(&mut buffer) {
            Ok(len @ 1..) => all.extend_from_slice(&buffer[..len]),
            Ok(_) => break,
            Err(_) if start.elapsed() > Duration::from_secs(4) => {
                all.extend_from_slice(b"(waits for more)");
                break;
            }
            Err(_) => break,
        }
    }
    all
}

/// Many short connections from a few threads.
fn storm(addr: SocketAddr, count: usize, act: impl Fn(usize, &mut TcpStream) + Copy + Send + Sync) {
    let start = Instant::now();
    std::thread::scope(|scope| {
        for part in 0..4 {
            scope.spawn(move || {
                for n in (part..count).step_by(4) {
                    let mut client = Raw::connect(addr);
                    act(n, &mut client.stream);
                }
            });
        }
    });
    println!("{count} connections came and went in {:.1?}", start.elapsed());
}

/// Up to 2000 bytes that mean nothing, or nearly something.
fn noise(seed: u64) -> Vec<u8> {
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move |below: u64| {
        dice ^= dice >> 12;
        dice ^= dice << 25;
        dice ^= dice >> 27;
        dice.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    };
    const PIECES: [&[u8]; 16] = [
        b"*3\r\n",
        b"$3\r\nSET\r\n",
        b"$1\r\na\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"GET a\r\n",
        b"\r\n",
        b"*1000000\r\n",
        b"$500000000\r\n",
        b"$4\r\nMGET\r\n",
        b"\0",
        b"\"",
        b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n",
        b"HELLO 3\r\n",
        b"*",
        b"MULTI\r\n",
    ];
    let mut bytes = Vec::new();
    for _ in 0..draw(12) {
        match draw(3) {
            0 => (0..draw(150)).for_each(|_| bytes.push(draw(256) as u8)),
            _ => bytes.extend_from_slice(PIECES[draw(16) as usize]),
        }
    }
    bytes
}

fn raise_file_limit(wanted: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("this test needs more open files (ulimit -Hn)");
    }
}

impl Raw {
    fn try_reply_to_ping(&mut self) -> bool {
        let _ = self.stream.write_all(b"PING\r\n");
        self.try_reply().is_some_and(|reply| reply == b"+PONG\r\n")
    }
}
