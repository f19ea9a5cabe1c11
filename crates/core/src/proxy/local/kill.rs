//! CLIENT KILL and CLIENT PAUSE: what one client can do to others, on all workers.

use super::super::forward::Admit;
use super::super::inquiry::Desk;
use super::super::pause::{Pause, Paused};
use super::super::session::Stop;
use super::super::{Gather, Proxy, SessionId};
use super::filter::{Dialect, Filter};
use crate::resp::{Args, ErrorReply, Proto, Writer, parse_i64};

/// Whom CLIENT KILL means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    filter: Filter,
    /// The client that asks.
    asker: u64,
    form: Form,
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
    fn parse<'a>(asker: u64, args: &Args<'a>, dialect: Dialect) -> Result<Kill, ErrorReply<'a>> {
        Ok(match args.len() {
            3 => Kill { filter: Filter::peer(args.get(2)), asker, form: Form::Found },
            _ => Kill { filter: Filter::killed(args, asker, dialect)?, asker, form: Form::Count },
        })
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
        let kill = match Kill::parse(self.number_of(id), args, self.dialect()) {
            Ok(kill) => kill,
            Err(error) => return self.refuse(id, &error),
        };
        if let Some(admit) = self.knows_users(id, &kill.filter) {
            return admit;
        }
        self.gather(id, Gather::Kill(kill))
    }

    /// Whether there is the user that a filter names, `None` if so. One that the gateway does not know by itself only the
    /// nodes know.
    pub(super) fn knows_users(&mut self, id: SessionId, filter: &Filter) -> Option<Admit> {
        let is_ours =
            |user: &str| user == "default" || self.settings.users.iter().any(|named| named.name == user);
        let user = filter.users().find(|user| !is_ours(user))?;
        let mut question = Vec::new();
        Writer::new(&mut question, Proto::Two)
            .request([b"ACL".as_slice(), b"GETUSER", user.as_bytes()].into_iter());
        match self.inquire(id, Desk::Own, question) {
            None => Some(Admit::Stopped),
            Some(answer) if matches!(answer.get(..3), Some(b"*-1" | b"$-1")) => {
                Some(self.refuse(id, &ErrorReply::NoSuchUser(user)))
            }
            Some(answer) if answer.starts_with(b"-") => Some(self.pass_on(id, &answer)),
            Some(_) => None,
        }
    }

    /// Closes this worker's clients that are meant; the one that asks once it has its answer. How many there were.
    pub fn kill_clients(&mut self, kill: &Kill) -> usize {
        let now = self.now.steady;
        let meant: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| kill.filter.means(session, now))
            .map(|(id, _)| id)
            .collect();
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
