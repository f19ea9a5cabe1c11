//! Hand-made statuses that the tests of the page and the lively example show.

#![allow(dead_code, reason = "each test binary uses its own part")]

use evenkeel_control::status::{Desired, Event, Gateway, Health, Level, Node, Role, Status};
use evenkeel_core::metric::{BUCKETS, Histogram, Metric, Snapshot, bucket, quantile};

/// The time of the fixed statuses.
pub(crate) const NOW_MS: u64 = 1_795_407_000_000;

/// Three shards with a replica each, everything well and busy.
pub(crate) fn healthy() -> Status {
    cluster(3, 1, NOW_MS)
}

/// A cluster of any size with plausible numbers.
pub(crate) fn cluster(shards: u32, replicas: u32, now_ms: u64) -> Status {
    let mut nodes = Vec::new();
    let number = |shard: u32, copy: u32| 7001 + copy * shards + shard;
    for copy in 0..=replicas {
        for shard in 0..shards {
            let slots = ((shard * 16_384 / shards) as u16, ((shard + 1) * 16_384 / shards - 1) as u16);
            let of = (copy > 0).then(|| format!("node-{}", number(shard, 0)));
            nodes.push(node(number(shard, copy), of, slots));
        }
    }
    Status {
        version: "0.1.0".to_owned(),
        at_ms: now_ms,
        since_ms: now_ms - 11_520_000,
        health: Health::Ok,
        because: String::new(),
        server: "redis-server 7.0.15".to_owned(),
        desired: Desired { shards, replicas },
        slots_served: 16_384,
        nodes,
        gateways: vec![gateway("127.0.0.1:7010")],
        events: story(now_ms),
    }
}

/// A primary was killed and its replica has not been promoted yet.
pub(crate) fn primary_down() -> Status {
    let mut status = healthy();
    status.health = Health::Down;
    status.because = "node-7002 was killed by signal 9; its replica node-7005 is being promoted".to_owned();
    status.slots_served = 16_384 - 5_461;
    let dead = &mut status.nodes[1];
    (dead.health, dead.because) = (Health::Down, "process 41002 ended by signal 9".to_owned());
    (dead.link_up, dead.ops_per_s, dead.clients, dead.pid) = (false, 0.0, 0, None);
    let replica = &mut status.nodes[4];
    (replica.health, replica.link_up) = (Health::Degraded, false);
    replica.because = "its primary node-7002 does not answer".to_owned();
    let gateway = &mut status.gateways[0];
    (gateway.health, gateway.because) =
        (Health::Degraded, "5461 slots have no owner that answers".to_owned());
    (gateway.errors_per_s, gateway.latency_us) = (2.4, Some((410, 38_000, 812_000)));
    let values = &mut gateway.metrics.as_mut().expect("the gateway answers").values;
    for (metric, value) in [(Metric::ParkedNow, 318), (Metric::ParkedBytes, 41_220), (Metric::Uncertain, 7)] {
        values.insert(metric.name().to_owned(), value);
    }
    let event = |age_s: u64, level, subject: &str, what: &str, because: &str| Event {
        at_ms: NOW_MS - age_s * 1000,
        level,
        subject: subject.to_owned(),
        what: what.to_owned(),
        because: because.to_owned(),
    };
    status.events.insert(
        0,
        event(2, Level::Error, "node-7002", "stopped answering", "process 41002 ended by signal 9"),
    );
    status.events.insert(
        0,
        event(
            1,
            Level::Warning,
            "node-7005",
            "asked to take over",
            "its primary is proven dead and it has the newest data",
        ),
    );
    status
}

/// Nodes are there, the cluster is not formed yet, the last third of the slots has no owner.
pub(crate) fn starting() -> Status {
    let mut status = healthy();
    status.health = Health::Starting;
    status.because = "slots are being handed out: 10923 of 16384".to_owned();
    status.slots_served = 10_923;
    let late = &mut status.nodes[2];
    (late.slots, late.health) = (Vec::new(), Health::Starting);
    late.because = "has no slots yet".to_owned();
    for replica in &mut status.nodes[3..] {
        (replica.health, replica.role, replica.replica_of) = (Health::Starting, Role::Unknown, None);
        (replica.lag_bytes, replica.link_up) = (None, false);
    }
    (status.gateways[0].metrics, status.gateways[0].latency_us) = (None, None);
    (status.gateways[0].requests_per_s, status.gateways[0].history) = (0.0, Vec::new());
    (status.gateways[0].health, status.gateways[0].because) =
        (Health::Starting, "waits until every slot has an owner".to_owned());
    status.events.truncate(2);
    status
}

/// Nothing is known at all.
pub(crate) fn empty() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        at_ms: NOW_MS,
        since_ms: NOW_MS,
        health: Health::Starting,
        because: String::new(),
        server: String::new(),
        desired: Desired { shards: 3, replicas: 1 },
        slots_served: 0,
        nodes: Vec::new(),
        gateways: Vec::new(),
        events: Vec::new(),
    }
}

/// Thirteen machines with a gateway, three primaries and six replicas each.
pub(crate) fn large() -> Status {
    let mut status = cluster(39, 2, NOW_MS);
    for (at, node) in status.nodes.iter_mut().enumerate() {
        node.name = format!("m{:02}-{}", at % 13 + 1, 7001 + at / 13);
        node.addr = format!("10.0.0.{}:{}", at % 13 + 1, 7001 + at / 13);
    }
    let names: Vec<String> = status.nodes.iter().map(|node| node.name.clone()).collect();
    for (at, node) in status.nodes.iter_mut().enumerate().skip(39) {
        node.replica_of = Some(names[at % 39].clone());
    }
    status.gateways = (1..=13).map(|machine| gateway(&format!("10.0.0.{machine}:7010"))).collect();
    status
}

/// Whatever text can come from outside is hostile.
pub(crate) fn hostile() -> Status {
    let evil = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\u{202e},\n\0\\";
    let mut status = primary_down();
    for text in [&mut status.version, &mut status.server, &mut status.because] {
        *text = evil.to_owned();
    }
    for node in &mut status.nodes {
        node.name.push_str(evil);
        for text in [&mut node.addr, &mut node.id, &mut node.because] {
            *text = evil.to_owned();
        }
        node.replica_of = node.replica_of.take().map(|name| name + evil);
    }
    for gateway in &mut status.gateways {
        (gateway.addr, gateway.because) = (evil.to_owned(), evil.to_owned());
        (gateway.requests_per_s, gateway.errors_per_s) = (f64::NAN, f64::INFINITY);
        gateway.history = vec![f64::NAN, -1.0, f64::INFINITY, 1e300];
        let metrics = gateway.metrics.as_mut().expect("the gateway answers");
        metrics.values.values_mut().for_each(|value| *value = u64::MAX);
        metrics.latency = vec![u64::MAX; BUCKETS + 100];
        metrics.classes = [("<b>".to_owned(), (0..BUCKETS + 100).map(|at| (at, u64::MAX)).collect())].into();
        (metrics.uptime_s, metrics.version) = (f64::NAN, evil.to_owned());
    }
    for event in &mut status.events {
        for text in [&mut event.subject, &mut event.what, &mut event.because] {
            *text = evil.to_owned();
        }
        event.at_ms = u64::MAX;
    }
    status.nodes[0].slots = vec![(9, 3), (0, u16::MAX), (u16::MAX, 0)];
    status.nodes[0].memory = (u64::MAX, 1);
    status
}

fn node(port: u32, replica_of: Option<String>, slots: (u16, u16)) -> Node {
    let seed = f64::from(port % 7);
    let replica = replica_of.is_some();
    Node {
        name: format!("node-{port}"),
        id: format!("{:040x}", u128::from(port) * 0x1234_5678_9abc_def0_1357_9bdf),
        addr: format!("127.0.0.1:{port}"),
        pid: Some(port + 34_000),
        role: if replica { Role::Replica } else { Role::Primary },
        replica_of,
        slots: if replica { Vec::new() } else { vec![slots] },
        link_up: true,
        lag_bytes: replica.then_some(u64::from(port % 5) * 96),
        epoch: u64::from(port % 3 + 1),
        memory: (412_000_000 + (seed * 31e6) as u64, 1 << 30),
        keys: 1_040_000 + (seed * 1_733.0) as u64,
        ops_per_s: if replica { 3_020.0 + seed * 11.0 } else { 15_100.0 + seed * 140.0 },
        clients: if replica { 2 } else { 6 },
        uptime_s: 11_400,
        health: Health::Ok,
        because: String::new(),
    }
}

fn gateway(addr: &str) -> Gateway {
    let mut latency = vec![0; BUCKETS];
    for (micros, count) in
        [(90, 900_000), (160, 2_400_000), (310, 1_300_000), (900, 70_000), (2_600, 6_000), (9_000, 300)]
    {
        latency[bucket(micros)] += count;
    }
    let at = |share| quantile(&latency, share).expect("requests were counted");
    let latency_us = Some((at(0.5), at(0.99), at(0.999)));
    let counted: Histogram = latency.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
    let classes = [("read".to_owned(), counted.clone())].into();
    let nodes = [("127.0.0.1:7001".to_owned(), counted)].into();
    let values = [
        (Metric::Requests, 612_443_120),
        (Metric::Errors, 1_204),
        (Metric::Split, 88_310),
        (Metric::Redirects, 5_461),
        (Metric::Retries, 212),
        (Metric::Clients, 48),
        (Metric::ClientsTotal, 1_930),
        (Metric::InFlight, 164),
        (Metric::Upstreams, 6),
        (Metric::UpstreamConnects, 9),
        (Metric::ClientBytesIn, 41_200_000_000),
        (Metric::ClientBytesOut, 92_700_000_000),
        (Metric::NodeBytesIn, 93_100_000_000),
        (Metric::NodeBytesOut, 41_900_000_000),
        (Metric::TopologyChanges, 3),
        (Metric::Turns, 9_120_334),
    ];
    let known =
        |metric: &Metric| values.iter().find(|(known, _)| known == metric).map_or(0, |(_, value)| *value);
    let values =
        evenkeel_core::metric::ALL.iter().map(|metric| (metric.name().to_owned(), known(metric))).collect();
    Gateway {
        addr: addr.to_owned(),
        health: Health::Ok,
        because: String::new(),
        metrics: Some(Snapshot {
            version: "0.1.0".to_owned(),
            pid: 41_000,
            workers: 2,
            uptime_s: 11_510.0,
            values,
            latency,
            classes,
            nodes,
            slots_known: 16_384,
        }),
        requests_per_s: 45_231.0,
        errors_per_s: 0.0,
        latency_us,
        class_latency_us: latency_us.map(|latency| ("read".to_owned(), latency)).into_iter().collect(),
        node_latency_us: latency_us
            .map(|latency| ("127.0.0.1:7001".to_owned(), latency))
            .into_iter()
            .collect(),
        history: (0..300).map(|second| traffic(f64::from(second))).collect(),
    }
}

/// Requests a second that look like a day at work.
pub(crate) fn traffic(second: f64) -> f64 {
    let waves =
        (second / 47.0).sin() * 5_200.0 + (second / 11.0).sin() * 1_900.0 + (second * 1.7).sin() * 700.0;
    let dip = if (201.0..206.0).contains(&(second % 300.0)) { 24_000.0 } else { 0.0 };
    (42_000.0 + waves - dip).round()
}

fn story(now_ms: u64) -> Vec<Event> {
    let event = |&(age_s, level, subject, what, because): &Line| Event {
        at_ms: now_ms - age_s * 1000,
        level,
        subject: subject.to_owned(),
        what: what.to_owned(),
        because: because.to_owned(),
    };
    STORY.iter().map(event).collect()
}

/// Age in seconds, level, subject, what, because.
type Line = (u64, Level, &'static str, &'static str, &'static str);

const STORY: [Line; 14] = [
    (94, Level::Info, "node-7003", "replica caught up", "its offset equals the primary's"),
    (
        97,
        Level::Info,
        "node-7003",
        "restarted as a replica of node-7006, then asked to take its slots back",
        "its slots were served without interruption, and the wanted layout has it as a primary",
    ),
    (
        99,
        Level::Warning,
        "node-7006",
        "took over 5461 slots",
        "node-7003 was proven dead and node-7006 had the newest data",
    ),
    (
        100,
        Level::Error,
        "node-7003",
        "ended by signal 9",
        "its process is a child of this control and was seen to exit",
    ),
    (11_402, Level::Info, "gateway", "opened 127.0.0.1:7010", "every slot has an owner"),
    (11_404, Level::Info, "cluster", "formed: 3 shards, 1 replica each", "all six nodes agree on every slot"),
    (11_409, Level::Info, "node-7006", "made a replica of node-7003", "each shard is to have one replica"),
    (11_410, Level::Info, "node-7005", "made a replica of node-7002", "each shard is to have one replica"),
    (11_410, Level::Info, "node-7004", "made a replica of node-7001", "each shard is to have one replica"),
    (11_412, Level::Info, "node-7003", "given slots 10922–16383", "they had no owner"),
    (11_412, Level::Info, "node-7002", "given slots 5461–10921", "they had no owner"),
    (11_412, Level::Info, "node-7001", "given slots 0–5460", "they had no owner"),
    (11_414, Level::Info, "cluster", "introduced six nodes to each other", "they did not know each other"),
    (11_518, Level::Info, "cluster", "started six servers", "the directory was empty"),
];
