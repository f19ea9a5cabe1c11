//! CLIENT KILL and CLIENT PAUSE: what one client can do to others, on all workers.

use super::super::forward::Admit;
use super::super::inquiry::Desk;
use super::super::pause::{Pause, Paused};
use super::super::session::Stop;
use super::super::{Gather, Proxy, SessionId};
use super::filter::{Dialect, Filter};
use crate::resp::{Args, Elements, ErrorReply, Proto, Writer, parse_i64, text};

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
    fn parse<'a>(
        asker: u64,
        args: &Args<'a>,
        dialect: Dialect,
        users: &mut Vec<String>,
    ) -> Result<Kill, ErrorReply<'a>> {
        Ok(match args.len() {
            3 => Kill { filter: Filter::peer(args.get(2)), asker, form: Form::Found },
            _ => Kill { filter: Filter::killed(args, asker, dialect, users)?, asker, form: Form::Count },
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
        let mut users = Vec::new();
        let kill = Kill::parse(self.number_of(id), args, self.dialect(), &mut users);
        if let Some(admit) = self.knows_users(id, &users) {
            return admit;
        }
        match kill {
            Ok(kill) => self.gather(id, Gather::Kill(kill)),
            Err(error) => self.refuse(id, &error),
        }
    }

    /// Whether there are the users that filters name, before the first mistake if there is one; `None` if so. Those that
    /// the gateway does not know by itself only the nodes know.
    pub(super) fn knows_users(&mut self, id: SessionId, users: &[String]) -> Option<Admit> {
        let is_ours =
            |user: &str| user == "default" || self.settings.users.iter().any(|named| named.name == user);
        let asked: Vec<&String> = users.iter().filter(|user| !is_ours(user)).collect();
        if asked.is_empty() {
            return None;
        }
        let mut question = Vec::new();
        Writer::new(&mut question, Proto::Two).request([b"ACL".as_slice(), b"USERS"].into_iter());
        let Some(answer) = self.inquire(id, Desk::Own, question) else { return Some(Admit::Stopped) };
        if answer.starts_with(b"-") {
            return Some(self.pass_on(id, &answer));
        }
        let there = |user: &str| {
            let mut names = Elements::of(&answer).into_iter().flatten().filter_map(text);
            names.any(|name| name == user.as_bytes())
        };
        let missing = asked.into_iter().find(|user| !there(user))?;
        Some(self.refuse(id, &ErrorReply::NoSuchUser(missing)))
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
