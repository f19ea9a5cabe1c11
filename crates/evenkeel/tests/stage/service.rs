//! The program itself: a gateway as a process of its own, or the whole service.

use super::ports::free;
use super::raw::Raw;
use super::{SOON, loopback, server, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// `evenkeel run --role gateway`: a process, so that its memory can be told from the test's.
pub struct GatewayProcess {
    pub addr: SocketAddr,
    child: Child,
}

impl GatewayProcess {
    pub fn start(seeds: &[SocketAddr]) -> GatewayProcess {
        let addr = loopback(free(1));
        let seeds: Vec<String> = seeds.iter().map(SocketAddr::to_string).collect();
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["run", "--role", "gateway", "--listen", &addr.to_string(), "--seeds", &seeds.join(",")])
            .env("EVENKEEL_LOG", "off") // a panic is shown nevertheless
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let gateway = GatewayProcess { addr, child };
        wait_until_served(addr);
        gateway
    }

    /// Memory in use now and at most since the start or the last reset, in MiB.
    pub fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
            line.split_whitespace().nth(1).unwrap_or("0").parse().unwrap()
        };
        (kib("VmRSS") / 1024, kib("VmHWM") / 1024)
    }

    /// Forgets the peak of memory.
    pub fn reset_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("it runs");
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a gateway serves keys of every node.
pub fn wait_until_served(addr: SocketAddr) {
    wait_until("the gateway listens", || std::net::TcpStream::connect(addr).is_ok());
    wait_until("the gateway serves every node", || {
        let mut client = Raw::connect(addr);
        ["a", "b", "c", "foo", "bar", "42"].iter().all(|key| client.ask(&["EXISTS", key]).starts_with(b":"))
            && (0..8).all(|_| Raw::connect(addr).ask(&["DBSIZE"]).starts_with(b":")) // whichever worker it meets
    });
}

/// `evenkeel up` in a directory of its own.
pub struct Service {
    pub addr: SocketAddr,
    dir: TempDir,
    child: Child,
}

impl Service {
    /// Three primaries and three replicas, with more lines of `[cluster]`.
    pub fn start(cluster: &str) -> Service {
        let (base, others) = (free(6), free(2));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("evenkeel.toml");
        let config = format!(
            "[cluster]\n{}\nbase-port = {base}\n{cluster}\n[gateway]\nlisten = \"{}\"\n[web]\nlisten = \"{}\"\n",
            server::setting(),
            loopback(others),
            loopback(others + 1)
        );
        fs::write(&file, config).unwrap();
        let log = fs::File::create(dir.path().join("stderr")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["up", "--config"])
            .arg(&file)
            .arg("--dir")
            .arg(dir.path().join("home"))
            .env("EVENKEEL_LOG", "info")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        let mut service = Service { addr: loopback(others), dir, child };
        service.wait_until_ok("it is up");
        wait_until_served(service.addr);
        service
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// What control saw last; `Null` before it has looked.
    pub fn status(&self) -> Value {
        let text = fs::read_to_string(self.home().join("status.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Waits until everything is as it should be.
    pub fn wait_until_ok(&mut self, what: &str) {
        let start = Instant::now();
        while self.status()["health"] != "ok" {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < SOON,
                "{what}: {} ({ended:?})\n{}\n{}",
                self.status()["because"],
                fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default(),
                self.journal()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    pub fn journal(&self) -> String {
        fs::read_to_string(self.home().join("journal.jsonl")).unwrap_or_default()
    }

    /// The nodes with this role that own slots or copy somebody: name, process id.
    pub fn nodes(&self, role: &str) -> Vec<(String, i32)> {
        let status = self.status();
        let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
        let chosen = nodes.iter().filter(|node| node["role"] == role).filter_map(|node| {
            Some((node["name"].as_str()?.to_owned(), i32::try_from(node["pid"].as_i64()?).ok()?))
        });
        chosen.collect()
    }
}

/// Kills a server that belongs to a [`Service`] of this test.
pub fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("an id"), Signal::KILL).expect("a server of our own");
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < SOON {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill(); // the servers end with it
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("journal:\n{}", self.journal());
        }
    }
}
