//! A cluster of server processes without anybody who looks after it.

use super::ports::free;
use super::raw::{Raw, shown};
use super::{loopback, server, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A server; ended when dropped.
pub struct Node {
    pub addr: SocketAddr,
    dir: TempDir,
    child: Child,
    options: Vec<String>,
}

impl Node {
    pub fn start(options: &[&str]) -> Node {
        // Between finding a free port and listening on it another program may take it.
        (0..5).find_map(|_| Node::try_start(options)).expect("the server does not start, see above")
    }

    fn try_start(options: &[&str]) -> Option<Node> {
        let dir = tempfile::tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let addr = loopback(free(1));
        let child = spawn(addr, &dir, &options);
        let mut node = Node { addr, dir, child, options };
        if node.listens() {
            return Some(node);
        }
        eprintln!("the server on {addr} has ended: {}", node.log());
        None
    }

    fn listens(&mut self) -> bool {
        let mut ended = false;
        wait_until("the server listens", || {
            ended = self.child.try_wait().unwrap().is_some();
            ended || TcpStream::connect(self.addr).is_ok()
        });
        !ended
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("server.log")).unwrap_or_default()
    }

    pub fn ask(&self, words: &[&str]) -> String {
        let reply = Raw::connect(self.addr).ask(words);
        String::from_utf8_lossy(&reply).into_owned()
    }

    pub fn id(&self) -> String {
        Raw::connect(self.addr).ask_text(&["CLUSTER", "MYID"])
    }

    fn is_ok(&self, words: &[&str]) {
        let reply = self.ask(words);
        assert!(reply.starts_with('+'), "{} {words:?}: {}", self.addr, shown(reply.as_bytes()));
    }

    /// The value of a line of INFO or CLUSTER INFO.
    pub fn info(&self, section: &[&str], name: &str) -> String {
        let info = Raw::connect(self.addr).ask_text(section);
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().to_owned()
    }

    pub fn role(&self) -> String {
        self.info(&["INFO", "replication"], "role")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("our own process");
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn start_again(&mut self) {
        self.child = spawn(self.addr, &self.dir, &self.options);
        assert!(self.listens(), "{}", self.log());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill(); // a stopped process too
        let _ = self.child.wait();
    }
}

fn spawn(addr: SocketAddr, dir: &TempDir, options: &[String]) -> Child {
    Command::new(server::program())
        .args(["--port", &addr.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args([
            "--logfile",
            "server.log",
            "--cluster-enabled",
            "yes",
            "--repl-diskless-sync-delay",
            "0",
            "--dir",
        ])
        .arg(dir.path())
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect(server::MISSING)
}

/// Primaries with an even share of the slots each, and their replicas: replica `i` copies primary `i % primaries`.
pub struct Cluster {
    pub primaries: Vec<Node>,
    pub replicas: Vec<Node>,
}

impl Cluster {
    pub fn start(primaries: usize, replicas: usize, options: &[&str]) -> Cluster {
        let start = |count: usize| (0..count).map(|_| Node::start(options)).collect::<Vec<_>>();
        let cluster = Cluster { primaries: start(primaries), replicas: start(replicas) };
        for (i, node) in cluster.primaries.iter().enumerate() {
            let (from, to) = (i * 16384 / primaries, (i + 1) * 16384 / primaries - 1);
            node.is_ok(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            node.is_ok(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        for node in cluster.nodes().skip(1) {
            cluster.primaries[0].is_ok(&["CLUSTER", "MEET", "127.0.0.1", &node.addr.port().to_string()]);
        }
        cluster.wait_until_whole();
        for (i, replica) in cluster.replicas.iter().enumerate() {
            let primary = cluster.primaries[i % primaries].id();
            wait_until("the replica knows its primary", || {
                replica.ask(&["CLUSTER", "REPLICATE", &primary]).starts_with('+')
            });
        }
        cluster.wait_until_copied();
        cluster
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.primaries.iter().chain(&self.replicas)
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.nodes().map(|node| node.addr).collect()
    }

    /// Waits until all nodes know each other and agree that every slot is served.
    pub fn wait_until_whole(&self) {
        let count = self.nodes().count().to_string();
        for node in self.nodes() {
            wait_until("the cluster is whole", || {
                let info = |name| node.info(&["CLUSTER", "INFO"], name);
                info("cluster_state") == "ok" && info("cluster_known_nodes") == count
            });
        }
    }

    /// Waits until every replica has its primary's data and has confirmed that: only then is it sent what is new.
    pub fn wait_until_copied(&self) {
        for (i, replica) in self.replicas.iter().enumerate() {
            let primary = &self.primaries[i % self.primaries.len()];
            wait_until("a replica is in step", || {
                let info = primary.info(&["INFO", "replication"], "slave0");
                let offset = primary.info(&["INFO", "replication"], "master_repl_offset");
                replica.info(&["INFO", "replication"], "master_link_status") == "up"
                    && info.contains(&format!("state=online,offset={offset},"))
                    && offset != "0"
            });
        }
        // The others have to have heard of the roles before anything is done to them.
        let replicas = self.replicas.len();
        for node in self.nodes() {
            wait_until("all nodes know who copies whom", || {
                node.ask(&["CLUSTER", "NODES"]).matches("slave").count() == replicas
            });
        }
    }

    /// Moves slots from one primary to another as an operator would.
    pub fn reshard(&self, from: &Node, to: &Node, slots: u32) {
        let output = Command::new("redis-cli")
            .args(["--cluster", "reshard", &from.addr.to_string(), "--cluster-from", &from.id()])
            .args(["--cluster-to", &to.id(), "--cluster-slots", &slots.to_string(), "--cluster-yes"])
            .output()
            .expect("redis-cli has to be installed for this test (apt-get install redis-tools)");
        let said = String::from_utf8_lossy(&output.stdout);
        let end = said.len().saturating_sub(2000);
        let end = (end..said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
        assert!(output.status.success() && !said.contains("[ERR]"), "{}", &said[end..]);
    }
}
