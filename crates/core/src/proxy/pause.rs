//! CLIENT PAUSE: requests of all clients of this gateway wait in their buffers (`networking.c`: `pauseClients`).
//!
//! The nodes are not told: others use them too, and what was sent before is answered.

use super::session::Stop;
use super::{Proxy, SessionId};
use crate::command::{Access, Command};

/// Which requests have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Paused {
    /// Those that may change something.
    Writes,
    /// All but CLIENT UNPAUSE.
    All,
}

/// A pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Which requests wait.
    pub what: Paused,
    /// Until when, in microseconds.
    pub until: u64,
}

impl Proxy {
    /// Begins a pause, or makes the one that is going on longer and stricter.
    pub fn pause(&mut self, pause: Pause) {
        let (what, until) = self
            .pause
            .map_or((pause.what, pause.until), |old| (old.what.max(pause.what), old.until.max(pause.until)));
        self.pause = Some(Pause { what, until });
    }

    /// Ends a pause.
    pub fn unpause(&mut self) {
        self.pause = None;
        std::mem::take(&mut self.paused).into_iter().for_each(|id| self.lift(id));
    }

    /// Ends a pause whose time is over.
    pub(super) fn end_pause(&mut self) {
        if self.pause.is_some_and(|pause| pause.until <= self.now.steady) {
            self.unpause();
        }
    }

    /// How many of this worker's clients wait for the end of a pause.
    pub fn waiting_for_pause(&self) -> usize {
        let waits = |id: &&SessionId| {
            self.sessions.get(**id).is_some_and(|session| session.stop == Some(Stop::Pause))
        };
        self.paused.iter().filter(waits).count()
    }

    /// Whether a request has to wait for the end of a pause; if so, its client admits nothing until then.
    pub(super) fn waits_for_pause(&mut self, id: SessionId, command: &Command) -> bool {
        self.end_pause();
        let waits = match self.pause.map(|pause| pause.what) {
            None => false,
            Some(Paused::All) => command.name != "client|unpause",
            Some(Paused::Writes) => may_write(command) || (command.name == "exec" && self.queues_writes(id)),
        };
        if waits && let Some(session) = self.sessions.get_mut(id) {
            session.stop = Some(Stop::Pause);
            self.paused.push(id);
        }
        waits
    }
}

/// Whether a command may change data, or something that replicas are told (`server.c`: CMD_WRITE, CMD_MAY_REPLICATE). EXEC
/// is what its transaction is.
pub(super) fn may_write(command: &Command) -> bool {
    command.access == Access::Write || matches!(command.name, "pfcount" | "publish" | "spublish")
}
