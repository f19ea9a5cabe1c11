//! A cluster whose servers lie each in a network of their own, joined by a bridge, for drills that cut cables.
//!
//! ```text
//!  namespace …-lan:  bridge 10.77.0.254 ── gateway, load
//!                      │ │ │ │ │ │           veth pairs v0 … v5
//!  namespaces …-0 to …-5: eth0 10.77.0.1 … 6, one server each
//! ```
//! Owns making and removing it; nothing is added to the network of the machine itself. Needs root and iproute2.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use evenkeel_control::server::Server;
use evenkeel_core::config::Config;
use evenkeel_core::topology::{Mark, Own, Peer, PeerRole, parse_view};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::process::Child;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::deployment::{READY, child, run};
use super::judge::Durability;
use super::scene::{Member, Shard, ask};
use super::system::{is_root, now_ms, private_dir};
use super::{DrillError, progress};
use crate::link::Answer;

const SHARDS: usize = 3;
const NODES: usize = 2 * SHARDS;
const PORT: u16 = 7000;
const GATEWAY: &str = "10.77.0.254:7010";
/// Silence after which the servers call one of them dead, in milliseconds.
const NODE_TIMEOUT: &str = "2000";

/// The networks and what runs in them.
pub(crate) struct Lab {
    place: PathBuf,
    prefix: String,
    children: Vec<Child>,
    cut: Vec<usize>,
    /// Those of them that the gateway still reaches.
    fenced: Vec<usize>,
}

/// What one node says of another.
#[derive(Clone, Debug)]
struct Sight {
    node: usize,
    /// The node that it copies.
    copies: Option<usize>,
    slots: Vec<(u16, u16)>,
    fine: bool,
}

/// Who owns which slots, by one node's view.
type Owners = Vec<(usize, Vec<(u16, u16)>)>;

impl Lab {
    /// Makes the networks, starts servers and gateway, and forms the cluster.
    pub(crate) async fn start(program: &Path, durability: Durability) -> Result<Lab, DrillError> {
        if !is_root() {
            let why = "networks are made for this drill, which only root may do: run it as root";
            return Err(DrillError::Unable(why.to_owned()));
        }
        let mut lab = Lab {
            place: private_dir()?,
            prefix: format!("ekdrill{}", std::process::id()),
            children: Vec::new(),
            cut: Vec::new(),
            fenced: Vec::new(),
        };
        lab.build(program, durability).await?;
        Ok(lab)
    }

    async fn build(&mut self, program: &Path, durability: Durability) -> Result<(), DrillError> {
        let lan = self.lan();
        ip(&["netns", "add", &lan])?;
        ip(&["-n", &lan, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &lan, "addr", "add", "10.77.0.254/24", "dev", "br0"])?;
        ip(&["-n", &lan, "link", "set", "br0", "up"])?;
        ip(&["-n", &lan, "link", "set", "lo", "up"])?;
        let server = Server::find(&Config::default().cluster.server);
        let server = server.map_err(|error| DrillError::Unable(error.to_string()))?.program;
        for node in 0..NODES {
            let (own, cable) = (self.space(node), format!("v{node}"));
            ip(&["netns", "add", &own])?;
            let pair = ["type", "veth", "peer", "name", "eth0", "netns", &own];
            ip(&[&["-n", &lan, "link", "add", &cable][..], &pair].concat())?;
            ip(&["-n", &lan, "link", "set", &cable, "master", "br0", "up"])?;
            ip(&["-n", &own, "addr", "add", &format!("{}/24", host(node)), "dev", "eth0"])?;
            ip(&["-n", &own, "link", "set", "eth0", "up"])?;
            ip(&["-n", &own, "link", "set", "lo", "up"])?;
            self.server(program, &server, node)?;
        }
        self.form().await?;
        let seeds: Vec<String> = (0..NODES).map(addr).collect();
        let mut gateway = child(program, &self.place.join("gateway.log"))?;
        gateway.args(["ip", "netns", "exec", &lan]).arg(program).args([
            "run",
            "--role",
            "gateway",
            "--threads",
            "1",
            "--listen",
            GATEWAY,
        ]);
        gateway.args(["--seeds", &seeds.join(","), "--durability", durability.word()]);
        self.children.push(gateway.spawn().map_err(DrillError::system("start a gateway"))?);
        Ok(())
    }

    fn server(&mut self, program: &Path, server: &Path, node: usize) -> Result<(), DrillError> {
        let dir = self.place.join(node.to_string());
        fs::create_dir(&dir).map_err(DrillError::system("make a directory for a server"))?;
        let mut command = child(program, &dir.join("server.log"))?;
        command
            .args(["ip", "netns", "exec", &self.space(node)])
            .arg(server)
            .args(["--port", &PORT.to_string(), "--bind", &host(node), "--dir"])
            .arg(&dir);
        command.args(["--protected-mode", "no", "--save", "", "--appendonly", "no"]);
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", NODE_TIMEOUT]);
        command.args(["--cluster-require-full-coverage", "no", "--repl-diskless-sync", "no"]);
        self.children.push(command.spawn().map_err(DrillError::system("start a server"))?);
        Ok(())
    }

    async fn form(&mut self) -> Result<(), DrillError> {
        for node in 0..NODES {
            let begun = Instant::now();
            while self.ask(node, &["PING"]).await.is_err() {
                if begun.elapsed() > READY {
                    return Err(DrillError::NotReady(format!(
                        "the server on {} does not answer",
                        addr(node)
                    )));
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        for node in 0..SHARDS {
            let (first, last) = (node * 16_384 / SHARDS, (node + 1) * 16_384 / SHARDS - 1);
            self.ask(node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
            self.ask(node, &["CLUSTER", "SET-CONFIG-EPOCH", &(node + 1).to_string()]).await?;
        }
        for node in 1..NODES {
            self.ask(0, &["CLUSTER", "MEET", &host(node), &PORT.to_string()]).await?;
        }
        for replica in SHARDS..NODES {
            let Answer::Text(id) = self.ask(replica - SHARDS, &["CLUSTER", "MYID"]).await? else {
                return Err(DrillError::NotReady("a node has no id".to_owned()));
            };
            let begun = Instant::now();
            while !matches!(self.ask(replica, &["CLUSTER", "REPLICATE", &id]).await, Ok(Answer::Text(_))) {
                if begun.elapsed() > READY {
                    return Err(DrillError::NotReady("the nodes do not meet".to_owned()));
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(())
    }

    /// Waits until every node agrees, every copy is up to date and the gateway serves; the shards then.
    pub(crate) async fn ready(&mut self) -> Result<Vec<Shard>, DrillError> {
        if self.healed(READY).await.is_none() {
            return Err(DrillError::NotReady("the servers do not come to agree".to_owned()));
        }
        let gateway = GATEWAY.parse().map_err(|_| DrillError::NotReady("no address".to_owned()))?;
        inside(&self.lan(), move || async move { super::entrance::serves(gateway).await }).await??;
        let sights = self.sights(0).await?;
        Ok(self.shards(&sights))
    }

    /// Where the load connects, inside of [`Lab::network`].
    pub(crate) fn entrance(&self) -> String {
        GATEWAY.to_owned()
    }

    /// The network in which load and gateway are.
    pub(crate) fn network(&self) -> PathBuf {
        space_path(&self.lan())
    }

    /// Pulls a node's cable.
    pub(crate) fn cut(&mut self, name: &str) -> Result<(), DrillError> {
        let node = self.place_of(name)?;
        self.cut.push(node);
        ip(&["-n", &self.lan(), "link", "set", &format!("v{node}"), "down"])
    }

    /// Lets nothing through between a node and the other nodes; the gateway still reaches it.
    pub(crate) fn fence(&mut self, name: &str) -> Result<(), DrillError> {
        let node = self.place_of(name)?;
        self.cut.push(node);
        self.fenced.push(node);
        self.fences(node, "add")
    }

    fn fences(&self, node: usize, how: &str) -> Result<(), DrillError> {
        let own = self.space(node);
        for other in (0..NODES).filter(|other| *other != node) {
            ip(&["-n", &own, "route", how, "blackhole", &host(other)])?;
            ip(&["-n", &self.space(other), "route", how, "blackhole", &host(node)])?;
        }
        Ok(())
    }

    fn place_of(&self, name: &str) -> Result<usize, DrillError> {
        let node = (0..NODES).find(|node| self.name(*node) == name);
        node.ok_or_else(|| DrillError::Unable(format!("{name} is no node of this lab")))
    }

    /// Lets everything through again.
    pub(crate) fn put_right(&mut self) {
        for node in std::mem::take(&mut self.cut) {
            let done = if self.fenced.contains(&node) {
                self.fences(node, "del")
            } else {
                ip(&["-n", &self.lan(), "link", "set", &format!("v{node}"), "up"])
            };
            if let Err(error) = done {
                progress(&format!("left behind: {error}"));
            }
        }
        self.fenced.clear();
    }

    /// Waits until a majority of the other machines gives a shard's slots to somebody else; who that is.
    pub(crate) async fn replaced(&mut self, shard: &Shard, within: Duration) -> Result<String, DrillError> {
        let begun = Instant::now();
        let first = shard.slots.first().map_or(0, |(first, _)| *first);
        while begun.elapsed() < within {
            let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
            for node in (0..NODES).filter(|node| !self.cut.contains(node)) {
                let Ok(sights) = self.sights(node).await else { continue };
                let owns =
                    |sight: &&Sight| sight.slots.iter().any(|(from, to)| (*from..=*to).contains(&first));
                if let Some(owner) = sights.iter().find(owns) {
                    *votes.entry(owner.node).or_insert(0) += 1;
                }
            }
            let winner = votes
                .into_iter()
                .find(|(owner, votes)| *votes > NODES / 2 && self.name(*owner) != shard.primary.name);
            if let Some((owner, _)) = winner {
                return Ok(self.name(owner));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(DrillError::Vain(format!("nobody was elected within {} s", within.as_secs())))
    }

    /// Waits until every node sees every slot served and every copy is up to date; when that was first seen.
    pub(crate) async fn healed(&mut self, within: Duration) -> Option<u64> {
        let begun = Instant::now();
        while begun.elapsed() < within {
            if self.is_whole().await {
                return Some(now_ms());
            }
            sleep(Duration::from_millis(100)).await;
        }
        None
    }

    async fn is_whole(&self) -> bool {
        let mut owners: Vec<Owners> = Vec::new();
        for node in 0..NODES {
            let Ok(sights) = self.sights(node).await else { return false };
            if sights.len() != NODES || sights.iter().any(|sight| !sight.fine) {
                return false;
            }
            let copies = sights.iter().any(|sight| sight.node == node && sight.copies.is_some());
            if copies && !self.in_step(node).await {
                return false;
            }
            let mut own: Owners = sights.into_iter().map(|sight| (sight.node, sight.slots)).collect();
            own.retain(|(_, slots)| !slots.is_empty());
            own.sort();
            owners.push(own);
        }
        owners.first().is_some_and(|first| first.len() == SHARDS)
            && owners.windows(2).all(|two| two[0] == two[1])
    }

    async fn in_step(&self, replica: usize) -> bool {
        let said = self.ask(replica, &["INFO", "replication"]).await;
        matches!(said, Ok(Answer::Text(text)) if text.contains("role:slave") && text.contains("master_link_status:up"))
    }

    /// What a node says of all nodes.
    async fn sights(&self, node: usize) -> Result<Vec<Sight>, DrillError> {
        let Answer::Text(text) = self.ask(node, &["CLUSTER", "NODES"]).await? else {
            return Err(DrillError::NotReady(format!("{} does not know its cluster", addr(node))));
        };
        sights(&text, node)
    }

    async fn ask(&self, node: usize, words: &[&str]) -> Result<Answer, DrillError> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let space = self.space(node);
        let asked = inside(&space, move || async move {
            let parts: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            ask(&addr(node), None, &parts).await
        });
        let answer = asked.await??.into_iter().next();
        answer.ok_or_else(|| DrillError::NotReady(format!("{} answers nothing", addr(node))))
    }

    fn shards(&self, sights: &[Sight]) -> Vec<Shard> {
        let member = |node: usize| Member { name: self.name(node), addr: addr(node), pid: None };
        let owners = sights.iter().filter(|sight| !sight.slots.is_empty());
        let mut shards: Vec<Shard> = owners
            .map(|owner| {
                let copies = sights.iter().filter(|sight| sight.copies == Some(owner.node));
                let replicas = copies.map(|copy| member(copy.node)).collect();
                Shard { slots: owner.slots.clone(), primary: member(owner.node), replicas }
            })
            .collect();
        shards.sort_by_key(|shard| shard.slots.first().copied());
        shards
    }

    fn lan(&self) -> String {
        format!("{}-lan", self.prefix)
    }

    fn space(&self, node: usize) -> String {
        format!("{}-{node}", self.prefix)
    }

    fn name(&self, node: usize) -> String {
        format!("node-{}", node + 1)
    }
}

impl Drop for Lab {
    /// Ends what runs in the networks, and removes them.
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.start_kill();
            while matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let spaces = std::iter::once(self.lan()).chain((0..NODES).map(|node| self.space(node)));
        for space in spaces.filter(|space| space_path(space).exists()) {
            if let Err(error) = ip(&["netns", "del", &space]) {
                progress(&format!("left behind: {error}"));
            }
        }
        let _ = fs::remove_dir_all(&self.place);
    }
}

/// The address of a node's machine.
fn host(node: usize) -> String {
    format!("10.77.0.{}", node + 1)
}

fn addr(node: usize) -> String {
    format!("{}:{PORT}", host(node))
}

fn space_path(space: &str) -> PathBuf {
    Path::new("/run/netns").join(space)
}

fn ip(args: &[&str]) -> Result<(), DrillError> {
    run("ip", args)
}

/// Reads what the node with this number says of all nodes.
fn sights(text: &str, viewer: usize) -> Result<Vec<Sight>, DrillError> {
    let peers = parse_view(text).map_err(|error| DrillError::NotReady(error.to_string()))?;
    let place = |peer: &Peer| match peer.own {
        Own::Myself => Some(viewer),
        Own::Other => (0..NODES).find(|node| peer.addr.is_some_and(|at| at.to_string() == addr(*node))),
    };
    let sight = |peer: &Peer| {
        let copies = match &peer.role {
            PeerRole::Primary => None,
            PeerRole::Replica(id) => peers.iter().find(|other| &other.id == id).and_then(place),
            PeerRole::Handshake => return None,
        };
        let fine = match peer.mark {
            Mark::Fine => true,
            Mark::Suspected | Mark::Failed => false,
        };
        Some(Sight { node: place(peer)?, copies, slots: peer.slots.ranges().to_vec(), fine })
    };
    Ok(peers.iter().filter_map(sight).collect())
}

/// Moves this thread into a network; the sockets that it makes from then on are there.
pub(crate) fn enter(network: &Path) -> std::io::Result<()> {
    let file = File::open(network)?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Does something on a thread inside of a network.
async fn inside<T: Send + 'static, F: Future<Output = T>>(
    space: &str,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, DrillError> {
    let (network, (give, done)) = (space_path(space), oneshot::channel());
    let thread = std::thread::Builder::new().name("inside".to_owned()).spawn(move || {
        let runtime =
            enter(&network).and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
        // nobody waits for an answer that was given up
        let _ = give.send(runtime.map(|runtime| runtime.block_on(work())));
    });
    thread.map_err(DrillError::system("start a thread"))?;
    let gone = |_| DrillError::Vain("a thread inside of a network has ended".to_owned());
    done.await.map_err(gone)?.map_err(DrillError::system(format!("enter the network {space}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_by_the_places_of_its_nodes() {
        let id = |n: u8| format!("{n:040}");
        let text = format!(
            "{} 10.77.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460\n\
             {} 10.77.0.4:7000@17000 slave {} 0 0 1 connected\n\
             {} 10.77.0.2:7000@17000 master,fail? - 0 0 2 connected 5461-10922\n",
            id(1),
            id(2),
            id(1),
            id(3)
        );
        let sights = sights(&text, 0).unwrap();
        assert_eq!((sights[0].node, sights[1].node, sights[1].copies), (0, 3, Some(0)));
        assert_eq!((sights[2].fine, sights[2].slots.as_slice()), (false, &[(5461, 10922)][..]));
    }
}
