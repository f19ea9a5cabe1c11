//! Who each node is: the servers' own `nodes.conf`, and the record that stands in for a lost one.
//!
//! Owns the reading and writing of both. Never touches the file of a server that runs, and never a damaged one.
//!
//! ```text
//! all is well ─► members.json: name → id, role, slots, and whether its disk kept data
//! a start     ─► nodes.conf is there   ─► addresses of today are written into it
//!                nodes.conf is missing ─► made from the record, where a step says so
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use evenkeel_core::plan::{Desired, Duty, NodeId, NodeName, Observed, Own, Peer, parse_view};
use serde::{Deserialize, Serialize};

use super::EngineError;
use super::conf::BUS;
use crate::home::write_whole;

/// The servers' own file.
pub(super) const FILE: &str = "nodes.conf";

/// What is on record of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Member {
    name: NodeName,
    id: String,
    /// The id of the primary that it copied.
    of: Option<String>,
    slots: Vec<(u16, u16)>,
    epoch: u64,
    /// Whether its data lay on its disk.
    pub(super) kept: bool,
}

/// The record.
#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    members: Vec<Member>,
}

impl Record {
    /// Reads it; one that is missing or damaged is an empty one, until all is well again.
    pub(super) fn open(path: PathBuf) -> Record {
        let members =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Record { path, members }
    }

    pub(super) fn of(&self, node: &NodeName) -> Option<&Member> {
        self.members.iter().find(|member| &member.name == node)
    }

    /// Notes who is who at a moment when all is well. Writes only what is new.
    pub(super) fn note(&mut self, observed: &Observed, kept: &dyn Fn(&NodeName) -> bool) -> io::Result<()> {
        let member = |(name, seen): (&NodeName, &evenkeel_core::plan::Seen)| {
            let facts = seen.facts()?;
            Some(Member {
                name: name.clone(),
                id: facts.id.0.clone(),
                of: match &facts.duty {
                    Duty::Primary => None,
                    Duty::Replica { of, .. } => Some(of.0.clone()),
                },
                slots: facts.own_slots().ranges().to_vec(),
                epoch: facts.own().map_or(0, |own| own.epoch),
                kept: kept(name),
            })
        };
        let members: Vec<Member> = observed.nodes.iter().filter_map(member).collect();
        if members == self.members {
            return Ok(());
        }
        let text = serde_json::to_vec_pretty(&members).map_err(io::Error::other)?;
        write_whole(&self.path, &text, 0o600)?;
        self.members = members;
        Ok(())
    }

    /// Makes a node's file from the record.
    pub(super) fn restore(&self, node: &NodeName, dir: &Path, desired: &Desired) -> io::Result<()> {
        let mut text = String::new();
        let missing = || io::Error::other(format!("{node} is not on record"));
        self.of(node).ok_or_else(missing)?;
        for wanted in &desired.nodes {
            let Some(member) = self.of(&wanted.name) else { continue };
            let own = if &member.name == node { "myself," } else { "" };
            let (role, of) = member.of.as_ref().map_or(("master", "-"), |of| ("slave", of.as_str()));
            let _ = write!(
                text,
                "{} {} {own}{role} {of} 0 0 {} connected",
                member.id,
                place(wanted.addr),
                member.epoch
            );
            for (first, last) in &member.slots {
                let _ =
                    if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
            }
            text.push('\n');
        }
        let epoch = self.members.iter().map(|member| member.epoch).max().unwrap_or(0);
        let _ = writeln!(text, "vars currentEpoch {epoch} lastVoteEpoch {epoch}");
        write_whole(&dir.join(FILE), text.as_bytes(), 0o600)
    }
}

/// Who a node was, by its own file: its id, and that of the primary that it copied.
pub(super) fn own(dir: &Path) -> Option<(NodeId, Option<NodeId>)> {
    let text = fs::read_to_string(dir.join(FILE)).ok()?;
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let line = text
        .lines()
        .map(words)
        .find(|words| words.get(2).is_some_and(|flags| flags.starts_with("myself")))?;
    let of = line.get(3).filter(|of| of.as_str() != "-").map(|of| NodeId(of.clone()));
    Some((NodeId(line.first()?.clone()), of))
}

/// Writes the addresses of today into the files of nodes that do not run. Nodes know each other by id, and find each
/// other by address.
pub(super) fn readdress(dirs: &[(SocketAddr, &Path)]) -> io::Result<()> {
    let own = |(addr, dir): &(SocketAddr, &Path)| Some((own(dir)?.0.0, *addr));
    let now: BTreeMap<String, SocketAddr> = dirs.iter().filter_map(own).collect();
    for (_, dir) in dirs {
        let file = dir.join(FILE);
        let Ok(text) = fs::read_to_string(&file) else { continue };
        let changed: String = text
            .split_inclusive('\n')
            .map(|line| moved(line, &now).unwrap_or_else(|| line.to_owned()))
            .collect();
        if changed != text {
            write_whole(&file, changed.as_bytes(), 0o600)?;
        }
    }
    Ok(())
}

/// A line with another address, where it has one.
fn moved(line: &str, now: &BTreeMap<String, SocketAddr>) -> Option<String> {
    let mut words = line.splitn(3, ' ');
    let (id, old, rest) = (words.next()?, words.next()?, words.next()?);
    let new = place(*now.get(id)?);
    // newer servers write a name and more behind a comma
    let end = old.find(',').map_or("", |at| &old[at..]);
    Some(format!("{id} {new}{end} {rest}"))
}

fn place(addr: SocketAddr) -> String {
    format!("{addr}@{}", addr.port() + BUS)
}

/// Whether a server would find its identity.
pub(super) fn is_there(dir: &Path) -> bool {
    dir.join(FILE).metadata().is_ok_and(|meta| meta.len() > 0)
}

/// Refuses a `nodes.conf` that the server could not read; none, or an empty one, is a new node's.
pub(super) fn check(node: &NodeName, dir: &Path) -> Result<(), EngineError> {
    let file = dir.join(FILE);
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(EngineError::System { what: format!("read {}", file.display()), source });
        }
    };
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("vars ")).collect();
    let selves = |peers: Vec<Peer>| peers.iter().filter(|peer| peer.own == Own::Myself).count();
    let what = match parse_view(&lines.join("\n")).map(selves) {
        Ok(1) => return Ok(()),
        Ok(_) if text.is_empty() => return Ok(()),
        Ok(selves) => format!("{selves} of its lines are about the node itself, expected one"),
        Err(error) => error.to_string(),
    };
    let (file, dir) = (file.display().to_string(), dir.display().to_string());
    Err(EngineError::Damaged { file, what, dir, node: node.clone() })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{FILE, readdress};

    #[test]
    fn addresses_follow_the_ids() {
        let place = tempfile::tempdir().unwrap();
        let line = |id: &str, port: u16, flags: &str| {
            format!(
                "{id} 127.0.0.1:{port}@{},,tls-port=0,shard-id=1 {flags} - 0 0 1 connected 0-5\n",
                port + 10_000
            )
        };
        let text = |own: &str| {
            let flags = |id: &str| if id == own { "myself,master" } else { "master" };
            line("aa", 7001, flags("aa"))
                + &line("bb", 7002, flags("bb"))
                + "vars currentEpoch 1 lastVoteEpoch 0\n"
        };
        let dirs = [(8001, "aa"), (8002, "bb")].map(|(port, id)| {
            let dir = place.path().join(id);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join(FILE), text(id)).unwrap();
            (SocketAddr::from(([127, 0, 0, 1], port)), dir)
        });
        readdress(&dirs.each_ref().map(|(addr, dir)| (*addr, dir.as_path()))).unwrap();
        let after = std::fs::read_to_string(dirs[0].1.join(FILE)).unwrap();
        assert_eq!(
            after,
            line("aa", 8001, "myself,master")
                + &line("bb", 8002, "master")
                + "vars currentEpoch 1 lastVoteEpoch 0\n"
        );
    }
}
