//! What the shell tells: clients that come and go, bytes that were written, time that passed.

use super::blocking::AHEAD;
use super::pipe::{Purpose, State};
use super::session::{End, Known, MAX_OUTPUT, Session, Stop};
use super::timing::Timed;
use super::{Output, PipeId, Proxy, SessionId};
use crate::metric::{Class, Metric};
use std::io::IoSlice;
use std::net::SocketAddr;

/// How often memory that nobody needs goes back to the system (microseconds).
const TRIM: u64 = 1_000_000;
/// How long a client that has connected may take to ask something before a drain closes it (microseconds).
const YOUNG: u64 = 1_000_000;
/// How long after its last request a client may take to ask again before a drain closes it (microseconds).
const SOON: u64 = 500_000;

impl Proxy {
    /// A client connected: `number` is unique in this gateway, `local` the address that it dialled.
    pub fn client_opened(&mut self, number: u64, peer: SocketAddr, local: SocketAddr) -> SessionId {
        let known = if self.settings.client_password.is_some() { Known::No } else { Known::Yes };
        self.add(Metric::ClientsTotal, 1);
        let id = self.sessions.insert(Session::new(number, peer, local, known, self.now.steady));
        self.join_trunk(id, self.base[0]);
        self.came_by(id, self.settings.durability);
        id
    }

    /// A client closed its sending side. It still gets the replies of what it asked.
    pub fn client_ended(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.ended = true;
        if session.stream.as_ref().is_some_and(|stream| !Self::stream_is_whole(stream)) {
            return self.drop_client(id);
        }
        self.touch_client(id);
        self.leave_wait(id);
    }

    /// A client's connection is gone. What it asked for may still be carried out; nobody hears of it.
    pub fn client_lost(&mut self, id: SessionId) {
        if let Some(mut session) = self.sessions.remove(id) {
            if let Some(waiting) = session.take_waiting() {
                self.abandon_wait(waiting);
            }
            let stream = session.stream.take();
            let extra = session.extra.take();
            let (stalls, trunk) = (session.stalls, session.trunk);
            session.dissolve(&mut self.pool);
            self.park.forget(id);
            self.leave_trunk(trunk);
            if stalls > 0 {
                self.unstall(id);
            }
            if let Some(extra) = extra {
                if let Some(subscriptions) = extra.subscriptions {
                    self.end_subscriptions(id, *subscriptions);
                }
                if extra.monitors {
                    self.end_monitor(id);
                }
                self.forget_transaction(extra.transaction);
                self.trackers.retain(|tracker| *tracker != id);
            }
            if let Some(stream) = stream {
                self.abandon_stream(*stream);
            }
        }
    }

    /// Forgets a client and has its connection closed.
    pub(super) fn drop_client(&mut self, id: SessionId) {
        if self.sessions.get(id).is_some() {
            self.client_lost(id);
            self.outputs.push(Output::CloseClient(id));
        }
    }

    /// Drops a client that broke a limit.
    pub(super) fn evict(&mut self, id: SessionId, why: &str) {
        if let Some(session) = self.sessions.get(id) {
            self.outputs.push(Output::Report(format!("client {} was closed: {why}", session.peer)));
            self.add(Metric::ClientsDropped, 1);
            self.drop_client(id);
        }
    }

    /// Whether a client's bytes are wanted at the moment.
    pub fn client_wants_read(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            !session.ended
                && (session.stop.is_none()
                    // One that waits is read on, so that it is noticed when it goes.
                    || (session.stop == Some(Stop::Blocked) && session.inbox.len() < AHEAD)
                    || session.stream.as_ref().is_some_and(|s| self.stream_wants(s)))
        })
    }

    /// A client was turned away at the door.
    pub fn client_refused(&mut self) {
        self.add(Metric::ClientsRefused, 1);
    }

    /// Bytes that a client has not got yet.
    pub fn client_unsent(&self, id: SessionId) -> usize {
        self.sessions.get(id).map_or(0, |session| session.out.unsent())
    }

    /// Bytes that a node has not got yet.
    pub fn pipe_unsent(&self, id: PipeId) -> usize {
        self.pipes.get(id).map_or(0, |pipe| match pipe.purpose {
            Purpose::Lane { tenant } => pipe.out.unsent() + self.ahead(id, tenant),
            Purpose::Shared
            | Purpose::Private { .. }
            | Purpose::Confirmer
            | Purpose::Retiring
            | Purpose::Idle
            | Purpose::Hub(_) => pipe.out.unsent(),
        })
    }

    /// Fills `slices` with bytes for a client; returns how many slices it filled.
    pub fn client_output<'a>(&'a self, id: SessionId, slices: &mut [IoSlice<'a>]) -> usize {
        self.sessions.get(id).map_or(0, |session| session.out.unsent_slices(slices))
    }

    /// `bytes` of [`Proxy::client_output`] were handed to the kernel (0 is fine too). Returns whether there is more.
    pub fn client_wrote(&mut self, id: SessionId, bytes: usize) -> bool {
        self.counts[Metric::ClientBytesOut as usize] += bytes as u64;
        let Some(session) = self.sessions.get_mut(id) else { return false };
        session.out.sent(bytes);
        session.out.release(bytes, &mut self.pool);
        let unsent = session.out.unsent();
        if unsent == 0 {
            session.held_up = 0;
        }
        let done = unsent == 0
            && session.under_way() == 0
            && match session.stop {
                Some(Stop::Closing) => true,
                // It closed its side, and nothing that it sent still waits to be admitted.
                stop => session.ended && !session.to_resume && stop.is_none(),
            };
        let thirsty = session.stop == Some(Stop::Output) && unsent <= MAX_OUTPUT / 2;
        let flows = session.stalls > 0 && unsent <= self.settings.ahead / 2;
        if done {
            self.drop_client(id);
            return false;
        }
        if thirsty {
            self.lift(id);
        }
        if flows {
            self.unstall(id);
        }
        unsent > 0
    }

    /// Lets go of what is kept for a client that does more than ask, once it is empty.
    pub(super) fn tidy(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.tidy();
        }
    }

    /// Marks a client as having something to write or to be looked at.
    #[inline]
    pub(super) fn touch_client(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id)
            && !std::mem::replace(&mut session.dirty, true)
        {
            self.dirty_clients.push(id);
        }
    }

    /// Fills `slices` with bytes for a node; returns how many slices it filled.
    pub fn pipe_output<'a>(&'a self, id: PipeId, slices: &mut [IoSlice<'a>]) -> usize {
        self.pipes
            .get(id)
            .filter(|pipe| pipe.state == State::Open)
            .map_or(0, |pipe| pipe.out.unsent_slices(slices))
    }

    /// `bytes` of [`Proxy::pipe_output`] were handed to the kernel. Returns whether there is more.
    pub fn pipe_wrote(&mut self, id: PipeId, bytes: usize) -> bool {
        self.counts[Metric::NodeBytesOut as usize] += bytes as u64;
        let Some(pipe) = self.pipes.get_mut(id) else { return false };
        pipe.out.sent(bytes);
        let more = pipe.out.unsent() > 0;
        match pipe.purpose {
            Purpose::Lane { tenant } => self.stream_wrote(id, tenant),
            Purpose::Private { .. } => self.let_go(id),
            Purpose::Shared | Purpose::Confirmer | Purpose::Retiring | Purpose::Idle | Purpose::Hub(_) => {}
        }
        more
    }

    /// Whether a node's bytes are wanted at the moment.
    pub fn pipe_wants_read(&self, id: PipeId) -> bool {
        self.pipes.get(id).is_some_and(|pipe| pipe.stalled_by.is_none())
    }

    /// Lets go on what waited for something that has happened in this turn. Call it before writing.
    pub fn settle(&mut self) {
        // Going on can set others free in its turn; what is left after some rounds waits for the next turn.
        for _ in 0..4 {
            if self.resume.is_empty() {
                break;
            }
            let mut list = std::mem::take(&mut self.resume);
            for id in list.drain(..) {
                self.go_on(id);
            }
            if self.resume.is_empty() {
                self.resume = list; // keep the memory
            }
        }
        self.tell_commands();
        self.ask_for_farewells();
        self.start_rounds();
    }

    /// Whether something could go on at once: the shell must not sleep.
    pub fn is_restless(&self) -> bool {
        !self.resume.is_empty() || !self.outputs.is_empty()
    }

    /// Lets a client's requests be admitted again.
    pub(super) fn lift(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            if matches!(session.stop, Some(Stop::Closing)) {
                return;
            }
            session.stop = None;
            if !std::mem::replace(&mut session.to_resume, true) {
                self.resume.push(id);
            }
        }
    }

    fn go_on(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        session.to_resume = false;
        if session.stream.is_some() {
            self.stream_step(id);
        }
        if self.run_rest(id) {
            self.pump_inbox(id);
        }
        self.touch_client(id); // the shell looks again whether to read it
    }

    /// Time passed: asks again for what is held, gives up what was held too long and who does not answer, drops who
    /// reads too slowly.
    pub fn tick(&mut self) {
        self.release_held();
        self.abandon_deposed();
        if self.now.steady.saturating_sub(self.trimmed) >= TRIM {
            self.trimmed = self.now.steady;
            self.pool.trim();
            self.sweep_timings();
            self.sweep_trunks();
            self.sweep_hubs();
            self.sweep_idle();
        }
        self.relieve_stalls();
        self.relieve_scripts();
        self.stream_tick();
        self.end_pause();
        if !self.early.is_empty() {
            self.early_tick();
        }
        self.tick_pubsub();
        self.wait_tick();
        self.confirmer_tick();
        self.watch_tick();
        self.tracking_tick();
    }

    /// When `tick` is due at the latest, in microseconds.
    pub fn next_tick(&self) -> u64 {
        let often =
            self.stalled > 0 || self.stream_waits() || !self.watch_waiters.is_empty() || self.withheld() > 0;
        let idle = self.now.steady + if often { 20_000 } else { 100_000 };
        let waits = self.waits.next_due(self.now.steady);
        let pause = self.pause.map(|pause| pause.until);
        let dues = self.park.next_due().into_iter().chain(self.pubsub.next_due()).chain(waits).chain(pause);
        let dues = dues.chain(self.early_due());
        dues.fold(idle, u64::min)
    }

    /// A client that has just connected did so at the address for encrypted ones.
    pub fn client_is_encrypted(&mut self, id: SessionId) {
        self.came_by(id, self.settings.tls_durability.unwrap_or(self.settings.durability));
    }

    /// Answers a request that the shell had to ask other workers for.
    pub fn answer(&mut self, id: SessionId, seq: u32, reply: &[u8]) {
        self.deliver(id, seq, Timed::here(Class::Other, self.now.steady), reply, End::Yes);
    }

    /// Whether a client has all its replies and nothing that it sent waits here, but for half a request. While the
    /// gateway is drained the shell closes it once its socket has nothing to read either.
    pub fn client_is_idle(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            session.under_way() == 0
                && session.out.unsent() == 0
                && session.stop.is_none()
                && session.stream.is_none()
                && !session.to_resume
        })
    }

    /// Whether a client's next request may be on its way during a drain: it has only just come, or it asked something a
    /// moment before the drain and nothing since, or half a request is here. Nobody sends in the same moment in which it gets a reply, so it can
    /// be closed then without a request that crosses the closing.
    pub fn client_will_ask(&self, id: SessionId) -> bool {
        let now = self.now.steady;
        let will = |session: &Session| match session.asked_nothing() {
            true => now < session.since + YOUNG,
            false => {
                let begun = !session.inbox.is_empty();
                (begun || session.active < self.drained) && now < session.active + SOON
            }
        };
        self.sessions.get(id).is_some_and(will)
    }

    /// Forgets a client and has its connection closed.
    pub fn client_dismissed(&mut self, id: SessionId) {
        self.drop_client(id);
    }

    /// Has the shell look at every client: those that are idle may go, the others once they are.
    pub fn drain(&mut self) {
        self.drained = self.now.steady;
        self.unblock_all();
        self.sessions.ids().into_iter().for_each(|id| self.touch_client(id));
    }

    /// Stops admitting clients' requests for good: each client is closed once it has all its replies.
    pub fn drain_at_once(&mut self) {
        self.draining = true;
        self.unblock_all();
        for id in self.sessions.ids() {
            if let Some(session) = self.sessions.get_mut(id) {
                if session.stream.is_none() {
                    session.stop = Some(Stop::Closing);
                }
                self.touch_client(id);
            }
        }
    }

    /// Clients that are still connected.
    pub fn clients(&self) -> usize {
        self.sessions.len()
    }
}
