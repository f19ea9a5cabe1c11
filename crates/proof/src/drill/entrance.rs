//! The way by which the load reaches the nodes: the deployment's own gateway, or two of the drill's own, so that one
//! of them can be killed while the other goes on.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::DrillError;
use super::deployment::child;
use super::judge::Durability;
use super::system::{Signal, free_ports, private_dir};
use crate::link::{Answer, Door, Link};

/// How long a gateway may take until it serves.
const READY: Duration = Duration::from_secs(20);

/// A gateway in a process of its own.
pub(crate) struct OwnGateway {
    pub(crate) addr: SocketAddr,
    pub(crate) child: Child,
}

impl OwnGateway {
    /// Ends it by a signal, and waits for its end.
    pub(crate) async fn end(&mut self, signal: Signal) -> Result<(), DrillError> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.ok_or_else(|| DrillError::NotReady("a gateway has ended by itself".to_owned()))?;
        // our own child, which nobody but us waits for: the id is still its own
        let sent = kill_process(pid, signal).map_err(std::io::Error::from);
        sent.map_err(DrillError::system("signal a gateway"))?;
        let slow = |_| DrillError::Vain(format!("a gateway did not end within {} s", READY.as_secs()));
        timeout(READY, self.child.wait()).await.map_err(slow)?.map_err(DrillError::system("wait")).map(drop)
    }
}

/// Two of them, in front of the nodes of one deployment.
pub(crate) struct Pair {
    place: PathBuf,
    program: PathBuf,
    seeds: String,
    durability: Durability,
    pub(crate) gateways: Vec<OwnGateway>,
}

impl Pair {
    /// Starts both.
    pub(crate) async fn start(
        program: &Path,
        seeds: &[String],
        password: &str,
        durability: Durability,
    ) -> Result<Pair, DrillError> {
        let place = private_dir()?;
        let mut pair = Pair {
            place,
            program: program.to_owned(),
            seeds: seeds.join(","),
            durability,
            gateways: Vec::new(),
        };
        let file = pair.place.join("password");
        let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let written = written.and_then(|mut file| writeln!(file, "{password}"));
        written.map_err(DrillError::system("write a password file"))?;
        for _ in 0..2 {
            let addr = SocketAddr::from(([127, 0, 0, 1], free_ports(1)?));
            let child = pair.spawn(addr)?;
            pair.gateways.push(OwnGateway { addr, child });
            serves(addr).await?;
        }
        Ok(pair)
    }

    /// Starts a process that takes over from the first gateway, and waits until the old one has ended by itself.
    pub(crate) async fn replace(&mut self) -> Result<SocketAddr, DrillError> {
        let none = || DrillError::NotReady("there is no gateway".to_owned());
        let addr = self.gateways.first().map(|gateway| gateway.addr).ok_or_else(none)?;
        let new = self.spawn(addr)?;
        let gateway = self.gateways.first_mut().ok_or_else(none)?;
        let mut old = std::mem::replace(&mut gateway.child, new);
        let slow = |_| DrillError::Vain(format!("the old gateway did not end within {} s", READY.as_secs()));
        timeout(READY, old.wait()).await.map_err(slow)?.map_err(DrillError::system("wait"))?;
        Ok(addr)
    }

    /// Starts a gateway on an address; where one listens already, it takes over from that.
    pub(crate) fn spawn(&self, addr: SocketAddr) -> Result<Child, DrillError> {
        let mut command: Command = child(&self.program, &self.place.join("gateway.log"))?;
        command.arg(&self.program).args([
            "run",
            "--role",
            "gateway",
            "--threads",
            "1",
            "--listen",
            &addr.to_string(),
        ]);
        command.args(["--seeds", &self.seeds, "--node-password-file"]).arg(self.place.join("password"));
        command.args(["--durability", self.durability.word()]);
        command.arg("--handover").arg(self.place.join(format!("{}.sock", addr.port())));
        command.spawn().map_err(DrillError::system("start a gateway"))
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // the processes end with their handles
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// Waits until an address answers for keys of every shard.
pub(crate) async fn serves(addr: SocketAddr) -> Result<(), DrillError> {
    let door = Door { addr: addr.to_string(), user: None, password: None, patience: Duration::from_secs(1) };
    let begun = Instant::now();
    while begun.elapsed() < READY {
        if let Ok(mut link) = Link::open(&door, 0).await {
            let mut good = true;
            for key in ["a", "b", "c", "foo", "bar", "42"] {
                let answer = link.call(&[b"EXISTS", key.as_bytes()], door.patience).await;
                good &= matches!(answer.as_deref(), Ok([Answer::Integer(_)]));
            }
            if good {
                return Ok(());
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
    Err(DrillError::NotReady(format!("the gateway on {addr} does not serve every shard")))
}
