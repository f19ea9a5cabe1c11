//! What is measured: servers, and what stands in front of them, all processes of this run, on loopback.

use crate::loads::{Load, Values};
use crate::peers::Peer;
use crate::process::{Process, free_port};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(crate) const DIRECT: &str = "direct";
pub(crate) const HAPROXY: &str = "HAProxy";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const GATEWAY: &str = "evenkeel";

/// Which servers do the work for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The cluster, by the load generator's own cluster mode.
    Primaries,
    /// The cluster, behind a proxy that knows slots.
    Cluster,
    /// One server without replica, behind a proxy that knows no slots.
    One,
    /// None: the target answers by itself.
    Nothing,
}

/// One line of a table.
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) backend: Backend,
    /// What stands in front of the servers.
    pub(crate) proxy: Option<Process>,
    /// Where the servers themselves are asked.
    server: u16,
}

impl Target {
    pub(crate) fn port(&self) -> u16 {
        self.proxy.as_ref().map_or(self.server, |proxy| proxy.port)
    }
}

/// Everything that runs; ended when dropped.
pub(crate) struct Stage {
    pub(crate) targets: Vec<Target>,
    nodes: Vec<Process>,
    one: Process,
    _dir: TempDir,
}

/// What a proxy is told of the servers.
pub(crate) struct Servers {
    pub(crate) one: u16,
    pub(crate) cluster: Vec<u16>,
}

impl Stage {
    /// Starts the servers and the targets: direct, peers, the floor, the gateway.
    pub(crate) fn set(peers: &[Peer]) -> Stage {
        let dir = TempDir::new().expect("a directory");
        let nodes: Vec<Process> = (0..6).map(|_| server(dir.path(), ServerKind::OfCluster)).collect();
        form(&nodes);
        let one = server(dir.path(), ServerKind::Alone);
        let servers = Servers { one: one.port, cluster: nodes.iter().map(|node| node.port).collect() };
        let direct = Target {
            name: DIRECT.to_owned(),
            backend: Backend::Primaries,
            proxy: None,
            server: nodes[0].port,
        };
        let mut targets = vec![direct];
        let mut add = |name: &str, backend, proxy| {
            targets.push(Target { name: name.to_owned(), backend, proxy: Some(proxy), server: 0 });
        };
        for peer in peers {
            add(&peer.name, peer.backend, peer.start(dir.path(), &servers));
        }
        add(FLOOR, Backend::Nothing, floor());
        add(GATEWAY, Backend::Cluster, gateway(dir.path(), &servers));
        Stage { targets, nodes, one, _dir: dir }
    }

    /// Fills in the keys that the loads read.
    pub(crate) fn fill(&self, values: &[Values]) {
        for target in [self.target(DIRECT), self.target(GATEWAY), &self.bare()] {
            for values in values {
                eprintln!("fills in values of {} bytes: {}", values.bytes(), target.name);
                Load::fill(*values, target);
            }
        }
    }

    pub(crate) fn target(&self, name: &str) -> &Target {
        self.targets.iter().find(|target| target.name == name).expect("a target of this run")
    }

    /// The one server without anything in front.
    pub(crate) fn bare(&self) -> Target {
        let name = "one bare server".to_owned();
        Target { name, backend: Backend::One, proxy: None, server: self.one.port }
    }

    /// The servers of the cluster.
    pub(crate) fn nodes(&self) -> &[Process] {
        &self.nodes
    }

    /// The gateway's process.
    pub(crate) fn gateway(&self) -> &Process {
        self.target(GATEWAY).proxy.as_ref().expect("it has a process")
    }

    /// Seconds that the servers of a target have run.
    pub(crate) fn servers_time(&self, target: &Target) -> f64 {
        match target.backend {
            Backend::Primaries | Backend::Cluster => self.nodes.iter().map(Process::run_time).sum(),
            Backend::One => self.one.run_time(),
            Backend::Nothing => 0.0,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ServerKind {
    OfCluster,
    Alone,
}

fn server(dir: &Path, kind: ServerKind) -> Process {
    let port = free_port();
    let home = dir.join(port.to_string());
    fs::create_dir(&home).expect("a directory");
    let mut command = Command::new("redis-server");
    command.current_dir(home).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--logfile", "server.log"]);
    if kind == ServerKind::OfCluster {
        // A core full of load must not look like a death.
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "60000"]);
    }
    Process::start(&mut command, port)
}

fn form(nodes: &[Process]) {
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    create.args(["--cluster-replicas", "1", "--cluster-yes"]).stdout(Stdio::null());
    assert!(create.status().expect("redis-cli is installed").success(), "the cluster was not formed");
    nodes.iter().for_each(wait_until_served);
}

/// Waits until a node of a new cluster knows that all slots are served: redis-benchmark sleeps a second for each reply that
/// says otherwise, which are hundreds.
fn wait_until_served(node: &Process) {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let mut ask = Command::new("redis-cli");
        let info = ask.args(["-p", &node.port.to_string(), "CLUSTER", "INFO"]).output();
        let info = info.expect("redis-cli is installed").stdout;
        if String::from_utf8_lossy(&info).contains("cluster_state:ok") {
            return;
        }
        assert!(Instant::now() < until, "node 127.0.0.1:{} does not see the cluster whole", node.port);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn floor() -> Process {
    let port = free_port();
    let this = std::env::current_exe().expect("this program has a path");
    Process::start(Command::new(this).args(["floor", &port.to_string()]), port)
}

fn gateway(dir: &Path, servers: &Servers) -> Process {
    let port = free_port();
    let config = dir.join("evenkeel.toml");
    fs::write(&config, "[gateway]\nmax-clients = 120000\n").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command.args(["run", "--role", "gateway", "--threads", "1", "--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--config").arg(config).args(["--seeds", &format!("127.0.0.1:{}", servers.cluster[0])]);
    Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()), port)
}
