//! The short way of the usual request: whole, one key, of a client without any state of its own, to a node that is
//! connected; and of the usual reply: whole, no error, of such a request.
//!
//! Nothing is decided here that the long way (`request`, `forward`; `replies`, `deliver`) would decide otherwise. What
//! is the least bit unusual is left to it. The gain is that session, trunk and pipe are looked up once for many
//! requests (`benches/instructions.txt`: GET at pipeline 16 took 1633 instructions before).

use super::durable::Piece;
use super::forward::full;
use super::pipe::{Resend, Ticket, Work};
use super::session::{End, Known, MAX_STASH, Session};
use super::{PipeId, Proxy, SessionId};
use crate::command::{Access, Command, Keys, Lookup, Treat, arity_ok, lookup};
use crate::metric::{Metric, bucket};
use crate::resp::{Args, Limits, Span, usual_reply, usual_request};
use crate::topology::slot;

impl Proxy {
    /// Admits the usual requests at the start of `bytes`; returns how many bytes are done with.
    pub(super) fn express(&mut self, id: SessionId, bytes: &[u8], spans: &mut Vec<Span>) -> usize {
        let Proxy {
            sessions,
            pipes,
            trunks,
            topology,
            pool,
            dirty_pipes,
            now,
            epoch,
            pause,
            monitors,
            hot,
            counts,
            settings,
            ..
        } = self;
        if pause.is_some() || monitors.is_on() {
            return 0;
        }
        let Some(session) = sessions.get_mut(id).filter(|session| is_plain(session)) else { return 0 };
        let Some(trunk) = trunks.get(session.trunk) else { return 0 };
        let (mut at, first) = (0, session.upcoming());
        let looks = settings.merge_reads && hot.is_awake();
        while at < bytes.len() && full(session).is_none() {
            if session.under_way() == 0 {
                (session.epoch, session.astray) = (*epoch, false);
            } else if session.epoch != *epoch || session.astray {
                break;
            }
            let rest = &bytes[at..];
            let Some(len) = usual_request(rest, spans, &Limits::SERVER) else { break };
            let args = Args::new(rest, spans);
            let Lookup::Found(command) = lookup(args.get(0), None) else { break };
            if !has_one_key(command) || !arity_ok(command, args.len()) {
                break;
            }
            let slot = slot(args.get(1));
            let owner = topology.owner(slot).and_then(|node| trunk.pipes.get(usize::from(node.0)));
            let Some(pipe_id) = owner.copied().flatten() else { break };
            let Some(pipe) = pipes.get_mut(pipe_id).filter(|pipe| pipe.has_room()) else { break };
            let ticket = Ticket {
                session: id,
                seq: session.admit(),
                slot,
                resend: super::forward::resend(command.access),
                class: command.access.class(),
                ..Ticket::of_nobody(Work::Whole, now.steady)
            };
            if looks && command.access == Access::Read {
                let joined = hot.put((pipe_id, pipe), session, ticket, &rest[..len], pool);
                counts[Metric::MergedReads as usize] += u64::from(joined);
            } else {
                pipe.push(&rest[..len], ticket, pool);
            }
            if !std::mem::replace(&mut pipe.dirty, true) {
                dirty_pipes.push(pipe_id);
            }
            if command.access == Access::Write {
                session.note_write(slot, now.steady);
            }
            session.first_sent += 1;
            session.last_command = command.name;
            at += len;
        }
        session.active = now.steady;
        hot.rest_for(session.upcoming().wrapping_sub(first));
        at
    }

    /// Hands on the usual replies at the start of `data`; returns how many bytes are done with.
    pub(super) fn express_replies(&mut self, id: PipeId, data: &[u8]) -> usize {
        let Proxy {
            sessions,
            pipes,
            park,
            strays,
            pool,
            dirty_clients,
            now,
            counts,
            timings,
            confirmers,
            rounds,
            ..
        } = self;
        let Some(pipe) = pipes.get_mut(id) else { return 0 };
        if park.len() > 0
            || !strays.is_empty()
            || pipe.midway
            || pipe.scanned > 0
            || pipe.scan.is_inside()
            || pipe.stalled_by.is_some()
        {
            return 0;
        }
        let times = timings.of(pipe.tally);
        let (mut at, mut answered, mut taken) = (0, 0, 0);
        let mut last = (u64::MAX, 0); // replies of one batch are of one age
        while at < data.len() {
            let rest = &data[at..];
            let Some(len) = usual_reply(rest) else { break };
            let Some(ticket) = pipe.tickets.front().filter(|ticket| is_usual(ticket)) else { break };
            let asked = ticket.len as usize;
            let (client, seq, born, class) = (ticket.session, ticket.seq, ticket.born, ticket.class);
            let Some(session) = sessions.get_mut(client) else { break };
            if session.stop.is_some() || session.stashed() + len > MAX_STASH {
                break;
            }
            let withheld = ticket.resend == Resend::Never && session.is_durable();
            if withheld {
                let Some(confirmer) = confirmers.get_mut(pipe.confirmer) else { break };
                if !confirmer.speaks_for(born) {
                    break;
                }
                let ticket = Ticket { tally: pipe.tally, ..*ticket };
                confirmer.hold(&ticket, &rest[..len], Piece::Whole, id, now.steady);
                if confirmer.queue() {
                    rounds.push(pipe.confirmer);
                }
            }
            answered += asked;
            pipe.tickets.pop_front();
            taken += 1;
            session.first_sent -= 1;
            at += len;
            if withheld {
                continue;
            }
            session.take(seq, &rest[..len], End::Yes, pool);
            if !std::mem::replace(&mut session.dirty, true) {
                dirty_clients.push(client);
            }
            if born != last.0 {
                last = (born, bucket(now.steady.saturating_sub(born)));
            }
            times[class as usize][last.1] += 1;
            counts[Metric::Requests as usize] += 1;
        }
        pipe.out.release(answered, pool);
        pipe.taken = pipe.taken.wrapping_add(taken);
        at
    }
}

/// Whether nothing about a client can make a request unusual.
fn is_plain(session: &Session) -> bool {
    session.stop.is_none()
        && session.extra.is_none()
        && session.known == Known::Yes
        && session.reader.is_fresh()
}

fn has_one_key(command: &Command) -> bool {
    matches!(command.treat, Treat::Slot) && matches!(command.keys, Keys::Range { first: 1, last: 1, step: 1 })
}

/// Whether a reply goes to its client as it is.
fn is_usual(ticket: &Ticket) -> bool {
    ticket.tries == 0 && matches!(ticket.work, Work::Whole)
}
