//! Scripts that run for long: a node that runs one answers nothing else, and what stands behind it on the same connection
//! is not even read.
//!
//! So the others get a new connection, on which the node answers what it answers while it is busy (`BUSY`, and
//! whatever it does all the same). The script's own connection ends when its replies are in.

use super::pipe::{Purpose, Work};
use super::{PipeId, Proxy};

/// How long a script may hold up a shared connection, and the node be silent, before others get a new one
/// (microseconds).
const LONG: u64 = 50_000;
/// Commands that run scripts.
const SCRIPTS: [&[u8]; 6] = [b"EVAL", b"EVALSHA", b"EVAL_RO", b"EVALSHA_RO", b"FCALL", b"FCALL_RO"];

impl Proxy {
    /// Gives those a new connection who wait behind a script.
    pub(super) fn relieve_scripts(&mut self) {
        let shared = self.trunks.iter().flat_map(|(_, trunk)| trunk.pipes.iter().copied().flatten());
        let stuck: Vec<PipeId> = shared.filter(|id| self.runs_script(*id)).collect();
        for id in stuck {
            let Some(ticket) = self.pipes.get(id).and_then(|pipe| pipe.tickets.front().copied()) else {
                continue;
            };
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

    fn runs_script(&self, id: PipeId) -> bool {
        let Some(pipe) = self.pipes.get(id).filter(|pipe| pipe.purpose == Purpose::Shared) else {
            return false;
        };
        let Some(ticket) = pipe.tickets.front() else { return false };
        let silent = self.now.steady.saturating_sub(pipe.heard.max(ticket.born)) > LONG;
        silent && matches!(ticket.work, Work::Whole) && is_script(pipe.out.front(ticket.len as usize))
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
