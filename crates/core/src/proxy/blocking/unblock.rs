//! CLIENT UNBLOCK: ends the wait of another client, on whichever worker that is.
//!
//! The node ends it, so nothing that is being handed out is lost: the worker of the client says which connection of which
//! node waits for it, and the worker that was asked has the node unblock that.

use super::super::forward::Admit;
use super::super::pipe::{Resend, Ticket, Work};
use super::super::upstream::Way;
use super::super::{Gather, PipeId, Proxy, SessionId};
use super::{Phase, Step, Waiting, none};
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_i64};
use crate::topology::NodeIndex;
use std::net::SocketAddr;

/// How a wait is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// As if its time were over.
    Timeout,
    /// By an error.
    Error,
}

/// What one worker has to say to CLIENT UNBLOCK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unblocked {
    /// No such client waits here.
    Nobody,
    /// It does not wait any more.
    Done,
    /// These connections wait for it: each node's address, and its number of the connection.
    At(Vec<(SocketAddr, u64)>),
}

impl Proxy {
    pub(in super::super) fn client_unblock(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let reason = match args.len() {
            3 => Reason::Timeout,
            4 if args.get(3).eq_ignore_ascii_case(b"timeout") => Reason::Timeout,
            4 if args.get(3).eq_ignore_ascii_case(b"error") => Reason::Error,
            4 => return self.refuse(id, &ErrorReply::UnblockReason),
            _ => return self.refuse(id, &ErrorReply::SubcommandSyntax(args.get(1), "CLIENT")),
        };
        match parse_i64(args.get(2)) {
            Some(number) => self.gather(id, Gather::Unblock { number: number as u64, reason }),
            None => self.refuse(id, &ErrorReply::NotAnInteger),
        }
    }

    /// Ends the wait of client `number`, if it waits here, or says where that has to be done.
    pub fn unblock(&mut self, number: u64, reason: Reason) -> Unblocked {
        let found = self.sessions.iter().find(|(_, session)| session.number == number);
        let Some((id, session)) = found else { return Unblocked::Nobody };
        let proto = session.proto;
        let pipes: Vec<PipeId> = match session.extra.as_ref().and_then(|extra| extra.waiting.as_ref()) {
            None => return Unblocked::Nobody,
            Some(Waiting::Copies(confirm)) => confirm.pipes().collect(),
            Some(Waiting::Data(wait)) => match wait.phase {
                Phase::Asked { pipe, .. } => vec![pipe],
                Phase::Seeking { .. } => {
                    match reason {
                        Reason::Timeout => self.end_wait(id, none(proto)),
                        Reason::Error => self.end_wait_with(id, &ErrorReply::Unblocked),
                    }
                    return Unblocked::Done;
                }
            },
        };
        let known = pipes.into_iter().filter_map(|pipe| self.pipes.get(pipe));
        let places: Vec<_> = known.filter_map(|pipe| Some((pipe.addr, pipe.number?))).collect();
        if places.is_empty() { Unblocked::Nobody } else { Unblocked::At(places) }
    }

    /// What the workers said to request `seq` of `session`: has the node do it where there is one.
    pub fn unblocked(&mut self, session: SessionId, seq: u32, reason: Reason, found: &Unblocked) {
        match found {
            Unblocked::Nobody => self.answer(session, seq, b":0\r\n"),
            Unblocked::Done => self.answer(session, seq, b":1\r\n"),
            Unblocked::At(places) => {
                let now = self.now.steady;
                for (at, (addr, number)) in places.iter().enumerate() {
                    let ticket = match at {
                        0 => Ticket {
                            session,
                            seq,
                            resend: Resend::Never,
                            ..Ticket::of_nobody(Work::Wait(Step::Unblocked), now)
                        },
                        _ => Ticket::of_nobody(Work::Nobody, now),
                    };
                    if !self.have_unblocked(*addr, *number, reason, ticket) && at == 0 {
                        self.answer(session, seq, b":0\r\n");
                    }
                }
            }
        }
    }

    /// Sends CLIENT UNBLOCK to a node; false when there is no way to it.
    fn have_unblocked(&mut self, addr: SocketAddr, number: u64, reason: Reason, ticket: Ticket) -> bool {
        let Some(node) = self.topology.nodes().iter().position(|node| node.addr == addr) else {
            return false;
        };
        let Way::Pipe(pipe) = self.way_to(NodeIndex(node as u16), self.base[0]) else { return false };
        let reason: &[u8] = match reason {
            Reason::Timeout => b"TIMEOUT",
            Reason::Error => b"ERROR",
        };
        let mut frame = Vec::new();
        let number = number.to_string();
        Writer::new(&mut frame, Proto::Two)
            .request([b"CLIENT".as_slice(), b"UNBLOCK", number.as_bytes(), reason].into_iter());
        self.push(pipe, &frame, ticket);
        true
    }

    /// Ends all waits as if their time were over: the gateway is being drained.
    pub(in super::super) fn unblock_all(&mut self) {
        let waiting = self.sessions.iter().filter(|(_, session)| session.is_blocked());
        let numbers: Vec<u64> = waiting.map(|(_, session)| session.number).collect();
        for number in numbers {
            if let Unblocked::At(places) = self.unblock(number, Reason::Timeout) {
                for (addr, number) in places {
                    let ticket = Ticket::of_nobody(Work::Nobody, self.now.steady);
                    self.have_unblocked(addr, number, Reason::Timeout, ticket);
                }
            }
        }
    }
}
