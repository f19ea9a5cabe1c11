//! Values of many megabytes through the gateway: they arrive whole, cost it little memory, and stop nobody else, also
//! when a client dies, a node dies or slots move in the middle of one.
//!
//! `EVENKEEL_FULL=1` adds the largest value that a server takes, 512 MB (needs 3 GB of memory and half a minute).

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use stage::cluster::Cluster;
use stage::raw::{Raw, metric, request, shown, still_serves};
use stage::service::GatewayProcess;
use stage::{SOON, alone, switched_on, wait_until};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
/// Memory in MiB that no value may make the gateway take.
const BOUND: u64 = 96;

#[test]
fn large_values_stream_through() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let before = gateway.memory().0;
    let mut sizes = vec![2 * MIB, 20 * MIB, 200 * MIB];
    if switched_on("EVENKEEL_FULL") {
        sizes.push(512 * MIB);
    }
    let bystander = Bystander::start(gateway.addr);
    for size in sizes {
        let mut client = Raw::connect(gateway.addr);
        let start = Instant::now();
        send_words(&mut client, &["SET", "large"], size, 1);
        assert_eq!(shown(&client.reply()), "+OK\\r\\n");
        let set = start.elapsed();
        get(&mut client, "large", size, 1);
        println!(
            "{} MiB: SET {set:.1?}, GET {:.1?}, memory {:?}",
            size / MIB,
            start.elapsed() - set,
            gateway.memory()
        );
        // Another value in, the old one out.
        send_words(&mut client, &["GETSET", "large"], 3 * MIB, 2);
        expect_value(&mut client, size, 1);
        assert_eq!(shown(&client.ask(&["STRLEN", "large"])), format!(":{}\\r\\n", 3 * MIB));
        assert_eq!(client.ask(&["DEL", "large"]), b":1\r\n");
    }
    bystander.stop("large values");
    let (now, peak) = gateway.memory();
    assert!(peak < before + BOUND, "{before} MiB before, {peak} MiB at most, {now} MiB now");
}

#[test]
fn other_commands_with_large_arguments() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let addr = gateway.addr;
    let mut client = Raw::connect(addr);
    for size in [3 * MIB, 5 * MIB] {
        send_words(&mut client, &["APPEND", "text"], size, 3);
    }
    assert_eq!(shown(&client.reply()), format!(":{}\\r\\n", 3 * MIB));
    assert_eq!(shown(&client.reply()), format!(":{}\\r\\n", 8 * MIB));
    send_words(&mut client, &["SETRANGE", "text", &(3 * MIB).to_string()], 4 * MIB, 3);
    assert_eq!(shown(&client.reply()), format!(":{}\\r\\n", 8 * MIB));
    client.send(&request(&[
        b"GETRANGE",
        b"text",
        (3 * MIB).to_string().as_bytes(),
        (7 * MIB - 1).to_string().as_bytes(),
    ]));
    expect_value(&mut client, 4 * MIB, 3);
    let element: Vec<u8> = (0..3 * MIB).map(|at| byte(4, at)).collect();
    client.send(&request(&[b"LPUSH", b"list", &element, b"small", &element, &element]));
    assert_eq!(client.reply(), b":4\r\n");
    assert_eq!(client.ask(&["LLEN", "list"]), b":4\r\n");
    client.send(&request(&[b"LRANGE", b"list", b"0", b"-1"]));
    let (large, small) = (request(&[&element])[4..].to_vec(), b"$5\r\nsmall\r\n".to_vec());
    assert!(
        client.reply() == [b"*4\r\n".to_vec(), large.clone(), large.clone(), small, large.clone()].concat()
    );
    client.send(&request(&[b"PUBLISH", b"channel", &element]));
    assert_eq!(client.reply(), b":0\r\n");
    client.send(&request(&[b"PING", &element])); // collected: it has no key
    assert!(client.reply() == large);
    client.send(&request(&[b"MSET", b"a", &element, b"b", &element, b"c", b"1"]));
    assert_eq!(client.reply(), b"+OK\r\n");
    client.send(&request(&[b"MGET", b"a", b"b", b"c"]));
    assert!(
        client.reply()
            == [b"*3\r\n".to_vec(), large.clone(), large.clone(), b"$1\r\n1\r\n".to_vec()].concat()
    );
    client.send(&request(&[b"HSET", b"list", b"field", &element]));
    assert!(client.reply().starts_with(b"-WRONGTYPE "));
    client.send(&request(&[b"GET", &element])); // the key itself is large
    assert_eq!(client.reply(), b"$-1\r\n");
    client.ask(&["HELLO", "3"]);
    send_words(&mut client, &["SET", "three"], 2 * MIB, 5);
    assert_eq!(client.reply(), b"+OK\r\n");
    client.send(&request(&[
        b"EVAL",
        b"return redis.call('strlen', KEYS[1]) + #ARGV[1]",
        b"1",
        b"three",
        &element,
    ]));
    assert_eq!(shown(&client.reply()), format!(":{}\\r\\n", 5 * MIB));
    still_serves(addr);
}

#[test]
fn slow_and_dying_clients() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let (addr, before) = (gateway.addr, gateway.memory().0);
    let mut client = Raw::connect(addr);
    send_words(&mut client, &["SET", "large"], 100 * MIB, 1);
    assert_eq!(client.reply(), b"+OK\r\n");
    let bystander = Bystander::start(addr);
    // Reads a little, does something else for a while, and reads on.
    client.send(&request(&[b"GET", b"large"]));
    std::thread::sleep(Duration::from_millis(1000));
    expect_value(&mut client, 100 * MIB, 1);
    for n in 0..20 {
        let mut sender = Raw::connect(addr);
        sender.send(format!("*3\r\n$3\r\nSET\r\n$5\r\nhalf{}\r\n$20000000\r\n", n % 10).as_bytes());
        sender.send(&vec![b'h'; n * 300_000]);
        let mut reader = Raw::connect(addr);
        reader.send(&request(&[b"GET", b"large"]));
        reader.stream.read_exact(&mut vec![0; n * 100_000 + 1]).unwrap();
        // And some large requests whose replies nobody takes.
        let mut leaver = Raw::connect(addr);
        send_words(&mut leaver, &["APPEND", "left"], 2 * MIB, 1);
    }
    bystander.stop("clients that die");
    wait_until("they are gone", || metric(addr, "clients") <= 3);
    for n in 0..10 {
        assert_eq!(client.ask(&["EXISTS", &format!("half{n}")]), b":0\r\n");
    }
    get(&mut client, "large", 100 * MIB, 1);
    assert!(gateway.memory().1 < before + BOUND, "{before} MiB before, {:?} MiB", gateway.memory());
    println!("memory {before} MiB before, {:?} MiB now and at most", gateway.memory());
    still_serves(addr);
}

#[test]
fn a_node_that_dies_in_the_middle() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &["--cluster-node-timeout", "1000"]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let addr = gateway.addr;
    let key = "foo"; // slot 12182: the third primary's
    let mut reader = Raw::connect(addr);
    send_words(&mut reader, &["SET", key], 30 * MIB, 1);
    assert_eq!(reader.reply(), b"+OK\r\n");
    wait_until("the replica has it", || {
        let offset = |node: &stage::cluster::Node, name| node.info(&["INFO", "replication"], name);
        offset(&cluster.primaries[2], "master_repl_offset")
            == offset(&cluster.replicas[2], "slave_repl_offset")
    });
    let mut sender = Raw::connect(addr);
    sender.send(format!("*3\r\n$3\r\nSET\r\n$3\r\n{key}\r\n${}\r\n", 20 * MIB).as_bytes());
    sender.send(&vec![b'n'; 10 * MIB]);
    let mut kept = Raw::connect(addr);
    kept.send(format!("*3\r\n$3\r\nSET\r\n$8\r\n{{{key}}}of2\r\n${}\r\n", 2 * MIB).as_bytes());
    kept.send(&block(7).repeat(MIB / 65_521));
    reader.send(&request(&[b"GET", key.as_bytes()]));
    reader.stream.read_exact(&mut [0; 1000]).unwrap();
    cluster.primaries[2].kill();
    // What was half read cannot go on; what was half sent was not applied, and its client can go on.
    let rest = reader.rest();
    assert!(
        rest.len() < 30 * MIB && !rest.windows(5).any(|window| window == b"\r\n-ER"),
        "{} bytes",
        rest.len()
    );
    sender.send(&vec![b'n'; 10 * MIB]);
    sender.send(b"\r\n");
    let said = shown(&sender.reply());
    println!("in the middle of a value: {said}");
    assert!(said.starts_with('-'), "{said}");
    // One that is short enough to be kept goes to the new primary from its start, although half of it was gone already.
    kept.send(&block(7).repeat(1 + MIB / 65_521)[..2 * MIB - MIB / 65_521 * 65_521]);
    kept.send(b"\r\n");
    assert_eq!(shown(&kept.reply()), "+OK\\r\\n");
    get(&mut kept, &format!("{{{key}}}of2"), 2 * MIB, 7);
    // This one waits for the new primary, and so does a read of the value.
    get(&mut sender, key, 30 * MIB, 1);
    send_words(&mut sender, &["SET", key], 4 * MIB, 2);
    assert_eq!(shown(&sender.reply()), "+OK\\r\\n");
    get(&mut sender, key, 4 * MIB, 2);
    still_serves(addr);
}

#[test]
fn slots_with_large_values_move() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = GatewayProcess::start(&cluster.addrs());
    let addr = gateway.addr;
    let keys: Vec<String> = (0..8000)
        .map(|n| format!("k{n}"))
        .filter(|key| evenkeel_core::topology::slot(key.as_bytes()) < 100)
        .take(12)
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<JoinHandle<usize>> = keys
        .chunks(6)
        .map(|keys| {
            let (keys, stopped) = (keys.to_vec(), stop.clone());
            std::thread::spawn(move || {
                let (mut client, mut rounds) = (Raw::connect(addr), 0);
                while !stopped.load(Ordering::Relaxed) {
                    for (n, key) in keys.iter().enumerate() {
                        let (size, seed) = (MIB + MIB / 2 + 1000 * n, rounds + n);
                        send_words(&mut client, &["SET", key], size, seed);
                        assert_eq!(shown(&client.reply()), "+OK\\r\\n");
                        get(&mut client, key, size, seed);
                        // Two at a time: the second waits for the first.
                        send_words(&mut client, &["APPEND", key], 2 * MIB, seed);
                        client.send(&request(&[b"STRLEN", key.as_bytes()]));
                        let length = format!(":{}\\r\\n", size + 2 * MIB);
                        assert_eq!(
                            (shown(&client.reply()), shown(&client.reply())),
                            (length.clone(), length)
                        );
                    }
                    rounds += 1;
                }
                rounds
            })
        })
        .collect();
    let [from, to, _] = cluster.primaries.as_slice() else { unreachable!("three were started") };
    let redirects = metric(addr, "redirects");
    for (from, to) in [(from, to), (to, from)] {
        cluster.reshard(from, to, 100);
    }
    stop.store(true, Ordering::Relaxed);
    let rounds: usize = users.into_iter().map(|user| user.join().expect("large values go on")).sum();
    println!("{rounds} rounds; {} redirections", metric(addr, "redirects") - redirects);
    still_serves(addr);
}

/// The byte of a value: values of another seed, or shifted by anything, differ.
fn byte(seed: usize, at: usize) -> u8 {
    let block = at % 65_521;
    (block.wrapping_mul(block + 7 + seed) >> 5) as u8
}

fn block(seed: usize) -> Vec<u8> {
    (0..65_521).map(|at| byte(seed, at)).collect()
}

/// Sends a request whose last argument has `size` bytes, without having it in memory.
fn send_words(client: &mut Raw, words: &[&str], size: usize, seed: usize) {
    let mut head = format!("*{}\r\n", words.len() + 1);
    words.iter().for_each(|word| head.push_str(&format!("${}\r\n{word}\r\n", word.len())));
    client.send(format!("{head}${size}\r\n").as_bytes());
    let block = block(seed);
    for at in (0..size).step_by(block.len()) {
        client.send(&block[..block.len().min(size - at)]);
    }
    client.send(b"\r\n");
}

fn get(client: &mut Raw, key: &str, size: usize, seed: usize) {
    client.send(&request(&[b"GET", key.as_bytes()]));
    expect_value(client, size, seed);
}

/// Reads a value and compares each byte, without having it in memory.
fn expect_value(client: &mut Raw, size: usize, seed: usize) {
    let head = format!("${size}\r\n");
    let mut got = vec![0; head.len()];
    client.stream.read_exact(&mut got).unwrap();
    assert_eq!(shown(&got), head.escape_default().to_string());
    let block = block(seed);
    let mut buffer = vec![0; block.len()];
    for at in (0..size).step_by(block.len()) {
        let len = block.len().min(size - at);
        client.stream.read_exact(&mut buffer[..len]).unwrap();
        assert!(buffer[..len] == block[..len], "the value differs after {at} bytes");
    }
    client.stream.read_exact(&mut buffer[..2]).unwrap();
    assert_eq!(&buffer[..2], b"\r\n");
}

/// A client with small requests all the while.
struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Bystander {
    fn start(addr: SocketAddr) -> Bystander {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut client, mut times) = (Raw::connect(addr), Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let key = format!("small:{}", times.len() % 20);
                assert!(client.ask(&["INCR", &key]).starts_with(b":"));
                times.push(asked.elapsed());
                std::thread::sleep(Duration::from_millis(1));
            }
            times
        });
        Bystander { stop, thread }
    }

    /// Says how long its requests took.
    fn stop(self, beside: &str) {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().expect("it is answered");
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        let (half, most, longest) = (at(0.5), at(0.99), at(1.0));
        println!(
            "{} small requests beside {beside}: p50 {half:.1?}, p99 {most:.1?}, longest {longest:.1?}",
            times.len()
        );
        assert!(times.len() > 20 && longest < SOON / 4, "{longest:?}");
    }
}
