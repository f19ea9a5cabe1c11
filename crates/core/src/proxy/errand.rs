//! Errands: requests for one certain node and no other, replicas among them. They go past the requests of clients, on
//! connections of their own, so they reach a node that is busy with a script, and nothing waits behind them.
//!
//! An errand is never held or sent elsewhere: where its node cannot be reached, it says so at once.

use super::forward::Admit;
use super::merge::Policy;
use super::pipe::{Resend, Ticket, Work};
use super::upstream::Way;
use super::{Proxy, SessionId};
use crate::command::{Lookup, Treat, block_option, lookup};
use crate::resp::{Args, ErrorReply, Proto, Writer};
use crate::topology::{Node, NodeIndex};

/// Commands that change what a connection is, so that those who share it would suffer.
const CONNECTION: &[&[u8]] = &[
    b"asking",
    b"auth",
    b"client",
    b"discard",
    b"exec",
    b"hello",
    b"monitor",
    b"multi",
    b"psync",
    b"quit",
    b"readonly",
    b"readwrite",
    b"replconf",
    b"reset",
    b"select",
    b"sync",
    b"unwatch",
    b"watch",
];
/// Commands of CLIENT that concern the node and not the connection.
const NODES_CLIENTS: &[&[u8]] =
    &[b"help", b"id", b"info", b"kill", b"list", b"pause", b"unblock", b"unpause"];
/// Commands that subscribe.
const SUBSCRIBING: &[&[u8]] =
    &[b"psubscribe", b"punsubscribe", b"ssubscribe", b"subscribe", b"sunsubscribe", b"unsubscribe"];

impl Proxy {
    /// Sends a request to a node, or fails it where there is no way.
    pub(super) fn send_errand(&mut self, node: NodeIndex, ticket: Ticket, frame: &[u8]) {
        let trunk = self.sessions.get(ticket.session).map(|session| session.trunk);
        let way = match trunk.and_then(|trunk| self.aside_trunk(trunk)) {
            Some(trunk) => self.way_to(node, trunk),
            None => Way::Later(0),
        };
        let addr = self.topology.node(node).addr;
        match way {
            Way::Pipe(pipe) if self.pipes.get(pipe).is_some_and(super::pipe::Pipe::has_room) => {
                self.push(pipe, frame, ticket);
            }
            Way::Pipe(_) => self.fail_errand(&ticket, &format!("node {addr}"), "it owes too many answers"),
            Way::Later(_) => {
                let why = self
                    .links
                    .get(&addr)
                    .map_or_else(|| "it is not ready".to_owned(), |link| link.why.clone());
                self.fail_errand(&ticket, &format!("node {addr}"), &why);
            }
        }
    }

    /// An errand's node did not execute it.
    pub(super) fn fail_errand(&mut self, ticket: &Ticket, node: &str, because: &str) {
        self.fail(ticket, &ErrorReply::Unavailable { slot: None, node, waited_ms: 0, because });
    }

    /// EVENKEEL NODE <node> <command …>
    pub(super) fn evenkeel_node(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        if args.len() < 4 {
            return self.refuse(id, &ErrorReply::Arity("evenkeel|node"));
        }
        // To whoever has the gateway's own password; a user's rules may forbid what a single node can be told.
        let trunk = self.sessions.get(id).map(|session| session.trunk);
        if trunk.is_some_and(|trunk| self.login_of(trunk).is_some()) {
            return self.refuse(id, &ErrorReply::NoPermCommand("evenkeel|node"));
        }
        let node = match find(self.topology.nodes(), args.get(2)) {
            Ok(node) => node,
            Err(error) => return self.refuse(id, &error),
        };
        let words: Vec<&[u8]> = args.iter().skip(3).collect();
        if let Some(why) = unfit(&words) {
            return self.refuse(id, &ErrorReply::Refused(why));
        }
        if self.may_send(id).is_none() {
            return Admit::Stopped;
        }
        let mut frame = Vec::new();
        Writer::new(&mut frame, Proto::Two).request(words.into_iter());
        if let Some((merge, ticket)) = self.begin_merge(id, Policy::Alone, Resend::Never, 1) {
            self.send_errand(node, Ticket { work: Work::Errand { merge, part: 0 }, ..ticket }, &frame);
        }
        Admit::Yes
    }

    /// EVENKEEL NODES: one line for each node, `id address role slots`.
    pub(super) fn evenkeel_nodes(&mut self, id: SessionId) -> Admit {
        let topology = &self.topology;
        let line = |(at, node): (usize, &Node)| {
            let ranges = topology.ranges(NodeIndex(at as u16));
            let slots: Vec<String> = ranges.iter().map(|(from, to)| format!("{from}-{to}")).collect();
            let role = if node.replica_of.is_some() { "replica" } else { "primary" };
            format!("{} {} {role} {}", node.id, node.addr, slots.join(",")).trim_end().to_owned() + "\n"
        };
        let text: String = topology.nodes().iter().enumerate().map(line).collect();
        self.reply_with(id, |out| out.verbatim(text.as_bytes()))
    }
}

/// The node that somebody means: its address, its port where that tells, or its id or the start of it.
fn find<'a>(nodes: &[Node], name: &'a [u8]) -> Result<NodeIndex, ErrorReply<'a>> {
    let name = std::str::from_utf8(name).unwrap_or_default().to_ascii_lowercase();
    let fits = |node: &Node| {
        node.addr.to_string() == name
            || node.addr.port().to_string() == name.trim_start_matches(':')
            || (name.len() >= 4 && node.id.starts_with(&name))
    };
    let exact = nodes.iter().position(|node| node.id == name || node.addr.to_string() == name);
    let mut fitting = nodes.iter().enumerate().filter(|(_, node)| fits(node)).map(|(at, _)| at);
    match (exact, fitting.next(), fitting.next()) {
        (Some(at), _, _) | (None, Some(at), None) => Ok(NodeIndex(at as u16)),
        (None, None, _) => Err(ErrorReply::NoSuchNode),
        (None, Some(_), Some(_)) => Err(ErrorReply::ManySuchNodes),
    }
}

/// Why a command cannot be sent over a connection that others use too.
fn unfit(words: &[&[u8]]) -> Option<&'static str> {
    let name = words[0].to_ascii_lowercase();
    let sub = words.get(1).map(|sub| sub.to_ascii_lowercase());
    let clients = sub.as_ref().is_some_and(|sub| NODES_CLIENTS.contains(&sub.as_slice()));
    if SUBSCRIBING.contains(&name.as_slice()) {
        return Some(
            "EVENKEEL NODE does not subscribe: subscribe on the gateway, or connect to the node itself",
        );
    }
    if CONNECTION.contains(&name.as_slice()) && !(name == b"client" && clients) {
        return Some(
            "EVENKEEL NODE uses a connection that others use too, and this command changes the connection: connect to \
             the node itself",
        );
    }
    is_blocking(words)
        .then_some("EVENKEEL NODE does not wait: others would wait behind it; connect to the node itself")
}

fn is_blocking(words: &[&[u8]]) -> bool {
    let Lookup::Found(command) = lookup(words[0], words.get(1).copied()) else { return false };
    let by_nature = matches!(command.treat, Treat::Blocking(_) | Treat::Confirm);
    let mut frame = Vec::new();
    let mut spans = Vec::new();
    Writer::new(&mut frame, Proto::Two).request(words.iter().copied());
    let read = crate::resp::RequestReader::default().read(&frame, &mut spans, &crate::resp::Limits::SERVER);
    let waits = read.is_ok() && block_option(command, &Args::new(&frame, &spans)).is_some();
    by_nature || waits
}

#[cfg(test)]
mod tests {
    use super::{NodeIndex, find, unfit};
    use crate::resp::ErrorReply;
    use crate::topology::Node;

    #[test]
    fn a_node_is_found_by_what_tells_it_from_the_others() {
        let node = |id: &str, addr: &str| Node {
            id: id.to_owned(),
            addr: addr.parse().expect("an address"),
            replica_of: None,
            epoch: 1,
        };
        let nodes =
            [node("aabb01", "10.0.0.1:7001"), node("aabb02", "10.0.0.2:7001"), node("ccdd", "10.0.0.2:7002")];
        for (name, place) in [("10.0.0.2:7001", 1), ("7002", 2), (":7002", 2), ("AABB02", 1), ("ccdd", 2)] {
            assert_eq!(find(&nodes, name.as_bytes()), Ok(NodeIndex(place)), "{name}");
        }
        for (name, error) in [
            ("7001", ErrorReply::ManySuchNodes),
            ("aabb", ErrorReply::ManySuchNodes),
            ("aa", ErrorReply::NoSuchNode),
            ("", ErrorReply::NoSuchNode),
            ("10.0.0.9:7001", ErrorReply::NoSuchNode),
        ] {
            assert_eq!(find(&nodes, name.as_bytes()), Err(error), "{name}");
        }
    }

    #[test]
    fn what_would_harm_those_who_share_the_connection_is_unfit() {
        let unfit = |line: &str| unfit(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()).is_some();
        for line in [
            "SELECT 1",
            "multi",
            "SUBSCRIBE x",
            "CLIENT REPLY OFF",
            "BLPOP a 0",
            "XREAD BLOCK 0 STREAMS a 0",
            "WAIT 1 0",
        ] {
            assert!(unfit(line), "{line}");
        }
        for line in [
            "INFO",
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "SHUTDOWN",
            "XREAD STREAMS a 0",
            "FT.SEARCH x",
            "BITCOUNT a",
        ] {
            assert!(!unfit(line), "{line}");
        }
    }
}
