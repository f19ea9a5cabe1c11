//! What a drill sees and may touch while it runs: the shards at its beginning, their processes, and the notes of what
//! it did.
//!
//! Owns putting right what a fault left behind, whatever becomes of the drill.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use evenkeel_control::status::{Event, Level, Node, Role, Status};
use tokio::time::{sleep, timeout};

use super::args::{Plan, Where};
use super::catalogue::{Cast, Entrance, Needs};
use super::deployment::{Deployment, is_whole, words};
use super::entrance::Pair;
use super::judge::Durability;
use super::system::{Process, Signal, dice, now_ms};
use super::{DrillError, lab::Lab};
use crate::link::{Answer, Door, Link};
use crate::load::{LoadHandle, Verdict};

/// How long a node or a gateway may take to answer a single question.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a load that was given up may take to remove its keys.
const REMOVAL: Duration = Duration::from_secs(15);
/// Pause between two glances at what control wrote down.
const GLANCE: Duration = Duration::from_millis(20);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A server as the deployment's status names it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) pid: Option<u32>,
}

/// A primary, its copies and its slots.
#[derive(Clone, Debug)]
pub(crate) struct Shard {
    pub(crate) slots: Vec<(u16, u16)>,
    pub(crate) primary: Member,
    pub(crate) replicas: Vec<Member>,
}

impl Shard {
    /// Its slots in words.
    pub(crate) fn name(&self) -> String {
        let ranges: Vec<String> = self.slots.iter().map(|(first, last)| format!("{first}-{last}")).collect();
        ranges.join(" ")
    }

    /// Whether a slot is one of its.
    pub(crate) fn holds(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}

/// What a fault leaves behind.
enum Undo {
    Continue(Process),
    Remove(PathBuf),
    Unlink(Vec<String>),
}

/// What is drilled.
enum Ground {
    Deployment(Deployment),
    Lab(Lab),
}

/// A deployment and what is done to it.
pub(crate) struct Scene {
    ground: Ground,
    program: PathBuf,
    /// What writes wait for here.
    pub(crate) durability: Durability,
    /// The shards when the drill began, by their first slot.
    pub(crate) shards: Vec<Shard>,
    /// Those of them that the fault is about, by their place.
    pub(crate) struck: BTreeSet<usize>,
    /// What was done, oldest first.
    pub(crate) notes: Vec<Event>,
    /// The two gateways of a drill that has its own.
    pub(crate) pair: Option<Pair>,
    /// The load, while it runs: whatever becomes of the drill, its keys are removed.
    pub(crate) load: Option<LoadHandle>,
    gone: Vec<Member>,
    undo: Vec<Undo>,
}

impl Scene {
    /// Starts a deployment of the drill's own, or takes the one that runs.
    pub(crate) async fn open(plan: &Plan, cast: &Cast) -> Result<Scene, DrillError> {
        let ground = match (&plan.place, cast.drill.needs) {
            (_, Needs::Networks) => Ground::Lab(Lab::start(&plan.program, cast.durability).await?),
            (Where::Own(given), needs) => {
                Ground::Deployment(Deployment::start(&plan.program, needs, cast.durability, given).await?)
            }
            (Where::Running(dir), Needs::Any) => Ground::Deployment(Deployment::running(&plan.program, dir)),
            (Where::Running(_), Needs::Memory(_) | Needs::SmallDisk { .. } | Needs::Solitude) => {
                let why =
                    "this drill needs a deployment of its own with other settings: run it without --dir";
                return Err(DrillError::Unable(why.to_owned()));
            }
        };
        Ok(Scene {
            ground,
            program: plan.program.clone(),
            durability: cast.durability,
            shards: Vec::new(),
            struck: BTreeSet::new(),
            notes: Vec::new(),
            pair: None,
            load: None,
            gone: Vec::new(),
            undo: Vec::new(),
        })
    }

    /// Waits until all is well, looks at the shards, and opens the entrance; where it is and what it asks.
    pub(crate) async fn begin(
        &mut self,
        entrance: Entrance,
    ) -> Result<(Vec<String>, Option<String>), DrillError> {
        self.struck.clear();
        self.notes.clear();
        self.gone.clear();
        self.pair = None;
        let deployment = match &mut self.ground {
            Ground::Deployment(deployment) => deployment,
            Ground::Lab(lab) => {
                self.shards = lab.ready().await?;
                return Ok((vec![lab.entrance()], None));
            }
        };
        let status = deployment.ready().await?;
        self.shards = shards(&status);
        let secrets = deployment.secrets()?;
        match entrance {
            Entrance::Service => {
                let gateway = status.gateways.first();
                let gateway = gateway.ok_or_else(|| DrillError::NotReady("it has no gateway".to_owned()))?;
                let password = asks_password(&gateway.addr).await?.then_some(secrets.gateway_password);
                Ok((vec![gateway.addr.clone()], password))
            }
            Entrance::TwoGateways => {
                let seeds: Vec<String> = status.nodes.iter().map(|node| node.addr.clone()).collect();
                let pair =
                    Pair::start(&self.program, &seeds, &secrets.node_password, self.durability).await?;
                let addrs = pair.gateways.iter().map(|gateway| gateway.addr.to_string()).collect();
                self.pair = Some(pair);
                Ok((addrs, None))
            }
            Entrance::Nodes => {
                deployment.leave_alone()?;
                self.note("cluster", "control and its gateway are stopped: the servers are alone");
                for node in &status.nodes {
                    // as Redis has it by itself: a shard without an owner stops all of them
                    let setting: &[&[u8]] = &[b"CONFIG", b"SET", b"cluster-require-full-coverage", b"yes"];
                    self.ask_node(&node.addr, setting).await?;
                }
                Ok((status.nodes.iter().map(|node| node.addr.clone()).collect(), Some(secrets.node_password)))
            }
        }
    }

    /// A shard at random, which counts as struck from now on.
    pub(crate) fn strike_one(&mut self) -> Result<Shard, DrillError> {
        self.strike_some(1).map(|mut shards| shards.remove(0))
    }

    /// So many different shards at random, which count as struck from now on.
    pub(crate) fn strike_some(&mut self, count: usize) -> Result<Vec<Shard>, DrillError> {
        if self.shards.len() < count {
            return Err(DrillError::Unable(format!("there are fewer than {count} shards")));
        }
        let mut places: Vec<usize> = (0..self.shards.len()).collect();
        let chosen: Vec<usize> = (0..count).map(|_| places.swap_remove(dice(places.len()))).collect();
        self.struck.extend(&chosen);
        Ok(chosen.into_iter().map(|place| self.shards[place].clone()).collect())
    }

    /// Every shard counts as struck from now on.
    pub(crate) fn strike_all(&mut self) -> Vec<Shard> {
        self.struck = (0..self.shards.len()).collect();
        self.shards.clone()
    }

    /// Writes down what is done; it stands in the report's course of events.
    pub(crate) fn note(&mut self, subject: &str, what: impl Into<String>) {
        let event = Event {
            at_ms: now_ms(),
            level: Level::Warning,
            subject: subject.to_owned(),
            what: what.into(),
            because: "the drill does it".to_owned(),
        };
        self.notes.push(event);
    }

    /// Opens a server's process, to signal it when the moment has come.
    pub(crate) fn process(&self, member: &Member) -> Result<Process, DrillError> {
        let nowhere = || DrillError::Unable(format!("{} has no process on this machine", member.name));
        let pid = member.pid.ok_or_else(nowhere)?;
        match &self.ground {
            Ground::Deployment(deployment) => Process::open(pid, &deployment.node_dir(&member.name)),
            Ground::Lab(_) => Err(nowhere()),
        }
    }

    /// Kills servers at the same moment.
    pub(crate) fn kill(&mut self, members: &[&Member]) -> Result<(), DrillError> {
        let processes = members.iter().map(|member| self.process(member)).collect::<Result<Vec<_>, _>>()?;
        for (process, member) in processes.iter().zip(members) {
            process.signal(Signal::KILL)?;
            self.note(&member.name, format!("kill -9 {}", process.pid));
        }
        self.gone.extend(members.iter().map(|member| (*member).clone()));
        Ok(())
    }

    /// Stops a server without ending it; it goes on again in the end, should it still be there.
    pub(crate) fn hang(&mut self, member: &Member) -> Result<(), DrillError> {
        let process = self.process(member)?;
        process.signal(Signal::STOP)?;
        self.note(&member.name, format!("kill -STOP {}", process.pid));
        self.undo.push(Undo::Continue(process));
        Ok(())
    }

    /// A file that is removed in the end, should it still be there.
    pub(crate) fn remove_later(&mut self, file: PathBuf) {
        self.undo.push(Undo::Remove(file));
    }

    /// Keys of the service that are removed in the end.
    pub(crate) fn unlink_later(&mut self, keys: Vec<String>) {
        self.undo.push(Undo::Unlink(keys));
    }

    /// The small disk of the deployment.
    pub(crate) fn disk(&self) -> Result<PathBuf, DrillError> {
        let disk = match &self.ground {
            Ground::Deployment(deployment) => deployment.disk().map(Path::to_owned),
            Ground::Lab(_) => None,
        };
        disk.ok_or_else(|| DrillError::Unable("this drill needs a small disk of its own".to_owned()))
    }

    /// The networks of a drill that has its own.
    pub(crate) fn lab(&mut self) -> Result<&mut Lab, DrillError> {
        match &mut self.ground {
            Ground::Lab(lab) => Ok(lab),
            Ground::Deployment(_) => {
                Err(DrillError::Unable("this drill needs networks of its own".to_owned()))
            }
        }
    }

    fn deployment(&self) -> Result<&Deployment, DrillError> {
        match &self.ground {
            Ground::Deployment(deployment) => Ok(deployment),
            Ground::Lab(_) => Err(DrillError::Unable("this drill needs a deployment".to_owned())),
        }
    }

    /// Gives the deployment an order by its command line; the order has to succeed.
    pub(crate) async fn order(&mut self, args: &[&str]) -> Result<Output, DrillError> {
        let order = format!("evenkeel {}", args.join(" "));
        self.note("cluster", order.clone());
        let done = self.deployment()?.evenkeel(args).await?;
        match done.status.code() {
            Some(0) => {
                self.note("cluster", format!("{order} is done"));
                Ok(done)
            }
            // how a command line says that it does not know a command
            Some(2) => Err(DrillError::Unable(format!("`{order}`: {}", words(&done)))),
            Some(_) | None => Err(DrillError::Order { order, said: words(&done) }),
        }
    }

    /// Asks a node directly.
    pub(crate) async fn ask_node(&self, addr: &str, parts: &[&[u8]]) -> Result<Vec<Answer>, DrillError> {
        ask(addr, Some(self.node_password()?), parts).await
    }

    /// A connection to a node.
    pub(crate) async fn node(&self, addr: &str) -> Result<Link, DrillError> {
        connect(addr, Some(self.node_password()?)).await
    }

    /// What nodes ask of those who connect to them.
    pub(crate) fn node_password(&self) -> Result<String, DrillError> {
        Ok(self.deployment()?.secrets()?.node_password)
    }

    /// Ends the first of the two gateways by a signal, and waits until it has ended; its address.
    pub(crate) async fn end_gateway(&mut self, signal: Signal) -> Result<String, DrillError> {
        let none = || DrillError::Unable("this drill has no gateways of its own".to_owned());
        let gateway = self.pair.as_mut().and_then(|pair| pair.gateways.first_mut()).ok_or_else(none)?;
        gateway.end(signal).await?;
        Ok(gateway.addr.to_string())
    }

    /// Gives the first of the two gateways a new process; its address.
    pub(crate) async fn replace_gateway(&mut self) -> Result<String, DrillError> {
        let none = || DrillError::Unable("this drill has no gateways of its own".to_owned());
        self.pair.as_mut().ok_or_else(none)?.replace().await.map(|addr| addr.to_string())
    }

    /// The network in which the load has to be, where that is not the machine's own.
    pub(crate) fn network(&self) -> Option<PathBuf> {
        match &self.ground {
            Ground::Deployment(_) => None,
            Ground::Lab(lab) => Some(lab.network()),
        }
    }

    /// A connection to the service by the gateway of the deployment.
    pub(crate) async fn client(&self) -> Result<Link, DrillError> {
        let deployment = self.deployment()?;
        let status = deployment.status().await?;
        let gateway = status.gateways.first().map(|gateway| gateway.addr.clone()).unwrap_or_default();
        let password = asks_password(&gateway).await?.then_some(deployment.secrets()?.gateway_password);
        connect(&gateway, password).await
    }

    /// What the deployment says of itself now.
    pub(crate) async fn status(&self) -> Result<Status, DrillError> {
        self.deployment()?.status().await
    }

    /// Waits until the status satisfies.
    pub(crate) async fn wait(
        &self,
        what: &str,
        within: Duration,
        mut satisfies: impl FnMut(&Status) -> bool,
    ) -> Result<Status, DrillError> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if let Ok(status) = self.status().await
                && satisfies(&status)
            {
                return Ok(status);
            }
            sleep(LOOK).await;
        }
        Err(DrillError::Vain(format!("waited {} s in vain until {what}", within.as_secs())))
    }

    /// Waits until all is as before, with a new process for each that was killed; when that was first seen.
    pub(crate) async fn healed(&mut self, within: Duration) -> Option<u64> {
        if let Ground::Lab(lab) = &mut self.ground {
            return lab.healed(within).await;
        }
        let gone = self.gone.clone();
        let since = now_ms();
        let replaced = |status: &Status| {
            gone.iter().all(|old| {
                let now = status.nodes.iter().find(|node| node.name == old.name);
                now.is_some_and(|now| now.pid.is_some() && now.pid != old.pid)
            })
        };
        let begun = Instant::now();
        while begun.elapsed() < within {
            let noted = self.deployment().ok().and_then(Deployment::noted);
            let healed = noted.filter(|status| status.at_ms >= since && is_whole(status) && replaced(status));
            if let Some(status) = healed {
                return Some(status.at_ms);
            }
            sleep(GLANCE).await;
        }
        None
    }

    /// Waits until servers that nobody looks after have replaced the primaries of the struck shards by themselves and
    /// all that are left call their cluster well; when that was first seen.
    pub(crate) async fn replaced_alone(&self, within: Duration) -> Option<u64> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.is_replaced().await.is_ok_and(|replaced| replaced) {
                return Some(now_ms());
            }
            sleep(LOOK).await;
        }
        None
    }

    async fn is_replaced(&self) -> Result<bool, DrillError> {
        let says = async |member: &Member, parts: &[&[u8]], word: &str| {
            let answers = self.ask_node(&member.addr, parts).await?;
            Ok::<_, DrillError>(matches!(answers.as_slice(), [Answer::Text(text)] if text.contains(word)))
        };
        for (place, shard) in self.shards.iter().enumerate() {
            let struck = self.struck.contains(&place);
            for replica in &shard.replicas {
                if struck && !says(replica, &[b"INFO", b"replication"], "role:master").await? {
                    return Ok(false);
                }
            }
            let left = std::iter::once(&shard.primary).filter(|_| !struck).chain(&shard.replicas);
            for member in left {
                if !says(member, &[b"CLUSTER", b"INFO"], "cluster_state:ok").await? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Stops the load and says what it saw.
    pub(crate) async fn verdict(&mut self) -> Result<Verdict, DrillError> {
        let load = self.load.take().ok_or_else(|| DrillError::NotReady("there is no load".to_owned()))?;
        Ok(load.stop().await)
    }

    /// What control noted since then.
    pub(crate) fn journal(&self, since_ms: u64) -> Vec<Event> {
        match &self.ground {
            Ground::Deployment(deployment) => deployment.journal(since_ms),
            Ground::Lab(_) => Vec::new(),
        }
    }

    /// Undoes what faults left behind; what cannot be undone is said.
    pub(crate) async fn put_right(&mut self) {
        if let Ground::Lab(lab) = &mut self.ground {
            lab.put_right();
        }
        for undo in std::mem::take(&mut self.undo) {
            match undo {
                // one that has ended meanwhile needs nothing
                Undo::Continue(process) => drop(process.signal(Signal::CONT)),
                Undo::Remove(file) => drop(std::fs::remove_file(file)),
                Undo::Unlink(keys) => {
                    if let Err(error) = self.unlink(&keys).await {
                        super::progress(&format!("{} keys are left behind: {error}", keys.len()));
                    }
                }
            }
        }
        if let Some(load) = self.load.take() {
            let _ = timeout(REMOVAL, load.stop()).await;
        }
        self.pair = None;
    }

    /// Removes keys by the service.
    pub(crate) async fn unlink(&self, keys: &[String]) -> Result<(), DrillError> {
        let mut link = self.client().await?;
        for some in keys.chunks(100) {
            let parts = std::iter::once(&b"UNLINK"[..]).chain(some.iter().map(String::as_bytes));
            let answered = link.call(&parts.collect::<Vec<_>>(), PATIENCE).await;
            answered.map_err(|lost| DrillError::NotReady(format!("UNLINK: {lost}")))?;
        }
        Ok(())
    }
}

/// The shards of a status, by their first slot.
pub(crate) fn shards(status: &Status) -> Vec<Shard> {
    let member = |node: &Node| Member { name: node.name.clone(), addr: node.addr.clone(), pid: node.pid };
    let owners = status.nodes.iter().filter(|node| node.role == Role::Primary && !node.slots.is_empty());
    let mut shards: Vec<Shard> = owners
        .map(|owner| {
            let copies = status.nodes.iter().filter(|node| node.replica_of.as_ref() == Some(&owner.name));
            Shard {
                slots: owner.slots.clone(),
                primary: member(owner),
                replicas: copies.map(member).collect(),
            }
        })
        .collect();
    shards.sort_by_key(|shard| shard.slots.first().copied());
    shards
}

/// Asks a server one thing on a connection of its own.
pub(crate) async fn ask(
    addr: &str,
    password: Option<String>,
    parts: &[&[u8]],
) -> Result<Vec<Answer>, DrillError> {
    let mut link = connect(addr, password).await?;
    let answers = link.call(parts, PATIENCE).await;
    answers.map_err(|lost| DrillError::NotReady(format!("{addr}: {lost}")))
}

async fn connect(addr: &str, password: Option<String>) -> Result<Link, DrillError> {
    let door = Door { addr: addr.to_owned(), user: None, password, patience: PATIENCE };
    Link::open(&door, 64 * 1024).await.map_err(|lost| DrillError::NotReady(format!("{addr}: {lost}")))
}

async fn asks_password(addr: &str) -> Result<bool, DrillError> {
    let answers = ask(addr, None, &[b"PING"]).await?;
    Ok(matches!(answers.as_slice(), [Answer::Error(text)] if text.starts_with("NOAUTH")))
}
