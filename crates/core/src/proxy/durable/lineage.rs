//! What becomes of withheld replies when their primary hands its slots over: it is asked until it goes on as a replica.

use super::super::blocking::Step;
use super::super::pipe::{Run, Ticket, Work};
use super::super::{PipeId, Proxy};
use super::{ConfirmerId, Why};
use crate::resp::text;

/// INFO replication as it is sent.
const INFO_REPLICATION: &[u8] = b"*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n";

/// What a server that was a primary says of its replication (`INFO replication`).
#[derive(Debug, PartialEq, Eq)]
enum Lineage<'a> {
    /// It is a primary; the name of its stream.
    Primary(&'a [u8]),
    /// It is a replica now, and it has continued the stream of this name: all of it is at its new primary
    /// (`replication.c`: a primary accepts a partial resynchronization only up to where it was promoted).
    Continued(&'a [u8]),
    /// It does not know yet, or does not say.
    Unknown,
}

impl Lineage<'_> {
    fn of(info: &[u8]) -> Lineage<'_> {
        let value = |name: &[u8]| {
            let mut lines = info.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(b":"))
        };
        match (value(b"role"), value(b"master_link_status")) {
            (Some(b"master"), _) => value(b"master_replid").map_or(Lineage::Unknown, Lineage::Primary),
            (Some(b"slave"), Some(b"up")) => {
                value(b"master_replid2").map_or(Lineage::Unknown, Lineage::Continued)
            }
            _ => Lineage::Unknown,
        }
    }
}

impl Proxy {
    /// Asks a confirmer's server whose stream it follows.
    pub(super) fn ask_for_lineage(&mut self, id: ConfirmerId) {
        let Some(confirmer) = self.confirmers.get_mut(id).filter(|confirmer| !confirmer.naming) else {
            return;
        };
        let Some(pipe) = confirmer.pipe else { return };
        confirmer.naming = true;
        let ticket = Ticket::of_nobody(Work::Wait(Step::Lineage), self.now.steady);
        self.push(pipe, INFO_REPLICATION, ticket);
    }

    /// A server says that it is no primary any more: what it has executed is at its successor, or not.
    pub(super) fn is_deposed(&mut self, id: ConfirmerId, pipe: PipeId) {
        let run = self.known_run(pipe);
        if let Some(confirmer) = self.confirmers.get_mut(id) {
            confirmer.deposed = Some((self.now.steady, run));
        }
        self.ask_for_lineage(id);
    }

    /// A number made of the run id of the server at the other end; 0 where that is not known.
    fn known_run(&self, pipe: PipeId) -> u64 {
        match self.pipes.get(pipe).map(|pipe| pipe.run) {
            Some(Run::Known(run)) => run,
            Some(Run::Unasked | Run::Asked) | None => 0,
        }
    }

    /// A server said whose stream it follows.
    pub(in super::super) fn lineage_told(&mut self, pipe: PipeId, reply: &[u8]) {
        let Some(id) = self.pipes.get(pipe).map(|pipe| pipe.confirmer) else { return };
        let run = self.known_run(pipe);
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        confirmer.naming = false;
        let lineage = Lineage::of(text(reply).unwrap_or_default());
        if std::mem::take(&mut confirmer.doubted) {
            return match lineage {
                Lineage::Primary(stream) if confirmer.stream.as_deref() == Some(stream) => {
                    self.end_round(id, Why::Kept);
                }
                Lineage::Primary(stream) => {
                    confirmer.stream = Some(stream.into());
                    self.end_round(id, Why::Lost);
                }
                Lineage::Continued(_) | Lineage::Unknown => {
                    confirmer.round = None;
                    self.is_deposed(id, pipe);
                }
            };
        }
        match (lineage, confirmer.deposed) {
            (Lineage::Primary(stream), None) => confirmer.stream = Some(stream.into()),
            (Lineage::Continued(_) | Lineage::Unknown, None) => confirmer.stream = None,
            (Lineage::Unknown, Some(_)) => {} // asked again as time passes
            (Lineage::Primary(_), Some(_)) => self.succeeded(id, Why::Lost),
            (Lineage::Continued(stream), Some((_, before))) => {
                // One that was started again may continue from what was on its disk.
                let all = confirmer.stream.as_deref() == Some(stream) && run == before && run != 0;
                self.succeeded(id, if all { Why::Kept } else { Why::Lost });
            }
        }
    }

    /// It is known whether the successor of a primary has all that it executed.
    pub(super) fn succeeded(&mut self, id: ConfirmerId, why: Why) {
        let Some(confirmer) = self.confirmers.get_mut(id) else { return };
        (confirmer.deposed, confirmer.stream) = (None, None);
        let batches = [std::mem::take(&mut confirmer.asked), std::mem::take(&mut confirmer.held)];
        for batch in batches {
            match why {
                Why::Kept => drop(self.hand_on_all(batch)),
                Why::Late | Why::Lost => drop(self.give_up_all(id, batch, why)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lineage;

    #[test]
    fn what_a_server_says_of_its_stream() {
        let primary = b"# Replication\r\nrole:master\r\nconnected_slaves:1\r\nmaster_replid:ab\r\nmaster_replid2:00\r\n";
        assert_eq!(Lineage::of(primary), Lineage::Primary(b"ab"));
        let replica = b"role:slave\r\nmaster_link_status:up\r\nmaster_replid:cd\r\nmaster_replid2:ab\r\n";
        assert_eq!(Lineage::of(replica), Lineage::Continued(b"ab"));
        for unknown in [&b"role:slave\r\nmaster_link_status:down\r\nmaster_replid2:ab\r\n"[..], b"", b"\r\n"]
        {
            assert_eq!(Lineage::of(unknown), Lineage::Unknown);
        }
    }
}
