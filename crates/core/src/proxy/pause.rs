//! CLIENT PAUSE: requests of all clients of this gateway wait in their buffers (`networking.c`: `pauseClients`).
//!
//! The nodes are not told: others use them too, and what was sent before is answered.

use super::session::Stop;
use super::{Proxy, SessionId};
use crate::command::{Access, Command};
use crate::resp::Args;

/// A first line of a script that is longer than this is not read.
const LONGEST_LINE: usize = 1024;

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
    pub(super) fn waits_for_pause(&mut self, id: SessionId, command: &Command, args: &Args<'_>) -> bool {
        self.end_pause();
        let waits = match self.pause.map(|pause| pause.what) {
            None => false,
            Some(Paused::All) => command.name != "client|unpause",
            Some(Paused::Writes) => {
                may_write(command, args.get(1)) || (command.name == "exec" && self.queues_writes(id))
            }
        };
        if waits && let Some(session) = self.sessions.get_mut(id) {
            session.stop = Some(Stop::Pause);
            self.paused.push(id);
        }
        waits
    }
}

/// Whether a command may change data, or something that replicas are told (`server.c`: CMD_WRITE, CMD_MAY_REPLICATE). EXEC
/// is what its transaction is, and EVAL what its script, the first argument, says of itself. What a script that is named
/// only says of itself is not known here.
pub(super) fn may_write(command: &Command, first: &[u8]) -> bool {
    match command.name {
        "pfcount" | "publish" | "spublish" => true,
        "eval" => !writes_nothing(first),
        _ => command.access == Access::Write,
    }
}

/// Whether a script says in its first line that it writes nothing (`script_lua.c`: `evalExtractShebangFlags`). A line that
/// the server refuses is as good as none, and one with quotes, which nobody needs, is taken as such.
fn writes_nothing(script: &[u8]) -> bool {
    const FLAGS: [&str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];
    let end = script.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n');
    let Some(Ok(line)) = end.map(|end| std::str::from_utf8(&script[..end])) else { return false };
    let mut words = line.split_ascii_whitespace();
    if !line.starts_with("#!lua") || words.next() != Some("#!lua") {
        return false;
    }
    let mut reads_only = false;
    for word in words {
        let Some(flags) = word.strip_prefix("flags=") else { return false };
        for flag in flags.split(',') {
            if !FLAGS.contains(&flag) {
                return false;
            }
            reads_only |= flag == "no-writes";
        }
    }
    reads_only
}

#[cfg(test)]
mod tests {
    use super::writes_nothing;

    #[test]
    fn a_script_says_that_it_writes_nothing_as_the_server_understands_it() {
        for line in [
            "#!lua flags=no-writes",
            "#!lua  flags=no-writes,allow-stale",
            "#!lua flags=no-writes flags=allow-stale",
        ] {
            assert!(writes_nothing(format!("{line}\nreturn 1").as_bytes()), "{line}");
            assert!(!writes_nothing(line.as_bytes()), "{line} without an end");
        }
        for line in [
            "return 1",
            "#!lua",
            "#!lua flags=allow-stale",
            "#!lua flags=no-writes,bogus",
            "#!lua flags=no-writes,",
            "#!lua flags=No-Writes",
            "#!lua name=x flags=no-writes",
            "#!js flags=no-writes",
            "#!LUA flags=no-writes",
            " #!lua flags=no-writes",
        ] {
            assert!(!writes_nothing(format!("{line}\nreturn 1").as_bytes()), "{line}");
        }
    }
}
