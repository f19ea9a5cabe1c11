//! CLIENT KILL and CLIENT PAUSE: what one client can do to others, on all workers.

use super::super::forward::Admit;
use super::super::inquiry::Desk;
use super::super::pause::{Pause, Paused};
use super::super::session::{Session, Stop};
use super::super::{Gather, Proxy, SessionId};
use super::client::{Kind, kind_of, user_of};
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_i64, parse_u64};

/// Whom CLIENT KILL means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kill {
    number: Option<u64>,
    peer: Option<String>,
    local: Option<String>,
    kind: Option<Kind>,
    user: Option<String>,
    /// Older than so many seconds.
    age: Option<u64>,
    /// The client that asks.
    asker: u64,
    spares: Spares,
    form: Form,
}

/// Whether the client that asks is killed when it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Spares {
    #[default]
    Asker,
    Nobody,
}

/// How the answer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// How many were killed.
    #[default]
    Count,
    /// `CLIENT KILL addr`: whether it was there.
    Found,
}

impl Kill {
    fn parse<'a>(asker: u64, args: &Args<'a>) -> Result<Kill, ErrorReply<'a>> {
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut kill = Kill { asker, ..Kill::default() };
        if args.len() == 3 {
            let (peer, spares, form) = (Some(shown(args.get(2))), Spares::Nobody, Form::Found);
            return Ok(Kill { peer, spares, form, ..kill });
        }
        if !args.len().is_multiple_of(2) {
            return Err(ErrorReply::Syntax);
        }
        for at in (2..args.len()).step_by(2) {
            let value = args.get(at + 1);
            match args.get(at).to_ascii_lowercase().as_slice() {
                b"id" => {
                    let number = parse_u64(value).filter(|number| *number > 0);
                    kill.number = Some(number.ok_or(ErrorReply::ClientIdPositive)?);
                }
                b"type" => kill.kind = Some(Kind::parse(value)?),
                b"addr" => kill.peer = Some(shown(value)),
                b"laddr" => kill.local = Some(shown(value)),
                b"user" => kill.user = Some(shown(value)),
                b"maxage" => kill.age = Some(parse_u64(value).ok_or(ErrorReply::NotAnInteger)?),
                b"skipme" if value.eq_ignore_ascii_case(b"yes") => kill.spares = Spares::Asker,
                b"skipme" if value.eq_ignore_ascii_case(b"no") => kill.spares = Spares::Nobody,
                _ => return Err(ErrorReply::Syntax),
            }
        }
        Ok(kill)
    }

    fn means(&self, session: &Session, now: u64) -> bool {
        let is = |wanted: &Option<String>, text: String| wanted.as_ref().is_none_or(|wanted| *wanted == text);
        let age = now.saturating_sub(session.since) / 1_000_000;
        self.number.is_none_or(|number| number == session.number)
            && is(&self.peer, session.peer.to_string())
            && is(&self.local, session.local.to_string())
            && is(&self.user, user_of(session))
            && self.kind.is_none_or(|kind| kind == kind_of(session))
            && self.age.is_none_or(|least| age >= least)
            && (self.spares == Spares::Nobody || self.asker != session.number)
    }

    /// The reply, given how many were killed on all workers.
    pub fn reply(&self, killed: usize, out: &mut Writer<'_>) {
        match (self.form, killed) {
            (Form::Count, killed) => out.integer(killed as i64),
            (Form::Found, 0) => out.error(ErrorReply::NoSuchClient),
            (Form::Found, _) => out.simple("OK"),
        }
    }
}

impl Proxy {
    pub(super) fn client_kill(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let asker = self.sessions.get(id).map_or(0, |session| session.number);
        let kill = match Kill::parse(asker, args) {
            Ok(kill) => kill,
            Err(error) => return self.refuse(id, &error),
        };
        if let Some(user) = &kill.user
            && user != "default"
            && !self.settings.users.iter().any(|named| named.name == *user)
        {
            // Only the nodes know whether there is such a user.
            let mut question = Vec::new();
            Writer::new(&mut question, Proto::Two)
                .request([b"ACL".as_slice(), b"GETUSER", user.as_bytes()].into_iter());
            match self.inquire(id, Desk::Own, question) {
                None => return Admit::Stopped,
                Some(answer) if matches!(answer.get(..3), Some(b"*-1" | b"$-1")) => {
                    return self.refuse(id, &ErrorReply::NoSuchUser(user));
                }
                Some(answer) if answer.starts_with(b"-") => return self.pass_on(id, &answer),
                Some(_) => {}
            }
        }
        self.gather(id, Gather::Kill(kill))
    }

    /// Closes this worker's clients that are meant; the one that asks once it has its answer. How many there were.
    pub fn kill_clients(&mut self, kill: &Kill) -> usize {
        let now = self.now.steady;
        let meant: Vec<SessionId> =
            self.sessions.iter().filter(|(_, session)| kill.means(session, now)).map(|(id, _)| id).collect();
        for id in &meant {
            match self.sessions.get_mut(*id) {
                Some(session) if session.number == kill.asker => session.stop = Some(Stop::Closing),
                Some(_) | None => self.drop_client(*id),
            }
        }
        meant.len()
    }

    pub(super) fn client_pause(&mut self, id: SessionId, args: &Args<'_>) -> Admit {
        let what = match args.len() {
            3 => Paused::All,
            4 if args.get(3).eq_ignore_ascii_case(b"all") => Paused::All,
            4 if args.get(3).eq_ignore_ascii_case(b"write") => Paused::Writes,
            4 => return self.refuse(id, &ErrorReply::PauseMode),
            _ => return self.refuse(id, &ErrorReply::SubcommandSyntax(args.get(1), "CLIENT")),
        };
        match parse_i64(args.get(2)) {
            None => self.refuse(id, &ErrorReply::TimeoutNotAnInteger),
            Some(..0) => self.refuse(id, &ErrorReply::TimeoutNegative),
            Some(millis) => {
                let until = self.now.steady.saturating_add((millis as u64).saturating_mul(1_000));
                self.gather(id, Gather::Pause(Some(Pause { what, until })))
            }
        }
    }
}
