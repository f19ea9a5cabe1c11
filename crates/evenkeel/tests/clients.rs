//! Real client libraries against a running gateway: redis-py, ioredis and node-redis, each as a plain and as a cluster
//! client, in RESP2 and RESP3 where they let one choose.
//!
//! The libraries are installed once, in the versions that `clients/` pins, under the target directory. The same
//! scripts run against servers without a gateway too, so that a failure tells whose fault it is.

mod libraries;
mod server;

use evenkeel_gateway::{Gateway, Settings};
use libraries::{Libraries, scratch};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is run: the script and its arguments between the port and the target.
const RUNS: [(&str, &[&str]); 10] = [
    ("redis_py.py", &["plain", "2"]),
    ("redis_py.py", &["plain", "3"]),
    ("redis_py.py", &["cluster", "2"]),
    ("redis_py.py", &["cluster", "3"]),
    ("ioredis.mjs", &["plain"]),
    ("ioredis.mjs", &["cluster"]),
    ("node_redis.mjs", &["plain", "2"]),
    ("node_redis.mjs", &["plain", "3"]),
    ("node_redis.mjs", &["cluster", "2"]),
    ("node_redis.mjs", &["cluster", "3"]),
];

#[test]
fn client_libraries_work_through_the_gateway() {
    let libraries = Libraries::installed("clients");
    let running = start();
    let failures: Vec<String> = RUNS
        .iter()
        .filter_map(|(script, arguments)| libraries.run(script, running.address, arguments, "gateway").err())
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} runs failed:\n{}",
        failures.len(),
        RUNS.len(),
        failures.join("\n")
    );
}

#[test]
fn the_same_checks_pass_without_a_gateway() {
    let libraries = Libraries::installed("clients");
    let lone = Node::start("lone", &["--cluster-enabled", "no"]);
    let owner = Node::start("owner", &["--cluster-enabled", "yes"]);
    form_cluster(std::slice::from_ref(&owner));
    let failures: Vec<String> = RUNS
        .iter()
        .filter_map(|(script, arguments)| {
            let address = if arguments[0] == "plain" { lone.address } else { owner.address };
            libraries.run(script, address, arguments, "server").err()
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} runs failed:\n{}",
        failures.len(),
        RUNS.len(),
        failures.join("\n")
    );
}

/// A gateway over a cluster of its own.
struct Running {
    address: SocketAddr,
    gateway: Option<Gateway>,
    _nodes: Vec<Node>,
}

fn start() -> Running {
    let nodes: Vec<Node> =
        (0..3).map(|i| Node::start(&format!("primary-{i}"), &["--cluster-enabled", "yes"])).collect();
    form_cluster(&nodes);
    let seeds = nodes.iter().map(|node| node.address).collect();
    let gateway =
        Gateway::start(Settings::new(SocketAddr::from(([127, 0, 0, 1], 0)), seeds)).expect("a gateway");
    let address = gateway.listen();
    wait_for("the gateway serves every slot", || {
        let mut connection = connect(address)?;
        for key in ["a", "b", "c", "d", "e", "f"] {
            redis::cmd("GET").arg(key).query::<Option<String>>(&mut connection)?;
        }
        Ok(true)
    });
    Running { address, gateway: Some(gateway), _nodes: nodes }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.drain();
        }
    }
}

/// A server of this test's own; ended when dropped.
struct Node {
    address: SocketAddr,
    bus: u16,
    child: Child,
    dir: PathBuf,
}

impl Node {
    fn start(name: &str, options: &[&str]) -> Self {
        let (port, bus) = (free_port(), free_port());
        let dir = scratch("clients").join(format!("{name}-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory for the server");
        let child = Command::new(server::program())
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--cluster-port", &bus.to_string()])
            .args(["--cluster-announce-ip", "127.0.0.1", "--logfile", "server.log"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&dir)
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect(server::MISSING);
        let node = Self { address: SocketAddr::from(([127, 0, 0, 1], port)), bus, child, dir };
        wait_for("the server answers", || Ok(node.ask::<String>(&["PING"])? == "PONG"));
        node
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        redis::cmd(words[0]).arg(&words[1..]).query(&mut connect(self.address)?)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// Gives the nodes an even share of the slots each and waits until all of them agree that the cluster is whole.
fn form_cluster(nodes: &[Node]) {
    for (i, node) in nodes.iter().enumerate() {
        let (from, to) = (i * 16384 / nodes.len(), (i + 1) * 16384 / nodes.len() - 1);
        node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).expect("slots");
        node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]).expect("an epoch");
    }
    for node in &nodes[1..] {
        let (port, bus) = (node.address.port().to_string(), node.bus.to_string());
        nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).expect("a meeting");
    }
    let known = format!("cluster_known_nodes:{}\r", nodes.len());
    for node in nodes {
        wait_for("the cluster is formed", || {
            let info: String = node.ask(&["CLUSTER", "INFO"])?;
            Ok(info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && info.contains(&known))
        });
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port()
}

fn connect(address: SocketAddr) -> redis::RedisResult<redis::Connection> {
    let client = redis::Client::open((address.ip().to_string(), address.port()))?;
    let connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok(connection)
}

fn wait_for(what: &str, mut test: impl FnMut() -> redis::RedisResult<bool>) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let last = test();
        if matches!(last, Ok(true)) {
            return;
        }
        assert!(Instant::now() < deadline, "waited 20 s in vain until {what}: {last:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
