//! Requests that go to several nodes: keys split by slot (MGET, DEL …), or the same to every primary (DBSIZE …).

use super::forward::{Admit, resend};
use super::merge::{Merge, Policy};
use super::pipe::{Resend, Ticket, Work};
use super::timing::Tally;
use super::trunk::TrunkId;
use super::upstream::Way;
use super::{MergeId, Proxy, SessionId};
use crate::command::{Access, Command, Split};
use crate::metric::{Class, Metric};
use crate::resp::{Args, ErrorReply, Proto, Writer};
use crate::topology::slot;

impl Proxy {
    /// MGET, MSET, DEL, UNLINK, EXISTS, TOUCH: one request a slot, one reply. Where all keys are in one slot the
    /// request goes there as it is.
    pub(super) fn split(
        &mut self,
        id: SessionId,
        command: &'static Command,
        split: Split,
        frame: &[u8],
        args: &Args<'_>,
    ) -> Admit {
        let step = match split {
            Split::AllOk => 2,
            Split::Gather | Split::Sum => 1,
        };
        if !(args.len() - 1).is_multiple_of(step) {
            return self.refuse(id, &ErrorReply::Arity(command.name));
        }
        let first = slot(args.get(1));
        let mut order: Vec<(u16, u32)> = Vec::new();
        for at in (1..args.len()).step_by(step) {
            let here = slot(args.get(at));
            if order.is_empty() && here == first {
                continue;
            }
            if order.is_empty() {
                // The first that differs: from now on the slots are written down.
                order.reserve((args.len() - 1) / step);
                order.extend((1..at).step_by(step).map(|before| (first, before as u32)));
            }
            order.push((here, at as u32));
        }
        if order.is_empty() {
            return self.forward(id, first, frame, command);
        }
        let Some(trunk) = self.may_send(id) else { return Admit::Stopped };
        order.sort_unstable();
        let slots = order.chunk_by(|a, b| a.0 == b.0).map(|run| run[0].0);
        if slots.into_iter().any(|slot| self.is_crowded(id, slot, trunk)) {
            return Admit::Stopped;
        }
        self.send_parts(id, command, split, args, step, &order);
        Admit::Yes
    }

    fn send_parts(
        &mut self,
        id: SessionId,
        command: &'static Command,
        split: Split,
        args: &Args<'_>,
        step: usize,
        order: &[(u16, u32)],
    ) {
        let policy = match split {
            Split::Gather => Policy::Gather { places: order.iter().map(|(_, at)| at - 1).collect() },
            Split::AllOk => Policy::AllOk,
            Split::Sum => Policy::Sum,
        };
        let runs: Vec<&[(u16, u32)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
        let resend = resend(command.access);
        let Some((merge, ticket)) = self.begin_merge(id, policy, resend, runs.len()) else { return };
        if command.access == Access::Write
            && let Some(session) = self.sessions.get_mut(id)
        {
            runs.iter().for_each(|run| session.note_write(run[0].0, self.now.steady));
        }
        let mut frame = Vec::new();
        for (part, run) in runs.into_iter().enumerate() {
            frame.clear();
            let mut writer = Writer::new(&mut frame, Proto::Two);
            writer.array(1 + run.len() * step);
            writer.bulk(args.get(0));
            for (_, at) in run {
                (0..step).for_each(|offset| writer.bulk(args.get(*at as usize + offset)));
            }
            let work = Work::Part { merge, part: part as u32 };
            self.dispatch(Ticket { slot: run[0].0, work, ..ticket }, &frame);
        }
    }

    /// Whether the client has to wait for room on the way to a slot: one request can have thousands of parts.
    pub(super) fn is_crowded(&mut self, id: SessionId, slot: u16, trunk: TrunkId) -> bool {
        match self.way(slot, trunk) {
            Way::Pipe(pipe) => self.waits_for_room(id, pipe),
            Way::Later(_) => false,
        }
    }

    /// Gives a request that goes to several nodes its place, and a ticket to make its parts' tickets of.
    pub(super) fn begin_merge(
        &mut self,
        id: SessionId,
        policy: Policy,
        resend: Resend,
        parts: usize,
    ) -> Option<(MergeId, Ticket)> {
        let session = self.sessions.get_mut(id)?;
        let (seq, proto, born) = (session.admit(), session.proto, self.now.steady);
        self.add(Metric::Split, 1);
        let merge = self.merges.insert(Merge::new(id, seq, born, proto, policy, resend, parts));
        let ticket = Ticket {
            session: id,
            seq,
            len: 0,
            slot: 0,
            tries: 0,
            resend,
            class: Class::Other,
            tally: Tally::NOBODY,
            work: Work::Part { merge, part: 0 },
            born,
        };
        Some((merge, ticket))
    }
}
