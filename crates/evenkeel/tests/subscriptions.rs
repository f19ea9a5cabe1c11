//! Subscriptions through the gateway with real servers: who is counted, what a node sees of them, and what happens when
//! nodes die and slots move.
//!
//! `EVENKEEL_MEASURE=1` prints messages a second and latency to 1000 subscribers (build with `--release`).

#![allow(clippy::unwrap_used, reason = "a step that fails has to fail the test")]

mod stage;

use evenkeel_core::resp::{Elements, integer, text};
use evenkeel_core::topology::slot;
use evenkeel_gateway::{Gateway, Settings};
use stage::cluster::Cluster;
use stage::raw::{Raw, command, metric, shown, texts};
use stage::service::wait_until_served;
use stage::{alone, loopback, spread, switched_on, wait_until};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Gossip alone replaces a primary after this time and an election.
const NODE_TIMEOUT: [&str; 2] = ["--cluster-node-timeout", "1000"];

fn gateway(cluster: &Cluster, workers: usize) -> Gateway {
    let settings = Settings { workers, ..Settings::new(loopback(0), cluster.addrs()) };
    let gateway = Gateway::start(settings).unwrap();
    wait_until_served(gateway.listen());
    gateway
}

/// A client that is subscribed; every confirmation was read.
fn subscriber(addr: SocketAddr, words: &[&str]) -> Raw {
    let mut client = Raw::connect(addr);
    subscribe(&mut client, words);
    client
}

fn subscribe(client: &mut Raw, words: &[&str]) {
    client.send(&command(words));
    for name in &words[1..] {
        let confirmation = client.reply();
        let said = texts(&confirmation);
        assert_eq!(said[0].as_deref(), Some(words[0].to_lowercase().as_str()), "{}", shown(&confirmation));
        assert_eq!(said[1].as_deref(), Some(*name));
    }
}

fn number(reply: &[u8]) -> i64 {
    integer(reply).unwrap_or_else(|| panic!("a number, not {}", shown(reply)))
}

/// The last word of the next message.
fn payload(client: &mut Raw) -> String {
    let message = client.reply();
    texts(&message).pop().flatten().unwrap_or_else(|| panic!("a message, not {}", shown(&message)))
}

/// What PUBSUB NUMSUB (or SHARDNUMSUB) says of one channel.
fn subscribers(addr: SocketAddr, verb: &str, channel: &str) -> i64 {
    let reply = Raw::connect(addr).ask(&["PUBSUB", verb, channel]);
    let mut pair = Elements::of(&reply).unwrap();
    assert_eq!(pair.next().and_then(text), Some(channel.as_bytes()));
    number(pair.next().unwrap())
}

#[test]
fn many_subscribers_are_one_to_the_node_and_counted_one_by_one() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    for workers in [1, 3] {
        let gateway = gateway(&cluster, workers);
        let addr = gateway.listen();
        let mut clients: Vec<Raw> = (0..200).map(|_| subscriber(addr, &["SUBSCRIBE", "news"])).collect();
        clients.push(subscriber(addr, &["PSUBSCRIBE", "ne*", "n?ws", "x*"]));
        let home = cluster.primaries[0].addr;
        let upstream = subscribers(home, "NUMSUB", "news");
        assert!(
            upstream >= 1 && upstream <= workers as i64,
            "{upstream} subscriptions for {workers} workers"
        );
        assert_eq!(subscribers(addr, "NUMSUB", "news"), 200);
        let mut publisher = Raw::connect(addr);
        assert_eq!(number(&publisher.ask(&["PUBLISH", "news", "hello"])), 202);
        assert!(clients[..200].iter_mut().all(|client| payload(client) == "hello"));
        assert_eq!(
            (payload(&mut clients[200]), payload(&mut clients[200])),
            ("hello".into(), "hello".into())
        );
        assert_eq!(number(&publisher.ask(&["PUBSUB", "NUMPAT"])), 3);
        assert_eq!(texts(&publisher.ask(&["PUBSUB", "CHANNELS"])), [Some("news".to_owned())]);
        // A subscriber at a node, and what is published there, are the same to everyone.
        let mut direct = subscriber(cluster.primaries[0].addr, &["SUBSCRIBE", "news"]);
        assert_eq!(number(&publisher.ask(&["PUBLISH", "news", "more"])), 203);
        assert_eq!(payload(&mut direct), "more");
        Raw::connect(cluster.primaries[2].addr).ask(&["PUBLISH", "news", "by the bus"]);
        for client in &mut clients[..200] {
            assert_eq!((payload(client), payload(client)), ("more".into(), "by the bus".into()));
        }
        drop(direct);
        for client in clients.drain(..100) {
            drop(client);
        }
        for client in &mut clients[..100] {
            client.send(&command(&["UNSUBSCRIBE"]));
            assert_eq!(texts(&client.reply())[0].as_deref(), Some("unsubscribe"));
        }
        wait_until("all have left", || number(&publisher.ask(&["PUBLISH", "news", "nobody"])) == 2);
        drop(clients);
        wait_until("no node has a subscription", || subscribers(home, "NUMSUB", "news") == 0);
        // those of the patterns go in their own time
        wait_until("nobody listens", || number(&publisher.ask(&["PUBLISH", "news", "nobody"])) == 0);
        gateway.drain();
    }
}

#[test]
fn keyspace_notifications_of_all_primaries_arrive() {
    let _alone = alone();
    let mut cluster =
        Cluster::start(3, 3, &["--cluster-node-timeout", "1000", "--notify-keyspace-events", "KEA"]);
    let gateway = gateway(&cluster, 1);
    let addr = gateway.listen();
    let mut events = subscriber(addr, &["PSUBSCRIBE", "__keyevent@*__:set"]);
    let mut one = subscriber(addr, &["SUBSCRIBE", "__keyspace@0__:foo"]);
    let mut all = subscriber(addr, &["PSUBSCRIBE", "*"]);
    let mut writer = Raw::connect(addr);
    let keys: Vec<String> = ["a", "b", "c", "foo", "bar", "42"].map(str::to_owned).into();
    for key in &keys {
        writer.ask(&["SET", key, "1"]);
    }
    let heard = |client: &mut Raw| {
        let mut heard: Vec<String> = keys.iter().map(|_| payload(client)).collect();
        heard.sort();
        heard
    };
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(heard(&mut events), sorted);
    assert_eq!(payload(&mut one), "set");
    // Each of them twice, as event and as space; ordinary messages once although every node has them.
    (0..12).for_each(|_| assert!(!payload(&mut all).is_empty()));
    writer.ask(&["PUBLISH", "news", "hello"]);
    assert_eq!(payload(&mut all), "hello");
    writer.ask(&["PUBLISH", "news", "again"]);
    assert_eq!(payload(&mut all), "again");
    // A new primary's notifications are heard too.
    cluster.primaries[2].kill();
    wait_until("the replica takes over", || cluster.replicas[2].role() == "master");
    let key = key_of_last_shard();
    let start = Instant::now();
    let mut again = 0;
    events.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while String::from_utf8_lossy(&events.within(Duration::from_millis(100))).matches(&key).count() == 0 {
        writer.ask(&["SET", &key, "1"]);
        again += 1;
        assert!(start.elapsed() < stage::SOON, "{again} events were not heard");
    }
}

fn key_of_last_shard() -> String {
    (0..).map(|n| format!("key{n}")).find(|key| slot(key.as_bytes()) > 11_000).unwrap()
}

#[test]
fn subscriptions_survive_the_death_of_their_home() {
    let _alone = alone();
    let mut cluster = Cluster::start(3, 3, &NODE_TIMEOUT);
    let gateway = gateway(&cluster, 1);
    let addr = gateway.listen();
    let mut clients: Vec<Raw> = (0..20).map(|_| subscriber(addr, &["SUBSCRIBE", "news", "more"])).collect();
    let mut publisher = Raw::connect(addr);
    assert_eq!(number(&publisher.ask(&["PUBLISH", "news", "0"])), 20);
    cluster.primaries[0].kill();
    wait_until("the replica takes over", || cluster.replicas[0].role() == "master");
    // Held until there is a home again; it may be there before the subscriptions are.
    let mut sent = 0;
    wait_until("all are subscribed again", || {
        sent += 1;
        number(&publisher.ask(&["PUBLISH", "news", &sent.to_string()])) == 20
    });
    assert_eq!(subscribers(cluster.replicas[0].addr, "NUMSUB", "news"), 1);
    assert!(metric(addr, "subscription_gaps") >= 2, "two channels were cut off");
    for client in &mut clients {
        let mut last = -1;
        while last != sent {
            let heard: i64 = payload(client).parse().unwrap();
            assert!(heard > last, "{heard} came behind {last}");
            last = heard;
        }
    }
}

#[test]
fn a_sharded_channel_follows_a_reshard() {
    let _alone = alone();
    let cluster = Cluster::start(2, 0, &[]);
    let gateway = gateway(&cluster, 1);
    let addr = gateway.listen();
    let channel = (0..).map(|n| format!("channel{n}")).find(|name| slot(name.as_bytes()) < 20).unwrap();
    let mut clients: Vec<Raw> = (0..5).map(|_| subscriber(addr, &["SSUBSCRIBE", &channel])).collect();
    let mut publisher = Raw::connect(addr);
    assert_eq!(number(&publisher.ask(&["SPUBLISH", &channel, "before"])), 5);
    assert_eq!(subscribers(addr, "SHARDNUMSUB", &channel), 5);
    assert_eq!(texts(&publisher.ask(&["PUBSUB", "SHARDCHANNELS"])), [Some(channel.clone())]);
    let [from, to] = cluster.primaries.as_slice() else { unreachable!("two were started") };
    cluster.reshard(from, to, 20);
    wait_until("all are subscribed at the new owner", || {
        number(&publisher.ask(&["SPUBLISH", &channel, "after"])) == 5
    });
    assert_eq!(subscribers(to.addr, "SHARDNUMSUB", &channel), 1);
    for client in &mut clients {
        assert_eq!((payload(client), payload(client)), ("before".into(), "after".into()));
    }
    assert_eq!(subscribers(from.addr, "SHARDNUMSUB", &channel), 0);
}

#[test]
fn who_does_not_read_its_messages_is_closed_and_others_get_them() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let gateway = gateway(&cluster, 1);
    let addr = gateway.listen();
    let mut stuck = subscriber(addr, &["SUBSCRIBE", "news"]);
    let mut reads = subscriber(addr, &["SUBSCRIBE", "news"]);
    let mut publisher = Raw::connect(addr);
    let message = "m".repeat(1 << 20);
    for sent in 0..50 {
        let receivers = number(&publisher.ask(&["PUBLISH", "news", &message]));
        assert!(receivers == 2 || (receivers == 1 && sent > 30), "{receivers} receivers of message {sent}");
        assert_eq!(payload(&mut reads), message);
    }
    assert_eq!(metric(addr, "clients_dropped"), 1);
    assert!(stuck.rest().len() < 45 << 20);
}

#[test]
fn a_monitor_sees_the_clients_of_all_workers() {
    let _alone = alone();
    let cluster = Cluster::start(1, 0, &[]);
    let gateway = gateway(&cluster, 3);
    let addr = gateway.listen();
    let mut monitor = Raw::connect(addr);
    assert_eq!(monitor.ask(&["MONITOR"]), b"+OK\r\n");
    let start = Instant::now();
    // The other workers hear of a monitor a moment later.
    let mut seen: Vec<String> = Vec::new();
    while (0..12).any(|n| !seen.iter().any(|line| line.ends_with(&format!("\"SET\" \"key{n}\" \"1\"")))) {
        assert!(start.elapsed() < stage::SOON, "seen: {seen:?}");
        for n in 0..12 {
            Raw::connect(addr).ask(&["SET", &format!("key{n}"), "1"]);
        }
        let lines = monitor.within(Duration::from_millis(50));
        seen.extend(String::from_utf8_lossy(&lines).lines().map(str::to_owned));
    }
    let mut other = Raw::connect(addr);
    assert!(other.ask_text(&["CLIENT", "LIST"]).contains(" flags=O "));
}

#[test]
fn messages_to_a_thousand_subscribers() {
    let _alone = alone();
    let cluster = Cluster::start(3, 0, &[]);
    let gateway = gateway(&cluster, 1);
    let addr = gateway.listen();
    let (clients, messages) = if switched_on("EVENKEEL_MEASURE") { (1000, 2000) } else { (200, 50) };
    let mut subscribed: Vec<Raw> = (0..clients).map(|_| subscriber(addr, &["SUBSCRIBE", "news"])).collect();
    assert_eq!(subscribers(cluster.primaries[0].addr, "NUMSUB", "news"), 1);
    let mut publisher = Raw::connect(addr);
    // One at a time: from before it is published until the last client has it.
    let mut times: Vec<Duration> = Vec::new();
    for n in 0..50 {
        let start = Instant::now();
        assert_eq!(number(&publisher.ask(&["PUBLISH", "news", &n.to_string()])), clients);
        assert!(subscribed.iter_mut().all(|client| payload(client) == n.to_string()));
        times.push(start.elapsed());
    }
    // As many as go.
    let start = Instant::now();
    let text = "m".repeat(64);
    let publishing = std::thread::spawn(move || {
        for _ in 0..messages / 50 {
            let pipeline: Vec<u8> = (0..50).flat_map(|_| command(&["PUBLISH", "news", &text])).collect();
            publisher.send(&pipeline);
            (0..50).for_each(|_| assert_eq!(number(&publisher.reply()), clients));
        }
    });
    for client in &mut subscribed {
        (0..messages).for_each(|_| assert_eq!(payload(client).len(), 64));
    }
    publishing.join().unwrap();
    let rate = (clients * messages) as f64 / start.elapsed().as_secs_f64();
    println!(
        "{clients} subscribers, one upstream subscription: {rate:.0} messages/s; one at a time: {}",
        spread(&mut times)
    );
    assert_eq!(metric(addr, "messages"), (clients * (messages + 50)) as u64);
}
