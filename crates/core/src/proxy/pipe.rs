//! One connection to a node, shared by many clients (or lent to one while it streams a large request): requests
//! out, replies in, first in first out.

use super::SessionId;
use super::blocking::Step;
use super::buffer::{Pool, Queue};
use super::company::Company;
use super::hot::GroupId;
use super::pubsub::{HubId, TopicId};
use super::timing::Tally;
use super::transaction::block::Block;
use super::trunk::TrunkId;
use crate::metric::Class;
use crate::resp::ReplyScan;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Requests on one pipe after which no more are admitted to it.
pub(crate) const MAX_TICKETS: usize = 32 * 1024;
/// Bytes on one pipe after which no more requests are admitted to it.
pub(crate) const MAX_BYTES: usize = 16 * 1024 * 1024;

/// ASKING as it is sent.
pub(crate) const ASKING: &[u8] = b"*1\r\n$6\r\nASKING\r\n";

/// Whether something may be sent again after it may have been executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resend {
    /// It only reads.
    Yes,
    /// It may have changed something.
    Never,
}

/// What a reply on a pipe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The whole reply of a client's request.
    Whole,
    /// Part `part` of merge `merge`.
    Part { merge: super::MergeId, part: u32 },
    /// Part `part` of merge `merge` that is for this node alone: never redirected, held or sent elsewhere.
    Errand { merge: super::MergeId, part: u32 },
    /// The answer to the greeting of the connection.
    Greeting,
    /// The answer to the question which run of the server this is.
    Run,
    /// A reply that nobody waits for: of ASKING, or of a request that was sent again elsewhere.
    Nobody,
    /// The answer to the question whether a large request may come here.
    Probe,
    /// The reply of a large request.
    Body,
    /// Something of a client that waits.
    Wait(Step),
    /// The replies of a transaction: the last of them is the client's.
    Block(Block),
    /// The answer to WATCH.
    Watch,
    /// The answer to a question about a request that waits for it.
    Inquiry(super::inquiry::Desk),
    /// The reply of a client's request that counts receivers.
    Count,
    /// The reply of a read, for those too who joined it.
    Led(GroupId),
    /// A node's word on a topic that was subscribed, or given up.
    Hub(TopicId),
    /// A hub's answer behind which no message comes any more that was published before it was asked.
    Farewell,
}

impl Work {
    /// Whether it is a client's request, or a part of one, that goes to a slot's primary in the order of that client's
    /// requests (see `order`).
    #[inline]
    pub(crate) fn is_ordered(self) -> bool {
        match self {
            Work::Whole | Work::Led(_) | Work::Count | Work::Part { .. } | Work::Block(_) => true,
            Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Watch
            | Work::Hub(_)
            | Work::Farewell
            | Work::Wait(_)
            | Work::Inquiry(_) => false,
        }
    }

    /// What it is when it is asked again.
    pub(crate) fn afresh(self) -> Work {
        match self {
            Work::Block(block) => Work::Block(block.afresh()),
            Work::Whole
            | Work::Led(_)
            | Work::Part { .. }
            | Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Watch
            | Work::Count
            | Work::Hub(_)
            | Work::Farewell
            | Work::Wait(_)
            | Work::Inquiry(_) => self,
        }
    }

    /// What it is with a request before it whose reply goes nowhere; `None` where that cannot be.
    pub(crate) fn behind_another(self) -> Option<Work> {
        match self {
            Work::Whole => Some(Work::Block(Block::behind_another())),
            Work::Block(block) => Some(Work::Block(block.with_another())),
            Work::Led(_)
            | Work::Part { .. }
            | Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Watch
            | Work::Count
            | Work::Hub(_)
            | Work::Farewell
            | Work::Wait(_)
            | Work::Inquiry(_) => None,
        }
    }
}

/// A request that waits for its reply: who asked, and what is needed to ask again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    pub(crate) session: SessionId,
    /// Its place in the session's reply order.
    pub(crate) seq: u32,
    /// Bytes of the request in the pipe's queue.
    pub(crate) len: u32,
    /// The slot that it is routed by.
    pub(crate) slot: u16,
    /// How often it was sent before.
    pub(crate) tries: u8,
    pub(crate) resend: Resend,
    pub(crate) class: Class,
    /// Whose times it counts among, once a node has answered.
    pub(crate) tally: Tally,
    pub(crate) work: Work,
    /// When its last byte was read, in microseconds.
    pub(crate) born: u64,
}

impl Ticket {
    /// Whether it came after the request of the same client that has this sequence number.
    pub(crate) fn is_after(&self, seq: u32) -> bool {
        self.seq.wrapping_sub(seq) as i32 > 0
    }

    /// Whether it came before that request.
    pub(crate) fn is_before(&self, seq: u32) -> bool {
        seq.wrapping_sub(self.seq) as i32 > 0
    }
}

impl Ticket {
    /// A ticket for something that no client asked for, put on a pipe at `born` (microseconds).
    #[inline]
    pub(crate) fn of_nobody(work: Work, born: u64) -> Self {
        let session = SessionId::NONE;
        Ticket {
            session,
            seq: 0,
            len: 0,
            slot: 0,
            tries: 0,
            resend: Resend::Yes,
            class: Class::Other,
            tally: Tally::NOBODY,
            work,
            born,
        }
    }
}

/// What a pipe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Requests of all clients of its trunk.
    Shared,
    /// One large request at a time: whose.
    Lane { tenant: SessionId },
    /// Lent to one client, for what a server keeps for one connection alone.
    Private { tenant: SessionId },
    /// Asks whether replicas have what was written: see `durable`.
    Confirmer,
    /// Subscriptions and their messages.
    Hub(HubId),
    /// Was lent, and waits for the next.
    Idle,
    /// Was shared; takes nothing new and closes when it is empty.
    Retiring,
}

impl Purpose {
    /// Whether it is one client's for the time being.
    pub(crate) fn is_lent(self) -> bool {
        match self {
            Purpose::Lane { .. } | Purpose::Private { .. } => true,
            Purpose::Shared | Purpose::Confirmer | Purpose::Hub(_) | Purpose::Idle | Purpose::Retiring => {
                false
            }
        }
    }
}

/// What is known of the run of a server: its cursors mean nothing to another run, of the same node too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Unasked,
    Asked,
    /// A number made of its run id; 0 where it does not tell.
    Known(u64),
}

/// How far the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Connecting,
    Open,
}

/// Where a request stands among all that were ever put on a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    /// Bytes before it.
    pub(crate) bytes: u64,
    /// Requests before it.
    number: u32,
}

#[derive(Debug)]
pub struct Pipe {
    pub(crate) addr: SocketAddr,
    /// Where the times of its requests are counted.
    pub(crate) tally: Tally,
    pub(crate) trunk: TrunkId,
    pub(crate) purpose: Purpose,
    pub(crate) state: State,
    /// The number by which the node knows this connection, once it has greeted.
    pub(crate) number: Option<u64>,
    /// Whether it counts among the private connections that are being opened.
    pub(crate) opening: bool,
    /// Who has the writes on it confirmed, where that is wanted.
    pub(crate) confirmer: super::durable::ConfirmerId,
    pub(crate) out: Queue,
    pub(crate) tickets: VecDeque<Ticket>,
    /// Tickets that were taken off, and where the last request ended that may do more than read.
    pub(crate) taken: u32,
    barrier: u64,
    /// Bytes of a reply that cannot be passed on yet.
    pub(crate) inbox: Vec<u8>,
    pub(crate) scan: ReplyScan,
    /// Bytes at the start of `inbox` that `scan` has passed over.
    pub(crate) scanned: usize,
    /// Which run of the server is at the other end, once that was asked: see `scan`.
    pub(crate) run: Run,
    /// Whether a part of the first ticket's reply has been passed on already.
    pub(crate) midway: bool,
    /// Whether its last replies passed unread for the most part.
    pub(crate) bulky: bool,
    /// The first error that a command of the transaction at the front was refused with; empty while there is none.
    pub(crate) refusal: Vec<u8>,
    /// The client that does not read what this pipe has for it, and since when.
    pub(crate) stalled_by: Option<(SessionId, u64)>,
    /// Whether it is in the list of pipes to be written to.
    pub(crate) dirty: bool,
    /// Whether what is to be written waits for more.
    pub(crate) company: Company,
    /// When it last gave a sign of life, in microseconds.
    pub(crate) heard: u64,
    /// Sessions that wait for room.
    pub(crate) waiting: Vec<SessionId>,
}

impl Pipe {
    pub(crate) fn new(addr: SocketAddr, trunk: TrunkId, purpose: Purpose, now: u64) -> Self {
        Pipe {
            addr,
            tally: Tally::NOBODY,
            trunk,
            purpose,
            state: State::Connecting,
            number: None,
            opening: false,
            confirmer: super::durable::ConfirmerId::NONE,
            out: Queue::default(),
            tickets: VecDeque::new(),
            taken: 0,
            barrier: 0,
            inbox: Vec::new(),
            scan: ReplyScan::default(),
            scanned: 0,
            run: Run::Unasked,
            midway: false,
            bulky: false,
            refusal: Vec::new(),
            stalled_by: None,
            dirty: false,
            company: Company::default(),
            heard: now,
            waiting: Vec::new(),
        }
    }

    /// Whether one more request may come.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.tickets.len() < MAX_TICKETS && self.out.len() < MAX_BYTES
    }

    /// Whether so much room is back that those who wait may go on.
    pub(crate) fn has_much_room(&self) -> bool {
        self.tickets.len() <= MAX_TICKETS / 2 && self.out.len() <= MAX_BYTES / 2
    }

    /// Whether anybody but this client waits for a reply.
    pub(crate) fn others_wait(&self, client: SessionId) -> bool {
        self.tickets.iter().any(|ticket| {
            matches!(ticket.work, Work::Led(_))
                || (ticket.session != client && ticket.session != SessionId::NONE)
        })
    }

    /// Appends a request.
    #[inline]
    pub(crate) fn push(&mut self, frame: &[u8], mut ticket: Ticket, pool: &mut Pool) {
        ticket.len = frame.len() as u32;
        self.out.push(frame, pool);
        if ticket.class != Class::Read {
            self.barrier = self.out.total();
        }
        self.tickets.push_back(ticket);
    }

    /// Where the next request comes to stand.
    pub(crate) fn spot(&self) -> Spot {
        Spot { bytes: self.out.total(), number: self.taken.wrapping_add(self.tickets.len() as u32) }
    }

    /// The request of `len` bytes at a spot, if nothing of it was sent yet and only reads stand behind it.
    pub(crate) fn pending(&self, spot: Spot, len: usize) -> Option<&[u8]> {
        let distance = usize::try_from(self.out.total().checked_sub(spot.bytes)?).ok()?;
        let waits = spot.bytes >= self.barrier && distance <= self.out.unsent();
        if waits { self.out.before_end(distance, len) } else { None }
    }

    /// The ticket of the request at a spot.
    pub(crate) fn ticket_at(&mut self, spot: Spot) -> Option<&mut Ticket> {
        self.tickets.get_mut(spot.number.wrapping_sub(self.taken) as usize)
    }

    /// Appends bytes that are let go of as soon as they are sent (see `stream`).
    pub(crate) fn push_unkept(&mut self, frame: &[u8], ticket: Ticket, pool: &mut Pool) {
        self.push(frame, ticket, pool);
        if let Some(last) = self.tickets.back_mut() {
            last.len = 0;
        }
    }

    /// Lets go of what was sent and belongs to no ticket. Where a ticket with bytes stands before it those go first: only
    /// the last is ever sent again from here.
    pub(crate) fn let_go_of_unkept(&mut self, pool: &mut Pool) {
        let kept = self.tickets.iter().map(|ticket| ticket.len as usize).sum();
        self.out.release_sent(kept, pool);
    }

    /// Takes the first ticket and lets go of its request (a large one is the stream's to let go of).
    #[inline]
    pub(crate) fn pop(&mut self, pool: &mut Pool) -> Option<Ticket> {
        let ticket = Ticket { tally: self.tally, ..self.tickets.pop_front()? };
        self.taken = self.taken.wrapping_add(1);
        if ticket.work != Work::Body {
            self.out.release(ticket.len as usize, pool);
        }
        Some(ticket)
    }
}

/// What becomes of the first request of a lost pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It cannot have been executed, or only reads: ask elsewhere.
    Again,
    /// It may have been executed.
    Uncertain,
    /// A part of its reply has reached the client already.
    Torn,
    /// It was for this node alone.
    Gone,
    /// Nobody waits for it.
    Nobody,
}

impl Pipe {
    /// What becomes of the first request now that the connection is lost. A request of which the last byte was
    /// not handed to the kernel cannot have been executed: a server executes whole requests only.
    pub(crate) fn fate(&self, ticket: &Ticket) -> Fate {
        match ticket.work {
            Work::Greeting | Work::Run | Work::Nobody | Work::Hub(_) | Work::Farewell => Fate::Nobody,
            Work::Probe | Work::Watch => Fate::Again,
            _ if self.midway => Fate::Torn,
            Work::Body => Fate::Uncertain, // the stream itself knows whether its end was sent
            Work::Errand { .. } => match ticket.resend {
                Resend::Never if self.out.is_sent(ticket.len as usize) => Fate::Uncertain,
                Resend::Yes | Resend::Never => Fate::Gone,
            },
            Work::Block(_) if !self.refusal.is_empty() => Fate::Again, // EXEC would have executed nothing
            Work::Whole
            | Work::Led(_)
            | Work::Count
            | Work::Part { .. }
            | Work::Block(_)
            | Work::Inquiry(_)
            | Work::Wait(_) => match ticket.resend {
                Resend::Yes => Fate::Again,
                Resend::Never if self.out.is_sent(ticket.len as usize) => Fate::Uncertain,
                Resend::Never => Fate::Again,
            },
        }
    }
}
