//! Judges a node's error replies: those that tell to ask elsewhere or later never reach a client.

use super::pipe::{ASKING, Fate, Pipe, Purpose, Ticket, Work};
use super::upstream::Way;
use super::{Output, PipeId, Proxy};
use crate::metric::Metric;
use crate::resp::{ErrorReply, Proto, parse_u64};
use crate::topology::NodeIndex;
use std::net::{IpAddr, SocketAddr};

/// Times that one request follows redirections before it waits for the cluster to make up its mind.
const MAX_HOPS: u8 = 5;

/// What an error reply asks of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the client's.
    Deliver,
    /// The slot is elsewhere for good. `None`: the node does not know the other's address.
    Moved(Option<SocketAddr>),
    /// This key is elsewhere already.
    Ask(Option<SocketAddr>),
    /// Refused before execution: the same again a little later.
    Later,
}

/// Judges an error reply of the node at `from` (`cluster.c`: `clusterRedirectClient`; `server.c`:
/// `processCommand`). All of these are given before a command is executed.
pub(super) fn judge(reply: &[u8], from: IpAddr) -> Verdict {
    let line = reply.strip_suffix(b"\r\n").unwrap_or(reply);
    let mut words = line.splitn(2, |byte| *byte == b' ');
    let (code, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match code {
        b"-MOVED" => Verdict::Moved(target(rest, from)),
        b"-ASK" => Verdict::Ask(target(rest, from)),
        b"-TRYAGAIN" | b"-CLUSTERDOWN" | b"-LOADING" | b"-MASTERDOWN" => Verdict::Later,
        b"-READONLY" if rest.starts_with(b"You can't write against a read only") => Verdict::Later,
        _ => Verdict::Deliver,
    }
}

/// `<slot> <ip>:<port>`, with an empty ip for "the one that you asked".
fn target(text: &[u8], from: IpAddr) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (_slot, addr) = text.split_once(' ')?;
    let (ip, port) = addr.rsplit_once(':')?;
    let port = u16::try_from(parse_u64(port.as_bytes())?).ok()?;
    let ip = if ip.is_empty() { from } else { ip.trim_matches(['[', ']']).parse().ok()? };
    Some(SocketAddr::new(ip, port))
}

impl Proxy {
    /// The first request of a pipe was refused in a way that is ours to deal with: takes it off the pipe and
    /// has it asked again.
    pub(super) fn redirect(&mut self, id: PipeId, verdict: Verdict) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let Some(ticket) = pipe.tickets.front().copied() else { return };
        let frame = pipe.out.front(ticket.len as usize).to_vec();
        pipe.pop(&mut self.pool);
        for ticket in self.hot.disband(ticket) {
            self.redirect_one(ticket, &frame, verdict);
        }
    }

    fn redirect_one(&mut self, ticket: Ticket, frame: &[u8], verdict: Verdict) {
        let overtaken = self.was_overtaken(&ticket);
        self.note_back(&ticket);
        let (tries, work) = (ticket.tries.saturating_add(1), ticket.work.afresh());
        let ticket = Ticket { tries, work, ..ticket };
        if let Some(session) = self.sessions.get_mut(ticket.session) {
            session.astray = true;
        }
        if let Work::Part { .. } = ticket.work {
            self.part_untracked(ticket.session);
        }
        if overtaken {
            return self.fail_as_overtaken(&ticket);
        }
        match verdict {
            Verdict::Deliver => {}
            Verdict::Moved(addr) => {
                self.add(Metric::Redirects, 1);
                self.learn();
                self.elsewhere(ticket, frame, addr, Asking::No);
            }
            Verdict::Ask(addr) => {
                self.add(Metric::Redirects, 1);
                self.elsewhere(ticket, frame, addr, Asking::Yes);
            }
            Verdict::Later => {
                self.learn();
                let pause = (1_000 << ticket.tries.min(5)).min(25_000);
                self.hold(ticket, frame, self.now.steady + pause);
            }
        }
    }

    /// Sends a request to the node that another node named. The map is not touched: only the nodes' own
    /// views change it.
    fn elsewhere(&mut self, ticket: Ticket, frame: &[u8], addr: Option<SocketAddr>, asking: Asking) {
        let Some(trunk) = self.trunk_of(&ticket) else {
            return self.nobody_waits(&ticket);
        };
        let node = addr.and_then(|addr| self.topology.nodes().iter().position(|node| node.addr == addr));
        let way = match node {
            Some(node) if ticket.tries < MAX_HOPS => self.way_to(NodeIndex(node as u16), trunk),
            Some(_) | None => {
                self.learn();
                Way::Later(self.now.steady + 5_000)
            }
        };
        // One that is sent on for the second time may come back to a node where what its client sent later is still on its way.
        let returns = ticket.tries > 1 && !self.first_are_back(ticket.session);
        match way {
            // Behind what was refused before it and is held, or on its way to another node.
            Way::Pipe(pipe)
                if returns || self.park.holds(&ticket) || !self.follows_its_own(&ticket, pipe) =>
            {
                self.hold(Ticket { tries: 0, ..ticket }, frame, self.now.steady);
            }
            Way::Pipe(pipe) => {
                if asking == Asking::Yes {
                    let preface = Ticket::of_nobody(Work::Nobody, ticket.born);
                    self.push(pipe, ASKING, preface);
                }
                self.push(pipe, frame, ticket);
            }
            Way::Later(due) => self.hold(Ticket { tries: 0, ..ticket }, frame, due),
        }
    }

    /// A connection to a node was refused or lost.
    pub fn pipe_lost(&mut self, id: PipeId, why: &str) {
        self.lost(id, why, Blame::Node);
    }

    /// Gives a pipe up ourselves.
    pub(super) fn lose_pipe(&mut self, id: PipeId, why: &str) {
        if self.pipes.get(id).is_some() {
            self.lost(id, why, Blame::Node);
            self.outputs.push(Output::ClosePipe(id));
        }
    }

    /// Gives up a pipe that its node does not want for its user's sake.
    pub(super) fn lose_refused(&mut self, id: PipeId, why: &str) {
        self.lost(id, why, Blame::User);
        self.outputs.push(Output::ClosePipe(id));
    }

    fn lost(&mut self, id: PipeId, why: &str, blame: Blame) {
        self.unshare(id);
        let Some(mut pipe) = self.pipes.remove(id) else { return };
        self.forget_uses(&pipe);
        if blame == Blame::User || self.is_about_the_user(&pipe) {
            self.add(Metric::UpstreamLost, 1);
        } else {
            self.link_failed(pipe.addr, why);
        }
        if pipe.purpose == Purpose::Shared && self.primaries.contains(&pipe.addr) {
            self.losses.note_node(&self.topology, pipe.addr, self.now.steady);
        }
        if pipe.purpose == Purpose::Confirmer {
            self.confirmer_lost(pipe.confirmer);
        }
        if pipe.purpose == Purpose::Idle {
            self.idle.retain(|idle| *idle != id);
        }
        std::mem::take(&mut pipe.waiting).into_iter().for_each(|session| self.lift(session));
        if let Some((client, _)) = pipe.stalled_by
            && let Some(session) = self.sessions.get_mut(client)
        {
            session.stalls = session.stalls.saturating_sub(1);
        }
        self.settle_debts(&mut pipe);
        self.forget_reads(&pipe);
        if let Purpose::Private { tenant } = pipe.purpose {
            self.watch_broken(tenant, id);
        }
        pipe.out.clear(&mut self.pool);
        self.pool.give(std::mem::take(&mut pipe.inbox));
        if blame == Blame::Node && pipe.purpose == Purpose::Shared {
            self.knock_again(&pipe);
        }
        if let Purpose::Hub(hub) = pipe.purpose {
            self.hub_lost(hub);
        }
    }

    /// Decides for every request of a lost pipe what becomes of it: see [`Pipe::fate`].
    fn settle_debts(&mut self, pipe: &mut Pipe) {
        while let Some(ticket) = pipe.tickets.front().copied() {
            let fate = pipe.fate(&ticket);
            let frame = match ticket.work {
                Work::Body => pipe.out.copy_of_last(ticket.len as usize),
                _ => pipe.out.front(ticket.len as usize).to_vec(),
            };
            pipe.pop(&mut self.pool);
            pipe.midway = false;
            let mut all = self.hot.disband(ticket);
            if let Some(last) = all.pop() {
                all.into_iter().for_each(|ticket| self.settle_debt(pipe, ticket, fate, frame.clone()));
                self.settle_debt(pipe, last, fate, frame);
            }
        }
    }

    fn settle_debt(&mut self, pipe: &Pipe, ticket: Ticket, fate: Fate, frame: Vec<u8>) {
        let node = format!("node {}", pipe.addr);
        let all_sent = pipe.out.unsent() == 0;
        let overtaken = self.was_overtaken(&ticket);
        self.note_back(&ticket);
        let private = matches!(pipe.purpose, Purpose::Private { .. });
        let ticket = Ticket { work: ticket.work.afresh(), ..ticket };
        match (fate, ticket.work) {
            (Fate::Nobody, _) => {}
            (Fate::Torn, _) => self.evict(ticket.session, "its node was lost in the middle of a reply"),
            (_, Work::Probe | Work::Body) => self.stream_lost(&ticket, frame, &node, all_sent),
            (_, Work::Wait(step)) => {
                self.wait_lost(&ticket, step, fate == Fate::Uncertain, &node);
            }
            (Fate::Gone, _) => self.fail_errand(&ticket, &node, "it went away"),
            (_, Work::Watch) => self.watch_lost(&ticket),
            // The keys that it depends on are watched no more.
            (Fate::Again, Work::Block(_)) if private => self.deliver_nothing(&ticket),
            (Fate::Again, _) if overtaken => self.fail_as_overtaken(&ticket),
            (Fate::Again, _) => self.hold(ticket, &frame, self.now.steady),
            (Fate::Uncertain, _) => {
                self.add(Metric::Uncertain, 1);
                self.fail(&ticket, &ErrorReply::Uncertain { node: &node });
            }
        }
    }

    /// A request ends with an error of ours: for the client, or for the merge that it is a part of.
    pub(super) fn fail(&mut self, ticket: &Ticket, error: &ErrorReply<'_>) {
        match ticket.work {
            Work::Part { merge, part } | Work::Errand { merge, part } => {
                let mut reply = Vec::new();
                crate::resp::Writer::new(&mut reply, Proto::Two).error(error);
                self.merge_part(merge, part, &reply);
            }
            Work::Block(_) => self.fail_block(ticket, error),
            Work::Inquiry(_) => {
                let mut answer = Vec::new();
                crate::resp::Writer::new(&mut answer, Proto::Two).error(error);
                self.answered(ticket.session, &answer);
            }
            Work::Whole
            | Work::Led(_)
            | Work::Count
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Watch
            | Work::Wait(_)
            | Work::Hub(_)
            | Work::Farewell => {
                self.deliver_error(ticket, error);
            }
        }
    }

    /// The client of a request is gone: only a merge has to know.
    pub(super) fn nobody_waits(&mut self, ticket: &Ticket) {
        if let Work::Part { merge, part } | Work::Errand { merge, part } = ticket.work {
            self.merge_part(merge, part, b"-ERR nobody waits for this\r\n");
        }
    }
}

/// Why a pipe is lost: whether that says something about its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Node,
    User,
}

/// Whether ASKING goes before a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asking {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn only_refusals_before_execution_are_ours() {
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let judge = |text: &str| judge(format!("-{text}\r\n").as_bytes(), from);
        assert_eq!(judge("MOVED 7 10.0.0.1:7001"), Verdict::Moved("10.0.0.1:7001".parse().ok()));
        assert_eq!(judge("MOVED 7 :7001"), Verdict::Moved("127.0.0.1:7001".parse().ok()));
        assert_eq!(judge("ASK 7 ::1:7001"), Verdict::Ask("[::1]:7001".parse().ok()));
        assert_eq!(judge("MOVED 7 some-host:7001"), Verdict::Moved(None));
        for later in [
            "TRYAGAIN x",
            "CLUSTERDOWN The cluster is down",
            "LOADING x",
            "MASTERDOWN x",
            "READONLY You can't write against a read only replica.",
        ] {
            assert_eq!(judge(later), Verdict::Later, "{later}");
        }
        for own in ["ERR MOVED", "WRONGTYPE x", "MOVEDX 7 10.0.0.1:7001", "READONLY my own script says so"] {
            assert_eq!(judge(own), Verdict::Deliver, "{own}");
        }
    }
}
