//! What one node believes about the cluster: its answer to `CLUSTER NODES`.
//!
//! Owns the parsing of that text. Never decides who is right when views differ.

use std::fmt;
use std::net::SocketAddr;

use super::Slots;

/// A server's own 40-digit cluster id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub String);

/// One line of a node's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's id.
    pub id: NodeId,
    /// Where the viewer believes it is; `None` when it does not know.
    pub addr: Option<SocketAddr>,
    /// Whether this is the viewer itself.
    pub own: Own,
    /// What it does.
    pub role: PeerRole,
    /// What the viewer thinks of its health.
    pub mark: Mark,
    /// Configuration epoch.
    pub epoch: u64,
    /// Whether the viewer has a connection to it.
    pub link: PeerLink,
    /// Slots that it owns.
    pub slots: Slots,
}

/// Whether a line is about the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// The viewer itself.
    Myself,
    /// Another node.
    Other,
}

/// What a peer does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRole {
    /// May own slots.
    Primary,
    /// Copies this one.
    Replica(NodeId),
    /// Still shaking hands: nothing is known of it.
    Handshake,
}

/// What a viewer thinks of a peer's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Nothing wrong.
    Fine,
    /// The viewer alone misses it (PFAIL).
    Suspected,
    /// A majority has agreed that it is gone (FAIL).
    Failed,
}

/// Whether the viewer has a connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerLink {
    /// Connected.
    Up,
    /// Not connected.
    Down,
}

/// A line that is not one of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line:?} of CLUSTER NODES has no {missing}")]
pub struct ViewError {
    line: String,
    missing: &'static str,
}

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.get(..8).unwrap_or(&self.0))
    }
}

/// One node's view of the cluster, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The node that speaks, as an index into `peers`.
    myself: usize,
    /// Every node that it knows, itself included.
    pub peers: Vec<Peer>,
}

impl View {
    /// Reads an answer to `CLUSTER NODES`. `dialled` is the address that it came from: a node that was never met
    /// does not know its own.
    pub fn parse(text: &str, dialled: SocketAddr) -> Result<View, ViewError> {
        let mut peers = parse_view(text)?;
        let myself = peers.iter().position(|peer| peer.own == Own::Myself);
        let myself = myself.ok_or_else(|| ViewError { line: String::new(), missing: "node `myself`" })?;
        peers[myself].addr.get_or_insert(dialled);
        Ok(View { myself, peers })
    }

    /// Whether the speaker is about to take over a slot: keys of it are here and in its old place. `text` is what it
    /// said.
    pub fn is_importing(text: &str) -> bool {
        let own =
            text.lines().find(|line| line.split(' ').nth(2).is_some_and(|flags| flags.contains("myself")));
        own.is_some_and(|line| line.split(' ').any(|field| field.starts_with('[') && field.contains("-<-")))
    }

    /// The speaker's own line.
    pub fn me(&self) -> &Peer {
        &self.peers[self.myself]
    }
}

/// Reads the answer to `CLUSTER NODES`.
pub fn parse_view(text: &str) -> Result<Vec<Peer>, ViewError> {
    text.lines().filter(|line| !line.trim().is_empty()).map(parse_line).collect()
}

/// `id ip:port@bus[,hostname] flags primary ping pong epoch link [slot …]`
fn parse_line(line: &str) -> Result<Peer, ViewError> {
    let error = |missing| ViewError { line: line.chars().take(120).collect(), missing };
    let mut fields = line.split_ascii_whitespace();
    let mut next = |missing| fields.next().ok_or_else(|| error(missing));
    let id = NodeId(next("id")?.to_owned());
    let addr = next("address")?;
    let flags: Vec<&str> = next("flags")?.split(',').collect();
    let primary = next("primary")?;
    let (_ping, _pong) = (next("ping time")?, next("pong time")?);
    let epoch = next("epoch")?.parse().map_err(|_| error("epoch"))?;
    let link = if next("link state")? == "connected" { PeerLink::Up } else { PeerLink::Down };
    let has = |flag: &str| flags.contains(&flag);
    let role = if has("handshake") {
        PeerRole::Handshake
    } else if has("slave") && primary != "-" {
        PeerRole::Replica(NodeId(primary.to_owned()))
    } else {
        PeerRole::Primary
    };
    let mark = match (has("fail"), has("fail?")) {
        (true, _) => Mark::Failed,
        (false, true) => Mark::Suspected,
        (false, false) => Mark::Fine,
    };
    let own = if has("myself") { Own::Myself } else { Own::Other };
    let addr = if has("noaddr") { None } else { parse_addr(addr) };
    // `[slot->-node]` marks a slot that moves; it is listed among the owned ones as well
    let slots = Slots::new(fields.filter(|field| !field.starts_with('[')).filter_map(parse_range));
    Ok(Peer { id, addr, own, role, mark, epoch, link, slots })
}

/// `ip:port@bus[,hostname]`; a node that was never told its own address leaves the ip empty.
fn parse_addr(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split(['@', ',']).next()?.rsplit_once(':')?;
    Some(SocketAddr::new(ip.trim_matches(['[', ']']).parse().ok()?, port.parse().ok()?))
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Mark, NodeId, Own, PeerLink, PeerRole, Slots, View, parse_view};

    #[test]
    fn every_kind_of_line_is_understood() {
        let view = parse_view(concat!(
            "aa 127.0.0.1:7001@17001 myself,master - 0 0 3 connected 0-5460 5462 [93-<-bb]\n",
            "bb 127.0.0.1:7002@17002,host slave aa 0 1426238316232 4 connected\n",
            "cc :0@0 master,fail,noaddr - 1 2 5 disconnected 5461\n",
            "dd 127.0.0.1:7004@17004 master,fail? - 1 2 0 disconnected\n",
            "ee 127.0.0.1:7005@17005 handshake - 1 0 0 disconnected\n",
            "ff fe80::1:7006@17006 slave,fail cc 1 0 0 disconnected\n",
        ))
        .unwrap();
        assert_eq!((view[0].own, &view[0].slots), (Own::Myself, &Slots::new([(0, 5460), (5462, 5462)])));
        assert_eq!(view[0].addr, Some("127.0.0.1:7001".parse().unwrap()));
        assert_eq!((&view[1].role, view[1].epoch), (&PeerRole::Replica(NodeId("aa".into())), 4));
        assert_eq!((view[2].addr, view[2].mark, view[2].link), (None, Mark::Failed, PeerLink::Down));
        assert_eq!((view[3].mark, &view[3].role), (Mark::Suspected, &PeerRole::Primary));
        assert_eq!(view[4].role, PeerRole::Handshake);
        assert_eq!(view[5].addr, Some("[fe80::1]:7006".parse().unwrap()));
    }

    #[test]
    fn the_target_of_a_move_says_so_itself() {
        let line = "aa 127.0.0.1:7001@17001 myself,master - 0 0 3 connected 0-5460";
        assert!(View::is_importing(&format!("bb :0@0 master - 0 0 1 connected\n{line} [93-<-bb]\n")));
        assert!(!View::is_importing(&format!(
            "{line} [93->-bb]\nbb :0@0 master - 0 0 1 connected [93-<-aa]\n"
        )));
    }

    #[test]
    fn half_a_line_is_an_error_and_nothing_is_no_view() {
        assert_eq!(parse_view("\n").unwrap(), []);
        assert!(parse_view("aa 127.0.0.1:7001@17001 master").is_err());
        assert!(parse_view("aa 127.0.0.1:7001@17001 master - 0 0 x connected").is_err());
    }

    #[test]
    fn a_node_that_was_never_met_is_where_it_was_dialled() {
        let dialled = "10.0.0.9:7001".parse().unwrap();
        let view = View::parse("aa :7001@17001 myself,master - 0 0 0 connected", dialled).unwrap();
        assert_eq!((view.me().addr, view.peers.len()), (Some(dialled), 1));
        assert!(View::parse("aa 127.0.0.1:7001@17001 master - 0 0 0 connected", dialled).is_err());
        assert!(View::parse("", dialled).is_err());
    }
}
