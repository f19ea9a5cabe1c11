//! What is measured: servers, HAProxy and the gateway, all processes of this run, on loopback.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the load is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The primaries themselves, by redis-benchmark's cluster mode.
    Direct,
    /// HAProxy in TCP mode in front of one server.
    Haproxy,
    /// The gateway in front of the cluster.
    Gateway,
}

impl Target {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Target::Direct => "direct",
            Target::Haproxy => "HAProxy, TCP, one server",
            Target::Gateway => "evenkeel gateway",
        }
    }
}

/// Everything that runs; ended when dropped.
pub(crate) struct Stage {
    nodes: Vec<Process>,
    alone: Process,
    haproxy: Process,
    gateway: Process,
    _dir: TempDir,
}

struct Process {
    child: Child,
    port: u16,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    /// Starts all, forms the cluster, and fills in the keys that the load reads.
    pub(crate) fn set() -> Stage {
        let dir = TempDir::new().expect("a directory");
        let nodes: Vec<Process> = (0..6).map(|_| server(dir.path(), true)).collect();
        form(&nodes);
        let alone = server(dir.path(), false);
        let haproxy = haproxy(dir.path(), alone.port);
        let gateway = gateway(nodes[0].port);
        let stage = Stage { nodes, alone, haproxy, gateway, _dir: dir };
        for target in [Target::Direct, Target::Haproxy, Target::Gateway] {
            let mut fill = stage.load(target);
            fill.args(["-t", "set", "-c", "50", "-P", "32", "-n", "400000", "-d", "64"]);
            assert!(fill.stdout(Stdio::null()).status().expect("redis-benchmark").success());
        }
        stage
    }

    /// redis-benchmark aimed at a target, over 100 000 keys.
    pub(crate) fn load(&self, target: Target) -> Command {
        let mut load = Command::new("redis-benchmark");
        load.args(["-h", "127.0.0.1", "-p", &self.port(target).to_string(), "-r", "100000"])
            .stderr(Stdio::null());
        if target == Target::Direct {
            // One thread, as for the others: in cluster mode it would take one for each node.
            load.args(["--cluster", "--threads", "1"]);
        }
        load
    }

    pub(crate) fn port(&self, target: Target) -> u16 {
        match target {
            Target::Direct => self.nodes[0].port,
            Target::Haproxy => self.haproxy.port,
            Target::Gateway => self.gateway.port,
        }
    }

    /// The proxy's process, if there is one on the way.
    pub(crate) fn proxy(&self, target: Target) -> Option<u32> {
        match target {
            Target::Direct => None,
            Target::Haproxy => Some(self.haproxy.child.id()),
            Target::Gateway => Some(self.gateway.child.id()),
        }
    }

    /// The servers that do the work for a target.
    pub(crate) fn servers(&self, target: Target) -> Vec<u32> {
        match target {
            Target::Direct | Target::Gateway => self.nodes.iter().map(|node| node.child.id()).collect(),
            Target::Haproxy => vec![self.alone.child.id()],
        }
    }
}

/// A free port of which the bus port, 10000 above, is free as well.
fn free_port() -> u16 {
    for port in (20_000..30_000u16).step_by(7) {
        let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 10_000) {
            return port;
        }
    }
    panic!("no free port between 20000 and 30000");
}

fn server(dir: &Path, cluster: bool) -> Process {
    let port = free_port();
    let home = dir.join(port.to_string());
    fs::create_dir(&home).expect("a directory");
    let child = Command::new("redis-server")
        .current_dir(home)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
        .args(["--cluster-enabled", if cluster { "yes" } else { "no" }, "--cluster-node-timeout", "60000"])
        .args(["--logfile", "server.log"])
        .spawn()
        .expect("redis-server is installed");
    listens(Process { child, port })
}

fn form(nodes: &[Process]) {
    let mut create = Command::new("redis-cli");
    create.args(["--cluster", "create"]).args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    create.args(["--cluster-replicas", "1", "--cluster-yes"]).stdout(Stdio::null());
    assert!(create.status().expect("redis-cli is installed").success(), "the cluster was not formed");
}

fn haproxy(dir: &Path, server: u16) -> Process {
    let port = free_port();
    let config = format!(
        "global\n  maxconn 6000\n  nbthread 1\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
         listen redis\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{server}\n"
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config).expect("a file");
    let child = Command::new("haproxy").arg("-f").arg(file).arg("-db").spawn().expect("haproxy is installed");
    listens(Process { child, port })
}

fn gateway(seed: u16) -> Process {
    let port = free_port();
    let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
        .args(["run", "--role", "gateway", "--threads", "1", "--listen", &format!("127.0.0.1:{port}")])
        .args(["--seeds", &format!("127.0.0.1:{seed}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program was built");
    listens(Process { child, port })
}

fn listens(process: Process) -> Process {
    let begin = Instant::now();
    while TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], process.port))).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "nothing listens on {}", process.port);
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}
