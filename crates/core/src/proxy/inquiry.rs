//! Questions that a client's request raises and a node has to answer before the request goes on: whether a password is
//! right (AUTH), whether a user may do what the gateway itself answers (ACL DRYRUN).
//!
//! The request stays in its client's buffer, nothing behind it is admitted, and it is looked at again once the answer is
//! there. A question only reads, so it is held and asked again like any read.
//!
//! ```text
//! request ─► inquire ──not asked──► ticket to a desk, Stop::Inquiry      (the request waits)
//!    ▲          └──answered──► the request goes on with the answer
//!    └──────────── lift ◄── answered ◄── reply, or an error of ours
//! ```

use super::pipe::{Resend, State, Ticket, Work};
use super::session::Stop;
use super::timing::Tally;
use super::trunk::TrunkId;
use super::{Proxy, SessionId};
use crate::metric::Class;

/// Where a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Desk {
    /// On connections that carry nothing but AUTH: one that succeeds changes whose connection it is, one that fails
    /// leaves it as it was, and nobody's requests are on it.
    Door,
    /// On the gateway's own connections, with the gateway's own rights.
    Own,
}

/// How far a client's question is.
#[derive(Debug, Default)]
pub(crate) enum Inquiry {
    #[default]
    None,
    Asked(Vec<u8>),
    Answered {
        question: Vec<u8>,
        answer: Vec<u8>,
    },
}

impl Inquiry {
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Inquiry::None)
    }
}

impl Proxy {
    /// The answer to a question of the request that is being looked at. `None`: the client waits for it, and the
    /// request comes here again.
    pub(super) fn inquire(&mut self, id: SessionId, desk: Desk, question: Vec<u8>) -> Option<Vec<u8>> {
        let session = self.sessions.get_mut(id)?;
        let extra = session.extra.get_or_insert_default();
        match std::mem::take(&mut extra.inquiry) {
            Inquiry::Answered { question: asked, answer } if asked == question => {
                session.tidy();
                return Some(answer);
            }
            Inquiry::Asked(asked) if asked == question => {
                extra.inquiry = Inquiry::Asked(asked);
                session.stop = Some(Stop::Inquiry);
                return None;
            }
            Inquiry::None | Inquiry::Asked(_) | Inquiry::Answered { .. } => {}
        }
        extra.inquiry = Inquiry::Asked(question.clone());
        session.stop = Some(Stop::Inquiry);
        let seq = session.upcoming();
        let slot = self.desk_slot(desk);
        let ticket = Ticket {
            session: id,
            seq,
            len: 0,
            slot,
            tries: 0,
            resend: Resend::Yes,
            class: Class::Other,
            tally: Tally::NOBODY,
            work: Work::Inquiry(desk),
            born: self.now.steady,
        };
        self.dispatch(ticket, &question);
        None
    }

    /// A node has answered (or we say why none could).
    pub(super) fn answered(&mut self, id: SessionId, answer: &[u8]) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let Some(extra) = session.extra.as_mut() else { return };
        if let Inquiry::Asked(question) = std::mem::take(&mut extra.inquiry) {
            extra.inquiry = Inquiry::Answered { question, answer: answer.to_vec() };
            self.lift(id);
        }
    }

    /// The trunk of a desk.
    fn desk_trunk(&self, desk: Desk) -> TrunkId {
        match desk {
            Desk::Door => self.door,
            Desk::Own => self.base[0],
        }
    }

    /// The trunk on which a request goes.
    pub(super) fn trunk_of(&self, ticket: &Ticket) -> Option<TrunkId> {
        let session = self.sessions.get(ticket.session)?;
        Some(match ticket.work {
            Work::Inquiry(desk) => self.desk_trunk(desk),
            Work::Whole
            | Work::Led(_)
            | Work::Count
            | Work::Hub(_)
            | Work::Farewell
            | Work::Part { .. }
            | Work::Errand { .. }
            | Work::Greeting
            | Work::Run
            | Work::Nobody
            | Work::Probe
            | Work::Body
            | Work::Block(_)
            | Work::Watch
            | Work::Wait(_) => session.trunk,
        })
    }

    /// A slot of a primary that can be asked at once, if there is one: every primary knows the same users.
    pub(super) fn desk_slot(&self, desk: Desk) -> u16 {
        let pipes = self.trunks.get(self.desk_trunk(desk)).map_or(&[][..], |trunk| &trunk.pipes);
        let primaries = self.topology.primaries();
        let open = primaries.iter().find(|(node, _)| {
            let pipe = pipes.get(usize::from(node.0)).copied().flatten();
            pipe.and_then(|pipe| self.pipes.get(pipe)).is_some_and(|pipe| pipe.state == State::Open)
        });
        let calm =
            || primaries.iter().find(|(node, _)| !self.links.contains_key(&self.topology.node(*node).addr));
        open.or_else(calm).or(primaries.first()).map_or(0, |(_, slot)| *slot)
    }
}
