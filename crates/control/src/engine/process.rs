//! The process engine: servers are processes on this machine.
//!
//! Owns starting, adopting, watching and stopping them. Never starts a second server over a live directory, and
//! never signals a process that it has no handle of.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_core::config::{Cluster, Persistence};
use evenkeel_core::plan::{Desired, Disk, NodeName, Observed, Past, Process, Settings};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::sync::Notify;

use super::conf::{BUS, USERS, conf, differences, persistence, users};
use super::identity::{self, Record};
use super::kin::{self, PidFd};
use super::spawn::{Spawner, end_with_us};
use super::{Body, Engine, EngineError, snapshot};
use crate::home::{Home, write_whole};
use crate::now_ms;
use crate::server::Server;

/// Whether servers end with the evenkeel that started them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// They do.
    WithUs,
    /// They stay and wait for the next evenkeel to adopt them.
    Detached,
}

/// How long a server may take to save its data when it is stopped.
const STOP: Duration = Duration::from_secs(60);
/// Pause before a server that is to end is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// After so many ends without an answer a server's data counts as unreadable.
const IN_VAIN: u32 = 3;
/// Where servers keep data.
const DATA: [&str; 2] = ["appendonlydir", "dump.rdb"];
/// A server's log is set aside at a start when it is longer than this.
const LOG_LIMIT: u64 = 8 << 20;

/// Servers as processes on this machine.
#[derive(Debug)]
pub struct ProcessEngine {
    server: Server,
    cluster: Cluster,
    password: String,
    lifetime: Lifetime,
    spawner: Spawner,
    nudge: Arc<Notify>,
    nodes: Arc<Mutex<BTreeMap<NodeName, Place>>>,
    record: Mutex<Record>,
    desired: Desired,
}

/// A node on this machine.
#[derive(Debug)]
struct Place {
    port: u16,
    dir: PathBuf,
    process: Process,
    started_at: u64,
    /// What its disk said of it before the process was started.
    past: Option<Past>,
    handle: Option<Arc<PidFd>>,
    /// It was asked to end.
    ending: bool,
    /// The configuration with which it was started, and with what was set since; empty when there is none.
    conf: String,
    /// Starts in vain, in a row.
    failures: u32,
    /// Those of them in which the server itself ended.
    crashes: u32,
    answered: bool,
}

impl ProcessEngine {
    /// Looks for servers that run already and adopts them; starts nothing. Needs a tokio runtime.
    pub fn new(
        server: Server,
        cluster: Cluster,
        desired: &Desired,
        home: &Home,
        lifetime: Lifetime,
    ) -> Result<ProcessEngine, EngineError> {
        let spawner = Spawner::new().map_err(|source| system("start a thread", source))?;
        let engine = ProcessEngine {
            server,
            cluster,
            password: home.secrets().node_password.clone(),
            lifetime,
            spawner,
            nudge: Arc::new(Notify::new()),
            nodes: Arc::default(),
            record: Mutex::new(Record::open(home.dir().join("members.json"))),
            desired: desired.clone(),
        };
        for wanted in &desired.nodes {
            let (dir, port) = (home.node_dir(&wanted.name), wanted.addr.port());
            let kin = kin::find(&dir.join("redis.conf"), &dir);
            if let (Some((pid, _)), Some(then)) = (&kin, ran_at(&dir))
                && then != port
            {
                return Err(EngineError::Elsewhere { node: wanted.name.clone(), pid: *pid, port: then });
            }
            let place = Place {
                port,
                conf: fs::read_to_string(dir.join("redis.conf")).unwrap_or_default(),
                dir,
                process: Process::Absent,
                started_at: 0,
                past: None,
                handle: None,
                ending: false,
                failures: 0,
                crashes: 0,
                answered: false,
            };
            lock(&engine.nodes).insert(wanted.name.clone(), place);
            if let Some((pid, handle)) = kin {
                engine.watch(&wanted.name, pid, handle, None);
            }
        }
        let idle: Vec<(SocketAddr, PathBuf)> = {
            let nodes = lock(&engine.nodes);
            let places =
                desired.nodes.iter().filter_map(|wanted| Some((wanted.addr, nodes.get(&wanted.name)?)));
            let idle = places.filter(|(_, place)| place.handle.is_none());
            idle.map(|(addr, place)| (addr, place.dir.clone())).collect()
        };
        let idle: Vec<(SocketAddr, &Path)> = idle.iter().map(|(addr, dir)| (*addr, dir.as_path())).collect();
        identity::readdress(&idle).map_err(|source| system("write the nodes' addresses", source))?;
        Ok(engine)
    }

    /// Refuses to begin while something else listens on a port of a node that does not run.
    pub fn check_ports(&self) -> Result<(), EngineError> {
        for (node, place) in lock(&self.nodes).iter() {
            if place.handle.is_none() {
                check_port(node, place.port)?;
            }
        }
        Ok(())
    }

    /// Notes a running process and waits for its end in the background.
    fn watch(&self, node: &NodeName, pid: u32, handle: PidFd, child: Option<Child>) {
        let handle = Arc::new(handle);
        if let Some(place) = lock(&self.nodes).get_mut(node) {
            place.process = Process::Running { pid };
            place.started_at = match &child {
                Some(_) => now_ms(),
                None => kin::born(pid, now_ms()).unwrap_or(0),
            };
            place.ending = false;
            place.handle = Some(Arc::clone(&handle));
            place.answered = child.is_none();
        }
        let (nodes, nudge, node) = (Arc::clone(&self.nodes), Arc::clone(&self.nudge), node.clone());
        tokio::spawn(async move {
            let Some(status) = ended(&handle, child).await else { return };
            let at = now_ms();
            if let Some(place) = lock(&nodes).get_mut(&node) {
                place.handle = None;
                (place.failures, place.crashes) = match place.answered {
                    true => (0, 0),
                    false => (place.failures + 1, place.crashes + 1),
                };
                let how = ending(status, place.answered, &place.dir.join("server.log"));
                place.process = Process::Exited { at, how, failures: place.failures };
            }
            nudge.notify_one();
        });
    }

    fn conf(&self, port: u16, dir: &Path, persistence: Persistence) -> String {
        let cluster = Cluster { persistence, ..self.cluster.clone() };
        conf(&cluster, &self.server.title(), port, dir, &self.password)
    }

    /// In which form a dead node's data lies on its disk. A server is started with that, or it would not find its
    /// data; what is asked for is set once it runs.
    fn lies(&self, dir: &Path) -> Persistence {
        let text = fs::read_to_string(dir.join("redis.conf")).unwrap_or_default();
        persistence(&text).filter(|before| has_data(*before, dir)).unwrap_or(self.cluster.persistence)
    }

    /// What a dead node's disk says of it.
    fn past(&self, dir: &Path) -> Option<Past> {
        let (id, of) = identity::own(dir)?;
        let written = match self.lies(dir) {
            Persistence::Rdb => snapshot::written(&dir.join("dump.rdb")),
            // its position in the stream is not on disk
            Persistence::None | Persistence::Aof => None,
        };
        Some(Past { id, of, written })
    }

    /// What a node's disk holds, beside what it should hold.
    fn disk(&self, node: &NodeName, place: &Place) -> Disk {
        if place.handle.is_some() {
            return Disk::Kept;
        }
        let dir = &place.dir;
        let data = has_data(self.lies(dir), dir);
        let known = lock(&self.record).of(node).map(|member| member.kept);
        match (data && identity::is_there(dir), known) {
            (true, _) if place.crashes >= IN_VAIN => Disk::Unreadable,
            (true, _) => Disk::Kept,
            (false, Some(_)) if data => Disk::Nameless,
            (false, Some(true)) => Disk::Lost,
            (false, Some(false) | None) => Disk::Blank,
        }
    }

    async fn launch(&self, node: &NodeName, port: u16, dir: &Path) -> Result<(), EngineError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| system(format!("make {}", dir.display()), source))?;
        let file = dir.join("redis.conf");
        if let Some((pid, handle)) = kin::find(&file, dir) {
            self.watch(node, pid, handle, None);
            return Err(EngineError::Runs { node: node.clone(), pid });
        }
        check_port(node, port)?;
        identity::check(node, dir)?;
        let text = self.conf(port, dir, self.lies(dir));
        let written = write_whole(&file, text.as_bytes(), 0o600);
        written.map_err(|source| system(format!("write {}", file.display()), source))?;
        if let Some(place) = lock(&self.nodes).get_mut(node) {
            place.conf = text;
        }
        write_users(&dir.join(USERS), &self.password)?;
        let log = log(&dir.join("server.log"))?;
        let twin = log.try_clone().map_err(|source| system("write the server's log", source))?;
        let mut command = Command::new(&self.server.program);
        // its own process group: a Ctrl-C at the terminal is for evenkeel, which stops its servers in order
        command.arg(&file).current_dir(dir).process_group(0);
        command.stdin(Stdio::null()).stdout(log).stderr(twin);
        match self.lifetime {
            Lifetime::WithUs => end_with_us(&mut command),
            Lifetime::Detached => {}
        }
        let child = self.spawner.spawn(command).await;
        let child =
            child.map_err(|source| system(format!("run {}", self.server.program.display()), source))?;
        let handle = kin::pidfd(child.id()).map_err(|source| system("watch the server", source))?;
        self.watch(node, child.id(), handle, Some(child));
        Ok(())
    }
}

impl Engine for ProcessEngine {
    fn bodies(&self) -> BTreeMap<NodeName, Body> {
        let body = |name: &NodeName, place: &Place| {
            let disk = self.disk(name, place);
            let wanted = self.conf(place.port, &place.dir, self.cluster.persistence);
            let settings =
                if place.handle.is_some() { differences(&place.conf, &wanted) } else { Settings::InForce };
            Body {
                process: place.process.clone(),
                disk,
                started_at: place.started_at,
                past: place.past.clone(),
                settings,
            }
        };
        let mut nodes = lock(&self.nodes);
        for place in nodes.values_mut().filter(|place| place.handle.is_none()) {
            place.past = self.past(&place.dir);
        }
        nodes.iter().map(|(node, place)| (node.clone(), body(node, place))).collect()
    }

    fn nudge(&self) -> Arc<Notify> {
        Arc::clone(&self.nudge)
    }

    async fn start(&self, node: &NodeName) -> Result<(), EngineError> {
        let (port, dir) = {
            let nodes = lock(&self.nodes);
            let place = nodes.get(node).ok_or_else(|| EngineError::Unknown(node.clone()))?;
            if let Process::Running { pid } = place.process {
                return Err(EngineError::Runs { node: node.clone(), pid });
            }
            (place.port, place.dir.clone())
        };
        let started = self.launch(node, port, &dir).await;
        if let Err(error) = &started
            && let Some(place) = lock(&self.nodes).get_mut(node)
            && place.handle.is_none()
        {
            place.failures += 1;
            let how = format!("could not be started: {error}");
            place.process = Process::Exited { at: now_ms(), how, failures: place.failures };
        }
        started
    }

    fn kill(&self, node: &NodeName) -> Result<(), EngineError> {
        let nodes = lock(&self.nodes);
        let place = nodes.get(node).ok_or_else(|| EngineError::Unknown(node.clone()))?;
        let Some(handle) = &place.handle else { return Ok(()) };
        if place.ending {
            return Err(EngineError::Ending(node.clone()));
        }
        let sent = pidfd_send_signal(handle.get_ref(), Signal::KILL);
        sent.map_err(|error| system(format!("end the server of {node}"), error.into()))
    }

    fn end(&self, node: &NodeName) -> Result<(), EngineError> {
        let mut nodes = lock(&self.nodes);
        let place = nodes.get_mut(node).ok_or_else(|| EngineError::Unknown(node.clone()))?;
        let Some(handle) = place.handle.clone() else { return Ok(()) };
        if !std::mem::replace(&mut place.ending, true) {
            tokio::spawn(async move { end(&[handle.as_ref()]).await });
        }
        Ok(())
    }

    fn configured(&self, node: &NodeName) -> Result<(), EngineError> {
        let mut nodes = lock(&self.nodes);
        let place = nodes.get_mut(node).ok_or_else(|| EngineError::Unknown(node.clone()))?;
        let wanted = self.cluster.persistence;
        // until its first append-only file is whole, a server that dies must be started from its snapshot
        if wanted == Persistence::Aof && !has_data(wanted, &place.dir) {
            return Ok(());
        }
        let (text, file) = (self.conf(place.port, &place.dir, wanted), place.dir.join("redis.conf"));
        let written = write_whole(&file, text.as_bytes(), 0o600);
        written.map_err(|source| system(format!("write {}", file.display()), source))?;
        place.conf = text;
        Ok(())
    }

    fn identify(&self, node: &NodeName) -> Result<(), EngineError> {
        let dir = match lock(&self.nodes).get(node) {
            Some(place) if place.handle.is_none() => place.dir.clone(),
            Some(_) => return Ok(()),
            None => return Err(EngineError::Unknown(node.clone())),
        };
        let restored = lock(&self.record).restore(node, &dir, &self.desired);
        restored.map_err(|source| system(format!("restore the identity of {node}"), source))
    }

    fn note(&self, observed: &Observed) {
        let kept: Vec<NodeName> = {
            let nodes = lock(&self.nodes);
            let kept = nodes.iter().filter(|(_, place)| has_data(self.lies(&place.dir), &place.dir));
            kept.map(|(node, _)| node.clone()).collect()
        };
        if let Err(error) = lock(&self.record).note(observed, &|node| kept.contains(node)) {
            tracing::warn!("the record of who is who cannot be written: {error}");
        }
    }

    fn set_aside(&self, node: &NodeName) -> Result<(), EngineError> {
        let mut nodes = lock(&self.nodes);
        let place = nodes.get_mut(node).ok_or_else(|| EngineError::Unknown(node.clone()))?;
        if let Process::Running { pid } = place.process {
            return Err(EngineError::Runs { node: node.clone(), pid });
        }
        let aside = place.dir.join("set-aside");
        let doing = |what: &str| format!("{what} {}", aside.display());
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(system(doing("empty"), error));
            }
            Ok(()) | Err(_) => {}
        }
        fs::create_dir(&aside).map_err(|source| system(doing("make"), source))?;
        for data in DATA {
            match fs::rename(place.dir.join(data), aside.join(data)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(system(doing("move data to"), error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        (place.crashes, place.failures) = (0, 0);
        Ok(())
    }

    fn answered(&self, node: &NodeName) {
        if let Some(place) = lock(&self.nodes).get_mut(node) {
            (place.answered, place.failures, place.crashes) = (true, 0, 0);
        }
    }

    async fn stop(&self) {
        let handles: Vec<Arc<PidFd>> =
            lock(&self.nodes).values().filter_map(|place| place.handle.clone()).collect();
        end(&handles.iter().map(AsRef::as_ref).collect::<Vec<_>>()).await;
    }
}

/// Stops servers that an evenkeel which is gone left running in a directory; how many there were.
pub async fn stop_leftovers(home: &Home) -> usize {
    let nodes = fs::read_dir(home.dir().join("nodes")).into_iter().flatten().flatten();
    let kin: Vec<PidFd> =
        nodes.filter_map(|node| Some(kin::find(&node.path().join("redis.conf"), &node.path())?.1)).collect();
    end(&kin.iter().collect::<Vec<_>>()).await;
    kin.len()
}

/// Waits for a process to end, never on the thread itself: that would stop everything that shares it. Gives how a child
/// of ours ended; nothing when the runtime ends first.
async fn ended(handle: &PidFd, child: Option<Child>) -> Option<Option<ExitStatus>> {
    let Some(mut child) = child else {
        return handle.readable().await.ok().map(|_| None);
    };
    loop {
        let mut ready = handle.readable().await.ok()?;
        match child.try_wait() {
            Ok(None) => ready.clear_ready(),
            Ok(status) => return Some(status),
            Err(_) => return Some(None),
        }
    }
}

/// Asks processes to save and end, waits for them, and kills those that do not in time. Asks again and again: a server
/// forgets what it was asked in the moment in which it starts (it sets `shutdown_asap` to 0 after it has begun to take
/// signals, server.c).
async fn end(handles: &[&PidFd]) {
    let all = async {
        for handle in handles {
            let _ = handle.readable().await;
        }
    };
    let ask = async {
        loop {
            for handle in handles {
                let _ = pidfd_send_signal(handle.get_ref(), Signal::TERM);
            }
            tokio::time::sleep(AGAIN).await;
        }
    };
    let asked = async {
        tokio::select! {
            () = all => {}
            () = ask => {}
        }
    };
    if tokio::time::timeout(STOP, asked).await.is_err() {
        tracing::error!("servers did not stop within {} s and are killed", STOP.as_secs());
        for handle in handles {
            let _ = pidfd_send_signal(handle.get_ref(), Signal::KILL);
            let _ = tokio::time::timeout(Duration::from_secs(5), handle.readable()).await;
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // nothing under this lock can panic half-way
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a directory holds data in this form.
fn has_data(persistence: Persistence, dir: &Path) -> bool {
    let data = match persistence {
        Persistence::None => return false,
        Persistence::Rdb => "dump.rdb",
        Persistence::Aof => "appendonlydir/appendonly.aof.manifest",
    };
    dir.join(data).metadata().is_ok_and(|meta| meta.len() > 0)
}

/// The port that a node was given when it was started last.
fn ran_at(dir: &Path) -> Option<u16> {
    let text = fs::read_to_string(dir.join("redis.conf")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("port ")?.parse().ok())
}

fn check_port(node: &NodeName, port: u16) -> Result<(), EngineError> {
    match kin::taken(port, port + BUS) {
        None => Ok(()),
        Some(port) => Err(EngineError::PortTaken { node: node.clone(), port }),
    }
}

/// Gives a node's file of users the password that is in force.
fn write_users(file: &Path, password: &str) -> Result<(), EngineError> {
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(system(format!("read {}", file.display()), source)),
    };
    write_whole(file, users(&before, password).as_bytes(), 0o600)
        .map_err(|source| system(format!("write {}", file.display()), source))
}

fn system(what: impl Into<String>, source: io::Error) -> EngineError {
    EngineError::System { what: what.into(), source }
}

/// The server's log, opened for appending; a long one is set aside.
fn log(path: &Path) -> Result<fs::File, EngineError> {
    if path.metadata().is_ok_and(|meta| meta.len() > LOG_LIMIT) {
        let _ = fs::rename(path, path.with_extension("log.1"));
    }
    let open = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    open.map_err(|source| system(format!("write {}", path.display()), source))
}

/// How a server ended, with the last words of its log where it never worked.
fn ending(status: Option<ExitStatus>, answered: bool, log: &Path) -> String {
    let how = match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exited with status {code}"),
        Some((None, Some(signal))) => format!("was killed by signal {signal}"),
        Some((None, None)) | None => "ended".to_owned(),
    };
    let crashed = status.is_some_and(|status| status.code().is_some_and(|code| code != 0));
    match last_words(log) {
        Some(words) if crashed || !answered => format!("{how}; {} ends with: {words}", log.display()),
        Some(_) | None => how,
    }
}

/// The last lines of a log that say something.
fn last_words(log: &Path) -> Option<String> {
    let mut file = fs::File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(2048))).ok()?;
    let mut text = Vec::new();
    file.take(2048).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    // `123:M 23 Nov 2026 04:08:52.123 # words`: the words are enough
    let words = |line: &str| {
        line.split_once(" # ")
            .or_else(|| line.split_once(" * "))
            .map_or(line, |(_, words)| words)
            .trim()
            .to_owned()
    };
    let lines: Vec<String> = text.lines().map(words).filter(|line| !line.is_empty()).collect();
    let last: Vec<&str> = lines.iter().rev().take(2).rev().map(String::as_str).collect();
    (!last.is_empty()).then(|| last.join("; "))
}
