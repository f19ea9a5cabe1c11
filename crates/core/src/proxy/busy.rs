//! Scripts that run for long: a node that runs one answers nothing else, and what stands behind it on the same connection
//! is not even read.
//!
//! Nor does it send what it had answered just before: the script need not be the first that waits for a reply.
//! So the others get a new connection, on which the node answers what it answers while it is busy (`BUSY`, and
//! whatever it does all the same). The script's own connection ends when its replies are in.

use super::pipe::{Purpose, Ticket, Work};
use super::{PipeId, Proxy};

/// How long a script may hold up a shared connection, and the node be silent, before others get a new one
/// (microseconds).
const LONG: u64 = 50_000;
/// What a node says that runs one (`server.c`: createSharedObjects).
pub(super) const SCRIPT: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// How many requests without a reply are looked at for a script.
const AHEAD: usize = 64;
/// Commands that run scripts.
const SCRIPTS: [&[u8]; 6] = [b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"];

impl Proxy {
    /// Gives those a new connection who wait behind a script.
    pub(super) fn relieve_scripts(&mut self) {
        let shared = self.trunks.iter().flat_map(|(_, trunk)| trunk.pipes.iter().copied().flatten());
        let stuck: Vec<(PipeId, Ticket)> = shared.filter_map(|id| Some((id, self.script_of(id)?))).collect();
        for (id, ticket) in stuck {
            self.scripts.push((id, ticket.slot));
            self.replace_shared(id, ticket.session);
        }
        let pipes = &self.pipes;
        self.scripts.retain(|(id, _)| pipes.get(*id).is_some_and(|pipe| !pipe.tickets.is_empty()));
    }

    /// A slot of a node that has been running a script for long.
    pub(super) fn busy_slot(&self) -> Option<u16> {
        self.scripts.first().map(|(_, slot)| *slot)
    }

    /// Whether the owner of a slot has been running a script for long.
    pub(super) fn is_busy(&self, slot: u16) -> bool {
        let owner = self.topology.owner(slot);
        self.scripts.iter().any(|(_, other)| self.topology.owner(*other) == owner)
    }

    /// The script that holds up a shared connection, if one does.
    fn script_of(&self, id: PipeId) -> Option<Ticket> {
        let pipe = self.pipes.get(id).filter(|pipe| pipe.purpose == Purpose::Shared)?;
        let silent = self.now.steady.saturating_sub(pipe.heard.max(pipe.tickets.front()?.born)) > LONG;
        if !silent {
            return None;
        }
        let frames = pipe.out.frames(pipe.tickets.iter().map(|ticket| ticket.len as usize));
        let mut asked = pipe.tickets.iter().zip(frames).take(AHEAD);
        let script = asked.find(|(ticket, frame)| matches!(ticket.work, Work::Whole) && is_script(frame));
        script.map(|(ticket, _)| *ticket)
    }
}

/// Whether a request runs a script: by its first word.
fn is_script(frame: &[u8]) -> bool {
    let name = frame.split(|byte| *byte == b'\n').nth(2).and_then(|line| line.strip_suffix(b"\r"));
    name.is_some_and(|name| SCRIPTS.iter().any(|script| script.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::is_script;

    #[test]
    fn scripts_are_known_by_their_first_word() {
        assert!(is_script(b"*3\r\n$4\r\neval\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n"));
        assert!(is_script(b"*3\r\n$8\r\nFCALL_RO\r\n$1\r\nf\r\n$1\r\n0\r\n"));
        assert!(!is_script(b"*2\r\n$3\r\nGET\r\n$4\r\nEVAL\r\n"));
        assert!(!is_script(b"*2\r\n$3\r\nGET"));
    }
}
