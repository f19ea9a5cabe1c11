//! A real deployment for one test: its own directory, its own free ports, the real binary and real servers.
//!
//! Owns starting and cleaning up. Ends only what it started, by the program's own `down`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; a test fails by it"
)]

#[path = "../ports/mod.rs"]
mod ports;
#[path = "../server/mod.rs"]
pub mod server;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use evenkeel_control::status::{Health, Node, Role, Status};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;

/// Ports of a deployment: room for nodes, gateway and page.
const ROOM: u16 = 13;
/// Six servers at a time are enough for a small machine.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Deployment {
    pub place: TempDir,
    pub dir: PathBuf,
    pub base: u16,
    pub gateway: u16,
    pub web: u16,
    child: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl Deployment {
    /// Writes a configuration with these lines in `[cluster]` and free ports; starts nothing.
    pub fn new(cluster: &str) -> Deployment {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let place = tempfile::Builder::new().prefix("evenkeel-test-").tempdir().unwrap();
        let base = ports::free(ROOM);
        let deployment = Deployment {
            dir: place.path().join("home"),
            place,
            base,
            gateway: base + 10,
            web: base + 11,
            child: None,
            _turn: turn,
        };
        deployment.configure(cluster);
        deployment
    }

    pub fn configure(&self, cluster: &str) {
        let (base, gateway, web) = (self.base, self.gateway, self.web);
        let server = if cluster.contains("server =") { String::new() } else { server::setting() };
        let text = format!(
            "[cluster]\n{server}\nbase-port = {base}\n{cluster}\n[gateway]\nlisten = \"127.0.0.1:{gateway}\"\nthreads = 1\n\
             [web]\nlisten = \"127.0.0.1:{web}\"\n"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// Takes other ports for the nodes; call [`Deployment::configure`] afterwards.
    pub fn move_ports(&mut self) {
        self.base = ports::free(ROOM);
    }

    pub fn config(&self) -> PathBuf {
        self.place.path().join("evenkeel.toml")
    }

    /// Runs a command of the binary to its end.
    pub fn evenkeel(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        command.args(args).arg("--dir").arg(&self.dir).stdin(Stdio::null());
        if args[0] == "up" {
            command.arg("--config").arg(self.config());
        }
        command.output().unwrap()
    }

    /// Starts `up` in the foreground of a child process.
    pub fn up(&mut self) {
        let log = std::fs::File::create(self.place.path().join("up.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["up", "--config"])
            .arg(self.config())
            .arg("--dir")
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Starts `up` and waits until everything is as desired.
    pub fn up_healthy(&mut self) -> Status {
        self.up();
        self.healthy()
    }

    pub fn healthy(&self) -> Status {
        self.wait("health is ok", 60, |status| status.health == Health::Ok)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks `up` to stop and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        signal(self.pid(), Signal::TERM);
        end_of(&mut self.child.take().unwrap())
    }

    /// Waits for `up` to end by itself.
    pub fn ended(&mut self) -> (Option<i32>, String) {
        let code = end_of(&mut self.child.take().unwrap());
        (code, std::fs::read_to_string(self.place.path().join("up.log")).unwrap())
    }

    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn status(&self) -> Option<Status> {
        serde_json::from_slice(&std::fs::read(self.dir.join("status.json")).ok()?).ok()
    }

    /// Waits until a status written from now on satisfies.
    pub fn wait(&self, what: &str, seconds: u64, satisfies: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        let since =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
        let mut last = None;
        while begun.elapsed() < Duration::from_secs(seconds) {
            last = self.status().or(last);
            if let Some(status) = last.as_ref().filter(|status| status.at_ms >= since && satisfies(status)) {
                return status.clone();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.place.path().join("up.log")).unwrap_or_default();
        panic!("not within {seconds} s: {what}\nlast status: {last:#?}\nlog: {log}");
    }

    pub fn secrets(&self) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.dir.join("secrets.json")).unwrap()).unwrap()
    }

    /// A connection to one server.
    pub fn node(&self, addr: &str) -> redis::Connection {
        let password = self.secrets()["node-password"].as_str().unwrap().to_owned();
        connect(&format!("redis://:{password}@{addr}"))
    }

    /// A connection to the service.
    pub fn client(&self) -> redis::Connection {
        connect(&format!("redis://127.0.0.1:{}", self.gateway))
    }

    pub fn node_dir(&self, node: &Node) -> PathBuf {
        self.dir.join("nodes").join(&node.name)
    }

    /// Text of the journal.
    pub fn journal(&self) -> Vec<evenkeel_control::status::Event> {
        let text = std::fs::read_to_string(self.dir.join("journal.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.dir.exists() {
            let done = self.evenkeel(&["down"]);
            assert!(done.status.success() || std::thread::panicking(), "{}", text(&done));
        }
    }
}

pub fn connect(url: &str) -> redis::Connection {
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_connection_with_timeout(Duration::from_secs(5)).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    connection
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

pub fn lives(pid: u32) -> bool {
    // a zombie whose parent has gone is reaped at once; ours are waited for
    test_kill_process(Pid::from_raw(pid as i32).unwrap()).is_ok() && !is_zombie(pid)
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

pub fn dead_within(pid: u32, seconds: u64) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        if !lives(pid) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Waits for a child that was told to end, and gives its exit code. One that does not end is shown, killed and a failure.
pub fn end_of(child: &mut Child) -> Option<i32> {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(120) {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    for thread in std::fs::read_dir(format!("/proc/{}/task", child.id())).into_iter().flatten().flatten() {
        let of = |what: &str| read(thread.path().join(what));
        eprintln!("{} waits in {}, system call {}", of("comm"), of("wchan"), of("syscall"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(std::thread::panicking(), "it did not end within 120 s of being told to");
    None
}

pub fn primaries(status: &Status) -> Vec<Node> {
    status.nodes.iter().filter(|node| node.role == Role::Primary).cloned().collect()
}

pub fn replicas(status: &Status) -> Vec<Node> {
    status.nodes.iter().filter(|node| node.role == Role::Replica).cloned().collect()
}

pub fn named(status: &Status, name: &str) -> Node {
    status.nodes.iter().find(|node| node.name == name).unwrap().clone()
}

pub fn write_keys(connection: &mut redis::Connection, count: u32) {
    for key in 0..count {
        let _: () = redis::cmd("SET").arg(format!("key:{key}")).arg(key).query(connection).unwrap();
    }
}

pub fn missing_keys(connection: &mut redis::Connection, count: u32) -> usize {
    let wrong = |key: &u32| {
        let value: Option<u32> = redis::cmd("GET").arg(format!("key:{key}")).query(connection).unwrap();
        value != Some(*key)
    };
    (0..count).filter(wrong).count()
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().unwrap().permissions().mode() & 0o777
}
