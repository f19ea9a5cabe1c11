//! Clients that do not read what they asked for, and those who wait behind them on the same pipe.
//!
//! A reply that is too large to keep is passed on as it comes; where its client does not read, the pipe is not read
//! on either. After a moment the others get a new pipe, and what they only read is asked again there. What they
//! wrote has been executed and its reply is stuck: the slow client may hold them up for `slow_reader` in all.

use super::pipe::{Purpose, Resend, Ticket, Work};
use super::{PipeId, Proxy, SessionId};
use crate::metric::Metric;
use std::collections::HashSet;

/// A shared pipe that one slow client blocks this long (microseconds) is replaced for everyone else.
const STALL: u64 = 20_000;

impl Proxy {
    /// Stops to read a pipe until a client has read more.
    pub(super) fn stall(&mut self, id: PipeId, client: SessionId) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.stalls += 1;
        }
        if let Some(pipe) = self.pipes.get_mut(id) {
            self.stalled += usize::from(pipe.stalled_by.is_none());
            pipe.stalled_by = Some((client, self.now.steady));
        }
        self.touch_pipe(id);
    }

    /// Reads the pipes on again that waited for this client to read.
    pub(super) fn unstall(&mut self, client: SessionId) {
        if let Some(session) = self.sessions.get_mut(client) {
            session.stalls = 0;
        }
        for id in self.pipes.ids() {
            if self.pipes.get(id).is_some_and(|pipe| pipe.stalled_by.is_some_and(|(by, _)| by == client)) {
                self.flow(id);
            }
        }
    }

    /// Reads a pipe on again.
    fn flow(&mut self, id: PipeId) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let Some((client, since)) = pipe.stalled_by.take() else { return };
        self.stalled -= 1;
        let others = pipe.others_wait(client);
        if let Some(session) = self.sessions.get_mut(client) {
            session.stalls = session.stalls.saturating_sub(1);
            session.held_up += if others { self.now.steady.saturating_sub(since) } else { 0 };
        }
        self.touch_pipe(id);
        self.pipe_bytes(id, &[]);
    }

    /// Helps those who wait behind slow clients; drops the slow client where that does not help.
    pub(super) fn relieve_stalls(&mut self) {
        let now = self.now.steady;
        if self.stalled == 0 {
            return;
        }
        for id in self.pipes.ids() {
            let Some(pipe) = self.pipes.get(id) else { continue };
            let Some((client, since)) = pipe.stalled_by else { continue };
            let (before, unsent) =
                self.sessions.get(client).map_or((0, 0), |session| (session.held_up, session.out.unsent()));
            let (waited, others) = (now.saturating_sub(since), pipe.others_wait(client));
            if others && unsent <= self.settings.ahead * 4 {
                self.flow(id); // they came after it had stalled
            } else if others && before + waited > self.settings.slow_reader {
                self.evict(client, "it did not read its replies while others waited behind it");
            } else if waited > STALL && pipe.purpose == Purpose::Shared {
                self.replace_shared(id, client);
            }
        }
    }

    /// Takes a shared pipe out of use because one client blocks it: the others get a new one.
    pub(super) fn replace_shared(&mut self, id: PipeId, client: SessionId) {
        self.unshare(id);
        self.epoch = self.epoch.wrapping_add(1);
        self.retire(id);
        for (ticket, frame) in self.rescue(id, client) {
            self.add(Metric::Retries, 1);
            self.note_back(&ticket);
            self.dispatch(Ticket { tries: ticket.tries.saturating_add(1), ..ticket }, &frame);
        }
    }

    /// Requests of others that only read, each without an earlier write of the same client before it: these may
    /// be asked again elsewhere. Their replies on this pipe go nowhere.
    fn rescue(&mut self, id: PipeId, client: SessionId) -> Vec<(Ticket, Vec<u8>)> {
        let Proxy { pipes, hot, .. } = self;
        let Some(pipe) = pipes.get_mut(id) else { return Vec::new() };
        let mut rescued = Vec::new();
        let mut wrote: HashSet<SessionId> = HashSet::from([client]);
        let frames: Vec<Vec<u8>> = {
            let lens = pipe.tickets.iter().map(|ticket| ticket.len as usize);
            pipe.out.frames(lens).map(<[u8]>::to_vec).collect()
        };
        for (ticket, frame) in pipe.tickets.iter_mut().zip(frames).skip(1) {
            let ours = matches!(
                ticket.work,
                Work::Whole | Work::Led(_) | Work::Count | Work::Part { .. } | Work::Inquiry(_)
            );
            let joined = match ticket.work {
                Work::Led(group) => hot.group(group),
                _ => &[],
            };
            let free = |ticket: &Ticket| !wrote.contains(&ticket.session);
            if ours && ticket.resend == Resend::Yes && free(ticket) && joined.iter().all(free) {
                let all = hot.disband(*ticket);
                rescued.extend(all.into_iter().map(|ticket| (ticket, frame.clone())));
                (ticket.session, ticket.work) = (SessionId::NONE, Work::Nobody);
            } else {
                wrote.insert(ticket.session);
                wrote.extend(joined.iter().map(|ticket| ticket.session));
            }
        }
        rescued
    }
}
