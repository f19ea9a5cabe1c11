//! What one node says of the cluster: its answer to `CLUSTER NODES` (`cluster.c`: `clusterGenNodeDescription`).

use std::net::{IpAddr, SocketAddr};

/// One node's view of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The node that speaks, as an index into `nodes`.
    pub myself: usize,
    /// All nodes that it knows.
    pub nodes: Vec<NodeView>,
}

/// One line of `CLUSTER NODES`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// The 40-digit id.
    pub id: String,
    /// Address for clients; `None` where the line has none (`noaddr`) or it is no IP address.
    pub addr: Option<SocketAddr>,
    /// Flag `master`.
    pub primary: bool,
    /// Flag `fail`: a majority agreed that it is gone.
    pub fail: bool,
    /// Flag `fail?`: the speaker alone misses it.
    pub pfail: bool,
    /// Flag `handshake`: not a member yet.
    pub handshake: bool,
    /// Id of the primary that it copies.
    pub replica_of: Option<String>,
    /// Its configuration epoch (for a replica: its primary's).
    pub epoch: u64,
    /// Whether the speaker's link to it is up (always for the speaker itself).
    pub connected: bool,
    /// Inclusive slot ranges that it owns.
    pub slots: Vec<(u16, u16)>,
    /// Slots that are being moved away: (slot, id of the target). Only on the speaker's own line.
    pub migrating: Vec<(u16, String)>,
    /// Slots that are being moved here: (slot, id of the source). Only on the speaker's own line.
    pub importing: Vec<(u16, String)>,
}

/// Why a `CLUSTER NODES` text was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A line has fewer than eight fields or a field that is no number.
    #[error(
        "line {line} of CLUSTER NODES is {text:?}, expected id, address, flags, primary, times, epoch and link"
    )]
    Line {
        /// Line number from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// No line has the flag `myself`.
    #[error("CLUSTER NODES names no node `myself`")]
    NoMyself,
}

impl View {
    /// Reads an answer to `CLUSTER NODES`. `dialled` is the address that it came from: a node that was never
    /// met does not know its own IP and leaves it empty.
    pub fn parse(text: &str, dialled: SocketAddr) -> Result<View, ViewError> {
        let mut view = View { myself: usize::MAX, nodes: Vec::new() };
        for (at, line) in text.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            let (node, myself) = node(line, dialled.ip())
                .ok_or_else(|| ViewError::Line { line: at + 1, text: line.chars().take(200).collect() })?;
            if myself {
                view.myself = view.nodes.len();
            }
            view.nodes.push(node);
        }
        if view.myself == usize::MAX { Err(ViewError::NoMyself) } else { Ok(view) }
    }

    /// The speaker's own line.
    pub fn me(&self) -> &NodeView {
        &self.nodes[self.myself]
    }
}

fn node(line: &str, dialled: IpAddr) -> Option<(NodeView, bool)> {
    let mut fields = line.split(' ');
    let (id, addr, flags, primary) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_ping, _pong, epoch, link) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let mut node = NodeView {
        id: id.to_owned(),
        addr: address(addr, dialled),
        replica_of: (primary != "-").then(|| primary.to_owned()),
        epoch: epoch.parse().ok()?,
        connected: link == "connected",
        ..NodeView::default()
    };
    let mut myself = false;
    for flag in flags.split(',') {
        match flag {
            "myself" => myself = true,
            "master" => node.primary = true,
            "fail" => node.fail = true,
            "fail?" => node.pfail = true,
            "handshake" => node.handshake = true,
            _ => {} // `slave`, `noaddr`, `nofailover`, `noflags` and what later servers add
        }
    }
    for field in fields {
        slots(field, &mut node)?;
    }
    Some((node, myself))
}

/// `ip:port@busport[,hostname]`, with an empty ip for a node that does not know its own.
fn address(text: &str, dialled: IpAddr) -> Option<SocketAddr> {
    let text = text.split([',', '@']).next()?;
    let (ip, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let ip = if ip.is_empty() { dialled } else { ip.trim_matches(['[', ']']).parse().ok()? };
    Some(SocketAddr::new(ip, port))
}

/// `7`, `0-5460`, `[7->-id]` or `[7-<-id]`.
fn slots(field: &str, node: &mut NodeView) -> Option<()> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|slot| usize::from(*slot) < super::SLOTS);
    if let Some(moving) = field.strip_prefix('[').and_then(|field| field.strip_suffix(']')) {
        if let Some((slot, target)) = moving.split_once("->-") {
            node.migrating.push((number(slot)?, target.to_owned()));
        } else if let Some((slot, source)) = moving.split_once("-<-") {
            node.importing.push((number(slot)?, source.to_owned()));
        }
        return Some(());
    }
    let (from, to) = field.split_once('-').unwrap_or((field, field));
    let (from, to) = (number(from)?, number(to)?);
    if from <= to {
        node.slots.push((from, to));
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::View;

    const TEXT: &str = "\
07c3 127.0.0.1:7004@17004,host-a slave e7d1 0 1426238317239 4 connected
67ed 127.0.0.1:7002@17002 master - 0 1426238316232 2 connected 5461-10922
292f 127.0.0.1:7003@17003 master,fail? - 0 1426238318243 3 disconnected 10923-16382 16383
e7d1 :7001@17001 myself,master - 0 0 1 connected 0-5460 [93-<-292f] [77->-67ed]
";

    #[test]
    fn reads_every_kind_of_line() {
        let view = View::parse(TEXT, "10.0.0.9:7001".parse().expect("an address")).expect("good text");
        assert_eq!(view.me().addr, "10.0.0.9:7001".parse().ok());
        assert_eq!(view.nodes[0].replica_of.as_deref(), Some("e7d1"));
        assert!(!view.nodes[0].primary && view.nodes[1].primary && view.nodes[2].pfail);
        assert_eq!(view.nodes[2].slots, [(10923, 16382), (16383, 16383)]);
        assert_eq!(view.me().importing, [(93, "292f".to_owned())]);
        assert_eq!(view.me().migrating, [(77, "67ed".to_owned())]);
    }

    #[test]
    fn refuses_the_rest() {
        let dialled = "127.0.0.1:1".parse().expect("an address");
        for bad in [
            "",
            "a b c\n",
            "id 1.2.3.4:5@6 master - 0 0 x connected\n",
            "id 1.2.3.4:5@6 master - 0 0 1 connected\n",
        ] {
            assert!(View::parse(bad, dialled).is_err(), "{bad:?}");
        }
    }
}
